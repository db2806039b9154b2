"""EMAP: the part of a model's logits that is a sum over modalities.

A model f of M modalities is evaluated on N utterances; f(x) depends on the parts x_1, …, x_M of an utterance x. Of all
sums of functions of one modality each, the one that is nearest to f in squares, over all N^M combinations of parts of
different utterances, each as often (the empirical product distribution), is

    f̂(x) = Σ_m E[f | x_m] - (M - 1) E[f],

where E[f | x_m] is the mean over the parts of all others, N^(M-1) combinations, and E[f] that over all N^M. For under
the product distribution the parts are independent, so that a_m(x_m) = E[f | x_m] - E[f] have mean 0 and are orthogonal
to each other, and the projection on constants and functions of single modalities is E[f] + Σ_m a_m: the first two terms
of the functional analysis of variance. With M = 2 it is the formula of Hessel & Lee, "Does my multimodal model learn
cross-modal interactions? It's harder to tell than you might think!", EMNLP 2020, Section 3.

Of many combinations a sample of P is taken, the same for all utterances and modalities (`choose`). What the chosen
partners add by themselves is then the same for all, so it can be taken out: a_m has the mean 0 over the N utterances,
and from the estimate of E[f] that a modality gives, its mean over utterances and partners, the partners' own a_n are
subtracted. So the sampling error is one of interactions alone: for a sum there is none, however few partners are taken.

Shapes: M modalities, N utterances, P partners, C classes.
"""

from collections.abc import Callable

import numpy as np


def choose(utterances: int, modalities: int, partners: int, rng: np.random.Generator) -> np.ndarray:
    """Combinations of the other M - 1 modalities, rows of utterances [P, M - 1].

    All N^(M-1) of them if they are no more than `partners`, else so many: in each column one random order of all
    utterances after the other, so that each utterance is taken about as often.
    """
    others = modalities - 1
    if utterances**others <= partners:
        return np.indices((utterances,) * others).reshape(others, -1).T
    repeats = -(-partners // utterances)
    columns = [np.concatenate([rng.permutation(utterances) for _ in range(repeats)]) for _ in range(others)]
    return np.stack(columns, axis=1)[:partners]


def takes_all(utterances: int, chosen: np.ndarray) -> bool:
    """Whether `chosen` [P, M - 1] are all combinations: there is no sampling error then."""
    return len(chosen) == utterances ** chosen.shape[1]


def crossed(compute: Callable[[np.ndarray], np.ndarray], utterances: int, chosen: np.ndarray) -> np.ndarray:
    """The logits of each modality of each utterance with each of the `chosen` [P, M - 1] parts of the others.

    `compute`: rows [n, M], of which utterance each modality is → logits [n, C]. Returns [M, N, P, C] in float64.
    """
    own = np.arange(utterances).repeat(len(chosen))
    others = np.tile(chosen, (utterances, 1))
    modalities = chosen.shape[1] + 1
    logits = [compute(np.insert(others, m, own, axis=1)) for m in range(modalities)]
    return np.stack(logits).astype(np.float64).reshape(modalities, utterances, len(chosen), -1)


def project(logits: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """f̂ [N, C], from what `crossed` returned for `chosen`; both may be of some of the partners.

    With all combinations it is the definition to rounding, since then the partners' own parts have the mean 0.
    """
    means = logits.mean(axis=2)  # (M, N, C): E[f | x_m] of these partners
    centred = means - means.mean(axis=1, keepdims=True)
    of_partners = np.zeros_like(means[:, 0])  # (M, C)
    for m in range(len(means)):
        others = [n for n in range(len(means)) if n != m]
        of_partners[m] = sum(centred[n][rows].mean(axis=0) for n, rows in zip(others, chosen.T, strict=True))
    grand = (means.mean(axis=1) - of_partners).mean(axis=0)  # (C)
    return grand + centred.sum(axis=0)
