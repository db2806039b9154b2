"""`python -m benchmarks.extraction_kills [--kills 40] [--seed 1]`: an extraction that is disturbed again and again.

Extracts sound and pictures of a made-up corpus undisturbed; then again with a signal to the extraction or to one of its
workers (SIGKILL, SIGTERM, SIGINT), at random moments. A rerun follows each; it must find every record that was there,
leave no process behind, and, once it gets no signal, write the same bytes. Whenever all is extracted, it begins anew.
"""

import argparse
import collections
import csv
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import psutil
import soundfile
import yaml

ROOT = Path(__file__).parents[1]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MODALITIES = {
    "audio": {"letter": "a", "features": {"extractor": "mfcc"}},
    "voice": {"letter": "b", "features": {"extractor": "prosody"}},
    "video": {"letter": "v", "features": {"extractor": "resnet101", "weights": "random"}},
}
PICTURES = '''"""The mean colour of each frame: a network in small, whose time goes into decoding."""


def make(settings, modality):
    return lambda frames: frames.mean((1, 2), dtype="f4")
'''
MOST_NEW = 60
"""Records that an extraction writes before a signal, at most."""
ENDS = 10.0
"""Seconds within which the processes of a killed extraction must end."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = disturb(Path(folder) / "study", kills=options.kills, seed=options.seed)
    for what, count in sorted(counts.items()):
        print(f"{what}: {count}")


def disturb(study: Path, *, kills: int, seed: int, sounds: int = 240, videos: int = 60) -> collections.Counter:
    """Extract a made-up corpus in `study` with kills, and count what happened.

    Raises
    ------
    AssertionError
        If a record is lost, a process is left, a run fails that got no signal, or what is written differs from what the
        undisturbed run wrote.
    """
    prepare(study, sounds, videos)
    undisturbed = extracted(study)
    counts, rng = collections.Counter(), random.Random(seed)
    begin_anew(study)
    planned = [SIGNALS[i % len(SIGNALS)] for i in range(kills)]
    while planned:
        for modality in MODALITIES:
            before = records(study)
            process = start(study, modality)
            number = planned[-1] if planned else None
            signalled = number and send(study, process, number, rng)
            output = process.communicate()[0]
            assert process.returncode == 0 or signalled, output
            assert "Traceback" not in output, output
            assert before.items() <= records(study).items(), "a record is lost or was made again"
            if signalled:
                print(f"{number.name} to {signalled}, {len(before)} → {len(records(study))} records", file=sys.stderr)
                planned.pop()
                counts[f"{number.name} to {signalled}"] += 1
                counts["records found after a signal"] += len(records(study))
        if len(records(study)) == undisturbed["records"] or not planned:
            assert extracted(study) == undisturbed, "a disturbed extraction differs"
            counts["extractions completed, all equal to the undisturbed one"] += 1
            begin_anew(study)
    return counts


def prepare(study: Path, sounds: int, videos: int) -> None:
    """A copy of the project with the corpus and, in place of a network, an extractor of mean colours."""
    shutil.copytree(ROOT / "stages", study / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    (study / "stages/features/resnet101.py").write_text(PICTURES)
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["modalities"] = MODALITIES
    document |= {"variants": ["self_a"], "headline": {"attention": "self", "modalities": "a"}}
    document["corpus"] |= {"source": "manifest", "root": "raw"}
    (study / "params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    write_corpus(study / "raw", sounds, videos)
    subprocess.run([sys.executable, "-m", "stages.corpus"], cwd=study, check=True)


def write_corpus(root: Path, sounds: int, videos: int) -> None:
    """Noise of 1 to 3 s; pictures for the first utterances."""
    root.mkdir()
    rng, rows = np.random.default_rng(1), []
    for i in range(sounds):
        soundfile.write(root / f"{i}.wav", 0.1 * rng.standard_normal(rng.integers(16_000, 48_000)), 16_000)
        row = {"utterance_id": f"u{i}", "label": "ab"[i % 2], "audio_file_name": f"{i}.wav", "video_file_name": ""}
        if i < videos:
            row["video_file_name"] = f"{i}.avi"
            video = cv2.VideoWriter(str(root / f"{i}.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 240))
            for picture in rng.integers(0, 256, (30, 240, 320, 3), np.uint8):
                video.write(picture)
            video.release()
        rows.append(row)
    with (root / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def start(study: Path, modality: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "stages.features", "--modality", modality],
        cwd=study,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # as on a terminal
    )


def send(study: Path, process: subprocess.Popen, number: signal.Signals, rng: random.Random) -> str | None:
    """Send a signal at a random moment to the extraction or a worker, and see that all end; who got it, if any.

    The moment is that of a number of new records, and a little later, so that it does not depend on the machine.
    """
    count = len(records(study)) + rng.randrange(MOST_NEW)
    while process.poll() is None and len(records(study)) < count:
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 0.1))
    workers = []
    with suppress(psutil.NoSuchProcess):
        workers = psutil.Process(process.pid).children(recursive=True)
    to_worker = workers and number == signal.SIGKILL and rng.random() < 0.5
    if process.poll() is not None:
        return None
    with suppress(psutil.NoSuchProcess):
        (rng.choice(workers) if to_worker else process).send_signal(number)
    assert not psutil.wait_procs(workers, timeout=ENDS)[1], "workers are left"
    return "a worker" if to_worker else "the extraction"


def records(study: Path) -> dict[str, int]:
    """Record → its inode: one that is written again has another."""
    found = (study / ".work/features").glob("??/*")
    return {path.name: path.stat().st_ino for path in found if len(path.name) == 64}


def extracted(study: Path) -> dict[str, str | int]:
    """Extract all undisturbed; the SHA-256 of every file written, and how many records there are."""
    for modality in MODALITIES:
        process = start(study, modality)
        output = process.communicate()[0]
        assert process.returncode == 0, output
    files = sorted(path for path in (study / "data/features").rglob("*") if path.is_file())
    found = {str(path.relative_to(study)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return found | {"records": len(records(study))}


def begin_anew(study: Path) -> None:
    for name in (".work", "data/features"):
        shutil.rmtree(study / name)


if __name__ == "__main__":
    main()
