"""Which utterances have values of all dimensions, where these are the task, and whether the values can be such."""

import sys

import numpy as np
import pandas as pd

from stages.common import corpus
from stages.common.corpus import Meta
from stages.common.errors import UserError


def rated(folds: pd.DataFrame, utterances: pd.DataFrame, meta: Meta) -> pd.DataFrame:
    """The folds without the utterances that lack a value of a dimension; says how many these are.

    Raises
    ------
    UserError
        If no utterance has all values, or a dimension's cannot be on its scale (`check`).
    """
    values, names = corpus.values(utterances, meta), utterances["utterance_id"].to_numpy(str)
    for k, dimension in enumerate(meta.dimensions):
        check(values[:, k], names, dimension, meta.dimensions[dimension])
    known = ~np.isnan(values).any(axis=1)
    print(
        f"{np.count_nonzero(~known)} of {len(names)} utterances are in no fold: they lack a value of "
        f"{', '.join(meta.dimensions)}"
    )
    if not known.any():
        raise UserError(
            f"task: dimensions needs utterances with values of {', '.join(meta.dimensions)}, but none has all of them; "
            "corpus.columns can leave a column out (dominance: null)"
        )
    return folds[folds["utterance_id"].isin(names[known])].reset_index(drop=True)


def check(values: np.ndarray, names: np.ndarray, dimension: str, scale: list[float]) -> None:
    """Check one dimension's values [utterances], between -1 and 1 where they are on the scale; NaN: unknown.

    Those a little beyond are warned of: means of raters who used another scale are in corpora that are widely used.

    Raises
    ------
    UserError
        If one is farther from the scale than its length, or all are the same.
    """
    far = np.flatnonzero(np.abs(values) > 3)
    if len(far):
        raise UserError(
            f"{dimension} must be near corpus.scale {scale}, but is {corpus.on_scale(float(values[far[0]]), scale):g} "
            f"for utterance {str(names[far[0]])!r} and {len(far) - 1} more"
        )
    there = values[~np.isnan(values)]
    if len(there) and (there == there[0]).all():
        raise UserError(
            f"{dimension} must differ between utterances, but is {corpus.on_scale(float(there[0]), scale):g} for all"
        )
    beyond = np.abs(there) > 1 + 1e-6
    if beyond.any():
        low, high = (corpus.on_scale(float(end), scale) for end in (there.min(), there.max()))
        print(
            f"warning: {dimension}: {beyond.sum()} of {len(there)} values are outside corpus.scale {scale}: "
            f"they go from {low:g} to {high:g}",
            file=sys.stderr,
        )
