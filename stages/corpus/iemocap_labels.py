"""The text files of IEMOCAP: the labels of a dialogue (`dialog/EmoEvaluation`) and its transcript.

Of a label file only the heads of its blocks are read, `[start - end]`, utterance, label, `[v, a, d]`: they hold what
the raters agreed on. What each of them said follows below in lines of several forms, which are left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.common.corpus import DIMENSIONS
from stages.common.errors import UserError, short
from stages.corpus.contents import unusable

LABELS = {
    "ang": 1103,
    "hap": 595,
    "exc": 1041,
    "sad": 1084,
    "neu": 1708,
    "fru": 1849,
    "sur": 107,
    "fea": 40,
    "dis": 2,
    "oth": 3,
    "xxx": 2507,
}
"""Label → utterances in the full release; xxx: the raters have no majority."""
DIALOGUE = re.compile(r"Ses0([1-5])([FM])_(?:impro[0-9]{2}[ab]?|script[0-9]{2}_[0-9]b?)")
"""A dialogue's name; its groups are the session and the actor who wears the markers."""

_UTTERANCE = re.compile(rf"({DIALOGUE.pattern})_([FM])[0-9]{{3}}")
_SECONDS = r"([0-9]{1,6}(?:\.[0-9]{0,9})?)"
_RATING = re.compile(r"-?[0-9]{1,6}(\.[0-9]{0,9})?")
_HEAD_BEGINS = re.compile(r"\[\s*[-+.]?[0-9]", re.ASCII)
_HEAD = re.compile(rf"\[\s*{_SECONDS}\s*-\s*{_SECONDS}\s*\]\s+(\S+)\s+([a-z]{{3}})(?:\s+\[(.*)\])?", re.ASCII)
_SPOKEN = re.compile(r"(\S+)\s*\[[^\]]*\]\s*:(.*)", re.ASCII | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """What a block's head says of an utterance."""

    name: str
    """utterance_id, of the form `Ses01F_impro01_M000`, so that it is safe as the name of a file."""
    dialogue: str
    start: float
    """Seconds from the dialogue's beginning."""
    end: float
    label: str
    """One of `LABELS`."""
    ratings: tuple[float | str, ...]
    """As `DIMENSIONS`: means over raters, "" where there is none."""

    @property
    def session(self) -> int:
        """1 … 5."""
        return int(self.dialogue[4])

    @property
    def actor(self) -> str:
        """F or M, who speaks; the dialogue's own letter is who wears the markers."""
        return self.name[-4]

    @property
    def half(self) -> str:
        """The half of the picture with the speaker: the actor with markers is on the left."""
        return "left" if self.actor == self.dialogue[5] else "right"


def read_labels(path: Path) -> list[Utterance]:
    """The utterances of the label file of a dialogue, which the file is named after, in its order.

    Raises
    ------
    UserError
        If the file is broken or has no head, or a head breaks a rule; names the file, the line, the rule and the value.
    """
    reason = unusable(path)
    if reason:
        raise UserError(f"{path}: must be a file with labels, but {reason}")
    utterances, lines = [], {}
    for number, line in _lines(path):
        if not _HEAD_BEGINS.match(line):
            continue
        try:
            utterance = _head(line, path.stem)
            if utterance.name in lines:
                raise ValueError(
                    f"an utterance must be there once, but {utterance.name} is in line {lines[utterance.name]} too"
                )
        except ValueError as error:
            raise UserError(f"{path}: line {number}: {error}") from None
        lines[utterance.name] = number
        utterances.append(utterance)
    if not utterances:
        raise UserError(f"{path}: must have a line [start - end] utterance label [v, a, d] an utterance, but has none")
    return utterances


def read_transcript(path: Path) -> dict[str, str]:
    """Utterance → what is said, on one line of printable characters; noises such as `[LAUGHTER]` are part of it.

    A text ends at its first colon, as the paper's did, whose scripts divided lines at colons. Of several lines of an
    utterance the last counts. Lines of another form are left out, such as those that begin with `M:`.

    Raises
    ------
    UserError
        If the file cannot be read.
    """
    spoken = (_SPOKEN.fullmatch(line) for _, line in _lines(path))
    return {match[1]: _printable(match[2].split(":")[0]) for match in spoken if match}


def _head(line: str, dialogue: str) -> Utterance:
    """The head of a block; a ValueError says which rule it breaks."""
    head = _HEAD.fullmatch(line)
    if not head:
        raise ValueError(f"a line of this kind must be [start - end] utterance label [v, a, d], but is {short(line)}")
    start, end, name, label, ratings = head.groups()
    own = _UTTERANCE.fullmatch(name)
    if not own or own[1] != dialogue:
        raise ValueError(f"the utterance must be {dialogue}_ with F or M and three digits, but is {short(name)}")
    if label not in LABELS:
        raise ValueError(f"{name}: the label must be one of {', '.join(LABELS)}, but is {label}")
    if float(end) <= float(start):
        raise ValueError(f"{name}: the end must be after the start, {start}, but is {end}")
    return Utterance(
        name=name, dialogue=dialogue, start=float(start), end=float(end), label=label, ratings=_ratings(ratings or "")
    )


def _ratings(text: str) -> tuple[float | str, ...]:
    values = [value.strip() for value in text.split(",")]
    if len(values) != len(DIMENSIONS):  # which of them is missing cannot be known
        return ("",) * len(DIMENSIONS)
    return tuple(float(value) if _RATING.fullmatch(value) else "" for value in values)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Each line with its number, without blanks around it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: must be a file that can be read, but cannot be ({error.strerror})") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:  # raters' comments have accents in an older encoding
        text = content.decode("cp1252", errors="replace")
    # str.splitlines would also divide at characters that comments may hold.
    return ((number, line.strip()) for number, line in enumerate(re.split("\r\n|\r|\n", text), start=1))


def _printable(text: str) -> str:
    return " ".join("".join(letter for letter in text if letter.isprintable() or letter.isspace()).split())
