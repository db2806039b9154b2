"""What the evaluations of one variant and seed find, and how tables name what was changed."""

from dataclasses import dataclass

import pandas as pd

WHOLE, LEFT_OUT, NOISE = "none", "left out", "noise"
"""What is changed of a test part."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One variant and seed, all its folds."""

    variant: str
    seed: int
    emap: pd.DataFrame | None = None
    """EMAP's predictions, as `predictions.table` has them; None if not asked for, or with one modality."""
    errors: pd.DataFrame | None = None
    """fold and the sampling error of EMAP's score on each metric, of either sign."""
    changed: pd.DataFrame | None = None
    """fold, modality, change, size and each metric; None if not asked for."""
