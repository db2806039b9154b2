"""RAVDESS and CREMA-D: corpora whose file names say everything, so that they need no table of labels.

RAVDESS: Livingstone and Russo (2018), https://doi.org/10.1371/journal.pone.0196391. CREMA-D: Cao et al. (2014),
https://doi.org/10.1109/TAFFC.2014.2336244; its labels are what the actors were told to play, not what listeners rated.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from stages.common.corpus import Meta
from stages.common.errors import UserError, short
from stages.common.params import Corpus
from stages.corpus.contents import Contents, class_of, find_root, ordered_classes, unusable

MEDIA = ("audio", "video")


def files_below(root: Path) -> tuple[list[str], list[str]]:
    """The files in a folder and in all folders below it, and a line for each folder that cannot be read.

    Paths are relative to `root`, have `/` between their parts, and are sorted by their bytes. Links to folders are
    followed, but no folder is read twice, and none that holds `root`: a loop of links ends. Files `._*`, which macOS
    leaves in archives, are left out.
    """
    files, problems = [], []
    seen = {os.path.realpath(path) for path in (root, *root.resolve().parents)}

    def enter(folder: Path, name: str) -> bool:
        if not name.isprintable():
            problems.append(f"{short(_relative(folder / name, root))}: a folder's name must be of printable characters")
            return False
        real = os.path.realpath(folder / name)
        new = real not in seen
        seen.add(real)
        return new

    def report(error: OSError) -> None:
        problems.append(f"{_relative(Path(error.filename), root)}: this folder cannot be read ({error.strerror})")

    for folder, folders, names in os.walk(root, followlinks=True, onerror=report):
        folders[:] = [name for name in sorted(folders, key=os.fsencode) if enter(Path(folder), name)]
        files += [_relative(Path(folder, name), root) for name in names if not name.startswith("._")]
    return sorted(files, key=os.fsencode), problems


def ravdess(corpus: Corpus) -> Contents:
    """The takes of RAVDESS in `corpus.ravdess.channel`, below `corpus.root`.

    A take is there as sound and picture (01), picture (02) and sound (03), and is one utterance. Its audio is 03 or
    else 01, its video 01 or else 02; of files of one name in several folders, the first by path is taken.

    Raises
    ------
    UserError
        If the folder has none, or `corpus.labels` or `corpus.classes` do not fit.
    """
    channel = corpus.ravdess.channel
    known = sum((KNOWN_TAKES[name] for name in KNOWN_TAKES if channel in (name, "both")), Counter())
    parse = partial(_ravdess_file, channel=channel)
    of_channel = "" if channel == "both" else f" of {channel} (corpus.ravdess.channel)"
    what = f"RAVDESS's files{of_channel}, such as 03-{'02' if channel == 'song' else '01'}-05-01-01-01-01.wav"
    return _read(corpus, _Release(name="RAVDESS", labels=RAVDESS_LABELS, known=known, parse=parse, what=what))


def crema_d(corpus: Corpus) -> Contents:
    """The utterances of CREMA-D, below `corpus.root`: audio from its .wav files, video from its .flv files.

    Raises
    ------
    UserError
        If the folder has none, or `corpus.labels` or `corpus.classes` do not fit.
    """
    labels = tuple(CREMA_D_LABELS.values())
    known = Counter(dict.fromkeys(labels, 1271) | {"neutral": 1087})
    what = "CREMA-D's files, such as 1001_DFA_ANG_XX.wav"
    return _read(corpus, _Release(name="CREMA-D", labels=labels, known=known, parse=_crema_d_file, what=what))


@dataclass(frozen=True, kw_only=True)
class _Take:
    """What a file's name says."""

    name: str
    """The utterance's."""
    speaker: str
    label: str
    transcription: str
    ranks: Mapping[str, int]
    """Medium that the file has → its rank: of an utterance's files, the lowest is taken."""


@dataclass(frozen=True, kw_only=True)
class _Release:
    """What is particular to a corpus."""

    name: str
    labels: Iterable[str]
    """In the order of the classes."""
    known: Counter
    """Label → utterances of the whole release."""
    parse: Callable[[str], _Take | None]
    """Reads a file's name: None if it is not of the corpus; a ValueError says what is impossible in it."""
    what: str
    """The files that there must be, for a message."""


@dataclass
class _Utterance:
    """An utterance and its files: medium → rank → path."""

    take: _Take
    files: dict[str, dict[int, str]] = field(default_factory=lambda: {medium: {} for medium in MEDIA})


def _read(corpus: Corpus, release: _Release) -> Contents:
    root = find_root(corpus)
    _check_labels(corpus, release.labels)
    found, problems = _find(root, release)
    if not found:
        raise UserError(f"{root}: must hold {release.what}, but holds none")
    meant = {label: class_of(label, corpus, {label: label}) for label in release.labels}
    kept = [utterance for utterance in found if meant[utterance.take.label] is not None]
    classes = ordered_classes((meant[utterance.take.label] for utterance in kept), corpus, release.labels, root)
    media, faults = _usable(root, kept)
    there = [medium for medium in MEDIA if any(files[medium] for files in media)]
    missing = [
        f"{utterance.take.name}: has no file of its {medium}"
        for medium in there
        for utterance in kept
        if not utterance.files[medium]
    ]
    return Contents(
        meta=Meta(corpus=release.name, classes=classes, modalities=["text", *there]),
        utterances=[
            _row(utterance.take, meant[utterance.take.label], {medium: files[medium] for medium in there})
            for utterance, files in zip(kept, media, strict=True)
        ],
        problems=[*problems, *faults, *missing],
        notes=[_count(found, release.known)],
    )


def _check_labels(corpus: Corpus, known: Iterable[str]) -> None:
    for label in corpus.labels or {}:
        if label not in known:
            raise UserError(f"corpus.labels: keys must be labels of the corpus, {', '.join(known)}, but one is {label}")


def _find(root: Path, release: _Release) -> tuple[list[_Utterance], list[str]]:
    """All utterances by name, and what is wrong with files and folders."""
    paths, problems = files_below(root)
    found: dict[str, _Utterance] = {}
    for path in paths:
        try:
            take = release.parse(path.rpartition("/")[2])
        except ValueError as error:
            problems.append(f"{path}: {error}")
            continue
        if take is not None:
            utterance = found.setdefault(take.name, _Utterance(take))
            for medium, rank in take.ranks.items():
                utterance.files[medium].setdefault(rank, path)
    return [found[name] for name in sorted(found)], problems


def _usable(root: Path, utterances: list[_Utterance]) -> tuple[list[dict[str, str]], list[str]]:
    """Of each utterance medium → the best file that may be used, empty if none may, and why others may not."""
    faults: dict[str, str] = {}

    def first(files: dict[int, str]) -> str:
        for rank in sorted(files):
            reason = unusable(root / files[rank])
            if reason is None:
                return files[rank]
            faults[files[rank]] = reason
        return ""

    chosen = [{medium: first(utterance.files[medium]) for medium in MEDIA} for utterance in utterances]
    return chosen, fault_lines(faults)


def fault_lines(faults: Mapping[str, str]) -> list[str]:
    """A line for each file, path → what is wrong with it, but one for all pointers of Git LFS.

    Where there is one of these, there are thousands.
    """
    pointers = [path for path, reason in faults.items() if "Git LFS" in reason]
    lines = [f"{path}: {reason}" for path, reason in faults.items() if "Git LFS" not in reason]
    if pointers:
        such = f" (the first of {len(pointers):,} such files)" if len(pointers) > 1 else ""
        lines.append(f"{pointers[0]}{such}: {faults[pointers[0]]}")
    return lines


def _row(take: _Take, label: str, files: Mapping[str, str]) -> dict:
    row = {"utterance_id": take.name, "speaker": take.speaker, "session": "", "dialogue": "", "label": label}
    return row | {"transcription": take.transcription} | media_columns(files)


def media_columns(files: Mapping[str, str]) -> dict[str, str]:
    """What `Contents.utterances` says of media whose files belong to one utterance as a whole.

    `files`: medium → path, empty where missing.
    """
    columns = {}
    for medium, path in files.items():
        columns |= {f"{medium}_file_name": path, f"{medium}_start": "", f"{medium}_end": ""}
    return columns | ({"video_crop": ""} if "video" in files else {})


def _count(found: list[_Utterance], known: Counter) -> str:
    counts = Counter(utterance.take.label for utterance in found)
    labels = ", ".join(f"{label} {counts[label]:,} of {known[label]:,}" for label in known)
    return f"{len(found):,} utterances of the {known.total():,} that the release has: {labels}"


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


RAVDESS_LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
KNOWN_TAKES = {
    "speech": Counter(dict.fromkeys(RAVDESS_LABELS, 192) | {"neutral": 96}),
    "song": Counter(dict.fromkeys(RAVDESS_LABELS[:6], 184) | {"neutral": 92}),
}
"""Channel → label → takes of the whole release."""
RAVDESS_STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")
RAVDESS_FIELDS = {
    "modality": 3,
    "channel": 2,
    "emotion": 8,
    "intensity": 2,
    "statement": 2,
    "repetition": 2,
    "actor": 24,
}
"""Field of a file's name → its highest value; the lowest is 01."""
RAVDESS_RANKS = {
    "01": {"audio": 1, "video": 0},
    "02": {"video": 1},
    "03": {"audio": 0},
}
"""A file's modality → the media it has, with their ranks."""

_RAVDESS_NAME = re.compile(r"([0-9]+(?:-[0-9]+){6})\.(wav|mp4)", re.IGNORECASE | re.ASCII)


def _ravdess_file(file_name: str, channel: str) -> _Take | None:
    """Read names such as 03-01-05-01-01-01-01.wav."""
    match = _RAVDESS_NAME.fullmatch(file_name)
    if not match:
        return None
    fields = dict(zip(RAVDESS_FIELDS, match[1].split("-"), strict=True))
    for name, highest in RAVDESS_FIELDS.items():
        if not (len(fields[name]) == 2 and 1 <= int(fields[name]) <= highest):
            raise ValueError(f"the name's {name} must be one of 01 … {highest:02d}, but is {short(fields[name])}")
    suffix = "wav" if fields["modality"] == "03" else "mp4"
    if match[2].lower() != suffix:
        raise ValueError(f"a name of modality {fields['modality']} must end in .{suffix}, but ends in .{match[2]}")
    if fields["channel"] == "02" and fields["emotion"] > "06":
        raise ValueError(
            f"the name's emotion must be one of 01 … 06 where its channel is 02, but is {fields['emotion']}"
        )
    if fields["emotion"] == "01" and fields["intensity"] != "01":
        raise ValueError(f"the name's intensity must be 01 where its emotion is 01, but is {fields['intensity']}")
    if channel not in ("both", "speech" if fields["channel"] == "01" else "song"):
        return None
    return _Take(
        name=match[1].partition("-")[2],
        speaker=f"Actor_{fields['actor']}",
        label=RAVDESS_LABELS[int(fields["emotion"]) - 1],
        transcription=RAVDESS_STATEMENTS[int(fields["statement"]) - 1],
        ranks=RAVDESS_RANKS[fields["modality"]],
    )


CREMA_D_LABELS = {"ANG": "angry", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
CREMA_D_SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
CREMA_D_LEVELS = ("LO", "MD", "HI", "XX", "X")
"""X stands for XX in one of the release's names, 1040_ITH_SAD_X."""

_CREMA_D_NAME = re.compile(r"([0-9]{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{1,2})\.(wav|flv)", re.IGNORECASE | re.ASCII)


def _crema_d_file(file_name: str) -> _Take | None:
    """Read names such as 1001_DFA_ANG_XX.wav."""
    match = _CREMA_D_NAME.fullmatch(file_name)
    if not match:
        return None
    actor, sentence, emotion, level, suffix = match.groups()
    if not 1001 <= int(actor) <= 1091:
        raise ValueError(f"the name's actor must be one of 1001 … 1091, but is {actor}")
    fields = {
        "sentence": (sentence, CREMA_D_SENTENCES),
        "emotion": (emotion, CREMA_D_LABELS),
        "level": (level, CREMA_D_LEVELS),
    }
    for name, (value, known) in fields.items():
        if value not in known:
            raise ValueError(f"the name's {name} must be one of {', '.join(known)}, but is {short(value)}")
    return _Take(
        name=f"{actor}_{sentence}_{emotion}_{'XX' if level == 'X' else level}",
        speaker=actor,
        label=CREMA_D_LABELS[emotion],
        transcription=CREMA_D_SENTENCES[sentence],
        ranks={"audio" if suffix.lower() == "wav" else "video": 0},
    )
