"""What runs cost, and what gates let through."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.aggregate import __main__ as aggregate
from stages.common import costs, gates, params, predictions, task
from stages.common.errors import UserError
from stages.common.records import Record, RunId
from stages.cost import __main__ as cost
from stages.gates import __main__ as gates_stage
from stages.train import outputs
from stages.train.engine import run_times
from stages.train.run_state import RunProgress
from tests.conftest import make_up

FIRST, SECOND = RunId(1, 1), RunId(1, 2)


class Kept:
    """Checkpoints in memory."""

    def __init__(self):
        self.records = {}

    def checkpoint(self, run):
        return self.records.get(run)

    def write_checkpoint(self, run, checkpoint):
        self.records[run] = checkpoint


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets: clock[0] is the time."""
    now = [100.0]
    monkeypatch.setattr(run_times.time, "process_time", lambda: now[0])
    return now


def done(epochs: int) -> RunProgress:
    return RunProgress(epochs, 99, None)


def test_time_is_shared_out_among_the_runs_at_once_by_hand(clock):
    reports, kept = [], Kept()
    times = run_times.RunTimes(kept, lambda *report: reports.append(report), cuda=False)
    clock[0] += 50  # before any run
    for run in (FIRST, SECOND):
        times.checkpoint(run)
        times.report(run, done(0))
    clock[0] += 4
    for run in (FIRST, SECOND):
        times.report(run, done(1))
    clock[0] += 2
    for run in (FIRST, SECOND):
        times.report(run, done(2))
    assert times.ended(FIRST) == [2, 1]
    clock[0] += 7  # SECOND is alone now
    times.report(SECOND, done(3))
    times.write_checkpoint(SECOND, Record(values={"steps": 5}, arrays={}))
    assert kept.records[SECOND].values == {"steps": 5, "seconds": [2, 1, 7]}
    assert [report[1].epochs_done for report in reports] == [0, 0, 1, 1, 2, 2, 3]
    resumed = run_times.RunTimes(kept, lambda *_: None, cuda=False)
    assert resumed.checkpoint(SECOND).values["steps"] == 5
    resumed.report(SECOND, done(3))
    clock[0] += 3
    resumed.report(SECOND, done(4))
    assert resumed.ended(SECOND) == [2, 1, 7, 3]
    again = run_times.RunTimes(kept, lambda *_: None, cuda=False)  # the checkpoint is of another device: from the start
    again.checkpoint(SECOND)
    again.report(SECOND, done(0))
    clock[0] += 8
    again.report(SECOND, done(1))
    assert again.ended(SECOND) == [8]


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """A study of two variants and seeds, as if trained, that has been aggregated."""
    monkeypatch.chdir(tmp_path)
    tested = {1: np.arange(15), 2: np.arange(15, 30)}
    changes = {"variants": ["gate_tv", "self_tv"], "seeds": [1, 2]}
    changes["headline"] = {"attention": "self", "modalities": "tv"}
    make_up(["a", "b", "c"], tested, {1: np.arange(20, 25), 2: np.arange(5)}, **changes)
    aggregate.main()
    return tested


def test_costs_by_hand(made_up, monkeypatch):
    runs = pd.read_csv("metrics/scores.csv")
    assert list(runs)[:5] == ["variant", "fold", "seed", "parameters", "epochs"]
    assert set(runs["parameters"]) == {1234}
    assert list(runs["epochs"]) == [3 + fold for fold in runs["fold"]]
    config = params.load()
    seconds = {("gate_tv", 1, 1): [2.0, 1.0, 1.0, 9.0], ("gate_tv", 1, 2): [0.5] * 5, ("gate_tv", 2, 1): [1.0]}
    monkeypatch.setattr(cost, "data_digest", lambda: "data")

    class Work:
        def __init__(self, seconds):
            self.seconds = seconds

        def times(self, seed):
            return {fold: own for (s, fold), own in self.seconds.items() if s == seed}

    class Draws:
        def __init__(self, variant, data):
            assert data == "data"
            self.works = [Work({key[1:]: own for key, own in seconds.items() if key[0] == variant})]
            if variant == "self_tv":  # was tuned; of one fold's second draw nothing is known
                self.works = [Work({(2, 1): [3.0, 5.0], (2, 2): [1.0]}), Work({(2, 1): [0.25]})]

    monkeypatch.setattr(cost, "Draws", Draws)
    found = cost.run_seconds(config)
    assert list(found["seconds"]) == [4 * 1.5, 2.5, 1.0, 8.25]
    cost.main()
    table = pd.read_csv("metrics/cost.csv").set_index("variant")
    assert table.loc["gate_tv", ["parameters", "epochs"]].tolist() == [1234, 4.5]
    assert table.loc["gate_tv", "seconds"] == pytest.approx((6 + 2.5 + 1) / 3)
    assert table.loc["self_tv", "seconds"] == 8.25
    own = runs[runs["variant"] == "gate_tv"]["balanced_accuracy"]
    assert table.loc["gate_tv", ["balanced_accuracy", "balanced_accuracy_std"]].tolist() == [own.mean(), own.std()]
    lines = Path("metrics/cost.md").read_text().splitlines()
    assert any(line.startswith("| T+V | Gate | 1,234 | 4.5 | 3.2 |") for line in lines)
    assert any(line.startswith("| T+V | Self | 1,234 | 4.5 | 8.2 |") for line in lines)


@pytest.mark.parametrize("damage", [lambda text: text[:-9], lambda text: "7", lambda text: text.replace("1234", '"x"')])
def test_a_damaged_cost_is_said(damage, made_up):
    path = predictions.folder("gate_tv", 2) / costs.FILE
    whole = path.read_text()
    path.write_text(damage(whole))
    with pytest.raises(UserError, match=r"^runs/gate_tv/seed2/cost\.json: this file is damaged"):
        aggregate.main()
    path.unlink()
    with pytest.raises(UserError, match=r"^runs/gate_tv/seed2/cost\.json: this file is missing"):
        costs.read("gate_tv", 2)


def test_late_fusion_takes_as_long_as_its_parts():
    rows = [("self_t", 1, 1, 2.0), ("self_v", 1, 1, 3.0), ("self_t", 1, 2, 5.0), ("self_a", 1, 1, 9.0)]
    trained = pd.DataFrame(rows, columns=["variant", "seed", "fold", "seconds"])
    found = cost._of_parts("late_tv", trained)  # self_v of fold 2 is not known
    assert found.to_dict("records") == [{"variant": "late_tv", "seed": 1, "fold": 1, "seconds": 5.0}]
    assert cost._of_parts("prior_tv", trained).empty


def test_gates_come_in_one_order_whatever_a_record_has():
    record = Record(values={}, arrays={"shares/b": np.zeros(2), "weights/c": np.ones(3), "shares/a": np.ones(2)})
    assert list(outputs._named(record, "shares/")) == ["a", "b"]


def test_gates_by_hand(made_up):
    rows = pd.concat([predictions.read("gate_tv", 1, task.classes(["a", "b", "c"]))])
    for seed, shift in ((1, 0.0), (2, 0.2)):
        share = np.where(rows["actual"] == "a", 0.5, 0.1) + shift
        table = rows[["fold", "utterance_id"]].assign(gate="video from text", share=share.astype(np.float32))
        gates.write(predictions.folder("gate_tv", seed), table)
    gates_stage.main()
    found = pd.read_csv("plots/gates/gates.csv")
    assert set(found["variant"]) == {"gate_tv"}
    assert list(found["class"]) == ["a", "b", "c", "all classes"]
    assert found["mean"].tolist() == pytest.approx([0.6, 0.2, 0.2, (10 * 0.6 + 20 * 0.2) / 30], abs=1e-6)
    assert found["std"].tolist()[:3] == pytest.approx([np.std([0.5, 0.5, 0.7, 0.7], ddof=1)] * 3, abs=1e-6)
    assert set(found["runs"]) == {4}
    assert {path.name for path in gates_stage.FOLDER.iterdir()} == {"gates.csv", "gate_tv.png"}
    (predictions.folder("gate_tv", 1) / gates.FILE).write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"gates\.parquet must be a Parquet file, but is damaged"):
        gates_stage.main()


def test_a_study_without_gates_has_an_empty_table(made_up):
    gates_stage.main()
    assert Path("plots/gates/gates.csv").read_text() == "variant,gate,class,mean,std,runs\n"
    assert {path.name for path in gates_stage.FOLDER.iterdir()} == {"gates.csv"}
