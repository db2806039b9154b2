"""The ways to divide a corpus into folds. Each returns a table fold, utterance_id, part."""

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from stages.common import splits
from stages.common.corpus import PARTS
from stages.common.errors import UserError
from stages.common.params import Split


def random(utterances: pd.DataFrame, config: Split) -> pd.DataFrame:
    """Folds of random utterances, stratified by class; each held-out fold is divided once more into dev and test.

    The paper's arrays came from such a split: 5 folds, the held-out fifth divided about 25 : 75. With `repeats` the
    folds 1 … k are those of one partition, k + 1 … 2k of the next, as the column repeat says; with `group` each
    dialogue or speaker is in one part of a fold as a whole.

    Raises
    ------
    UserError
        If a class is smaller than the number of folds, or there are too few groups or none.
    """
    smallest = utterances["label"].value_counts().min()
    if smallest < config.folds:
        raise UserError(
            f"split.folds must be at most the size of the smallest class, {smallest}, but is {config.folds}"
        )
    groups = _groups(utterances, config.group)
    tables = [_partition(utterances, groups, config, repeat) for repeat in range(1, config.repeats + 1)]
    if config.repeats == 1:
        return tables[0]
    return pd.concat(table.assign(repeat=repeat) for repeat, table in enumerate(tables, start=1))


def _groups(utterances: pd.DataFrame, unit: str | None) -> np.ndarray | None:
    """The number of each utterance's group [utterances]; None where none are asked for."""
    if unit is None:
        return None
    groups = splits.group_numbers(utterances, unit)
    if groups is None:
        without = utterances["utterance_id"][utterances[unit] == ""].iloc[0]
        raise UserError(
            f"split.group must be null or what the corpus names for each utterance, but is {unit}, "
            f"and {without!r} has none"
        )
    return groups


def _partition(utterances: pd.DataFrame, groups: np.ndarray | None, config: Split, repeat: int) -> pd.DataFrame:
    """The folds of one repeat, by random numbers of its own."""
    # The first repeat's are those of a study without repeats.
    seed = config.seed if repeat == 1 else int(np.random.SeedSequence([config.seed, repeat]).generate_state(1)[0])
    rng, labels = np.random.default_rng(seed), utterances["label"].to_numpy()
    scheme = StratifiedKFold if groups is None else StratifiedGroupKFold
    folds, tables = scheme(config.folds, shuffle=True, random_state=seed), []
    for fold, (_, held_out) in enumerate(folds.split(labels, labels, groups), start=(repeat - 1) * config.folds + 1):
        part = np.full(len(utterances), "train", dtype=object)
        part[held_out] = "test"
        if groups is None:
            part[_stratified(labels, held_out, config.dev_share, rng)] = "dev"
        else:
            _check_groups(fold, len(set(groups[held_out])), config)
            part[_whole_groups(labels, groups, held_out, config.dev_share, rng)] = "dev"
        tables.append(_fold(fold, utterances, part))
    return pd.concat(tables)


def _check_groups(fold: int, count: int, config: Split) -> None:
    if count < 2:
        raise UserError(
            f"split.group {config.group}: each held-out fold must have two or more {config.group}s, some for its "
            f"development and some for its test part, but fold {fold} of split.folds {config.folds} has {count}"
        )


def leave_out(utterances: pd.DataFrame, config: Split, *, column: str) -> pd.DataFrame:
    """One fold for each speaker or session (`column`), which is its test part.

    The development part is another speaker or session as a whole: the next one that does not share the test part's
    session. Where there is none to spare, it is a stratified share of the remaining utterances.
    """
    groups = sorted(set(utterances[column]))
    if len(groups) < 2 or "" in groups:
        raise UserError(
            f"split.scheme leave_{column}_out needs a corpus that names at least two {column}s, "
            f"but this one names {', '.join(g for g in groups if g) or 'none'}"
        )
    rng = np.random.default_rng(config.seed)
    session_of = dict(zip(utterances[column], utterances["session"], strict=True))
    tables = []
    for fold, test in enumerate(groups, start=1):
        following = groups[fold:] + groups[: fold - 1]
        spare = [g for g in following if session_of[g] != session_of[test] or not session_of[test]]
        part = np.where(utterances[column] == test, "test", "train").astype(object)
        if spare and len(groups) > 2:
            part[utterances[column] == spare[0]] = "dev"
        else:
            rest = np.flatnonzero(part == "train")
            part[_stratified(utterances["label"].to_numpy(), rest, config.dev_share, rng)] = "dev"
        tables.append(_fold(fold, utterances, part))
    return pd.concat(tables)


def check(folds: pd.DataFrame, utterances: pd.DataFrame, classes: list[str]) -> None:
    """Refuse a split with an empty part, or a training part without some class.

    Raises
    ------
    UserError
        Naming the fold, the part and the classes.
    """
    labels = folds["utterance_id"].map(utterances.set_index("utterance_id")["label"])
    for fold, rows in folds.groupby("fold"):
        for part in PARTS:
            if not (rows["part"] == part).any():
                raise UserError(f"split: fold {fold} has no utterance in its {part} part")
        missing = sorted(set(classes) - set(labels[rows.index][rows["part"] == "train"]))
        if missing:
            raise UserError(f"split: the training part of fold {fold} has no utterance of class {', '.join(missing)}")


def _stratified(labels: np.ndarray, rows: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """About `share` of `rows`, spread evenly over the classes; never none or all of two or more."""
    shuffled = rng.permutation(rows)
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    steps = np.floor(np.arange(len(rows) + 1) * share + 0.5)
    steps[-1] = np.clip(steps[-1], 1, max(1, len(rows) - 1))
    return by_class[np.diff(steps) > 0]


def _whole_groups(
    labels: np.ndarray, groups: np.ndarray, rows: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """About `share` of `rows` and of their classes: whole groups, in random order each that brings it nearer.

    Never none and never all of two or more groups.
    """
    counts = pd.crosstab(groups[rows], labels[rows])  # (groups, classes)
    counts = counts.iloc[rng.permutation(len(counts))]
    wanted = share * counts.to_numpy().sum(axis=0)
    taken, so_far = [], np.zeros(len(wanted))
    for group, own in zip(counts.index, counts.to_numpy(), strict=True):
        if np.linalg.norm(so_far + own - wanted) < np.linalg.norm(so_far - wanted):
            taken.append(group)
            so_far = so_far + own
    if not taken:
        taken = [counts.index[np.linalg.norm(counts.to_numpy() - wanted, axis=1).argmin()]]
    return rows[np.isin(groups[rows], taken[: len(counts) - 1])]


def _fold(fold: int, utterances: pd.DataFrame, part: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"fold": fold, "utterance_id": utterances["utterance_id"].to_numpy(), "part": part})
