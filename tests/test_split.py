"""Every scheme keeps its promise on any corpus: nothing shared that may not be, every part there."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common import corpus as corpora
from stages.common import params, splits
from stages.common.errors import UserError
from stages.split import __main__ as split
from stages.split import schemes

CONFIG = params.load().split


def corpus(counts: dict[str, int], sessions: int = 5, seed: int = 0, dialogues: int = 7) -> pd.DataFrame:
    """`dialogues`: of each session, by names that the sessions share."""
    labels = np.random.default_rng(seed).permutation(np.repeat(list(counts), list(counts.values())))
    i = np.arange(len(labels))
    session = [f"s{n}" for n in i % sessions]
    return pd.DataFrame(
        {
            "utterance_id": [f"u{n}" for n in i],
            "label": labels,
            "session": session,
            "speaker": [f"{name}{'FM'[n]}" for name, n in zip(session, i // sessions % 2, strict=True)],
            "dialogue": [f"d{n}" for n in i // sessions % dialogues],
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


def random(utterances: pd.DataFrame, **changes) -> pd.DataFrame:
    """Random folds by the committed params with some keys changed."""
    return schemes.random(utterances, CONFIG.model_copy(update=changes)).reset_index(drop=True)


def test_repeats_are_different_partitions_and_the_first_is_that_of_one():
    utterances = corpus({"a": 30, "b": 20})
    once, table = random(utterances), random(utterances, repeats=3)
    assert list(once) == ["fold", "utterance_id", "part"]
    pd.testing.assert_frame_equal(table[table["fold"] <= 5].drop(columns="repeat"), once)
    assert corpora.numbers(table) == list(range(1, 16))
    assert (table["repeat"] == (table["fold"] - 1) // 5 + 1).all()
    partitions = []
    for repeat in (1, 2, 3):
        parts = [parts_of(table, fold) for fold in range(5 * repeat - 4, 5 * repeat + 1)]
        held_out = [own["dev"] | own["test"] for own in parts]
        assert sorted(name for own in held_out for name in own) == sorted(utterances["utterance_id"])
        partitions.append({frozenset(own) for own in held_out})
    assert len(set.union(*partitions)) == 15
    pd.testing.assert_frame_equal(random(utterances, repeats=3), table)
    pd.testing.assert_frame_equal(random(utterances, repeats=2), table[table["repeat"] <= 2])
    later = [random(utterances, repeats=2, seed=seed).query("repeat == 2") for seed in (1, 2)]
    assert not later[0].equals(later[1])


def test_folds_of_repeats_are_read_back(tmp_path):
    table, path = random(corpus({"a": 9, "b": 9}), repeats=2, folds=3), tmp_path / "folds.csv"
    table.to_csv(path, index=False)
    pd.testing.assert_frame_equal(corpora.read_folds(path), table)
    for repeat, said in [
        ("1.5", "this file is damaged"),
        ("0", r"row 107: repeat must be a whole number in 1 … 999999, but is 0;"),
        ("1", r"row 107: a fold must belong to one repeat, but 6 is of repeat 1 and another;"),
    ]:
        table["repeat"] = table["repeat"].astype(str)
        table.loc[107, "repeat"] = repeat
        table.to_csv(path, index=False)
        with pytest.raises(UserError, match=said):
            corpora.read_folds(path)


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(30, 60), min_size=2, max_size=4),
    group=st.sampled_from(["dialogue", "speaker"]),
    seed=st.integers(0, 9),
)
def test_groups_are_in_one_part_of_a_fold(counts, group, seed):
    names = {f"c{i}": count for i, count in enumerate(counts)}
    utterances = corpus(names)
    table = random(utterances, folds=3, repeats=2, group=group, seed=seed)
    if group == "dialogue":
        utterances["dialogue"] = utterances["session"] + utterances["dialogue"]
    group_of = utterances.set_index("utterance_id")[group]
    for repeat in (1, 2):
        tested = []
        for fold in range(3 * repeat - 2, 3 * repeat + 1):
            parts = {part: set(group_of[list(ids)]) for part, ids in parts_of(table, fold).items()}
            assert set(parts) == {"train", "dev", "test"}
            assert not parts["train"] & (parts["dev"] | parts["test"])
            assert not parts["dev"] & parts["test"]
            tested += [*parts["dev"], *parts["test"]]
        assert sorted(tested) == sorted(set(group_of))
    schemes.check(table, utterances, list(names))


def test_groups_that_are_many_are_divided_as_asked_for():
    utterances = corpus({"a": 400, "b": 200}, dialogues=40)  # 200 dialogues of three utterances
    label = utterances.set_index("utterance_id")["label"]
    for share in (0.25, 0.6):
        table = random(utterances, group="dialogue", dev_share=share)
        for fold in range(1, 6):
            parts = parts_of(table, fold)
            out = parts["dev"] | parts["test"]
            assert abs(len(parts["dev"]) - share * len(out)) <= 6
            for name in ("a", "b"):
                of_class = {part: (label[list(parts[part])] == name).sum() for part in ("dev", "test")}
                assert abs(of_class["dev"] - share * sum(of_class.values())) <= 6


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_of_two_groups_one_is_for_development(share):
    utterances = corpus({"a": 30, "b": 30}, sessions=2)  # four speakers
    table = random(utterances, group="speaker", folds=2, dev_share=share)
    speaker = utterances.set_index("utterance_id")["speaker"]
    for fold in (1, 2):
        ids = parts_of(table, fold)
        assert {part: speaker[list(own)].nunique() for part, own in ids.items()} == {"train": 2, "dev": 1, "test": 1}


def test_a_held_out_fold_of_one_group_is_said():
    with pytest.raises(
        UserError,
        match=r"split.group speaker: each held-out fold must have two or more speakers, some for its development and "
        r"some for its test part, but fold 1 of split.folds 4 has 1$",
    ):
        random(corpus({"a": 30, "b": 30}, sessions=2), group="speaker", folds=4)


def test_groups_that_the_corpus_does_not_name_are_said():
    utterances = corpus({"a": 9, "b": 9})
    utterances.loc[3, "dialogue"] = ""
    with pytest.raises(UserError, match="but is dialogue, and 'u3' has none"):
        random(utterances, group="dialogue")


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"repeats": 2}, "split.repeats must be 1 "), ({"group": "speaker"}, "split.group must be null ")],
)
def test_a_corpus_with_folds_has_no_repeats_and_groups(changes, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corpora.FOLDER.mkdir(parents=True)
    utterances = corpus({"a": 9, "b": 9})
    random(utterances).to_csv(corpora.FOLDER / "folds.csv", index=False)
    config = CONFIG.model_copy(update={"scheme": "auto"})
    assert len(split.divide(utterances, config)) == 5 * 18
    with pytest.raises(UserError, match=f"^{said}where the scheme is published, not random, but is "):
        split.divide(utterances, config.model_copy(update=changes))


def test_what_training_and_test_parts_share_by_hand():
    rows = [
        # session, dialogue and speaker of an utterance; its part in folds 1 and 2
        ("s1", "d1", "f", "train", "test"),
        ("s1", "d1", "m", "test", "train"),
        ("s1", "d2", "m", "dev", "test"),
        ("s2", "d1", "g", "test", "train"),
        ("s2", "d2", "g", "test", None),
    ]
    utterances = pd.DataFrame([row[:3] for row in rows], columns=["session", "dialogue", "speaker"])
    utterances["utterance_id"] = [f"u{i}" for i in range(5)]
    folds = pd.DataFrame(
        [(fold, f"u{i}", row[2 + fold]) for fold in (1, 2) for i, row in enumerate(rows) if row[2 + fold]],
        columns=["fold", "utterance_id", "part"],
    )
    # Fold 1 tests u1, u3 and u4 and trains on u0, fold 2 tests u0 and u2 and trains on u1 and u3.
    assert splits.shared(folds, utterances) == {
        "speaker": (0 + 1) / 5,
        "session": (1 + 2) / 5,
        "dialogue": (1 + 1) / 5,  # s2's d1 is not s1's
    }
    utterances.loc[4, "session"] = ""
    assert list(splits.shared(folds, utterances)) == ["speaker", "dialogue"]
    utterances["dialogue"] = ""
    assert list(splits.shared(folds, utterances)) == ["speaker"]
    with pytest.raises(UserError, match=r"data/folds\.csv must name utterances of the corpus, but names 'u4'"):
        splits.shared(folds, utterances[:4])


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
