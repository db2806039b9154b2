"""What the parts of a split have in common: speakers, sessions and dialogues on both sides of it."""

import numpy as np
import pandas as pd

from stages.common.corpus import FOLDS
from stages.common.errors import UserError

UNITS = {"speaker": ["speaker"], "session": ["session"], "dialogue": ["session", "dialogue"]}
"""What utterances may share → the columns that name it: two sessions may each have a dialogue of one name."""


def group_numbers(utterances: pd.DataFrame, unit: str) -> np.ndarray | None:
    """The number, from 0, of each utterance's `unit` [utterances]; None if the corpus does not name it for all.

    `unit`: one of `UNITS`; `utterances`: a table as `corpus.read_utterances` has it, which may lack columns of `UNITS`.
    """
    if unit not in utterances or (utterances[unit] == "").any():
        return None
    columns = [name for name in UNITS[unit] if name in utterances]
    return utterances.groupby(columns, sort=False).ngroup().to_numpy()


def shared(folds: pd.DataFrame, utterances: pd.DataFrame) -> dict[str, float]:
    """Unit → the share, 0 to 1, of test utterances whose unit is in the training part of their fold too.

    Of speaker, session and dialogue, those that the corpus names for all its utterances; over all folds. `folds`: a
    table fold, utterance_id, part; `utterances`: as `corpus.read_utterances` has it.

    Raises
    ------
    UserError
        If the folds name an utterance that the corpus has not.
    """
    row = pd.Index(utterances["utterance_id"]).get_indexer(folds["utterance_id"])
    if (row < 0).any():
        unknown = folds["utterance_id"].iloc[int((row < 0).argmax())]
        raise UserError(f"{FOLDS} must name utterances of the corpus, but names {unknown!r}")
    fold, part = pd.factorize(folds["fold"])[0], folds["part"].to_numpy()
    found = {}
    for unit in UNITS:
        number = group_numbers(utterances, unit)
        if number is not None:
            of_fold = fold * len(utterances) + number[row]  # a number for each fold's each unit
            found[unit] = float(np.isin(of_fold[part == "test"], of_fold[part == "train"]).mean())
    return found
