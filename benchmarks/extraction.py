"""`python -m benchmarks.extraction [--rounds 3]`: seconds and memory of the feature extractors on this machine's CPU.

On generated files: speech-like noise in WAV files as long as IEMOCAP's utterances, XVID videos of its size, and a file
of word vectors. On one core in this process by `stages.features.encoding.Encoder`, on two by `stages.features.parallel`
less what that takes with one short part a core (to start processes and to load a network). Each measurement is made in
a process of its own, `--rounds` times. Prints the medians of seconds on the clock and of seconds that cores worked
(where others use the machine, only these can be compared), each process's peak memory (on two cores that of the larger
worker), the load beforehand, and from the seconds on the clock what all of IEMOCAP would take.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from stages.common import extractors, tables

ROOT = Path(__file__).parent.parent
HOURS, FRAMES, DECODED_PER_SECOND, GLOVE_MB = 12.4, 7487 * 13, 29.97, 5600
"""Of all of IEMOCAP: of sound, and of the dialogues' video; frames that are encoded; frames a second; of GloVe."""
MEAN_SECONDS, SHORTEST, LONGEST = 4.5, 0.585, 34.14
"""Of IEMOCAP's utterances."""
AUDIO_SECONDS = {"mfcc": 1200, "prosody": 600, "pretrained": 60}
"""Of sound that is measured."""
VIDEO_SECONDS = 12
"""Of each of two videos; 3 frames a second of them are encoded."""
GLOVE_BYTES = 200 * 10**6
TYPES, MISSING = 3745, 421
"""Word types of IEMOCAP's transcripts, and those that GloVe lacks."""
SETTINGS = {
    "mfcc": extractors.Mfcc(extractor="mfcc"),
    "prosody": extractors.Prosody(extractor="prosody"),
    "pretrained": extractors.Pretrained(
        extractor="pretrained", of="audio", weights="random", architecture="wav2vec2", device="cpu"
    ),
    "resnet101": extractors.Resnet101(extractor="resnet101", weights="random", device="cpu", longest=None),
}


def write_sounds(folder: Path, seconds: float) -> None:
    """16-bit WAV files at 16 kHz of noise that is low, and loud and soft in turns."""
    import soundfile
    from scipy import signal

    rng, left = np.random.default_rng(1), seconds
    while left > 0:
        length = min(left, float(np.clip(rng.gamma(2, MEAN_SECONDS / 2), SHORTEST, LONGEST)))
        times = np.arange(round(length * 16_000)) / 16_000
        noise = signal.lfilter([1], [1, -0.9], rng.standard_normal(len(times)))
        loudness = 0.02 + 0.05 * (1 + np.sin(2 * np.pi * 4 * times))
        soundfile.write(folder / f"{left:09.3f}.wav", loudness * noise, 16_000, subtype="PCM_16")
        left -= length


def write_videos(folder: Path) -> None:
    """Two AVI files of a picture with detail that moves."""
    import cv2

    picture = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 255, (480, 1440, 3), np.uint8), (0, 0), 3)
    for name in ("a.avi", "b.avi"):
        video = cv2.VideoWriter(str(folder / name), cv2.VideoWriter_fourcc(*"XVID"), DECODED_PER_SECOND, (720, 480))
        for number in range(round(VIDEO_SECONDS * DECODED_PER_SECOND)):
            begin = round(300 + 300 * np.sin(number / 40))
            video.write(np.ascontiguousarray(picture[:, begin : begin + 720]))
        video.release()


def write_vectors(path: Path) -> None:
    """Lines as in glove.840B.300d.txt; the numbers repeat every 97 words."""
    rng = np.random.default_rng(1)
    numbers = [" ".join(f"{value:.5f}" for value in rng.normal(0, 0.4, 300)) for _ in range(97)]
    with path.open("w") as file:
        number = 0
        while file.tell() < GLOVE_BYTES:
            file.write("".join(f"w{i} {numbers[i % 97]}\n" for i in range(number, number + 1000)))
            number += 1000


def jobs(folder: Path, *, short: bool) -> list:
    """All files, each as a whole or its first .6 s; of videos the left half."""
    from stages.common.media import Clip
    from stages.corpus.clips import Job

    paths = sorted(folder.iterdir())
    crop = "left" if paths[0].suffix == ".avi" else ""
    clip = Clip(0.0, 0.6, crop) if short else Clip(crop=crop)
    return [Job(path, (clip,)) for path in (paths[:2] if short else paths)]


def one_core(name: str, folder: Path) -> np.ndarray:
    """Seconds for all files, in this process."""
    from stages.features.encoding import Encoder

    _single_thread(SETTINGS[name])
    encoder = Encoder(SETTINGS[name], "m")
    for job in jobs(folder, short=True):
        encoder(job)
    return timed(lambda: [encoder(job) for job in jobs(folder, short=False)])


def two_cores(name: str, folder: Path) -> np.ndarray:
    """Seconds for all files in two processes, without their start."""
    from stages.features import parallel

    def extract(own: list) -> np.ndarray:
        shutil.rmtree(".work", ignore_errors=True)
        return timed(lambda: parallel.do(own, "m", SETTINGS[name], skip=False))

    extract(jobs(folder, short=True))  # reads libraries and files from the disk
    start = extract(jobs(folder, short=True))
    return extract(jobs(folder, short=False)) - start


def decoding(name: str, folder: Path) -> np.ndarray:
    """Seconds to decode the frames of both videos that `resnet101` encodes."""
    from stages.common import media

    settings = SETTINGS[name]
    _single_thread(settings)

    def decode() -> None:
        for job in jobs(folder, short=False):
            with media.Video(job.path) as video:
                info = video.info
                numbers = media.frame_numbers(
                    job.parts[0], info.seconds, info.rate, settings.frames_per_second, settings.longest
                )
                for _ in video.frames(numbers):
                    pass

    return timed(decode)


def vectors(_: str, folder: Path) -> np.ndarray:
    """Seconds to find IEMOCAP's number of words, some of which are not there, and to write all."""
    from stages.features import glove

    path, out = folder / "vectors.txt", Path("out")
    words = [f"w{20 * i}" for i in range(TYPES - MISSING)] + [f"z{i}" for i in range(MISSING)]
    transcripts = [(f"u{i:04d}", " ".join(words[i : i + 15])) for i in range(0, TYPES, 15)]
    settings = extractors.Glove(extractor="glove", weights=str(path))
    with contextlib.redirect_stderr(io.StringIO()):
        return timed(lambda: glove.write(settings, transcripts, out, modality="m", made={}))


def _single_thread(settings: extractors.Section) -> None:
    """As a worker of `parallel` has it: without a network, torch is not loaded."""
    if not hasattr(settings, "device"):
        return
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def timed(act: Callable[[], object]) -> np.ndarray:
    """Seconds that a call takes: on the clock, and of this and its ended processes on cores."""
    before = _now()
    act()
    return _now() - before


def _now() -> np.ndarray:
    return np.array([time.perf_counter(), sum(os.times()[:4])])


MEASURES = {function.__name__: function for function in (one_core, two_cores, decoding, vectors)}


def measure(measured: str, name: str, folder: Path, rounds: int) -> tuple[float, float, float]:
    """The medians of a measurement's seconds, on the clock and on cores, and the most MB of a process of it."""
    command = [sys.executable, "-m", "benchmarks.extraction", "--measure", measured, name, str(folder)]
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as own:
            done = subprocess.run(
                command,
                cwd=own,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                check=True,
                capture_output=True,
                text=True,
            )
        found.append(json.loads(done.stdout.splitlines()[-1]))
    seconds, cpu, peaks = zip(*found, strict=True)
    rounds_seen = ", ".join(f"{clock:.2f} ({own:.2f})" for clock, own in zip(seconds, cpu, strict=True))
    print(f"{measured} {name}: {rounds_seen} s (on cores), {max(peaks):.0f} MB", file=sys.stderr)
    return statistics.median(seconds), statistics.median(cpu), max(peaks)


def measure_here(measured: str, name: str, folder: Path) -> None:
    """Print the seconds, on the clock and on cores, and the peak memory in MB of one measurement."""
    seconds, cpu = MEASURES[measured](name, folder).tolist()
    who = resource.RUSAGE_CHILDREN if measured == "two_cores" else resource.RUSAGE_SELF
    print(json.dumps([seconds, cpu, resource.getrusage(who).ru_maxrss / 1024]))


def rows(folder: Path, rounds: int) -> list[dict]:
    """A row of the table for each measurement."""
    found = []

    def add(what: str, unit: str, measured: str, name: str, own: Path, *, units: float, whole: float) -> None:
        seconds, cpu, peak = measure(measured, name, own, rounds)
        found.append(
            {
                "extractor": what,
                "cores": "2" if measured == "two_cores" else "1",
                "unit": unit,
                "seconds a unit": f"{seconds / units:.3g}",
                "of them on cores": f"{cpu / units:.3g}",
                "peak MB": f"{peak:.0f}",
                "all of IEMOCAP, minutes": f"{seconds / units * whole / 60:.3g}",
            }
        )

    for name, seconds in AUDIO_SECONDS.items():
        what = "wav2vec2 (base, random)" if name == "pretrained" else name
        for cores in ("one_core", "two_cores"):
            add(what, "hour of sound", cores, name, folder / name, units=seconds / 3600, whole=HOURS)
    videos, encoded = folder / "video", 2 * 3 * VIDEO_SECONDS / 1000
    decoded = 2 * VIDEO_SECONDS * DECODED_PER_SECOND / 1000
    all_decoded = HOURS * 3.6 * DECODED_PER_SECOND
    add("video: decoding", "1000 frames decoded", "decoding", "resnet101", videos, units=decoded, whole=all_decoded)
    for cores in ("one_core", "two_cores"):
        what, unit = "resnet101 (random) with decoding", "1000 frames encoded"
        add(what, unit, cores, "resnet101", videos, units=encoded, whole=FRAMES / 1000)
    size = (folder / "glove" / "vectors.txt").stat().st_size / 1e6
    add("glove", "GB of vectors", "vectors", "glove", folder / "glove", units=size / 1000, whole=GLOVE_MB / 1000)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measured, name, folder = options.measure
        measure_here(measured, name, Path(folder))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in (*AUDIO_SECONDS, "video", "glove"):
            (folder / name).mkdir()
        for name, seconds in AUDIO_SECONDS.items():
            write_sounds(folder / name, seconds)
        write_videos(folder / "video")
        write_vectors(folder / "glove" / "vectors.txt")
        load = os.getloadavg()
        table = pd.DataFrame(rows(folder, options.rounds))
    print(f"{os.cpu_count()} cores; load over the minute before {load[0]:.1f}; medians of {options.rounds}\n")
    print(tables.markdown(table))


if __name__ == "__main__":
    main()
