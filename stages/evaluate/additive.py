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

Of many combinations a sample of P is taken for each modality (`choose`), the same for all utterances. What the chosen
partners add by themselves is then the same for all, so it can be taken out: a_m has the mean 0 over the N utterances,
and from the estimate of E[f] that a modality gives, its mean over utterances and partners, the partners' own a_n are
subtracted. So the sampling error is one of interactions alone: for a sum there is none, however few partners are taken.

Shapes: M modalities, N utterances, P partners, C classes.
"""

from collections.abc import Callable

import numpy as np


def choose(utterances: int, modalities: int, partners: int, rng: np.random.Generator) -> np.ndarray:
    """For each modality, combinations of the other M - 1: rows of utterances [M, P, M - 1].

    All N^(M-1) of them if they are no more than `partners`; else so many, independent from modality to modality, with
    one random order of all utterances after the other in each column, so that each utterance is taken about as often.
    """
    others = modalities - 1
    if utterances**others <= partners:
        every = np.indices((utterances,) * others).reshape(others, -1).T
        return np.tile(every, (modalities, 1, 1))
    repeats = -(-partners // utterances)
    orders = rng.permuted(np.tile(np.arange(utterances), (modalities, others, repeats, 1)), axis=3)
    return orders.reshape(modalities, others, -1).transpose(0, 2, 1)[:, :partners]


def share_left(utterances: int, chosen: np.ndarray) -> float:
    """1 - P / N^(M-1): what the variance of a mean over the partners is less for having taken none twice.

    The finite population correction of sampling theory (Cochran, "Sampling techniques", 1977, Section 2.6).
    """
    return 1 - chosen.shape[1] / utterances ** chosen.shape[2]


def crossed(compute: Callable[[np.ndarray], np.ndarray], utterances: int, chosen: np.ndarray) -> np.ndarray:
    """The logits of each modality of each utterance with each of its `chosen` [M, P, M - 1] parts of the others.

    `compute`: rows [n, M], of which utterance each modality is → logits [n, C]. Returns [M, N, P, C] in float64.
    """
    modalities, partners, _ = chosen.shape
    own = np.arange(utterances).repeat(partners)
    logits = [compute(np.insert(np.tile(others, (utterances, 1)), m, own, axis=1)) for m, others in enumerate(chosen)]
    return np.stack(logits).astype(np.float64).reshape(modalities, utterances, partners, -1)


def project(logits: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """f̂ [N, C], from what `crossed` returned for `chosen`; both may be of some of the partners.

    With all combinations it is the definition to rounding, since then the partners' own parts have the mean 0.
    """
    means = logits.mean(axis=2)  # (M, N, C): E[f | x_m] of these partners
    centred = means - means.mean(axis=1, keepdims=True)
    grand = means.mean(axis=1)  # (M, C)
    for m, partners in enumerate(chosen):
        others = np.delete(centred, m, axis=0)  # (M - 1, N, C)
        grand[m] -= sum(own[rows].mean(axis=0) for own, rows in zip(others, partners.T, strict=True))
    return grand.mean(axis=0) + centred.sum(axis=0)
