"""The ways to divide a corpus into folds. Each returns a table fold, utterance_id, part."""

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from stages.common.corpus import PARTS
from stages.common.errors import UserError
from stages.common.params import Split


def random(utterances: pd.DataFrame, config: Split) -> pd.DataFrame:
    """Folds of random utterances, stratified by class; each held-out fold is divided once more into dev and test.

    The paper's arrays came from such a split: 5 folds, the held-out fifth divided about 25 : 75.
    """
    smallest = utterances["label"].value_counts().min()
    if smallest < config.folds:
        raise UserError(
            f"split.folds must be at most the size of the smallest class, {smallest}, but is {config.folds}"
        )
    folds = StratifiedKFold(config.folds, shuffle=True, random_state=config.seed)
    rng = np.random.default_rng(config.seed)
    tables = []
    for fold, (_, held_out) in enumerate(folds.split(utterances, utterances["label"]), start=1):
        part = np.full(len(utterances), "train", dtype=object)
        part[held_out] = "test"
        part[_stratified(utterances["label"].to_numpy(), held_out, config.dev_share, rng)] = "dev"
        tables.append(_fold(fold, utterances, part))
    return pd.concat(tables)


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


def _fold(fold: int, utterances: pd.DataFrame, part: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"fold": fold, "utterance_id": utterances["utterance_id"].to_numpy(), "part": part})
