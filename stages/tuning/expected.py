"""The expected score of the best of n draws.

Dodge, Gururangan, Card, Schwartz and Smith, "Show your work: improved reporting of experimental results", EMNLP 2019,
Section 3, Eqs. 1-4: n draws are taken to be independent draws from the empirical distribution of those at hand. With F
the share of draws whose value is at most v,

    P(the best of n is v)  =  F(v)^n - F(v-)^n,      E(the best of n)  =  sum_v v P(the best of n is v).
"""

import numpy as np


def best_of(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    """The expected value [N], of 1, 2, … N draws, of the draw that is best by another value, the first of equals.

    Parameters
    ----------
    values: [N], one a draw.
    by: [N], by which the best draw is chosen, the greater the better; `values` itself for the expected maximum.
        Of draws that are equal by it, each is as often the first as the others.
    """
    _, place, count = np.unique(by, return_inverse=True, return_counts=True)
    mean = np.bincount(place, values) / count  # of the draws at each level
    up_to = np.concatenate([[0.0], np.cumsum(count) / len(by)])
    draws = np.arange(1, len(by) + 1)[:, None]
    return np.diff(up_to**draws, axis=1) @ mean
