"""Every scheme keeps its promise on any corpus: nothing shared that may not be, every part there."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.common import params
from stages.common.errors import UserError
from stages.split import schemes

CONFIG = params.load().split


def corpus(counts: dict[str, int], sessions: int = 5, seed: int = 0) -> pd.DataFrame:
    labels = np.random.default_rng(seed).permutation(np.repeat(list(counts), list(counts.values())))
    i = np.arange(len(labels))
    session = [f"s{n}" for n in i % sessions]
    return pd.DataFrame(
        {
            "utterance_id": [f"u{n}" for n in i],
            "label": labels,
            "session": session,
            "speaker": [f"{name}{'FM'[n]}" for name, n in zip(session, i // sessions % 2, strict=True)],
        }
    )


def parts_of(folds: pd.DataFrame, fold: int) -> dict[str, set]:
    rows = folds[folds["fold"] == fold]
    return {part: set(own["utterance_id"]) for part, own in rows.groupby("part")}


@given(counts=st.lists(st.integers(5, 40), min_size=2, max_size=5), folds=st.integers(2, 5), seed=st.integers(0, 9))
def test_random_folds_are_a_stratified_partition(counts, folds, seed):
    names = {f"c{i}": count for i, count in enumerate(counts)}
    utterances = corpus(names)
    table = schemes.random(utterances, CONFIG.model_copy(update={"folds": folds, "seed": seed}))
    held_out = [parts_of(table, fold)["dev"] | parts_of(table, fold)["test"] for fold in range(1, folds + 1)]
    assert set.union(*held_out) == set(utterances["utterance_id"])
    assert sum(map(len, held_out)) == len(utterances)
    label = utterances.set_index("utterance_id")["label"]
    for fold, out in enumerate(held_out, start=1):
        parts = parts_of(table, fold)
        assert sum(map(len, parts.values())) == len(utterances)
        assert abs(len(parts["dev"]) - 0.25 * len(out)) <= 1
        for name, count in names.items():
            assert abs((label[list(out)] == name).sum() - count / folds) < 1
    schemes.check(table, utterances, list(names))


@pytest.mark.parametrize(("column", "groups", "sessions"), [("session", 5, 5), ("speaker", 10, 5), ("speaker", 6, 3)])
def test_left_out_speakers_and_sessions_are_on_one_side(column, groups, sessions):
    utterances = corpus({"a": 60, "b": 60}, sessions)
    table = schemes.leave_out(utterances, CONFIG, column=column)
    assert table["fold"].nunique() == groups
    who, session = (utterances.set_index("utterance_id")[name] for name in (column, "session"))
    tested = []
    for fold in range(1, groups + 1):
        parts = {part: set(who[list(ids)]) for part, ids in parts_of(table, fold).items()}
        assert len(parts["test"]) == len(parts["dev"]) == 1
        assert not parts["test"] & parts["dev"]
        assert not parts["train"] & (parts["test"] | parts["dev"])
        ids = parts_of(table, fold)
        assert not set(session[list(ids["test"])]) & set(session[list(ids["dev"])])
        tested += parts["test"]
    assert sorted(tested) == sorted(set(who))


def test_with_two_sessions_dev_comes_from_the_training_session():
    utterances = corpus({"a": 40, "b": 40}, sessions=2)
    table = schemes.leave_out(utterances, CONFIG, column="session")
    session = utterances.set_index("utterance_id")["session"]
    for fold in (1, 2):
        parts = {part: set(session[list(ids)]) for part, ids in parts_of(table, fold).items()}
        assert parts["train"] == parts["dev"]
        assert parts["test"] != parts["dev"]


def test_a_corpus_without_speakers_cannot_leave_them_out():
    utterances = corpus({"a": 9, "b": 9}).assign(speaker="")
    with pytest.raises(UserError, match="leave_speaker_out needs a corpus that names at least two speakers"):
        schemes.leave_out(utterances, CONFIG, column="speaker")


def test_too_many_folds():
    with pytest.raises(UserError, match=r"split.folds must be at most the size of the smallest class, 3, but is 5"):
        schemes.random(corpus({"a": 30, "b": 3}), CONFIG)


def test_a_class_that_no_training_part_holds():
    utterances = corpus({"a": 50, "b": 50}, sessions=2)
    utterances["label"] = np.where(utterances["session"] == "s1", "b", "a")
    table = schemes.leave_out(utterances, CONFIG, column="session")
    with pytest.raises(UserError, match="the training part of fold 1 has no utterance of class a"):
        schemes.check(table, utterances, ["a", "b"])


def test_an_empty_part():
    utterances = corpus({"a": 9, "b": 9})
    table = pd.DataFrame({"fold": 1, "utterance_id": utterances["utterance_id"], "part": "train"})
    with pytest.raises(UserError, match="fold 1 has no utterance in its dev part"):
        schemes.check(table, utterances, ["a", "b"])


def test_published_folds_are_asked_of_a_corpus_without(study):
    study.set(split__scheme="published")
    assert study.stage("corpus").returncode == 0
    done = study.stage("split")
    assert done.returncode == 1
    assert done.stderr.startswith("error: split.scheme is published, but this corpus brings no folds")
