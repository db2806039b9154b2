"""A corpus of one's own: a metadata file, and the `.npy` arrays, sound or video that its rows name.

The layout is that of Hugging Face's folder datasets: `metadata.csv`, `metadata.jsonl` or `metadata.parquet`, whose
`*_file_name` columns hold paths relative to it. docs/your-own-corpus.md describes it to users.
"""

import os
import re
import stat
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from stages.common import progress
from stages.common.corpus import DIMENSIONS, NAMES, Meta
from stages.common.errors import UserError, short
from stages.common.params import Corpus
from stages.corpus import metadata
from stages.corpus.contents import Contents
from stages.corpus.metadata import FILE_COLUMN, TIMES, TRANSCRIPTION, Row, find

ARRAYS = (".npy",)
SOUND = (".wav", ".flac", ".mp3", ".ogg")
VIDEO = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".flv")
"""How names of files end that may hold a modality; sound is read from video, too."""
MOST_FOLDS = 1000  # as many as split.folds may be
SHOWN = 20  # labels of many

_WHOLE = re.compile(r"-?[0-9]{1,18}")


def read(corpus: Corpus) -> Contents:
    """Check the metadata in `corpus.root` and that the files it names exist.

    Raises
    ------
    UserError
        If a rule is broken; names the metadata file, the row, the column, the rule and the value.
    """
    manifest = find(Path(corpus.root))
    rows = _labelled(metadata.read(manifest, corpus.columns), corpus.labels or {})
    files = [column for column in rows[0].cells if FILE_COLUMN.fullmatch(column)]
    media = [column for column in files if any(_is_media(row.cells[column]) for row in rows)]
    if not media:  # a start of arrays means something else
        rows = [replace(row, cells={name: row.cells[name] for name in row.cells if name not in TIMES}) for row in rows]
    utterances = _utterances(rows)
    classes, folds = _classes(utterances, corpus.classes), _folds(rows)
    problems = _check_files(utterances, files, Folder(manifest.parent, allow_outside=corpus.allow_outside), corpus)
    modalities = [FILE_COLUMN.fullmatch(name)[1] for name in files]
    if TRANSCRIPTION in rows[0].cells and "text" not in modalities:
        modalities.append("text")
    return Contents(
        meta=Meta(
            corpus="manifest",
            classes=classes,
            modalities=modalities,
            dimensions={name: corpus.scale for name in DIMENSIONS if name in rows[0].cells},
        ),
        utterances=[_utterance(row, files, media) for row in utterances],
        folds=folds,
        problems=problems,
    )


def _labelled(rows: list[Row], labels: dict[str, str | None]) -> list[Row]:
    """The rows with the classes that `corpus.labels` gives their labels, without those that it leaves out."""
    manifest, there = rows[0].manifest, {row.cells["label"] for row in rows}
    if labels and there.isdisjoint(labels):  # some may be missing: corpora share a mapping
        raise UserError(
            f"{manifest}: corpus.labels must name labels of this file, {', '.join(map(short, sorted(there)[:SHOWN]))}, "
            f"but names {', '.join(map(short, labels))}"
        )
    classes = {label: labels.get(label, label) for label in there}
    kept = [replace(row, cells=row.cells | {"label": own}) for row in rows if (own := classes[row.cells["label"]])]
    if not kept:
        raise UserError(f"{manifest}: corpus.labels must leave some rows, but leaves all out")
    return kept


def _is_media(name: str) -> bool:
    return name.lower().endswith(SOUND + VIDEO)


def _utterance(row: Row, files: list[str], media: list[str]) -> dict:
    """A row of `utterances.csv`, with the times of each file that is sound or video."""
    own = {column: row.cells.get(column, "") for column in (*NAMES, *files)}
    if any(time in row.cells for time in TIMES):
        for column in media:
            own |= _times(row, column)
    if TRANSCRIPTION in row.cells:
        own[TRANSCRIPTION] = row.cells[TRANSCRIPTION]
    return own | {name: row.number(name) for name in DIMENSIONS if name in row.cells}


def _times(row: Row, column: str) -> dict[str, float | str]:
    """Columns `<modality>_start` and `<modality>_end`: the row's `start` and `end`, of a part of a longer file."""
    names = [f"{FILE_COLUMN.fullmatch(column)[1]}_{time}" for time in TIMES]
    if not _is_media(row.cells[column]):
        return dict.fromkeys(names, "")
    start, end = (row.seconds(time) for time in TIMES)
    if end != "" and end <= (start or 0):
        raise row.error("end", f"after its start, {start or 0}")
    return dict(zip(names, (start, end), strict=True))


class Folder:
    """The folder of a metadata file, and which files its rows may name."""

    def __init__(self, path: Path, *, allow_outside: bool):
        self.path, self._allow_outside = path, allow_outside
        self._real = cache(os.path.realpath)  # many files share few folders
        self._inside = self._real(path).rstrip("/") + "/"

    def broken_rule(self, name: str) -> str | None:
        """What the file of this name must be, but is not; None if all is well."""
        if not name.isprintable():
            return "text of printable characters"
        if not name.lower().endswith(ARRAYS + SOUND + VIDEO):
            return f"the path of a file that ends in {', '.join(ARRAYS + SOUND + VIDEO)}"
        path = os.path.join(self.path, name)  # noqa: PTH118 (text: a Path for each file doubles the time)
        if not self._allow_outside and self._leaves(name, path):
            return "inside the manifest's folder, links followed (unless corpus.allow_outside is true)"
        try:
            mode = os.stat(path).st_mode  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return "the path of a file that exists" + (", with / between folders, not \\" if "\\" in name else "")
        except OSError as error:
            return f"the path of a file that can be read ({error.strerror})"
        return None if stat.S_ISREG(mode) else "a file, not a folder or a device"

    def _leaves(self, name: str, path: str) -> bool:
        if name.startswith("/") or os.path.normpath(name).startswith("../"):
            return True
        parent, _, file = path.rpartition("/")
        path = f"{self._real(parent)}/{file}"
        return not (self._real(path) if os.path.islink(path) else path).startswith(self._inside)  # noqa: PTH114


def _utterances(rows: list[Row]) -> list[Row]:
    """The first row of each utterance; it has more than one only where each says its part in a fold."""
    several = {"fold", "part"} <= set(rows[0].cells)
    first: dict[str, Row] = {}
    seen: dict[tuple[str, int], Row] = {}
    for row in rows:
        key = row.name, row.fold if several else 0
        if key in seen:
            rule = "in each fold once" if several else "unique"
            raise row.error("utterance_id", rule, f"{short(row.name)} is in {seen[key].place} too")
        seen[key] = row
        _check_same(row, first.setdefault(row.name, row))
    return list(first.values())


def _check_same(row: Row, first: Row) -> None:
    """What does not depend on the fold must be as in the utterance's first row."""
    for column, cell in first.cells.items():
        if row.cells[column] != cell and column not in ("fold", "part"):
            raise row.error(column, f"{short(cell)} as in {first.place}")


def _classes(utterances: list[Row], given: list[str] | None) -> list[str]:
    """The labels of `corpus.classes`, or else those that there are, sorted; by value if all are whole numbers."""
    manifest, labels = utterances[0].manifest, {row.cells["label"] for row in utterances}
    if given is None:
        if len(labels) < 2:
            raise UserError(f"{manifest}: label must name two or more classes, but is {short(*labels)} in every row")
        return sorted(labels, key=(lambda label: (int(label), label)) if all(map(_WHOLE.fullmatch, labels)) else None)
    for row in utterances:
        if row.cells["label"] not in given:
            raise row.error("label", f"one of {', '.join(given)} (corpus.classes)")
    missing = [name for name in given if name not in labels]
    if missing:
        raise UserError(f"{manifest}: every class of corpus.classes must have a row, but {', '.join(missing)} has none")
    return given


def _folds(rows: list[Row]) -> pd.DataFrame | None:
    """The table fold, utterance_id, part that the columns `fold` and `part` mean; None without either."""
    has_fold, has_part = "fold" in rows[0].cells, "part" in rows[0].cells
    if has_part:
        folds = [(row.fold if has_fold else 1, row.name, row.part) for row in rows]
        return pd.DataFrame(folds, columns=["fold", "utterance_id", "part"])
    return _rotated(rows) if has_fold else None


def _rotated(rows: list[Row]) -> pd.DataFrame:
    """In each fold its own utterances are the test part, and those of the next fold in the cycle the dev part."""
    own = np.array([row.fold for row in rows])
    numbers = np.unique(own)
    if not 3 <= len(numbers) <= MOST_FOLDS:
        raise UserError(
            f"{rows[0].manifest}: fold, without part, must have 3 … {MOST_FOLDS} different values "
            f"(a fold's dev part is the next fold's utterances), but has {len(numbers)}"
        )
    names, tables = [row.name for row in rows], []
    for fold, following in zip(numbers, np.roll(numbers, -1), strict=True):
        part = np.where(own == fold, "test", np.where(own == following, "dev", "train"))
        tables.append(pd.DataFrame({"fold": fold, "utterance_id": names, "part": part}))
    return pd.concat(tables, ignore_index=True)


def _check_files(utterances: list[Row], columns: list[str], folder: Folder, corpus: Corpus) -> list[str]:
    """Every file that a row names must be there and allowed; where `corpus.skips`, names of others become empty."""
    problems = []
    for row in progress.line("corpus", "rows", utterances):
        for column in columns:
            rule = row.cells[column] and folder.broken_rule(row.cells[column])
            if rule and not corpus.skips:
                raise row.error(column, rule)
            if rule:
                problems.append(str(row.error(column, rule)))
                row.cells[column] = ""
    return problems
