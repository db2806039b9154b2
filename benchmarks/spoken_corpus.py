"""`python -m benchmarks.spoken_corpus [--folder FOLDER] [--utterances 22]`: from media to verdicts, without a licence.

Makes a corpus that can be heard and seen, in the layout of IEMOCAP's release: espeak-ng speaks sentences, OpenCV draws
two faces side by side. Then a clone of this checkout extracts features (MFCC, prosody, word vectors, ResNet-101),
trains and compares, all by `dvc repro`. Prints each modality's scores beside chance, the verdicts, and what each stage
took.

An utterance's class decides the means of how fast, how high and how loud it is spoken, of the speaker's mouth and
brows, and which words are likely; each varies so much that classes overlap. Listeners' faces, and faces between
utterances, show nothing of it: only who takes the speaker's half of the right moments sees it. Docs:
docs/spoken-corpus.md.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import soxr
import yaml

from benchmarks.repro import ROOT, timed_repro
from stages.common import cli, corpus, extractors, features, tables
from stages.common.errors import UserError
from stages.common.media import Clip, sound_seconds
from stages.corpus.clips import Job
from stages.features import prosody
from stages.features.encoding import Encoder
from stages.features.glove import tokenise

PROGRAM = "espeak-ng"
SPOKEN_RATE, RATE = 22_050, 16_000
"""Samples a second, of espeak-ng and of IEMOCAP."""
FRAMES_PER_SECOND = 29.97
HEIGHT, WIDTH, TOP, BOTTOM = 480, 720, 112, 368
"""Of the picture, and its rows that are not black."""
WALL = (96, 96, 96)
SILENCE = (0.2, 0.5)
"""Seconds between two utterances."""

CORPUS, VECTORS = "IEMOCAP_full_release", "random_vectors.txt"
"""In the study's folder."""
DIMENSIONS = 50
"""Of a word vector."""
SCORES = ("accuracy", "balanced_accuracy")
"""Chance is the largest class's share for the first, 1 by the number of classes for the second."""


@dataclass(frozen=True, kw_only=True)
class Emotion:
    """The means of how a class is spoken and shown, and its words."""

    rate: float
    """Words a minute."""
    pitch: float
    """espeak-ng's, 0 … 99; 50 is the voice's own."""
    volume: float
    """espeak-ng's, 0 … 200; 100 is usual."""
    smile: float
    """How far the mouth's corners are up: -1 … 1."""
    brows: float
    """How far the brows' inner ends are down: -1 … 1."""
    valence: float
    """1 … 5."""
    openers: tuple[str, ...]
    predicates: tuple[str, ...]


SPREAD = {"rate": 24, "pitch": 15, "volume": 26, "smile": 0.3, "brows": 0.3}
"""Standard deviation of an utterance within its class, from a normal distribution."""
LIMITS = {"rate": (100, 300), "pitch": (0, 99), "volume": (25, 190), "smile": (-1, 1), "brows": (-1, 1)}
LEANING = 0.6
"""Probability that a part of a sentence is its class's; else it is any class's, this one's included."""

EMOTIONS = {
    "angry": Emotion(
        rate=230,
        pitch=55,
        volume=145,
        smile=-0.45,
        brows=0.75,
        valence=1.9,
        openers=("Stop it", "Enough", "Listen to me"),
        predicates=("is a disgrace", "makes me furious", "is never ready"),
    ),
    "happy": Emotion(
        rate=220,
        pitch=75,
        volume=110,
        smile=0.75,
        brows=-0.15,
        valence=4.1,
        openers=("Guess what", "Wow", "Oh great"),
        predicates=("is wonderful", "makes me laugh", "looks so lovely"),
    ),
    "sad": Emotion(
        rate=165,
        pitch=30,
        volume=70,
        smile=-0.6,
        brows=-0.65,
        valence=2.2,
        openers=("I am sorry", "Oh no", "I miss her"),
        predicates=("is gone", "makes me cry", "was all we had"),
    ),
    "neutral": Emotion(
        rate=195,
        pitch=45,
        volume=95,
        smile=0.0,
        brows=0.0,
        valence=3.0,
        openers=("Well", "Okay", "As I said"),
        predicates=("is on the table", "comes by train", "costs ten dollars"),
    ),
}
SUBJECTS = ("the letter", "my brother", "this house", "your car", "the dog", "our dinner")
LABELS = {"angry": ("ang",), "happy": ("hap", "exc"), "sad": ("sad",), "neutral": ("neu",)}
"""Class of `corpus.classes: four` → the release's labels."""
CYCLE = ("neu", "ang", "hap", "sad", "neu", "exc", "ang", "sad", "neu", "hap", "fru")
"""Labels in their shares; fru is in none of the four classes and sounds and looks like angry or sad."""
VOICES = {
    "F": ("en-us+f1", "en-gb-scotland+f2", "en-gb+f3", "en-us+f4", "en-gb-x-rp+f5"),
    "M": ("en-gb+m1", "en-us+m2", "en-gb-x-rp+m3", "en-gb-scotland+m4", "en-us+m7"),
}
"""Of the actors of sessions 1 … 5."""


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """What is said, how, and when."""

    name: str
    actor: str
    label: str
    text: str
    manner: dict[str, float]
    """As `SPREAD`."""
    valence: float
    samples: np.ndarray
    """[samples] int16, of `RATE`."""
    start: float
    """Seconds from the dialogue's beginning."""

    @property
    def end(self) -> float:
        return self.start + len(self.samples) / RATE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, help="keep the corpus and the study here, a folder that is not there yet"
    )
    parser.add_argument("--utterances", type=int, default=22, help="a dialogue; there are two in each of five sessions")
    options = parser.parse_args()
    if options.folder and options.folder.exists():
        parser.error(f"--folder must not be there yet, but {options.folder} is")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # of the stages' python
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "study"
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
        started = time.monotonic()
        build(folder / CORPUS, utterances=options.utterances)
        write_vectors(folder / VECTORS)
        set_params(folder / "params.yaml")
        made = time.monotonic() - started
        total, stages = timed_repro(folder)
        report(folder, {"the corpus itself": made} | stages, made + total)


# The corpus


def build(
    root: Path, *, sessions: Iterable[int] = range(1, 6), dialogues: int = 2, utterances: int = 22, seed: int = 1
) -> None:
    """Write a release to `root`: up to two dialogues a session, utterances each. The same arguments, the same bytes.

    Raises
    ------
    UserError
        If espeak-ng is not there or fails.
    """
    if not shutil.which(PROGRAM):
        raise UserError(f"{PROGRAM}: must be on PATH, but is not; it is a package of that name (apt, dnf, brew)")
    names = [(session, letter) for session in sessions for letter in ("F", "M")[:dialogues]]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # espeak-ng and OpenCV leave Python's lock
        list(pool.map(lambda name: _write_dialogue(root, *name, utterances, seed), names))


def _write_dialogue(root: Path, session: int, letter: str, utterances: int, seed: int) -> None:
    """`letter`: of the actor who wears the markers, and sits on the left."""
    rng = np.random.default_rng([seed, session, ord(letter)])
    name, folder = f"Ses0{session}{letter}_impro01", root / f"Session{session}"
    spoken = list(_speak(name, utterances, rng))
    _write(folder / f"dialog/EmoEvaluation/{name}.txt", _label_blocks(spoken))
    lines = (f"{own.name} [{own.start:08.4f}-{own.end:08.4f}]: {own.text}\n" for own in spoken)
    _write(folder / f"dialog/transcriptions/{name}.txt", lines)
    for own in spoken:
        _write_wave(folder / f"sentences/wav/{name}/{own.name}.wav", own.samples)
    _write_video(folder / f"dialog/avi/DivX/{name}.avi", spoken, letter, rng)


def _write(path: Path, parts: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(parts), encoding="utf-8", newline="\n")


def _speak(dialogue: str, count: int, rng: np.random.Generator) -> Iterator[Utterance]:
    """The utterances of a dialogue, one after the other; who speaks next is chance."""
    counts, now = {"F": 0, "M": 0}, 0.5
    for label in rng.permutation(np.resize(CYCLE, count)):
        actor = str(rng.choice(list(counts)))
        emotion = _emotion(str(label), rng)
        manner = {
            name: float(np.clip(rng.normal(getattr(EMOTIONS[emotion], name), spread), *LIMITS[name]))
            for name, spread in SPREAD.items()
        }
        text = _sentence(emotion, rng)
        own = Utterance(
            name=f"{dialogue}_{actor}{counts[actor]:03d}",
            actor=actor,
            label=str(label),
            text=text,
            manner=manner,
            valence=float(np.clip(rng.normal(EMOTIONS[emotion].valence, 0.5), 1, 5)),
            samples=synthesise(text, VOICES[actor][int(dialogue[4]) - 1], manner),
            start=round(now, 4),
        )
        counts[actor] += 1
        now = own.end + rng.uniform(*SILENCE)
        yield own


def _emotion(label: str, rng: np.random.Generator) -> str:
    """The class that a label sounds like."""
    found = [name for name, labels in LABELS.items() if label in labels]
    return found[0] if found else str(rng.choice(["angry", "sad"]))


def _sentence(emotion: str, rng: np.random.Generator) -> str:
    """Such as "Oh no, my brother makes me cry."."""

    def part(kind: str) -> str:
        source = emotion if rng.random() < LEANING else str(rng.choice(list(EMOTIONS)))
        return str(rng.choice(getattr(EMOTIONS[source], kind)))

    return f"{part('openers')}, {rng.choice(SUBJECTS)} {part('predicates')}."


def synthesise(text: str, voice: str, manner: dict[str, float]) -> np.ndarray:
    """espeak-ng's speech: [samples] int16 of `RATE`.

    Raises
    ------
    UserError
        If it fails.
    """
    settings = {"-v": voice, "-s": manner["rate"], "-p": manner["pitch"], "-a": manner["volume"]}
    options = [str(own if isinstance(own, str) else round(own)) for pair in settings.items() for own in pair]
    done = subprocess.run([PROGRAM, *options, "--stdout", text], capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"{PROGRAM}: must speak with the voice {voice}, but fails: {done.stderr.decode().strip()}")
    samples = np.frombuffer(done.stdout, "<i2", offset=44)  # after the WAV header, which claims no true length
    return soxr.resample(samples, SPOKEN_RATE, RATE)


def _label_blocks(spoken: Sequence[Utterance]) -> Iterator[str]:
    """Heads and raters' lines, as the release has them."""
    yield "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    rated = {"ang": "Anger", "hap": "Happiness", "exc": "Excited", "sad": "Sadness", "neu": "Neutral state"}
    for own in spoken:
        ratings = f"{own.valence:.4f}, {1 + own.manner['rate'] / 70:.4f}, {1 + own.manner['volume'] / 50:.4f}"
        yield f"[{own.start:.4f} - {own.end:.4f}]\t{own.name}\t{own.label}\t[{ratings}]\n"
        yield f"C-E1:\t{rated.get(own.label, 'Frustration')};\t()\nC-E2:\tOther;\t(spoken by espeak-ng)\n"
        yield f"A-E1:\tval {round(own.valence)}; act 3; dom  3;\t()\n\n"


def _write_wave(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())


# The picture


@dataclass(frozen=True, kw_only=True)
class Face:
    """What stays the same of an actor in a dialogue; colours are blue, green, red."""

    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    width: int
    """Half of it, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What changes."""

    smile: float = 0
    brows: float = 0
    opening: float = 0
    """Of the mouth, 0 … 1."""


def _write_video(path: Path, spoken: Sequence[Utterance], left: str, rng: np.random.Generator) -> None:
    """Both actors, `left` on the left; who speaks moves the mouth as loud as it sounds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    faces = {actor: _draw_actor(rng) for actor in (left, "M" if left == "F" else "F")}
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"XVID"), FRAMES_PER_SECOND, (WIDTH, HEIGHT))
    if not video.isOpened():
        raise UserError(f"{path}: OpenCV must write XVID in an AVI, but cannot")
    sway = rng.uniform(0, 2 * np.pi, (2, 2))
    for number in range(int((spoken[-1].end + SILENCE[0]) * FRAMES_PER_SECOND)):
        seconds = number / FRAMES_PER_SECOND
        frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for half, (actor, face) in enumerate(faces.items()):
            shift = 4 * np.sin(seconds * np.array([0.9, 1.3]) + sway[half])
            draw(frame[TOP:BOTTOM, half * WIDTH // 2 :][:, : WIDTH // 2], face, _look(spoken, actor, seconds), shift)
        video.write(frame)
    video.release()


def _draw_actor(rng: np.random.Generator) -> Face:
    """An actor's face, by chance."""
    tone = rng.uniform(0.75, 1)
    return Face(
        skin=tuple(int(tone * value) for value in (150, 180, 225)),
        hair=tuple(int(value) for value in rng.integers(20, 70, 3)),
        width=int(rng.integers(66, 78)),
    )


def _look(spoken: Sequence[Utterance], actor: str, seconds: float) -> Look:
    """An actor's at a moment: that of the utterance if it is theirs, else nothing's."""
    own = next((own for own in spoken if own.actor == actor and own.start <= seconds < own.end), None)
    if own is None:
        return Look()
    middle = int((seconds - own.start) * RATE)
    near = own.samples[max(0, middle - RATE // 50) : middle + RATE // 50].astype(float)
    opening = min(1.0, np.sqrt(np.mean(near**2)) / 6000) if len(near) else 0.0
    return Look(smile=own.manner["smile"], brows=own.manner["brows"], opening=float(opening))


def draw(picture: np.ndarray, face: Face, look: Look, shift: np.ndarray) -> None:
    """Draw a face into half a picture [256, 360, 3], around its middle but for `shift` (x, y) pixels.

    It stays within the middle 224 × 224.
    """
    picture[:] = WALL
    x, y = np.array([WIDTH // 4, (BOTTOM - TOP) // 2]) + shift
    _ellipse(picture, (x, y - 12), (face.width + 6, 92), face.hair)
    _ellipse(picture, (x, y + 4), (face.width, 92), face.skin)
    for side in (-1, 1):
        eye = x + side * 28
        _ellipse(picture, (eye, y - 18), (13, 8), (245, 245, 245))
        _ellipse(picture, (eye, y - 18), (5, 6), (60, 40, 20))
        inner, outer = (eye - side * 16, y - 42 + 14 * look.brows), (eye + side * 17, y - 42 - 6 * look.brows)
        cv2.line(picture, _pixel(inner), _pixel(outer), face.hair, 6, cv2.LINE_AA, 4)
    _ellipse(picture, (x, y + 14), (7, 12), tuple(int(0.85 * value) for value in face.skin))
    across = np.linspace(-1, 1, 15)
    upper = y + 50 + 16 * look.smile * (0.5 - across**2)
    lower = upper + (6 + 18 * look.opening) * (1 - across**2)
    outline = np.concatenate([np.stack([x + 34 * across, upper], 1), np.stack([x + 34 * across, lower], 1)[::-1]])
    cv2.fillPoly(picture, [np.round(outline * 16).astype(np.int32)], (50, 40, 130), cv2.LINE_AA, 4)


def _ellipse(picture: np.ndarray, centre: tuple, axes: tuple, colour: tuple) -> None:
    cv2.ellipse(picture, _pixel(centre), _pixel(axes), 0, 0, 360, colour, cv2.FILLED, cv2.LINE_AA, 4)


def _pixel(point: tuple) -> tuple[int, int]:
    """A point in sixteenths of a pixel, as OpenCV takes it."""
    return round(16 * float(point[0])), round(16 * float(point[1]))


# The study


def write_vectors(path: Path, *, seed: int = 1) -> None:
    """A file in GloVe's text format with a random vector for every word that may be spoken."""
    texts = [text for own in EMOTIONS.values() for text in (*own.openers, *own.predicates)]
    words = sorted({word for text in (*texts, *SUBJECTS, ",", ".") for word in tokenise(text)})
    vectors = np.random.default_rng(seed).normal(0, 0.4, (len(words), DIMENSIONS))
    lines = (f"{word} {' '.join(f'{value:.5f}' for value in own)}\n" for word, own in zip(words, vectors, strict=True))
    _write(path, lines)


def set_params(path: Path) -> None:
    """Make the default study one of this corpus, with small models and more steps an epoch: it has 200 utterances."""
    document = yaml.safe_load(path.read_text())
    document["variants"] = ["self_t", "self_v", "self_a", "self_p", "self_tva", "cross_tva"]
    document["corpus"] = {"source": "iemocap", "root": CORPUS, "classes": "four"}
    wanted = {
        "text": {"extractor": "glove", "weights": VECTORS},
        "video": {"extractor": "resnet101", "weights": extractors.RANDOM, "frames_per_second": 2.0},
        "audio": {"extractor": "mfcc", "coefficients": 40, "longest": 100},
    }
    for name, settings in wanted.items():
        document["modalities"][name] |= {"features": settings, "positions": None}
    # the values of a random network hardly differ from frame to frame: as they are, models learn nothing of them
    document["modalities"]["video"] |= {"standardise": True, "dropout": 0.5}
    document["modalities"]["prosody"] = {"letter": "p", "standardise": True, "features": {"extractor": "prosody"}}
    document["split"] |= {"scheme": "random", "dev_share": 0.5}
    document["model"] |= {"hidden": 24, "padding": "mask"}
    document["train"]["protocol"] |= {"batch_size": 8}
    path.write_text(yaml.safe_dump(document, sort_keys=False))


# What came of it


def report(study: Path, seconds: dict[str, float], total: float) -> None:
    """Print all tables. `seconds`: of each stage; `total`: of all."""
    read = features.read(["prosody", "video"], study / features.FOLDER, study / corpus.FOLDER)
    known, meta = corpus.read_utterances(study / corpus.FOLDER), corpus.read_meta(study / corpus.FOLDER)
    counts = known["label"].value_counts()
    print(f"{meta.corpus}: {len(known)} utterances, {counts.to_dict()}\n")
    print(tables.markdown(scores(study, counts)))
    verdicts = (study / "metrics/ttest.md").read_text().splitlines()
    print("\n".join(line for line in verdicts if line.startswith("* ")), end="\n\n")
    print(tables.markdown(heard(read.sequences["prosody"].values, known["label"])))
    print(tables.markdown(pd.DataFrame([{"stage": name, "seconds": f"{own:.1f}"} for name, own in merged(seconds)])))
    frames = int(read.sequences["video"].lengths.sum())
    print(f"{total / 60:.1f} minutes in all on {os.cpu_count()} cores")
    print(
        f"video: {frames} frames, {seconds['features@video'] / frames * 1000:.0f} s a thousand, with the stage's start"
    )
    for settings in (extractors.Mfcc(extractor="mfcc", longest=None), extractors.Prosody(extractor="prosody")):
        print(f"{settings.extractor}: {extraction(study, known, settings):.0f} s an hour of audio, by one core")


def scores(study: Path, counts: pd.Series) -> pd.DataFrame:
    """Each variant's mean and standard deviation over runs, and what chance gives."""
    found = pd.read_csv(study / "metrics/scores.csv").groupby("variant", sort=False)
    rows = [
        {"variant": name} | {score: tables.mean_std(own[score].mean(), own[score].std()) for score in SCORES}
        for name, own in found
    ]
    chance = dict(zip(SCORES, (counts.max() / counts.sum(), 1 / len(counts)), strict=True))
    return pd.DataFrame([*rows, {"variant": "chance"} | {name: tables.fraction(own) for name, own in chance.items()}])


def heard(values: np.ndarray, labels: pd.Series) -> pd.DataFrame:
    """The mean pitch and loudness of each class, and their deviations, of the features of prosody."""
    table = pd.DataFrame(np.array(values), columns=prosody.NAMES)
    means = table[["f0_mean", "loudness_mean"]].groupby(labels.to_numpy(), sort=False)
    rows = [
        {"class": label} | {name: f"{own[name].mean():.1f} ± {own[name].std():.1f}" for name in own}
        for label, own in means
    ]
    return pd.DataFrame(rows)


def merged(seconds: dict[str, float]) -> list[tuple[str, float]]:
    """Stages and their seconds, with a variant's trainings as one."""
    found: dict[str, float] = {}
    for stage, own in seconds.items():
        name = stage.rpartition("-")[0] if stage.startswith("train@") else stage
        found[name] = found.get(name, 0) + own
    return list(found.items())


def extraction(study: Path, known: pd.DataFrame, settings: extractors.Settings) -> float:
    """Seconds an hour of audio, files' reading included, in this process."""
    encode, spoken = Encoder(settings, "audio"), 0.0
    started = time.perf_counter()
    for name in known["audio_file_name"]:
        path = study / CORPUS / name
        encode(Job(path, (Clip(),)))
        spoken += sound_seconds(path)
    return (time.perf_counter() - started) / spoken * 3600


if __name__ == "__main__":
    cli.run(main)
