"""Every fusion learns what is plain to see."""

import numpy as np
import pytest
import torch
import yaml

from benchmarks.synthetic_corpora import write
from stages.common import features, params, variants
from stages.common.records import RunId
from stages.plan.__main__ import make
from stages.split.__main__ import divide
from stages.train import protocol
from stages.train.device import deterministic
from tests.conftest import ROOT, changed

MODELS = [variants.named(name, "tva"[: max(own.at_least, 2)]) for name, own in variants.FUSIONS.items() if own.trained]


@pytest.fixture(scope="module")
def config() -> params.Params:
    """Small models, and classes that differ strongly."""
    changes = {"utterances": 150, "signal": 60.0, "interaction": 0.0}
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document = changed(document, {f"corpus__synthetic__{key}": value for key, value in changes.items()})
    protocol = {"max_epochs": 12, "learning_rate": 0.01}
    document = changed(document, {f"train__protocol__{key}": value for key, value in protocol.items()})
    return params.Params.model_validate(changed(document, {"model__hidden": 15}))


@pytest.fixture(scope="module")
def corpus(config, tmp_path_factory) -> tuple[features.Features, dict]:
    """The features, and the rows of the first fold."""
    folder = tmp_path_factory.mktemp("corpus")
    utterances = write(config.corpus, config.modalities, folder)
    folds = divide(utterances, config.split)
    opened = features.read(list(config.modalities), folder / "features", folder / "corpus")
    return opened, {1: features.fold_rows(opened, folds, 1)}


@pytest.mark.parametrize("model", MODELS)
def test_classes_that_differ_strongly_are_told_apart(model, config, corpus):
    opened, rows = corpus
    with deterministic(torch.device("cpu")):
        ((_, run),) = protocol.train(make(model, config), [RunId(1, 1)], rows, opened)
    expected = opened.label[rows[1]["test"]]
    chance = np.bincount(expected).max() / len(expected)
    assert (run.outputs.argmax(axis=1) == expected).mean() > 0.8 > 2 * chance
