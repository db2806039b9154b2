"""The folds of the arrays that the paper used, computed again.

The authors' scripts drew them with Python's `random`, whose numbers have stayed the same since Python 2: a draw an
utterance says in which fold it is held out, and in each fold a second one whether it is of the dev or the test part.
"""

import random
from collections.abc import Sequence

import pandas as pd

FOLDS = 5
HELD_OUT_SEED, DEV_SEED = 337, 3372
TEST_SHARE = 0.7
"""Of the held-out utterances."""


def folds(ids: Sequence[str]) -> pd.DataFrame:
    """The table fold, utterance_id, part, in the order of `ids`.

    `ids`: those of the classes that are kept, by the bytes of their dialogues' paths and then of their own: the draws
    go by position, so that one more or less changes all that follow.
    """
    rng = random.Random(HELD_OUT_SEED)
    held_out = [_fold(rng.random()) for _ in ids]
    tables = []
    for fold in range(1, FOLDS + 1):
        rng = random.Random(DEV_SEED)
        held_out_parts = ["dev" if rng.random() > TEST_SHARE else "test" for _ in ids]  # drawn for training ones too
        parts = [part if own == fold else "train" for own, part in zip(held_out, held_out_parts, strict=True)]
        tables.append(pd.DataFrame({"fold": fold, "utterance_id": list(ids), "part": parts}))
    return pd.concat(tables, ignore_index=True)


def _fold(draw: float) -> int:
    """1 for the highest fifth of draws, 5 for the lowest."""
    return next((fold for fold, limit in enumerate((0.8, 0.6, 0.4, 0.2), start=1) if draw > limit), FOLDS)
