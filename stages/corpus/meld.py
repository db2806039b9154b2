"""MELD: clips of a television series, with a table of utterances for each of its official parts.

Poria et al. (2019), https://doi.org/10.18653/v1/P19-1050. Each part has `<part>_sent_emo.csv` and, in folders named
after it, a clip `dia<dialogue>_utt<utterance>.mp4` with sound for each row.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.common.corpus import PARTS, Meta
from stages.common.errors import UserError, short
from stages.common.params import Corpus
from stages.corpus.contents import Contents, class_of, find_root, ordered_classes, unusable
from stages.corpus.metadata import one_line
from stages.corpus.named_files import MEDIA, fault_lines, files_below, media_columns

LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
KNOWN_ROWS = {"train": 9989, "dev": 1109, "test": 2610}
"""Part → utterances of the whole release."""
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
"""Those that are read, in any order and among others."""
LARGEST_TABLE = 2**26
"""Bytes; the release's largest has 1.1 million."""

_CLIP = re.compile(r"dia([0-9]{1,9})_utt([0-9]{1,9})\.mp4", re.IGNORECASE)
_WHOLE = re.compile(r"[0-9]{1,9}")
_CP1252 = {code: bytes([code]).decode("cp1252", errors="ignore") for code in range(0x80, 0xA0)}

Clip = tuple[int, int]
"""A clip's numbers within its part: of the dialogue, and of the utterance in it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a part's table."""

    part: str
    clip: Clip
    speaker: str
    transcription: str
    label: str | None
    """The class; None if the utterance is left out."""

    @property
    def dialogue(self) -> str:
        """Its name in the corpus: numbers begin again in each part."""
        return f"{self.part}_dia{self.clip[0]}"

    @property
    def name(self) -> str:
        """The utterance_id."""
        return f"{self.dialogue}_utt{self.clip[1]}"


def read(corpus: Corpus) -> Contents:
    """MELD below `corpus.root`, with its parts as one fold; audio and video of an utterance are one file.

    Raises
    ------
    UserError
        If a part's table is missing or breaks a rule, which names the file and the line; or if `corpus.classes` does
        not fit.
    """
    root = find_root(corpus)
    paths, problems = files_below(root)
    tables = {part: _find_table(root, paths, part) for part in PARTS}
    rows = [row for part in PARTS for row in _read_table(root / tables[part], part, corpus)]
    clips, unplaced = _find_clips(paths)
    kept = [row for row in rows if row.label is not None]
    classes = ordered_classes((row.label for row in kept), corpus, LABELS, root)
    files, faults = _usable(root, kept, clips)
    there = MEDIA if any(files.values()) else ()
    folds = pd.DataFrame({"fold": 1, "utterance_id": [row.name for row in kept], "part": [row.part for row in kept]})
    return Contents(
        meta=Meta(corpus="MELD", classes=classes, modalities=["text", *there]),
        utterances=[_utterance(row, dict.fromkeys(there, files[row.name])) for row in kept],
        folds=folds,
        problems=[*problems, *faults, *_without_row(rows, clips, tables), *unplaced],
        notes=[_count(rows, tables)] + ([] if any(clips.values()) else ["no clips: there is text alone"]),
    )


def _find_table(root: Path, paths: list[str], part: str) -> str:
    """The part's table that is nearest to the root, since it may be there twice."""
    name = f"{part}_sent_emo.csv"
    found = [path for path in paths if path.rpartition("/")[2] == name]
    if not found:
        raise UserError(f"{root}: must hold {name}, in this folder or below it, but does not")
    return min(found, key=lambda path: path.count("/"))


def _read_table(path: Path, part: str, corpus: Corpus) -> list[Row]:
    """The rows of a part, each checked."""
    rows: dict[Clip, Row] = {}
    for line, cells in _records(path):
        row = _row(path, line, cells, part, corpus)
        if row.clip in rows:
            dialogue, utterance = row.clip
            raise UserError(
                f"{path}: line {line}: Dialogue_ID and Utterance_ID must together be unique, but {dialogue} and "
                f"{utterance} were there before"
            )
        rows[row.clip] = row
    if not rows:
        raise UserError(f"{path}: must have a row for each utterance, but has none")
    return list(rows.values())


def _records(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row's line, from 1, and its cells by column."""
    reader = csv.reader(io.StringIO(_text(path), newline=""))
    header, line = None, 1
    try:
        for cells in reader:
            if cells and header is None:
                header = _header(path, line, cells)
            elif cells:
                if len(cells) != len(header):
                    raise UserError(
                        f"{path}: line {line}: must have {len(header)} cells as the header, but has {len(cells)}"
                    )
                yield line, dict(zip(header, cells, strict=True))
            line = reader.line_num + 1  # a quoted cell may have several lines
    except csv.Error as error:
        raise UserError(f"{path}: line {line}: must be CSV, but cannot be read ({short(error)})") from None


def _header(path: Path, line: int, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    for name in COLUMNS:
        if names.count(name) != 1:
            found = "lacks it" if name not in names else "has it more than once"
            raise UserError(f"{path}: line {line}: the header must have the column {name}, but {found}")
    return names


def _text(path: Path) -> str:
    """A table's text, in UTF-8 or else CP1252.

    The release's own UTF-8 has characters of CP1252 that were once taken for Latin-1 (U+0092 for an apostrophe).
    """
    reason = unusable(path)
    if reason:
        raise UserError(f"{path}: {reason}")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_TABLE + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) > LARGEST_TABLE:
        raise UserError(f"{path}: must have at most {LARGEST_TABLE} bytes, but has more")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.translate(_CP1252)


def _row(path: Path, line: int, cells: dict[str, str], part: str, corpus: Corpus) -> Row:
    for column in ("Dialogue_ID", "Utterance_ID"):
        if not _WHOLE.fullmatch(cells[column].strip()):
            raise UserError(
                f"{path}: line {line}: {column} must be a whole number of up to 9 digits, but is {short(cells[column])}"
            )
    emotion = cells["Emotion"].strip()
    if emotion not in LABELS and emotion not in (corpus.labels or {}):
        raise UserError(
            f"{path}: line {line}: Emotion must be one of {', '.join(LABELS)}, or a key of corpus.labels, "
            f"but is {short(emotion)}"
        )
    return Row(
        part=part,
        clip=(int(cells["Dialogue_ID"]), int(cells["Utterance_ID"])),
        speaker=one_line(cells["Speaker"]),
        transcription=one_line(cells["Utterance"]),
        label=class_of(emotion, corpus, {label: label for label in LABELS}),
    )


def _find_clips(paths: list[str]) -> tuple[dict[str, dict[Clip, str]], list[str]]:
    """Part → clip → its path, and a line about clips of no part; of several files of a clip the first is taken."""
    clips, unplaced = {part: {} for part in PARTS}, []
    for path in paths:
        folder, _, name = path.rpartition("/")
        match = _CLIP.fullmatch(name)
        part = _part(folder) if match else None
        if part:
            clips[part].setdefault((int(match[1]), int(match[2])), path)
        elif match:
            unplaced.append(path)
    return clips, [f"clips in no folder of {', '.join(PARTS)}: {_some(unplaced)}"] if unplaced else []


def _part(folder: str) -> str | None:
    """The part that the innermost folder with a part's name in its own is of: `dev_splits_complete` of dev."""
    for name in reversed(folder.lower().split("/")):
        named = set(re.split("[^a-z]+", name)) & set(PARTS)
        if len(named) == 1:
            return named.pop()
    return None


def _usable(root: Path, rows: list[Row], clips: dict[str, dict[Clip, str]]) -> tuple[dict[str, str], list[str]]:
    """utterance_id → its clip's path, empty if it is missing or cannot be used, and lines about those."""
    files, faults, missing = {}, {}, defaultdict(list)
    for row in rows:
        path = clips[row.part].get(row.clip, "")
        reason = path and unusable(root / path)
        if reason:
            faults[path] = reason
        elif not path:
            missing[row.part].append(f"{row.part}: dia{row.clip[0]}_utt{row.clip[1]}.mp4 is missing")
        files[row.name] = "" if reason else path
    problems = fault_lines(faults)
    for part in PARTS if any(clips.values()) else ():
        none = f"{part}: none of its {len(missing[part]):,} clips is there"
        problems += missing[part] if clips[part] else [none]
    return files, problems


def _without_row(rows: list[Row], clips: dict[str, dict[Clip, str]], tables: dict[str, str]) -> list[str]:
    """A line for each part that has clips without a row."""
    known = {(row.part, row.clip) for row in rows}
    lines = []
    for part in PARTS:
        others = [path for clip, path in clips[part].items() if (part, clip) not in known]
        lines += [f"{part}: clips without a row in {tables[part]}: {_some(others)}"] if others else []
    return lines


def _some(paths: list[str]) -> str:
    """How many files there are, and the first three of them."""
    return f"{len(paths):,} ({', '.join(paths[:3])}{', …' if len(paths) > 3 else ''})"


def _utterance(row: Row, files: dict[str, str]) -> dict:
    names = {"utterance_id": row.name, "speaker": row.speaker, "session": "", "dialogue": row.dialogue}
    return names | {"label": row.label, "transcription": row.transcription} | media_columns(files)


def _count(rows: list[Row], tables: dict[str, str]) -> str:
    counts = {part: sum(row.part == part for row in rows) for part in PARTS}
    parts = [f"{part} {counts[part]:,} of {KNOWN_ROWS[part]:,} in {tables[part]}" for part in PARTS]
    return f"rows of those that the release has: {'; '.join(parts)}"
