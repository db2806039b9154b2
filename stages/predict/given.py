"""An utterance that is given by files, a text or arrays, made into features as the study's own are."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stages.common import corpus, extractors
from stages.common.arrays import open_array
from stages.common.errors import UserError
from stages.common.features import Features, Ragged, read_modality_meta
from stages.common.media import Clip
from stages.common.params import Params
from stages.common.sequences import checked_sequence
from stages.corpus.clips import Job
from stages.corpus.metadata import TRANSCRIPTION
from stages.features import extraction, parallel
from stages.features.encoding import Encoder

OPTIONS = {"audio": "--wav", "video": "--video", "text": "--text"}
"""Medium → the option that gives it."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What was given of an utterance."""

    media: dict[str, str] = field(default_factory=dict)
    """Medium, of `OPTIONS` → a file's path, or the text itself."""
    arrays: dict[str, Path] = field(default_factory=dict)
    """Modality → an .npy file of its features."""
    missing: list[str] = field(default_factory=list)
    """Modalities that the utterance is said not to have."""


def read(given: Given, config: Params, known: Features) -> Features:
    """The features of the one utterance that is given, in all modalities of `known`, the corpus's.

    A sequence that is longer than the corpus's longest is cut to it, with a warning: models know no further positions.

    Raises
    ------
    UserError
        If a modality is not given, or given twice; if something is given that no modality is made of; if a file is
        missing, broken, or not as the study's features are. Names the option or file, the rule and the value.
    """
    names, media = list(known.sequences), _media(config, list(known.sequences))
    _check_used(given, names, media)
    sequences = {name: _sequence(given, config, known, name, media[name]) for name in names}
    return Features(
        meta=known.meta,
        utterance_id=np.array(["given"]),
        label=np.zeros(1, np.int64),
        sequences=sequences,
        values=np.full((1, len(known.meta.dimensions)), np.nan, np.float32),
    )


def _media(config: Params, names: list[str]) -> dict[str, str | None]:
    """Modality → the medium that its extractor reads; None: its features come as they are."""
    settings = {name: config.extractor(name) for name in names}
    return {name: own and extractors.medium(own) for name, own in settings.items()}


def _check_used(given: Given, names: list[str], media: dict[str, str | None]) -> None:
    for option, own in (("--features", given.arrays), ("--missing", given.missing)):
        for name in own:
            if name not in names:
                raise UserError(f"{option} must name modalities of the variant, {', '.join(names)}, but one is {name}")
    if len(given.missing) == len(names):
        raise UserError(f"--missing must leave a modality of {', '.join(names)}, but leaves none")
    for medium in given.media:
        if medium not in media.values():
            made = ", ".join(f"{name} of {own or 'arrays'}" for name, own in media.items())
            raise UserError(f"{OPTIONS[medium]} must be what a modality is made of, but this study makes {made}")


def _option(given: Given, name: str, medium: str | None) -> str:
    """The one option that gives a modality."""
    ways = {
        "--missing": name in given.missing,
        "--features": name in given.arrays,
        OPTIONS.get(medium): medium in given.media,
    }
    there = [option for option, is_there in ways.items() if is_there]
    if len(there) > 1:
        raise UserError(f"{name} must be given once, but is by {' and '.join(there)}")
    if not there:
        made = f"{OPTIONS[medium]} …, " if medium else ""
        raise UserError(
            f"{name} must be given, but is not: {made}--features {name}=FILE.npy, or --missing {name} for an utterance "
            "without it"
        )
    return there[0]


def _sequence(given: Given, config: Params, known: Features, name: str, medium: str | None) -> Ragged:
    """One modality's sequence, as the only one of a ragged array like the corpus's."""
    place, own = _option(given, name, medium), known.sequences[name]
    if place == "--missing":
        return _one(own, own.values[:0], own.embedding)
    if place == "--features":
        place = str(given.arrays[name])
        values, embedding = _array(given.arrays[name], own), own.embedding
    else:
        values, embedding = _made(config, own, name, given.media[medium])
    if not len(values):
        raise UserError(f"{place}: must have at least one position of {name}, but has none; --missing {name} allows it")
    if len(values) > own.longest:
        print(f"warning: {place}: only the first {own.longest} of {len(values)} positions are read", file=sys.stderr)
    return _one(own, values[: own.longest], embedding)


def _one(own: Ragged, values: np.ndarray, embedding: np.ndarray | None) -> Ragged:
    return Ragged(
        values=values,
        offsets=np.zeros(1, np.int64),
        lengths=np.array([len(values)]),
        longest=own.longest,
        embedding=embedding,
    )


def _array(path: Path, own: Ragged) -> np.ndarray:
    """Features in an .npy file: [T, features], or of words their ids [T]."""
    tokens = own.embedding is not None
    array = open_array(path, 1 if tokens else 2)
    try:
        return checked_sequence(
            own.kind, array.rows(0, array.shape[0]), len(own.embedding) if tokens else own.dimensions
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _made(config: Params, own: Ragged, name: str, content: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Features that the study's extractor makes of a file or a text, and of words the vectors of their ids."""
    settings = config.extractor(name)
    wanted, made = extraction.made(config.corpus, settings), read_modality_meta(name).made
    if any(made.get(key) != value for key, value in wanted.items()):
        raise UserError(f"data/features/{name} must be made as params.yaml says now, but is not: run dvc repro")
    if settings.extractor == "glove":
        return _words(settings, own, name, content)
    parallel.one_thread(settings)
    is_text = extractors.medium(settings) == "text"
    job = Job(None, (content,)) if is_text else Job(Path(content), (Clip(),))
    (values,) = Encoder(settings, name)(job)
    if len(values) and values.shape[1] != own.dimensions:
        raise UserError(f"{name} must have the {own.dimensions} features of the study's, but has {values.shape[1]}")
    return values, None


def _words(settings: extractors.Glove, own: Ragged, name: str, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Ids of a text's words, and the vectors of all ids: the corpus's, then those of words that it has not."""
    from stages.features import glove

    ids = glove.vocabulary(corpus.read_utterances()[TRANSCRIPTION])
    if len(ids) + 1 != len(own.embedding):
        raise UserError(f"data/features/{name} must be of the transcripts in data/corpus, but is not: run dvc repro")
    words = glove.tokenise(text)[: settings.longest]
    new = [word for word in dict.fromkeys(words) if word not in ids]
    embedding = own.embedding
    if new:
        embedding = np.vstack([embedding, glove.vectors(settings, new, own.dimensions, modality=name)])
        ids |= {word: number for number, word in enumerate(new, start=len(own.embedding))}
    return np.array([ids[word] for word in words], np.int32), embedding
