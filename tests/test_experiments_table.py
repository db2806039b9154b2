"""`make experiments`: few columns, in the terminal's width."""

import pytest

from tools.experiments import Row, rows, table

PARAMS = {"seeds": [1, 2], "model": {"hidden": 60, "padding": "attend"}, "fusions": {}}


def shown(name: str | None, rev: str, params: dict, balanced: float | None = None, **more) -> dict:
    """What `dvc exp show --json` says of one state, whose accuracy is .5 in a single run."""
    data = {"params": {"params.yaml": {"data": params}}, "metrics": {}}
    if balanced is not None:
        scores = {"balanced_accuracy": {"mean": balanced, "std": 0.0625}, "accuracy": {"mean": 0.5, "std": None}}
        data["metrics"] = {"metrics/headline.json": {"data": scores}}
    return {"name": name, "rev": rev, "data": data, "error": None, "experiments": None} | more


def experiment(*arguments, state: str | None = None) -> dict:
    executor = {"state": state, "name": "dvc-task"} if state else None
    return {"name": arguments[0], "executor": executor, "revs": [shown(*arguments)]}


@pytest.fixture
def listed() -> list[Row]:
    changed = PARAMS | {"seeds": [1, 2, 3]}
    wide = {"seeds": [1, 2], "model": {"hidden": 90, "padding": "mask"}, "fusions": {"cross": {"heads": 3}}}
    experiments = [
        experiment("wide", "a" * 40, wide, 0.75),
        experiment("later", "b" * 40, PARAMS, state="queued"),
        {"name": None, "executor": None, "revs": [shown(None, "c" * 40, {}, data=None, error={"msg": "gone"})]},
    ]
    commit = shown("main", "d" * 40, PARAMS, 0.25, experiments=experiments)
    return list(rows([shown(None, "workspace", changed, 0.25), commit]))


def test_scores_and_what_differs_from_the_commit(listed):
    assert table(listed, 120).splitlines() == [
        "Experiment  WA (balanced accuracy)  UWA (accuracy)  Params that differ",
        "workspace   .250 ± .062             .500            seeds=[1,2,3]",
        "main        .250 ± .062             .500",
        "└ wide      .750 ± .062             .500            model.hidden=90 model.padding=mask -fusions "
        "fusions.cross.heads=3",
        "└ later     queued                  –",
        "└ ccccccc   failed                  –",
    ]


@pytest.mark.parametrize("width", [80, 97])
def test_no_line_is_wider_than_the_terminal(width, listed):
    lines = table(listed, width).splitlines()
    assert len(lines) > 6
    assert max(map(len, lines)) <= width
    said = " ".join(" ".join(lines).split())
    assert "model.hidden=90 model.padding=mask -fusions fusions.cross.heads=3" in said
