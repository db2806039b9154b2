"""Writes a small release in IEMOCAP's layout, with what is odd in the real one, and tells what it wrote.

Pictures carry their number and their side, so that a test can tell which moment and which actor a frame shows.
"""

import wave
from collections.abc import Collection
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np

RATE = 16_000
FRAMES_PER_SECOND = 29.97
HEIGHT, WIDTH = 480, 720
TOP, LEFT, BLOCK, ACROSS = 128, 68, 56, 4  # 4 × 4 blocks in the centre 224 × 224 of a half
BITS = 15
"""Of a frame's number; the 16th block makes the number of bright ones even."""
COLOURS = {"left": (70, 0, 0), "right": (0, 0, 70)}
"""RGB of a dark block; bright ones are three times as bright."""
LABELS = ("ang", "hap", "exc", "sad", "neu", "fru", "sur")
OTHERS = ("xxx", "fea", "dis", "oth")
WORDS = {
    "ang": "Stop it, I'm furious!",
    "hap": "That's lovely. [LAUGHTER]",
    "exc": "Wow -- we won!",
    "sad": "[BREATHING] She is gone...",
    "neu": "Yes: it is on the table.",
    "fru": "It doesn't work. Again?",
    "sur": "Oh! What?",
}
DIALOGUES = ("F_impro01", "M_script01_1", "M_impro05a", "F_script01_1b", "F_impro02", "M_script03_2")


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """An utterance as it was written."""

    name: str
    dialogue: str
    start: float
    end: float
    label: str
    ratings: tuple[float | str, float | str, float | str]
    text: str


def build(
    root: Path,
    *,
    sessions: int | Collection[int] = 2,
    dialogues: int = 2,
    utterances: int = 24,
    media: Collection[str] = ("text", "audio", "video"),
    seed: int = 1,
) -> list[Spoken]:
    """Write a release to `root`, which becomes `IEMOCAP_full_release`; as many dialogues a session, utterances each.

    Of 24 utterances three are of each of the seven classes and three of none; the first has no rating of valence. What
    is spoken sounds as its label does: a tone, higher from label to label. Returns them in the order of the files.
    """
    rng, spoken = np.random.default_rng(seed), []
    for session in range(1, sessions + 1) if isinstance(sessions, int) else sessions:
        folder = root / f"Session{session}"
        for place in ("dialog/EmoEvaluation/Attribute", "dialog/EmoEvaluation/Categorical"):
            write(folder / place / f"Ses0{session}F_impro01_e2_cat.txt", "Ses01F_impro01_F000 :Neutral state; ()\n")
        for letters in DIALOGUES[:dialogues]:
            own = _speak(f"Ses0{session}{letters}", utterances, rng)
            _write_labels(folder / "dialog/EmoEvaluation", own)
            if "text" in media:
                _write_transcript(folder / "dialog/transcriptions", own)
            if "audio" in media:
                _write_audio(folder / "sentences/wav", own, rng)
            if "video" in media:
                _write_video(folder / "dialog/avi/DivX", own)
            spoken += own
    return spoken


def write(path: Path, content: str, encoding: str = "utf-8") -> None:
    """A file, and what a Mac's archive puts beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding))
    (path.parent / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X\xff")


def decode(half: np.ndarray) -> int:
    """The number of the frame of which this is a half, 480 × 360, or its centre, 224 × 224; channels in any order.

    Raises ValueError where the picture is not a frame's own half, such as one that straddles both.
    """
    bright = _blocks(half).max(axis=-1) > 140
    if bright.sum() % 2:
        raise ValueError("not the picture of a frame")
    return sum(1 << bit for bit in range(BITS) if bright[bit])


def side(half: np.ndarray) -> str:
    """left or right, of a picture as for `decode` whose channels are red, green, blue."""
    red, _, blue = _blocks(half).mean(axis=0)
    return "left" if red > blue else "right"


def _blocks(half: np.ndarray) -> np.ndarray:
    """The mean colour in the middle of each block. [16, 3]"""
    if half.shape[:2] == (HEIGHT, WIDTH // 2):
        half = half[TOP : TOP + ACROSS * BLOCK, LEFT : LEFT + ACROSS * BLOCK]
    if half.shape != (ACROSS * BLOCK, ACROSS * BLOCK, 3):
        raise ValueError(f"not half a picture, but of shape {half.shape}")
    blocks = half.reshape(ACROSS, BLOCK, ACROSS, BLOCK, 3)[:, 12:-12, :, 12:-12]
    return blocks.mean(axis=(1, 3)).reshape(-1, 3)


def picture(number: int) -> np.ndarray:
    """Frame `number` of a dialogue: black above row 112 and below row 367. [480, 720, 3], BGR"""
    bits = [number >> bit & 1 for bit in range(BITS)]
    bright = [*bits, sum(bits) % 2]
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for begin, colour in ((0, COLOURS["left"][::-1]), (WIDTH // 2, COLOURS["right"][::-1])):
        cv2.rectangle(frame, (begin, 112), (begin + WIDTH // 2 - 1, 367), colour, cv2.FILLED)
        for block in np.flatnonzero(bright):
            x, y = begin + LEFT + BLOCK * int(block % ACROSS), TOP + BLOCK * int(block // ACROSS)
            cv2.rectangle(frame, (x, y), (x + BLOCK - 1, y + BLOCK - 1), [3 * value for value in colour], cv2.FILLED)
    return frame


def _speak(dialogue: str, utterances: int, rng: np.random.Generator) -> list[Spoken]:
    """Utterances that overlap in time: one begins every .25 s and lasts .6 … 1.5 s."""
    labels = list(islice(cycle((*LABELS * 3, "xxx", "xxx", OTHERS[int(dialogue[4]) % 3 + 1])), utterances))
    counts, spoken = {"F": 0, "M": 0}, []
    for number, label in enumerate(rng.permutation(labels)):
        actor = "FM"[int(rng.integers(2))]
        start = round(0.3 + 0.25 * number, 4)
        ratings = tuple(round(float(value), 4) for value in rng.uniform(1, 5, 3))
        spoken.append(
            Spoken(
                name=f"{dialogue}_{actor}{counts[actor]:03d}",
                dialogue=dialogue,
                start=start,
                end=round(start + float(rng.uniform(0.6, 1.5)), 4),
                label=str(label),
                ratings=ratings if number else ("", *ratings[1:]),
                text=WORDS.get(str(label), "Mm, I don't know."),
            )
        )
        counts[actor] += 1
    return spoken


def _write_labels(folder: Path, spoken: list[Spoken]) -> None:
    """Lines of raters as they are: several labels of one, comments with accents, two blanks, no value."""
    dialogue = spoken[0].dialogue
    blocks = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"]
    for number, own in enumerate(spoken):
        ratings = ", ".join(f"{value:.4f}" if value != "" else "" for value in own.ratings)
        raters = [
            "C-E2:\tNeutral state; Frustration;\t(a bit fed up, naïve)",
            "C-E4:\tOther;\t([3.5 - 4.0] is louder)",
            f"C-{own.name[-4]}1:\tNeutral;\t()",
            "A-E3:\tval 3; act 2; dom  2;\t()",
            f"A-{own.name[-4]}1:\tval ; act  ; dom  3;\t()",
        ]
        head = f"[{own.start:.4f} - {own.end:.4f}]\t{own.name}\t{own.label}\t[{ratings}]"
        blocks.append("\n".join([head + " " * (number % 3), *raters]) + "\n")
    text = "\n".join(blocks)
    write(folder / f"{dialogue}.txt", text.replace("\n", "\r\n") if "impro" in dialogue else text, "latin-1")
    write(folder / "Self-evaluation" / f"{dialogue}_f1.txt", "C-F1:\tNeutral;\t()\n")


def _write_transcript(folder: Path, spoken: list[Spoken]) -> None:
    lines = [f"{own.name} [{own.start:08.4f}-{own.end:08.4f}]: {own.text}" for own in spoken]
    lines.insert(1, "M: [LAUGHTER]")
    lines.insert(3, f"{spoken[0].dialogue}_MXX0 [001.0000-002.0000]: Uh-huh.")
    lines.append("F: Right.")
    write(folder / f"{spoken[0].dialogue}.txt", "\n".join(lines) + "\n")


def _write_audio(folder: Path, spoken: list[Spoken], rng: np.random.Generator) -> None:
    for own in spoken:
        path = folder / own.dialogue / f"{own.name}.wav"
        write(path, "")
        times = np.arange(round((own.end - own.start) * RATE)) / RATE
        tone = 200 * 1.4 ** [*LABELS, *OTHERS].index(own.label)
        sound = 0.4 * np.sin(2 * np.pi * tone * times) + 0.02 * rng.standard_normal(len(times))
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes((sound * 32767).astype("<i2").tobytes())


def _write_video(folder: Path, spoken: list[Spoken]) -> None:
    """The dialogue's picture, which ends a little before its last utterance does."""
    path = folder / f"{spoken[0].dialogue}.avi"
    write(path, "")
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"XVID"), FRAMES_PER_SECOND, (WIDTH, HEIGHT))
    for number in range(int((max(own.end for own in spoken) - 0.2) * FRAMES_PER_SECOND)):
        video.write(picture(number))
    video.release()
