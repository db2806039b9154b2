"""Which part of which file an utterance is, by `utterances.csv`; and the transcripts."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.common import extractors
from stages.common.errors import UserError, short
from stages.common.media import Clip
from stages.common.params import Corpus
from stages.corpus.manifest import Folder
from stages.corpus.metadata import TRANSCRIPTION, find

TEXTS = 64  # transcripts that are one job


@dataclass(frozen=True)
class Job:
    """What is extracted at once: some parts of a file, or some transcripts."""

    path: Path | None
    parts: tuple[Clip, ...] | tuple[str, ...]


Place = tuple[int, int] | None
"""An utterance's job and which of its parts it is; None where it has none."""


def column_of(modality: str, settings: extractors.Section, utterances: pd.DataFrame) -> str:
    """The column of `utterances.csv` that an extractor reads: transcripts, or the files of the modality or medium.

    Raises
    ------
    UserError
        If the corpus has none of these.
    """
    medium = extractors.medium(settings)
    names = [TRANSCRIPTION] if medium == "text" else [f"{modality}_file_name", f"{medium}_file_name"]
    for name in names:
        if name in utterances:
            return name
    raise UserError(
        f"modalities.{modality}.features: {settings.extractor} needs a corpus with the column "
        f"{' or '.join(dict.fromkeys(names))}, but this one has {', '.join(utterances)}"
    )


def jobs(corpus: Corpus, column: str, utterances: pd.DataFrame) -> tuple[list[Job], list[Place]]:
    """What there is to extract, and where in it each utterance is.

    Raises
    ------
    UserError
        If a manifest may not name a file; names it.
    """
    return _transcripts(utterances) if column == TRANSCRIPTION else _files(corpus, column, utterances)


def _transcripts(utterances: pd.DataFrame) -> tuple[list[Job], list[Place]]:
    texts = list(utterances[TRANSCRIPTION])
    found = [Job(None, tuple(texts[start : start + TEXTS])) for start in range(0, len(texts), TEXTS)]
    return found, [divmod(i, TEXTS) for i in range(len(texts))]


def _files(corpus: Corpus, column: str, utterances: pd.DataFrame) -> tuple[list[Job], list[Place]]:
    """A job for each file, with all parts of it that are utterances."""
    medium = column.removesuffix("_file_name")
    names = [f"{medium}_{what}" for what in ("start", "end", "crop")]
    cells = [utterances[name] if name in utterances else [""] * len(utterances) for name in names]
    parts: dict[Path, list[Clip]] = {}
    places: list[tuple[Path, int] | None] = []
    for path, start, end, crop in zip(paths(corpus, column, utterances), *cells, strict=True):
        places.append((path, len(parts.setdefault(path, []))) if path else None)
        if path:
            parts[path].append(Clip(_seconds(start), _seconds(end), crop))
    number = {path: i for i, path in enumerate(parts)}
    found = [Job(path, tuple(clips)) for path, clips in parts.items()]
    return found, [(number[place[0]], place[1]) if place else None for place in places]


def _seconds(cell: str | float) -> float | None:
    return None if cell == "" else float(cell)


def paths(corpus: Corpus, column: str, utterances: pd.DataFrame) -> Iterator[Path | None]:
    """The path of each utterance's file; None where there is none.

    A manifest's are checked again, since they are opened now; where `corpus.skips`, one that fails is None, with a
    warning.

    Raises
    ------
    UserError
        If a manifest may not name a file; names it.
    """
    if corpus.source != "manifest":
        yield from (Path(corpus.root) / name if name else None for name in utterances[column])
        return
    manifest = find(Path(corpus.root))
    folder = Folder(manifest.parent, allow_outside=corpus.allow_outside)
    for utterance, name in zip(utterances["utterance_id"], utterances[column], strict=True):
        rule = name and folder.broken_rule(name)
        if rule:
            message = f"{manifest}: utterance {short(utterance)}: {column} must be {rule}, but is {short(name)}"
            if not corpus.skips:
                raise UserError(message)
            print(f"warning: {message}", file=sys.stderr)
        yield folder.path / name if name and not rule else None
