"""The training protocol, read off what runs leave behind, and that a run is a pure function of what it names."""

import copy
import dataclasses
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file
from sklearn.metrics import balanced_accuracy_score, recall_score
from torch.nn import functional as F

from stages.common import corpus as corpora
from stages.common import features, params
from stages.common.errors import UserError
from stages.common.plan import Modality, Plan
from stages.common.records import Record, RunId
from stages.plan.__main__ import make
from stages.train import __main__ as stage
from stages.train import data, model, objective, plain, protocol
from stages.train.device import deterministic
from stages.train.engine.work import Draws, data_digest
from stages.train.optimiser import Plateau
from stages.train.run_state import Epoch, RunState
from stages.train.stack import Stack
from tests.conftest import Study, changed

NAMES = ["text", "video", "audio"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Study:
    """A small study with one variant trained with one seed, weights kept."""
    folder = tmp_path_factory.mktemp("study")
    study = Study(folder)
    study.set(
        seeds=[1],
        corpus__synthetic__utterances=150,
        model__hidden=6,
        train__protocol__patience=13,
        train__protocol__learning_rate=0.01,
        train__save_weights=True,
        train__workers=2,
    )
    study.ok("python", "-m", "stages.corpus")
    for name in NAMES:
        study.ok("python", "-m", "stages.features", "--modality", name)
    study.ok("python", "-m", "stages.split")
    study.ok("python", "-m", "stages.plan")
    study.ok("python", "-m", "stages.train", "--variant", "cross_tva", "--seed", "1")
    return study


def read(study: Study) -> tuple[features.Features, pd.DataFrame]:
    """The study's features and folds."""
    data_folder = study.folder / "data"
    opened = features.read(NAMES, data_folder / "features", data_folder / "corpus")
    return opened, corpora.read_folds(data_folder / "folds.csv")


def batches_of(
    corpus: features.Features, modalities: list[str], size: int, *, padding_is_data: bool = True
) -> data.Batches:
    """Batches, by default as a model that attends to padding reads them."""
    return data.Batches(
        corpus,
        modalities,
        corpus.label,
        size=size,
        padding_is_data=padding_is_data,
        dtype=torch.float64,
        device=torch.device("cpu"),
    )


def replan(study: Study, **changes) -> None:
    """Change keys of params.yaml and write the plans anew."""
    study.set(**changes)
    study.ok("python", "-m", "stages.plan")


@contextmanager
def restored(study: Study) -> Iterator[None]:
    """Restore params.yaml and the plans after the block."""
    before = (study.folder / "params.yaml").read_text()
    try:
        yield
    finally:
        (study.folder / "params.yaml").write_text(before)
        study.ok("python", "-m", "stages.plan")


def changed_params(study: Study, **changes) -> params.Params:
    """The study's params with some keys changed."""
    return params.Params.model_validate(changed(yaml.safe_load((study.folder / "params.yaml").read_text()), changes))


def changed_plan(study: Study, variant: str, **changes) -> Plan:
    """A variant's plan with some keys of the study's params changed."""
    return make(variant, changed_params(study, **changes))


def test_workers_note_their_time(trained):
    notes = [json.loads(line) for line in (trained.folder / ".work/timings.jsonl").read_text().splitlines()]
    epochs = len(pd.read_csv(trained.folder / "runs/cross_tva/seed1/curves.csv"))
    first = [note for note in notes if note["variant"] == "cross_tva"][:2]  # of the two workers
    assert sum(note["epochs"] for note in first) == epochs
    assert all(note[what] > 0 for note in first for what in ("data", "training", "evaluation"))


@pytest.mark.parametrize(("workers", "together"), [(1, 1), (1, 3), (3, 2)])
def test_the_bytes_do_not_depend_on_what_is_trained_beside(workers, together, trained):
    before = trained.outputs("cross_tva", 1)
    trained.set(train__workers=workers, train__together=together)
    shutil.rmtree(trained.folder / ".work")
    said = trained.ok("python", "-m", "stages.train", "--variant", "cross_tva", "--seed", "1")
    assert "found in .work/" not in said
    assert trained.outputs("cross_tva", 1) == before
    assert list(before) == [
        "cost.json",
        "curves.csv",
        "dev.parquet",
        *(f"fold{i}.safetensors" for i in range(1, 6)),
        "predictions.parquet",
    ]
    trained.set(train__workers=2, train__together="auto")


@pytest.mark.parametrize(
    ("variant", "task"), [*((name, "classes") for name in params.load().variants), ("cross_tva", "dimensions")]
)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_run_is_the_same_whatever_is_beside_it(variant, task, precision, trained):
    """Sizes that are odd, and batches that are not full."""
    corpus, folds = read(trained)
    rows = {
        fold: {part: some[: 41 + fold] for part, some in features.fold_rows(corpus, folds, fold).items()}
        for fold in (1, 2, 3)
    }
    plan = changed_plan(
        trained,
        variant,
        task=task,
        model__hidden=5,
        model__heads=2,
        model__classifier=7,
        train__precision=precision,
        train__protocol__batch_size=13,
        train__protocol__max_epochs=2,
    )
    run_ids = [RunId(seed, fold) for seed in (1, 2) for fold in (1, 2, 3)]
    alone, beside = (dict(protocol.train(plan, run_ids, rows, corpus, at_once=n)) for n in (1, 4))
    for run in run_ids:
        assert alone[run].epochs == beside[run].epochs
        np.testing.assert_array_equal(alone[run].outputs, beside[run].outputs)
        np.testing.assert_array_equal(alone[run].dev_outputs, beside[run].dev_outputs)
        for name, weight in alone[run].weights.items():
            assert torch.equal(weight, beside[run].weights[name]), name


def test_more_seeds_are_trained_ahead_and_found_done(trained):
    study = trained
    before = (study.folder / "params.yaml").read_text()
    shutil.rmtree(study.folder / ".work")
    replan(study, seeds=[4, 5, 6], train__protocol__patience=1)
    studies = {}
    for together, seeds in ((1, [5]), (8, [4, 5])):
        study.set(train__together=together, train__workers=2)
        for seed in seeds:
            said = study.ok("python", "-m", "stages.train", "--variant", "self_v", "--seed", str(seed))
            done = {path.name for path in (study.folder / ".work").glob("*/*.result")}
            expected = [4, 5, 6] if together == 8 else [5]
            assert done == {f"seed{s}_fold{f}.result" for s in expected for f in range(1, 6)}
            assert ("5 of them found in .work/" in said) == (together == 8 and seed > 4)
        studies[together] = study.outputs("self_v", 5)
        shutil.rmtree(study.folder / ".work")
    assert studies[1] == studies[8]
    # Seeds whose outputs are written are not trained ahead, other params' results are not used.
    study.ok("python", "-m", "stages.train", "--variant", "self_v", "--seed", "6")
    for folder in (study.folder / ".work").glob("?" * 32):
        shutil.rmtree(folder)
    study.ok("python", "-m", "stages.train", "--variant", "self_v", "--seed", "4")
    done = {path.name for path in (study.folder / ".work").glob("*/*.result")}
    assert done == {f"seed{s}_fold{f}.result" for s in (4, 5) for f in range(1, 6)}
    replan(study, train__protocol__learning_rate=0.02)
    study.ok("python", "-m", "stages.train", "--variant", "self_v", "--seed", "5")
    assert study.outputs("self_v", 5) != studies[8]
    (study.folder / "params.yaml").write_text(before)
    study.ok("python", "-m", "stages.plan")


def test_two_processes_do_not_train_the_same_seed(trained):
    command = ["python", "-m", "stages.train", "--variant", "self_v", "--seed", "9"]
    both = [trained.start(*command) for _ in range(2)]
    errors = sorted(process.communicate()[1] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert errors[0] == ""
    assert re.fullmatch(r"self_v seed 9: another process \((\d+)\) trains it; waiting for its end\n", errors[1]).group(
        1
    ) in {str(process.pid) for process in both}


@pytest.mark.parametrize(
    ("variant", "task"),
    [*((name, "classes") for name in ("cross_tva", "self_tva_nosp", "crossself_tva")), ("cross_tva", "dimensions")],
)
def test_in_float64_a_training_is_plain_torchs(variant, task, trained):
    """torch's own layers, Adam and schedule, one run and batch at a time; without dropout, whose draws differ."""
    corpus, folds = read(trained)
    rows = features.fold_rows(corpus, folds, 2)
    # Batches of 13, 13, 13 and 2; of dimensions the last is of one utterance, which has no CCC.
    rows["train"] = rows["train"][: 41 if task == "classes" else 40]
    plan = changed_plan(
        trained,
        variant,
        task=task,
        modalities__text__dropout=0.0,
        modalities__video__standardise=True,
        model__hidden=5,
        model__heads=2,
        model__classifier=7,
        model__attention_dropout=0.0,
        train__precision="float64",
        train__protocol__batch_size=13,
        train__protocol__max_epochs=4,
        train__protocol__lr_patience=0,
    )
    run_id = RunId(3, 2)
    ((_, run),) = protocol.train(plan, [run_id], {2: rows}, corpus)
    with deterministic(torch.device("cpu")):  # by one thread, as the project does
        epochs, outputs, dev_outputs, weights = train_plainly(plan, run_id, rows, corpus)
    for actual, expected in zip(run.epochs, epochs, strict=True):
        assert actual.row() == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(run.outputs, outputs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(run.dev_outputs, dev_outputs, rtol=0, atol=1e-12)
    assert run.weights.keys() == weights.keys()
    for name, weight in run.weights.items():
        torch.testing.assert_close(weight, weights[name].view_as(weight), rtol=0, atol=1e-11, msg=name)


def train_plainly(
    plan: Plan, run_id: RunId, rows: dict[str, np.ndarray], corpus: features.Features
) -> tuple[list[dict], np.ndarray, np.ndarray, dict[str, torch.Tensor]]:
    """One run's epochs, test and development outputs and weights of its best epoch."""
    of_classes = plan.task == "classes"
    size, select = (len(corpus.meta.classes), "accuracy") if of_classes else (3, "ccc")
    weights, order, _ = (int(seed) for seed in np.random.SeedSequence(list(run_id)).generate_state(3))
    torch.manual_seed(weights)
    network, limits = plain.Model(plan, protocol.shape(corpus, size)).double(), plan.protocol
    optimiser = torch.optim.Adam(network.parameters(), lr=limits.learning_rate)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.1, patience=limits.lr_patience)
    inputs_of, shuffle, epochs, best = (
        dense(corpus, rows["train"], plan.task),
        np.random.default_rng(order),
        [],
        network,
    )
    for number in range(1, limits.max_epochs + 1):
        rate, losses, shuffled = optimiser.param_groups[0]["lr"], [], shuffle.permutation(rows["train"])
        for start in range(0, len(shuffled), limits.batch_size):
            inputs, labels = inputs_of(shuffled[start : start + limits.batch_size])
            optimiser.zero_grad()
            outputs = network(inputs)
            alone = len(labels) == 1 and not of_classes
            loss = outputs.sum() * 0 if alone else plain_scores(outputs, labels)["loss"]
            loss.backward()
            optimiser.step()
            losses += [] if alone else [loss.item()] * len(labels)
        with torch.no_grad():
            inputs, labels = inputs_of(rows["dev"])
            dev = {f"dev_{name}": float(value) for name, value in plain_scores(network(inputs), labels).items()}
        schedule.step(dev["dev_loss"])
        if all(dev[f"dev_{select}"] > epoch[f"dev_{select}"] for epoch in epochs):
            best = copy.deepcopy(network)
        epochs.append({"epoch": number, "train_loss": np.mean(losses)} | dev | {"learning_rate": rate})
    with torch.no_grad():
        outputs = [best(inputs_of(rows[part])[0]) for part in ("test", "dev")]
    return epochs, *((own.softmax(1) if of_classes else own).numpy() for own in outputs), best.state_dict()


def plain_scores(outputs: torch.Tensor, actual: torch.Tensor) -> dict[str, torch.Tensor | float]:
    """loss and scores of some utterances: of labels [N], or of values [N, K]."""
    if actual.ndim == 1:
        found = outputs.argmax(1)
        recalls = recall_score(actual, found, labels=np.unique(actual), average="macro", zero_division=0)
        accuracy = (found == actual).double().mean()
        return {"loss": F.cross_entropy(outputs, actual), "accuracy": accuracy, "balanced_accuracy": recalls}
    x, y = actual, outputs
    covariance = ((x - x.mean(0)) * (y - y.mean(0))).mean(0)
    ccc = 2 * covariance / (x.var(0, correction=0) + y.var(0, correction=0) + (x.mean(0) - y.mean(0)) ** 2 + 1e-8)
    return {"loss": (1 - ccc).mean(), "ccc": ccc.mean()}


def dense(
    corpus: features.Features, train: np.ndarray, task: str = "classes"
) -> Callable[[np.ndarray], tuple[dict, torch.Tensor]]:
    """A function from rows of the corpus to labels and padded inputs, frames standardised by the training ones."""
    moments = {}
    for name in ("audio", "video"):
        frames = np.concatenate([corpus.sequences[name][row] for row in train]).astype(np.float64)
        moments[name] = [moment.astype(np.float32) for moment in (frames.mean(axis=0), frames.std(axis=0))]

    def utterance(name: str, row: int) -> np.ndarray:
        own = corpus.sequences[name]
        sequence = own.embedding[own[row]] if name == "text" else (own[row] - moments[name][0]) / moments[name][1]
        return np.pad(sequence, ((0, own.longest - len(sequence)), (0, 0))).astype(np.float64)

    def inputs(rows: np.ndarray) -> tuple[dict, torch.Tensor]:
        sequences = {
            name: (torch.tensor(np.stack([utterance(name, row) for row in rows])), torch.tensor(own.lengths[rows]))
            for name, own in corpus.sequences.items()
        }
        actual = corpus.label if task == "classes" else corpus.values.astype(np.float64)
        return sequences, torch.tensor(actual[rows])

    return inputs


def test_a_stage_says_where_in_the_study_it_is(trained):
    with restored(trained):
        trained.set(variants=["self_v", "self_tva"], seeds=[15, 16], train__together=1)
        command = ["python", "-m", "stages.train", "--variant", "self_v", "--seed"]
        terminal, end = pty.openpty()
        termios.tcsetwinsize(end, (24, 61))
        first = subprocess.Popen(
            [*command, "15"], cwd=trained.folder, env=trained.environment, text=True, stdout=subprocess.PIPE, stderr=end
        )
        os.close(end)
        shown = ""
        with suppress(OSError):  # which says that the other end is closed
            while True:
                shown += os.read(terminal, 4096).decode()
        os.close(terminal)
        assert re.search(r"\rtrain 1 of 4, about \d+ (s|min) left; self_v: \d of 5 runs done, a", shown)
        assert max(map(len, re.split(r"[\r\n]+", shown))) < 61
        assert re.search(r" epochs \(train 1 of 4, about \d+ (s|min) left\)\n$", first.communicate()[0])
        assert first.returncode == 0
        second = trained.run(*command, "16")
        assert re.search(r" epochs \(train 2 of 4, about \d+ (s|min) left\)\n$", second.stdout)
        assert second.stderr == ""


def test_mixed_precision_is_near_float32_and_not_it(trained):
    corpus, folds = read(trained)
    rows = {1: features.fold_rows(corpus, folds, 1)}
    runs = []
    for precision in ("float32", "bfloat16"):
        plan = changed_plan(trained, "crossself_tva", train__precision=precision, train__protocol__max_epochs=2)
        ((_, run),) = protocol.train(plan, [RunId(1, 1)], rows, corpus)
        runs.append(run)
    single, mixed = runs
    assert mixed.outputs.dtype == np.float32
    assert mixed.epochs[0].train_loss == pytest.approx(single.epochs[0].train_loss, rel=0.02)
    assert mixed.epochs[0].train_loss != single.epochs[0].train_loss


@pytest.mark.parametrize(("part", "file"), [("test", "predictions.parquet"), ("dev", "dev.parquet")])
def test_predictions_are_those_of_their_parts(part, file, trained):
    table = pd.read_parquet(trained.folder / "runs/cross_tva/seed1" / file)
    folds = corpora.read_folds(trained.folder / "data/folds.csv")
    label = corpora.read_utterances(trained.folder / "data/corpus").set_index("utterance_id")["label"]
    expected = folds[folds["part"] == part]
    assert table[["fold", "utterance_id"]].values.tolist() == expected[["fold", "utterance_id"]].values.tolist()
    assert table["actual"].tolist() == label[table["utterance_id"]].tolist()
    probabilities = table.filter(like="probability_")
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (probabilities.idxmax(axis=1) == "probability_" + table["predicted"]).all()


def test_stopping_and_learning_rate_follow_the_protocol(trained):
    curves = pd.read_csv(trained.folder / "runs/cross_tva/seed1/curves.csv")
    drops = 0
    for _, run in curves.groupby("fold"):
        accuracy = run["dev_accuracy"].to_numpy()
        best = int(accuracy.argmax()) + 1  # the first best
        assert len(run) == best + 13
        assert not any(len(run[:e]) - 1 - int(accuracy[:e].argmax()) >= 13 for e in range(1, len(run)))
        rate, lowest, bad = 0.01, np.inf, 0
        for row in run.itertuples():  # by hand: × .1 after more than 10 epochs without a better loss
            assert row.learning_rate == pytest.approx(rate)
            bad = 0 if row.dev_loss < lowest * (1 - 1e-4) else bad + 1
            lowest = min(lowest, row.dev_loss) if bad == 0 else lowest
            if bad > 10:
                rate, bad, drops = rate / 10, 0, drops + 1
    assert drops > 0


def test_development_predictions_are_those_of_the_best_epoch(trained):
    run = trained.folder / "runs/cross_tva/seed1"
    table, curves = pd.read_parquet(run / "dev.parquet"), pd.read_csv(run / "curves.csv")
    for fold, rows in table.groupby("fold"):
        epochs = curves[curves["fold"] == fold]
        best = epochs.loc[epochs["dev_accuracy"].idxmax()]
        assert best["epoch"] < epochs["epoch"].max()
        assert (rows["actual"] == rows["predicted"]).mean() == best["dev_accuracy"]
        recalls = balanced_accuracy_score(rows["actual"], rows["predicted"])
        assert recalls == pytest.approx(best["dev_balanced_accuracy"])
        assert dev_loss(rows) == pytest.approx(best["dev_loss"], rel=1e-5)


def dev_loss(rows: pd.DataFrame) -> float:
    """The cross-entropy of predictions."""
    columns = [rows.columns.get_loc(f"probability_{name}") for name in rows["actual"]]
    return float(np.mean([-np.log(row[column]) for row, column in zip(rows.to_numpy(), columns, strict=True)]))


@pytest.mark.parametrize(("select", "best"), [("accuracy", 2), ("balanced_accuracy", 3), ("loss", 4)])
def test_the_best_epoch_is_the_first_with_the_best_value_selected_by(select, best):
    values = [(0.5, 0.4, 1.0), (0.6, 0.5, 0.9), (0.6, 0.7, 0.9), (0.55, 0.7, 0.8), (0.5, 0.6, 0.8)]
    run = RunState(
        id=RunId(1, 1),
        rows={},
        scalers={},
        shuffle=np.random.default_rng(0),
        generator=torch.Generator(),
        schedule=Plateau(0.001, factor=0.1, patience=10),
        select=select,
    )
    for epoch, (accuracy, balanced, loss) in enumerate(values, start=1):
        dev = {"accuracy": accuracy, "balanced_accuracy": balanced, "loss": loss}
        run.note(Epoch(epoch=epoch, train_loss=1.0, learning_rate=0.001, dev=dev), torch.tensor([float(epoch)]))
    assert (run.best_epoch, run.best.item()) == (best, best)
    assert run.progress(patience=7, max_epochs=99).last_epoch == best + 7


def test_stopping_and_the_predictions_follow_what_is_selected_by(trained):
    corpus, folds = read(trained)
    rows, chosen = {fold: features.fold_rows(corpus, folds, fold) for fold in corpora.numbers(folds)}, {}
    for select in ("accuracy", "balanced_accuracy", "loss"):
        plan = changed_plan(trained, "self_ta", train__protocol__select=select, train__protocol__patience=5)
        chosen[select] = []
        for (_, fold), run in protocol.train(plan, [RunId(1, fold) for fold in rows], rows, corpus, at_once=5):
            values = [epoch.dev[select] for epoch in run.epochs]
            best = int(np.argmin(values) if select == "loss" else np.argmax(values))
            assert len(run.epochs) == best + 1 + 5
            labels = corpus.label[rows[fold]["dev"]]
            assert (run.dev_outputs.argmax(1) == labels).mean() == run.epochs[best].dev["accuracy"]
            loss = -np.log(run.dev_outputs[np.arange(len(labels)), labels]).mean()
            assert loss == pytest.approx(run.epochs[best].dev["loss"], rel=1e-5)
            chosen[select].append((fold, best))
    assert len({tuple(sorted(own)) for own in chosen.values()}) == 3  # else this would show nothing


def test_mean_recall_leaves_out_classes_that_are_not_there():
    labels = np.array([0, 0, 0, 3, 3, 1])  # 2 of 3, 1 of 2, 0 of 1; none of class 2
    assert objective.mean_recall(labels, np.array([1, 1, 0, 1, 0, 0], bool)) == pytest.approx((2 / 3 + 1 / 2) / 3)


def test_the_best_epochs_weights_were_tested(trained):
    run = trained.folder / "runs/cross_tva/seed1"
    corpus, folds = read(trained)
    table, curves = pd.read_parquet(run / "predictions.parquet"), pd.read_csv(run / "curves.csv")
    plan = changed_plan(trained, "cross_tva")
    for fold in (1, 4):
        rows = features.fold_rows(corpus, folds, fold)
        network = model.build(plan, protocol.shape(corpus, len(corpus.meta.classes)))
        network.load_state_dict(load_file(run / f"fold{fold}.safetensors"))
        network.double()
        stack = Stack(network)
        stack.use(stack.vector(network)[None]).eval()
        scaler = data.scaler(corpus.sequences["audio"], rows["train"])

        def predict(rows, network=network, scaler=scaler):
            batch = batches_of(corpus, NAMES, size=len(rows))([rows], [{"audio": scaler}])
            return network(batch.sequences)[0, : len(rows)].detach(), batch.targets[0, : len(rows)]

        logits, labels = predict(rows["dev"])
        best = curves[curves["fold"] == fold].sort_values("dev_accuracy", ascending=False, kind="stable").iloc[0]
        assert (logits.argmax(1) == labels).double().mean().item() == pytest.approx(best["dev_accuracy"])
        assert F.cross_entropy(logits, labels).item() == pytest.approx(best["dev_loss"], rel=1e-5)
        logits, _ = predict(rows["test"])
        expected = table[table["fold"] == fold].filter(like="probability_")
        np.testing.assert_allclose(logits.softmax(1), expected, atol=1e-5)


def test_the_scaler_sees_valid_training_frames_only(trained):
    audio = read(trained)[0].sequences["audio"]
    rows = np.array([3, 1, 40])
    frames = np.concatenate([audio[row] for row in rows]).astype(np.float64)
    mean, deviation = data.scaler(audio, rows)
    np.testing.assert_allclose(mean, frames.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(deviation, frames.std(axis=0), rtol=1e-6)


def test_a_constant_feature_is_centred_not_divided_by_zero():
    audio = features.Ragged(
        values=np.full((4, 1), 3.0, np.float32), offsets=np.array([0, 2]), lengths=np.array([2, 2]), longest=2
    )
    assert [array.tolist() for array in data.scaler(audio, np.array([0, 1]))] == [[3.0], [1.0]]


@pytest.mark.parametrize("standardised", [("audio", "video"), ("video",), ()])
def test_each_modality_has_its_own_scaler(standardised, trained):
    corpus, rows = read(trained)[0], np.array([3, 1, 40])
    plan = changed_plan(
        trained,
        "cross_tva",
        **{f"modalities__{name}__standardise": name in standardised for name in ("video", "audio")},
    )
    scalers = data.scalers(corpus, plan.modalities, rows)
    assert set(scalers) == set(standardised)
    batch = batches_of(corpus, NAMES, size=3)([rows], [scalers])
    for name in ("audio", "video"):
        values, lengths = batch.sequences[name]
        frames = torch.cat([values[0, :length, i] for i, length in enumerate(lengths[0])])
        expected = np.concatenate([corpus.sequences[name][row] for row in rows]).astype(np.float64)
        if name in standardised:
            expected = (expected - expected.mean(axis=0)) / expected.std(axis=0)
        np.testing.assert_allclose(frames, expected, atol=1e-5)
    text = corpus.sequences["text"]
    words = np.concatenate([text.embedding[text[row]] for row in rows])
    values, lengths = batch.sequences["text"]
    np.testing.assert_array_equal(torch.cat([values[0, :length, i] for i, length in enumerate(lengths[0])]), words)


def test_tokens_are_not_standardised(trained):
    corpus, rows = read(trained)[0], np.array([3, 1, 40])
    message = "modalities.text.standardise must be false for tokens, whose vectors are read as they are, but is true"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        data.scalers(corpus, [Modality(name="audio"), Modality(name="text", standardise=True)], rows)
    with restored(trained):
        replan(trained, modalities__text__standardise=True)
        done = trained.stage("train", "--variant", "self_t", "--seed", "1")
        assert (done.returncode, done.stderr) == (1, f"error: {message}\n")


def test_batches_pad_with_zeros_and_words_with_the_padding_tokens_vector(trained):
    corpus, _ = read(trained)
    rows = [np.array([5, 0, 9]), np.array([7])]
    mean, deviation = np.float32(1.5), np.float32(2)
    batch = batches_of(corpus, ["audio", "text"], size=5)(rows, [{}, {"audio": (mean, deviation)}])
    (audio, audio_lengths), (text, text_lengths) = batch.sequences["audio"], batch.sequences["text"]
    longest = {name: corpus.sequences[name].longest for name in NAMES}
    assert audio.shape == (2, longest["audio"], 16, 16)  # five utterances are padded to sixteen
    assert text.shape == (2, longest["text"], 16, corpus.sequences["text"].dimensions)
    assert batch.real.tolist() == [[1.0] * 3 + [0.0] * 13, [1.0] + [0.0] * 15]
    for run, run_rows in enumerate(rows):
        assert batch.targets[run, : len(run_rows)].tolist() == corpus.label[run_rows].tolist()
        for name, lengths in (("audio", audio_lengths), ("text", text_lengths)):
            own = corpus.sequences[name].lengths[run_rows].tolist()
            assert lengths[run].tolist() == own + [0] * (16 - len(own))
        for i, row in enumerate(run_rows):
            frames, words = corpus.sequences["audio"][row], corpus.sequences["text"][row]
            np.testing.assert_array_equal(
                audio[run, : len(frames), i], (frames - mean) / deviation if run == 1 else frames
            )
            assert (audio[run, len(frames) :, i] == 0).all()
            np.testing.assert_array_equal(
                text[run, : len(words), i], corpus.sequences["text"].embedding[words].astype(float)
            )
        assert (audio[run, :, len(run_rows) :] == 0).all()


@pytest.mark.parametrize("padding_is_data", [True, False])
@pytest.mark.parametrize("value", [0.0, 2.0])
def test_padding_with_a_vector_of_its_own_is_data_unless_it_is_masked(value, padding_is_data, trained):
    corpus, _ = read(trained)
    words = corpus.sequences["text"]
    embedding = words.embedding.copy()
    embedding[0] = value
    rows, own = np.array([5, 0, 9]), dataclasses.replace(words, embedding=embedding)
    corpus = dataclasses.replace(corpus, sequences={"text": own})
    batches = batches_of(corpus, ["text"], size=3, padding_is_data=padding_is_data)
    values, lengths = batches([rows], [{}]).sequences["text"]
    read_as_data = padding_is_data and value != 0
    assert lengths[0, :3].tolist() == ([words.longest] * 3 if read_as_data else words.lengths[rows].tolist())
    for i, (length, row) in enumerate(zip(words.lengths[rows], rows, strict=True)):
        np.testing.assert_array_equal(values[0, :length, i], embedding[words[row]].astype(float))
        assert (values[0, length:, i] == (value if padding_is_data else 0)).all()
        assert (values[0, lengths[0, i] :, i] == 0).all()


def test_a_loss_that_explodes_is_said(trained):
    with restored(trained):
        replan(trained, train__protocol__learning_rate=1e30)
        done = trained.stage("train", "--variant", "self_t", "--seed", "1")
    assert done.returncode == 1
    assert "the loss must be finite" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (trained.folder / "runs/self_t").exists() or not list((trained.folder / "runs/self_t").iterdir())


def test_a_later_seeds_failure_is_its_own_stages(monkeypatch, trained):
    tried = []

    def train(run_ids, config, work, place):
        tried.append(run_ids)
        if any(run.seed == 12 for run in run_ids):
            raise UserError("seed 12 explodes")
        for run in run_ids:
            work.write_result(run, Record(values={"epochs": []}, arrays={}))
        return 0.0

    monkeypatch.chdir(trained.folder)
    monkeypatch.setattr("stages.train.engine.workers.train", train)
    config, folds = changed_params(trained, seeds=[11, 12], train__together=8), [1, 2]
    draws = Draws("self_t", data_digest())
    (work,) = draws.works
    stage._train(11, work.unfinished(11, folds), folds, config, draws, work, 0)
    assert tried == [[(11, 1), (11, 2), (12, 1), (12, 2)], [(11, 1), (11, 2)]]
    assert work.unfinished(11, folds) == []
    with pytest.raises(UserError, match="seed 12 explodes"):
        stage._train(12, work.unfinished(12, folds), folds, config, draws, work, 0)


def test_an_unknown_variant_is_said(trained):
    done = trained.stage("train", "--variant", "none_tva", "--seed", "1")
    assert done.returncode == 1
    assert "error: --variant: 'none_tva' must begin with a fusion mechanism" in done.stderr


@pytest.mark.parametrize("seed", ["-1", "1.5", "one", "", "1000000000000000000"])
def test_a_seed_that_is_none_is_said(seed, trained):
    done = trained.stage("train", "--variant", "self_t", "--seed", seed)
    assert done.returncode == 1
    assert done.stderr == f"error: --seed must be a whole number from 0 to 4294967295, but is {seed}\n"


def test_cuda_that_is_not_there_is_said(trained):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with restored(trained):
        replan(trained, train__device="cuda")
        done = trained.stage("train", "--variant", "self_t", "--seed", "1")
    assert done.returncode == 1
    assert "train.device is cuda, but torch finds no CUDA device" in done.stderr


@pytest.fixture
def endless(trained):
    """A training that does not end by itself, while it runs."""
    endless_protocol = {"patience": 10**6, "max_epochs": 10**6, "learning_rate": 1e-9}
    with restored(trained):
        replan(trained, **{f"train__protocol__{name}": value for name, value in endless_protocol.items()})
        process = trained.start("python", "-m", "stages.train", "--variant", "self_a", "--seed", "7")
        while not workers(process):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        time.sleep(2)  # the workers are past their start
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def workers(process: subprocess.Popen) -> list[psutil.Process]:
    """A stage's workers."""
    return psutil.Process(process.pid).children()


def test_a_killed_worker_is_said_and_leaves_nothing(trained, endless):
    begun = workers(endless)
    begun[0].kill()
    assert endless.wait() == 1
    message = endless.stderr.read()
    assert "error: self_a: a worker process was killed" in message
    assert "Traceback" not in message
    psutil.wait_procs(begun, timeout=10)
    assert not any(worker.is_running() for worker in begun)
    assert not (trained.folder / "runs/self_a").exists()


def test_an_interrupt_ends_all_of_it(trained, endless):
    begun = workers(endless)
    os.killpg(endless.pid, signal.SIGINT)
    assert endless.wait() == 130
    assert endless.stderr.read() == ""
    psutil.wait_procs(begun, timeout=10)
    assert not any(worker.is_running() for worker in begun)
    assert not (trained.folder / "runs/self_a").exists()


@pytest.mark.parametrize(
    "changes", [{"train__precision": "float64"}, {"train__precision": "bfloat16"}, {"model__padding": "mask"}]
)
def test_other_precisions_and_paddings_train(trained, changes):
    with restored(trained):
        replan(trained, train__protocol__max_epochs=2, train__protocol__learning_rate=0.001, **changes)
        trained.ok("python", "-m", "stages.train", "--variant", "crossself_tva", "--seed", "3")
    table = pd.read_parquet(trained.folder / "runs/crossself_tva/seed3/predictions.parquet")
    expected = "float64" if changes.get("train__precision") == "float64" else "float32"
    assert table["probability_sad"].dtype == expected
    assert np.isfinite(table.filter(like="probability_")).all(axis=None)
