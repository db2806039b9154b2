"""What the positions of a modality are, as a map's axis says it."""

from dataclasses import dataclass

import numpy as np

from stages.common.corpus import FOLDER, read_utterances
from stages.common.features import Features, read_modality_meta
from stages.common.plan import Modality, Plan
from stages.corpus.metadata import TRANSCRIPTION

LETTERS = 16
"""Of a word that are shown."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A modality's positions that count, of one utterance."""

    modality: str
    label: str
    """What a position is."""
    own: int
    """Positions of the utterance's own; after them comes padding."""
    padding: int
    names: tuple[str, ...] = ()
    """Of its own positions, where they are words."""
    period: float | None = None
    """Seconds from one position to the next; None: they have no known times."""


def axes(plan: Plan, data: Features, row: int, counts: dict[str, int]) -> dict[str, Axis]:
    """Modality → its axis, of utterance `row`; `counts`: modality → positions that count, those of the maps.

    Positions are words where the corpus has transcripts and the features are of their words, else seconds where the
    features' `made` says how many lie between two frames, else numbers.
    """
    return {own.name: _axis(own, data, row, counts[own.name]) for own in plan.modalities if own.name in counts}


def _axis(modality: Modality, data: Features, row: int, count: int) -> Axis:
    name, sequences = modality.name, data.sequences[modality.name]
    if modality.positions is not None:
        label = f"{name}: after the map over time\n(each is of all frames)"
        return Axis(modality=name, label=label, own=count, padding=0)
    valid = sequences.valid_only()
    own = min(count, int(valid.lengths[row]))
    shared = {"modality": name, "own": own, "padding": count - own}
    made = read_modality_meta(name).made
    if sequences.embedding is not None:
        ids = valid[row][:own]
        words = _words(row, len(ids), glove=made.get("extractor") == "glove")
        if words is not None:
            return Axis(label=f"{name}: words", names=words, **shared)
        return Axis(label=f"{name}: words, by their numbers", names=tuple(f"#{own}" for own in ids), **shared)
    period = seconds_apart(made)
    return Axis(label=f"{name}: {'positions' if period is None else 'seconds'}", period=period, **shared)


def _words(row: int, count: int, *, glove: bool) -> tuple[str, ...] | None:
    """The words that the `count` positions of utterance `row` are; None where no transcript has them.

    Of `glove` the first words that it makes of the transcript; of other word ids those that spaces divide, if they are
    as many.
    """
    utterances = read_utterances(FOLDER)
    if TRANSCRIPTION not in utterances:
        return None
    text = utterances[TRANSCRIPTION].iloc[row]
    if glove:
        from stages.features.glove import tokenise

        words = tokenise(text)[:count]
    else:
        words = text.split()
    return tuple(map(_shortened, words)) if len(words) == count else None


def _shortened(word: str) -> str:
    return word if len(word) <= LETTERS else f"{word[: LETTERS - 1]}…"


def seconds_apart(made: dict) -> float | None:
    """Seconds from one frame to the next, by what `meta.json` says of how a modality was made; None: not known."""
    extractor = made.get("extractor")
    if extractor == "mfcc":
        return (made["rate"] // 100) / made["rate"]
    if extractor == "resnet101" or (extractor == "pretrained" and made["of"] == "video" and made["pool"] == "none"):
        return 1 / made["frames_per_second"]
    return None


def condense(weights: np.ndarray, target: Axis, source: Axis) -> np.ndarray:
    """Weights [..., T, S] with all padding of an axis as one position at its end, the mean of its positions."""
    for axis, own in ((-2, target), (-1, source)):
        if own.padding:
            parts = np.split(weights, [own.own], axis=axis)
            weights = np.concatenate([parts[0], parts[1].mean(axis=axis, keepdims=True)], axis=axis)
    return weights
