"""Where IEMOCAP has an utterance's text, audio and video, and which of the files are missing or broken."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from stages.common.errors import UserError
from stages.corpus.contents import unusable
from stages.corpus.iemocap_labels import Utterance, read_transcript

FOLDERS = {"text": "dialog/transcriptions", "audio": "sentences/wav", "video": "dialog/avi/DivX"}
"""Modality → where a session's folder has it."""

Cells = dict[str, str | float]
"""Columns of one utterance."""


def modalities(release: Path, sessions: Iterable[int]) -> list[str]:
    """Those whose folder one of the sessions has, at least.

    Raises
    ------
    UserError
        If there is none.
    """
    places = {name: [release / f"Session{number}" / place for number in sessions] for name, place in FOLDERS.items()}
    found = [name for name, own in places.items() if any(folder.is_dir() for folder in own)]
    if not found:
        raise UserError(f"{release}: a session must hold one of {', '.join(FOLDERS.values())}, but none does")
    return found


def columns(
    root: Path, inner: str, utterances: list[Utterance], modalities: list[str]
) -> tuple[list[Cells], list[str]]:
    """Each utterance's columns of media and transcription, and a line for each file that is missing or broken.

    `root`: what file names are relative to; `inner`: the release's folder from there on.
    """
    rows, problems = [{} for _ in utterances], []
    for modality in modalities:
        files = [f"{inner}{_file(utterance, modality)}" for utterance in utterances]
        faulty, lines = _faults(root, files, modality)
        problems += lines
        if modality == "text":
            texts, lines = _transcriptions(root, utterances, files, faulty)
            problems += lines
            cells = [{"transcription": text} for text in texts]
        else:
            names = ["" if file in faulty else file for file in files]
            cells = [_medium(own, modality, name) for own, name in zip(utterances, names, strict=True)]
        rows = [row | own for row, own in zip(rows, cells, strict=True)]
    return rows, problems


def _file(utterance: Utterance, modality: str) -> str:
    """The file that holds an utterance's text, audio or video, from the release's folder on."""
    dialogue = utterance.dialogue
    own = {"text": f"{dialogue}.txt", "audio": f"{dialogue}/{utterance.name}.wav", "video": f"{dialogue}.avi"}
    return f"Session{utterance.session}/{FOLDERS[modality]}/{own[modality]}"


def _medium(utterance: Utterance, modality: str, name: str) -> Cells:
    """The columns of audio, a file an utterance, or of video, in which both actors are seen for all of a dialogue."""
    if modality == "audio":
        return {"audio_file_name": name, "audio_start": "", "audio_end": ""}
    times = {"video_start": utterance.start, "video_end": utterance.end}
    return {"video_file_name": name} | times | {"video_crop": utterance.half}


def _faults(root: Path, files: list[str], modality: str) -> tuple[set[str], list[str]]:
    """The unusable ones among the utterances' files, and a line for each, or for the whole folder where that lacks."""
    counts = Counter(files)
    reasons = {file: reason for file in counts if (reason := unusable(root / file))}
    without: Counter[tuple[str, str]] = Counter()
    for file, reason in reasons.items():
        without[_missing_folder(root, file) if reason == "is missing" else file, reason] += counts[file]
    lines = [f"{place} {reason}: {_count(n)} without {modality}" for (place, reason), n in without.items()]
    return set(reasons), lines


def _missing_folder(root: Path, file: str) -> str:
    """The outermost folder whose absence explains that a file is missing; else the file."""
    place = PurePosixPath(file)
    while not (root / place.parent).exists():
        place = place.parent
    return str(place)


def _count(number: int) -> str:
    return f"{number} utterance{' is' if number == 1 else 's are'}"


def _transcriptions(
    root: Path, utterances: list[Utterance], files: list[str], faulty: set[str]
) -> tuple[list[str], list[str]]:
    """What is said in each utterance, "" where unknown, and a line for each that a file without faults lacks."""
    transcripts = {file: read_transcript(root / file) for file in dict.fromkeys(files) if file not in faulty}
    texts = [transcripts.get(file, {}).get(own.name, "") for own, file in zip(utterances, files, strict=True)]
    lines = [
        f"{file} has no text of {own.name}"
        for own, file, text in zip(utterances, files, texts, strict=True)
        if not text and file not in faulty
    ]
    return texts, lines
