"""IEMOCAP as it is released: `Session1` … `Session5` with labels, transcripts, a WAV an utterance, an AVI a dialogue.

C. Busso et al., IEMOCAP: Interactive emotional dyadic motion capture database, 2008. Two actors speak in a dialogue and
are both in its picture. Labels are those that the release settled on; the paper's seven classes leave out others.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from stages.common.corpus import DIMENSIONS, Meta
from stages.common.errors import UserError, short
from stages.common.params import Corpus
from stages.corpus import iemocap_folds, iemocap_media
from stages.corpus.contents import Contents, class_of, find_root, ordered_classes
from stages.corpus.iemocap_labels import DIALOGUE, LABELS, Utterance, read_labels

CLASS_COUNTS = {
    "angry": 1103,
    "excited": 1041,
    "happy": 595,
    "sad": 1084,
    "frustrated": 1849,
    "surprise": 107,
    "neutral": 1708,
}
"""Class → utterances of the seven-class subset (paper, Section 3); all differ, so that a count names its class."""

SEVEN = {
    "ang": "angry",
    "exc": "excited",
    "hap": "happy",
    "sad": "sad",
    "fru": "frustrated",
    "sur": "surprise",
    "neu": "neutral",
}
"""The release's label → the paper's class; others are left out."""
FOUR = {"ang": "angry", "hap": "happy", "exc": "happy", "sad": "sad", "neu": "neutral"}
"""Likewise of the four classes that most of the literature has."""

RELEASE = "IEMOCAP_full_release"
SESSIONS = [1, 2, 3, 4, 5]
DIALOGUES = 151
"""Of the full release."""
LABEL_FOLDER = "dialog/EmoEvaluation"


def read(corpus: Corpus) -> Contents:
    """The utterances of the release in `corpus.root`, by dialogue and name, with the folds of the paper's arrays.

    `corpus.root` is the folder `IEMOCAP_full_release` or the one that holds it. Sessions may be missing.

    Raises
    ------
    UserError
        If `corpus.root` holds no session, or a label breaks a rule; names the file, the line, the rule and the value.
    """
    root = find_root(corpus)
    inner, sessions = _find_sessions(root)
    dialogues = _read_dialogues(root / inner, sessions)
    spoken = [utterance for own in dialogues.values() for utterance in own]
    meaning = _meaning(corpus)
    kept = [utterance for utterance in spoken if meaning[utterance.label]]
    known = FOUR if corpus.classes == "four" else SEVEN
    classes = ordered_classes((meaning[own.label] for own in kept), corpus, known.values(), root / inner)
    modalities = iemocap_media.modalities(root / inner, sessions)
    columns, problems = iemocap_media.columns(root, inner, kept, modalities)
    return Contents(
        meta=Meta(
            corpus=_name(meaning, classes, sessions),
            classes=classes,
            modalities=modalities,
            dimensions=dict.fromkeys(DIMENSIONS, corpus.scale),
        ),
        utterances=[_row(own, meaning) | cells for own, cells in zip(kept, columns, strict=True)],
        folds=iemocap_folds.folds([own.name for own in kept]),
        problems=problems,
        notes=_notes(spoken, meaning, classes, len(dialogues), sessions)
        + [
            f"no session has {place}: there is no {name}"
            for name, place in iemocap_media.FOLDERS.items()
            if name not in modalities
        ],
    )


def _find_sessions(root: Path) -> tuple[str, list[int]]:
    """The release's folder, from `root` on ("" if it is that), and the numbers of the sessions in it."""
    for inner in ("", f"{RELEASE}/"):
        sessions = _sessions(root / inner)
        if sessions:
            return inner, sessions
    near = [*sorted(root.glob("*/")), *root.absolute().parents]
    other = next((folder for folder in near if _sessions(folder)), None)
    raise UserError(
        f"{root}: corpus.root must be the folder {RELEASE}, which holds Session1 … Session5, but holds none of them"
        + (f"; {other} does" if other else "")
    )


def _sessions(folder: Path) -> list[int]:
    return sorted(int(path.name[-1]) for path in folder.glob("Session[1-5]") if path.is_dir())


def _read_dialogues(release: Path, sessions: Iterable[int]) -> dict[str, list[Utterance]]:
    """Dialogue → its utterances, both in the order of their names' bytes."""
    dialogues = {}
    for number in sessions:
        for path in sorted((release / f"Session{number}" / LABEL_FOLDER).glob("*.txt")):
            name = DIALOGUE.fullmatch(path.stem)  # not so are the `._*` that archives made on a Mac hold
            if not name or path.is_dir():
                continue
            if int(name[1]) != number:
                raise UserError(f"{path}: must be of session {number}, as its folder, but is of session {name[1]}")
            dialogues[path.stem] = sorted(read_labels(path), key=lambda utterance: utterance.name)
    if not dialogues:
        raise UserError(
            f"{release}: must hold label files such as Session1/{LABEL_FOLDER}/Ses01F_impro01.txt, but has none "
            f"in Session{', Session'.join(map(str, sessions))}"
        )
    return dialogues


def _meaning(corpus: Corpus) -> dict[str, str | None]:
    """The release's label → class, None where its utterances are left out."""
    unknown = sorted(set(corpus.labels or {}) - set(LABELS))
    if unknown:
        raise UserError(f"corpus.labels must map IEMOCAP's labels {', '.join(LABELS)}, but has {short(unknown[0])}")
    known = FOUR if corpus.classes == "four" else SEVEN
    return {label: class_of(label, corpus, known) for label in LABELS}


def _name(meaning: dict[str, str | None], classes: list[str], sessions: list[int]) -> str:
    """The corpus's name; plain IEMOCAP is that of the paper, whose numbers stand beside the study's."""
    papers = meaning == {label: SEVEN.get(label) for label in LABELS} and len(classes) == len(CLASS_COUNTS)
    differs = [] if papers else [f"{len(classes)} classes"]
    if sessions != SESSIONS:
        differs.append(f"session{'s' * (len(sessions) > 1)} {', '.join(map(str, sessions))}")
    return f"IEMOCAP ({'; '.join(differs)})" if differs else "IEMOCAP"


def _row(utterance: Utterance, meaning: dict[str, str | None]) -> dict[str, str | float]:
    """Who says it and what was rated."""
    return {
        "utterance_id": utterance.name,
        "speaker": utterance.name[:5] + utterance.actor,
        "session": f"Session{utterance.session}",
        "dialogue": utterance.dialogue,
        "label": meaning[utterance.label],
    } | dict(zip(DIMENSIONS, utterance.ratings, strict=True))


def _notes(
    spoken: list[Utterance],
    meaning: dict[str, str | None],
    classes: list[str],
    dialogues: int,
    sessions: list[int],
) -> list[str]:
    """How many utterances there are of each class, and whether the full release has as many."""
    counts, full = Counter(), Counter()
    for utterance in spoken:
        counts[meaning[utterance.label]] += 1
    for label, count in LABELS.items():
        full[meaning[label]] += count
    left_out = counts.pop(None, 0)
    del full[None]
    found = f"{counts.total()} utterances of {dialogues} dialogues: {_listed(counts, classes)}"
    others = [f"{left_out} utterances with other labels are left out"] if left_out else []
    if sessions != SESSIONS:
        return [f"{found}; of the five sessions only {', '.join(map(str, sessions))} are there", *others]
    if counts == full:
        return [f"{found}: the counts of the full release", *others]
    return [
        f"warning: {found}; the full release has {full.total()} of {DIALOGUES}: {_listed(full, sorted(full))}",
        *others,
    ]


def _listed(counts: Counter, classes: Iterable[str]) -> str:
    return ", ".join(f"{name} {counts[name]}" for name in classes)
