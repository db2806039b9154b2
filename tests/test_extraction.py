"""From files of sound and video to a modality's features: what is kept, what is made again, and what goes wrong."""

import csv
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import soundfile
import yaml

from benchmarks import extraction_kills
from stages.common import cli, code, corpus, extractors, features, params, processes, work_folder
from stages.common.errors import UserError
from stages.corpus import __main__ as corpus_stage
from stages.corpus.clips import Job
from stages.features import __main__ as features_stage
from stages.features import encoding, extraction, file_digests, mfcc, parallel
from stages.split import __main__ as split_stage
from tests import iemocap_release, other_releases
from tests.conftest import ROOT, changed

RATE = 16_000
LENGTHS = (4001, 2503, 7919, 397, 5003, 3001, 6007)
"""Samples of each file; the fourth is too short for a frame."""
SETTINGS = {"extractor": "mfcc", "coefficients": 5, "mel_bands": 11}
AUDIO = Path("data/features/audio")


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> Path:
    """A project's folder, which is the current one, with a study of the manifest in `raw/`."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    configure()
    return Path.cwd()


def configure(modalities: dict | None = None, **changes) -> None:
    modalities = modalities or {"audio": SETTINGS}
    letters = {"audio": "a", "video": "v", "text": "t", "voice": "b"}
    own = {name: {"letter": letters[name], "features": settings} for name, settings in modalities.items()}
    first = letters[next(iter(modalities))]
    document = changed(
        yaml.safe_load((ROOT / "params.yaml").read_text()),
        {
            "modalities": own,
            "variants": [f"self_{first}"],
            "headline__modalities": first,
            "corpus__source": "manifest",
            "corpus__root": "raw",
            **changes,
        },
    )
    Path("params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def write_wav(path: Path, samples: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = 0.2 * np.random.default_rng(seed).standard_normal(samples)
    soundfile.write(path, np.clip(noise, -1, 1), RATE, subtype="PCM_16")


def write_rows(rows: list[dict]) -> None:
    with Path("raw/metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_manifest(lengths=LENGTHS, **columns) -> list[dict]:
    """A WAV for each length; `columns`: others of the rows."""
    rows = []
    for i, length in enumerate(lengths):
        write_wav(Path(f"raw/u{i}.wav"), length, seed=i)
        own = {name: values[i] for name, values in columns.items()}
        rows.append({"utterance_id": f"u{i}", "label": "ab"[i % 2], "audio_file_name": f"u{i}.wav"} | own)
    write_rows(rows)
    return rows


def stage(monkeypatch, module, *arguments: str) -> str | int | None:
    """Run a stage in this process; what it would exit with."""
    monkeypatch.setattr(sys, "argv", ["stage", *arguments])
    try:
        cli.run(module.main)
    except SystemExit as end:
        return end.code
    return None


def extract(monkeypatch, modality: str = "audio") -> dict[str, bytes]:
    """Write the corpus and the modality; name → content of the modality's files."""
    for module, arguments in ((corpus_stage, []), (features_stage, ["--modality", modality])):
        assert stage(monkeypatch, module, *arguments) is None
    return contents(Path("data/features") / modality)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def kept(folder: Path | None = None) -> dict[Path, tuple[int, int]]:
    """The records in `.work/` → their inode and time."""
    found = sorted((folder or Path(".work/features")).glob("??/*"))
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def sequences(modality: str = "audio") -> dict[str, np.ndarray]:
    """Utterance → its features, from the files alone."""
    folder = Path("data/features") / modality
    names = corpus.read_utterances()["utterance_id"]
    ends = np.cumsum(np.load(folder / "lengths.npy"))[:-1]
    return dict(zip(names, np.split(np.load(folder / "frames.npy"), ends), strict=True))


def forbid_encoders(monkeypatch) -> None:
    def refuse(*_):
        raise AssertionError("an extractor was built")

    monkeypatch.setattr(parallel, "Encoder", refuse)


def expected(path: Path, longest: int | None = None) -> np.ndarray:
    samples = soundfile.read(path, dtype="float32")[0]
    return mfcc.make(extractors.Mfcc(**SETTINGS), "audio")(samples)[:longest]


# ---- what is computed, and what is found


def test_features_are_those_of_each_file_whatever_the_cores_and_what_was_kept(monkeypatch):
    write_manifest()
    monkeypatch.setattr(processes, "cores", lambda: 1)
    first = extract(monkeypatch)
    for i, own in enumerate(sequences().values()):
        assert np.array_equal(own, expected(Path(f"raw/u{i}.wav")))
        assert len(own) == max(0, 1 + (LENGTHS[i] - 400) // 160)
    monkeypatch.setattr(processes, "cores", lambda: 3)
    assert extract(monkeypatch) == first
    for path in [*kept()][::2]:
        path.unlink()
    assert extract(monkeypatch) == first
    shutil.rmtree(".work")
    assert extract(monkeypatch) == first


def test_a_rerun_finds_everything(monkeypatch, capfd):
    write_manifest()
    first = extract(monkeypatch)
    before = kept()
    assert len(before) == len(LENGTHS)
    capfd.readouterr()
    forbid_encoders(monkeypatch)
    assert extract(monkeypatch) == first
    assert kept() == before
    assert capfd.readouterr().err == "warning: 1 of 7 utterances have no frames; models see nothing but padding there\n"


def in_place(path: Path, content: bytes) -> None:
    """New content in the same inode, of the same size and time."""
    before = path.stat()
    assert len(content) == before.st_size
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_new_content_of_the_same_size_time_and_inode_is_noticed(monkeypatch):
    write_manifest()
    extract(monkeypatch)
    before = kept()
    content = Path("raw/u2.wav").read_bytes()
    in_place(Path("raw/u2.wav"), content[:44] + content[:43:-1])
    extract(monkeypatch)
    assert np.array_equal(sequences()["u2"], expected(Path("raw/u2.wav")))
    assert len(kept()) == len(before) + 1
    assert before.items() <= kept().items()


def test_a_moved_or_touched_file_is_no_other(monkeypatch):
    rows = write_manifest()
    first = extract(monkeypatch)
    os.utime("raw/u0.wav")
    Path("raw/u1.wav").rename("raw/v1.wav")
    rows[1]["audio_file_name"] = "v1.wav"
    write_rows(rows)
    forbid_encoders(monkeypatch)
    assert extract(monkeypatch) == first


def test_other_settings_times_or_code_make_new_results(monkeypatch):
    rows = write_manifest()
    extract(monkeypatch)
    count = len(kept())
    configure({"audio": SETTINGS | {"longest": 7}})
    extract(monkeypatch)
    assert np.array_equal(sequences()["u0"], expected(Path("raw/u0.wav"), longest=7))
    assert len(kept()) == (count := count + 7)
    write_rows([row | {"start": 0.1 if row["utterance_id"] == "u2" else "", "end": ""} for row in rows])
    extract(monkeypatch)
    assert len(kept()) == (count := count + 1)
    hashes = code.hashes
    # What extraction does not compute with: another module of the project.
    monkeypatch.setattr(code, "hashes", lambda names: hashes(names) | {"stages.common.tables": "changed"})
    extract(monkeypatch)
    assert len(kept()) == count
    for module in ("stages.features.mfcc", "stages.features.encoding", "stages.common.media"):
        assert module in hashes(["stages.features.mfcc", "stages.features.encoding"])
        monkeypatch.setattr(code, "hashes", lambda names, own=module: hashes(names) | {own: "changed"})
        extract(monkeypatch)
        assert len(kept()) == (count := count + 7)


def test_another_modality_of_the_same_settings_finds_the_same_results(monkeypatch):
    write_manifest()
    first = extract(monkeypatch)
    configure({"voice": SETTINGS, "audio": SETTINGS})
    write_rows([row | {"voice_file_name": row["audio_file_name"]} for row in write_manifest()])
    forbid_encoders(monkeypatch)
    assert extract(monkeypatch, "voice") == first


def test_weights_are_known_by_their_content(tmp_path):
    def made_by(path: Path) -> str:
        return parallel._made_by(extractors.Resnet101(extractor="resnet101", weights=str(path)), "cpu", {})

    weights, copy, folder = tmp_path / "w", tmp_path / "other", tmp_path / "folder"
    weights.write_bytes(b"weights")
    copy.write_bytes(b"weights")
    first = made_by(weights)
    assert made_by(copy) == first
    in_place(weights, b"WEIGHTS")
    assert made_by(weights) != first
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    as_folder = made_by(folder)
    (folder / "a").rename(folder / "b")
    assert len({as_folder, made_by(folder), first}) == 3


def test_a_damaged_record_is_made_again(monkeypatch, capfd):
    write_manifest()
    first = extract(monkeypatch)
    damaged = [*kept()][3]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    capfd.readouterr()
    assert extract(monkeypatch) == first
    assert f"{damaged.name}: its content does not agree with its checksum" in capfd.readouterr().err
    forbid_encoders(monkeypatch)
    assert extract(monkeypatch) == first


def test_a_record_that_vanishes_is_made_again(monkeypatch):
    write_manifest()
    settings, jobs = extractors.Mfcc(**SETTINGS), [Job(Path("raw/u0.wav"), (encoding.media.Clip(),))]
    task, done = parallel.do(jobs, "audio", settings, skip=False)
    done[0].record.unlink()
    assert np.array_equal(parallel.result(task, jobs[0], done[0])[0], expected(Path("raw/u0.wav")))


def test_damaged_digests_are_computed_again(monkeypatch):
    write_manifest()
    first = extract(monkeypatch)
    for content in (b"[1]", b"\xff{", b'{"raw/u0.wav": [1], "raw/u1.wav": null}'):
        Path(".work/features/files.json").write_bytes(content)
        assert extract(monkeypatch) == first
        assert len(json.loads(Path(".work/features/files.json").read_text())) >= 7


def test_a_file_whose_digest_is_known_is_not_read_for_it(monkeypatch):
    write_manifest()
    known = {}
    known["raw/u0.wav"] = file_digests.entry(Path("raw/u0.wav"), known)
    monkeypatch.setattr(file_digests, "checksum", lambda path: pytest.fail(f"{path} was read"))
    assert file_digests.entry(Path("raw/u0.wav"), known) == known["raw/u0.wav"]


def test_a_copy_of_the_project_in_dvcs_folder_shares_results(project, monkeypatch):
    write_manifest()
    first = extract(monkeypatch)
    copy = project / ".dvc/tmp/exps/tmpcopy"
    copy.mkdir(parents=True)
    shutil.copy("params.yaml", copy)
    shutil.copytree("raw", copy / "raw")
    monkeypatch.chdir(copy)
    assert work_folder.shared() == project / ".work"
    forbid_encoders(monkeypatch)
    assert extract(monkeypatch) == first
    assert not (copy / ".work/features").exists()


# ---- several processes


def test_files_of_the_same_content_do_not_collide(monkeypatch):
    rows = write_manifest([2503] * 60)
    for row in rows[1:]:
        shutil.copy("raw/u0.wav", f"raw/{row['audio_file_name']}")
    monkeypatch.setattr(processes, "cores", lambda: 8)
    extract(monkeypatch)
    assert len(kept()) == 1
    assert all(np.array_equal(own, expected(Path("raw/u0.wav"))) for own in sequences().values())


def fork(target, log: Path | None = None) -> multiprocessing.Process:
    """A process that runs `target`, and writes what it says to `log`."""

    def run() -> None:
        if log:
            for number in (1, 2):
                os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        target()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def test_two_extractions_at_once_do_no_harm(monkeypatch):
    monkeypatch.setattr(processes, "cores", lambda: 2)
    monkeypatch.setattr(parallel, "KEEP_EVERY", 3)
    write_manifest([2503 + 160 * i for i in range(40)])
    assert stage(monkeypatch, corpus_stage) is None
    settings = params.load().extractor("audio")

    def run(name: str) -> None:
        extraction.write(params.load().corpus, "audio", corpus.read_utterances(), settings, Path(name))

    both = [fork(lambda own=name: run(own)) for name in ("one", "two")]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert contents(Path("one")) == contents(Path("two"))
    assert len(kept()) == 40
    assert len(file_digests.read(Path(".work/features/files.json"))) == 40


def slow(monkeypatch) -> None:
    """Have extraction take for ever, in two processes, each of which leaves a file named as it is."""
    monkeypatch.setattr(processes, "cores", lambda: 2)

    def wait(_):
        Path(f"at-{os.getpid()}").touch()
        time.sleep(600)

    monkeypatch.setattr(mfcc, "make", lambda *_: wait)


def wait_for(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def workers() -> list[int]:
    return [int(path.name[3:]) for path in Path().glob("at-*")]


def gone(process: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(monkeypatch, tmp_path, number):
    write_manifest()
    assert stage(monkeypatch, corpus_stage) is None
    slow(monkeypatch)
    log = tmp_path / "log"
    process = fork(lambda: sys.exit(stage(monkeypatch, features_stage, "--modality", "audio")), log)
    wait_for(lambda: len(workers()) == 2)
    assert set(workers()) == {child.pid for child in psutil.Process(process.pid).children()}
    os.kill(process.pid, number)
    process.join()
    wait_for(lambda: all(map(gone, workers())))
    said = log.read_text() if log.exists() else ""
    if number == signal.SIGINT:
        assert process.exitcode == 130
        assert said == f"modalities.audio: interrupted. {parallel.SAFE}\n"
        assert not AUDIO.exists()
    else:
        assert process.exitcode == -number
        assert said == ""


def test_a_killed_worker_is_one_line_and_what_is_done_is_kept(monkeypatch, capfd):
    write_manifest()
    monkeypatch.setattr(processes, "cores", lambda: 1)
    assert stage(monkeypatch, corpus_stage) is None
    make = mfcc.make

    def die_of_the_fifth(settings, modality):
        encode = make(settings, modality)
        return lambda samples: os.kill(os.getpid(), signal.SIGKILL) if len(samples) == 5003 else encode(samples)

    with monkeypatch.context() as patch:
        patch.setattr(mfcc, "make", die_of_the_fifth)
        error = stage(monkeypatch, features_stage, "--modality", "audio")
    assert error.startswith("error: modalities.audio: a worker process was killed; if by the kernel, out of memory.")
    assert "\n" not in error
    assert capfd.readouterr().err == ""
    assert not AUDIO.exists()
    before = kept()
    assert len(before) == 4
    extract(monkeypatch)
    assert before.items() <= kept().items()
    assert len(kept()) == 7


# ---- what goes wrong


def test_stop_names_a_broken_file_and_says_how_to_go_on(monkeypatch):
    write_manifest()
    assert stage(monkeypatch, corpus_stage) is None
    Path("raw/u4.wav").write_bytes(np.random.default_rng(0).bytes(3001))
    error = stage(monkeypatch, features_stage, "--modality", "audio")
    assert error.startswith("error: raw/u4.wav: must be sound, but cannot be read")
    assert error.endswith("; corpus.on_error: skip leaves its utterances without audio")
    assert not AUDIO.exists()


def test_stop_names_a_missing_file(monkeypatch):
    write_manifest()
    Path("raw/u4.wav").unlink()
    error = stage(monkeypatch, corpus_stage)
    assert "u4.wav" in error
    assert "a file that exists" in error
    assert not Path("data").exists()
    write_manifest()
    assert stage(monkeypatch, corpus_stage) is None
    Path("raw/u4.wav").unlink()
    error = stage(monkeypatch, features_stage, "--modality", "audio")
    assert "u4.wav" in error
    assert "a file that exists" in error
    assert not AUDIO.exists()


@pytest.mark.parametrize("damage", ["random", "empty", "pointer", "missing", "folder"])
def test_skip_leaves_out_what_is_broken_and_nothing_else(monkeypatch, capfd, damage):
    configure(corpus__on_error="skip")
    write_manifest()
    extract(monkeypatch)
    before = sequences()
    path = Path("raw/u4.wav")
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        content = {"random": np.random.default_rng(0).bytes(3001), "empty": b""}
        path.write_bytes(content.get(damage, other_releases.POINTER.encode()))
    capfd.readouterr()
    extract(monkeypatch)
    warnings = [line for line in capfd.readouterr().err.splitlines() if "u4" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: ")
    after = sequences()
    assert after.pop("u4").shape == (0, 15)
    assert len(before.pop("u4"))
    assert [own.tobytes() for own in after.values()] == [own.tobytes() for own in before.values()]


def test_a_video_cut_in_the_middle_is_broken(monkeypatch, capfd):
    settings = {"extractor": "resnet101", "weights": "random", "resize": 224}
    rng, rows = np.random.default_rng(0), []
    for i in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(other_releases, "SECONDS", 4)
            other_releases.write_video(Path(f"raw/u{i}.avi"), i, rng)
        rows.append({"utterance_id": f"u{i}", "label": "ab"[i % 2], "video_file_name": f"u{i}.avi"})
    write_rows(rows)
    content = Path("raw/u1.avi").read_bytes()
    Path("raw/u1.avi").write_bytes(content[: len(content) // 2])
    fake(monkeypatch, "resnet101", lambda frames: frames.mean((1, 2)))
    configure({"video": settings})
    assert stage(monkeypatch, corpus_stage) is None
    error = stage(monkeypatch, features_stage, "--modality", "video")
    assert re.match(r"error: raw/u1\.avi: must have the 40 frames that its header claims, but breaks off after", error)
    configure({"video": settings}, corpus__on_error="skip")
    extract(monkeypatch, "video")
    assert [len(own) for own in sequences("video").values()] == [12, 0, 12]


def fake(monkeypatch, extractor: str, encode) -> None:
    """Have `encode` do an extractor's work."""
    module = type(sys)(f"stages.features.{extractor}")
    module.make = lambda *_: encode
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_what_an_extractor_refuses_names_the_file(monkeypatch):
    def refuse(_):
        raise UserError("a sound must be longer")

    write_manifest()
    fake(monkeypatch, "mfcc", refuse)
    settings, job = extractors.Mfcc(**SETTINGS), Job(Path("raw/u2.wav"), (encoding.media.Clip(),))
    with pytest.raises(UserError, match=r"^raw/u2\.wav: a sound must be longer$"):
        encoding.Encoder(settings, "audio")(job)


def test_a_file_that_the_system_cannot_read_is_broken(monkeypatch, capfd):
    def fail(path, _):
        if path.name == "u4.wav":
            raise OSError(5, "Input/output error", str(path))
        return entry(path, {})

    entry = file_digests.entry
    write_manifest()
    configure(corpus__on_error="skip")
    monkeypatch.setattr(file_digests, "entry", fail)
    extract(monkeypatch)
    assert "warning: raw/u4.wav: this file cannot be read (Input/output error)" in capfd.readouterr().err
    assert [name for name, own in sequences().items() if not len(own)] == ["u3", "u4"]


@pytest.mark.parametrize("lengths", [[101] * 3, None])
def test_a_modality_that_no_utterance_has_is_an_error_even_with_skip(monkeypatch, lengths):
    write_manifest(lengths or LENGTHS)
    if lengths is None:
        for path in Path("raw").glob("*.wav"):
            path.write_bytes(b"broken" * 401)
    configure(corpus__on_error="skip")
    assert stage(monkeypatch, corpus_stage) is None
    error = stage(monkeypatch, features_stage, "--modality", "audio")
    reason = "all are empty" if lengths else r"raw/u0\.wav: must be sound"
    rule = "must have features of at least one utterance, but has none"
    assert re.match(f"error: modalities.audio: {rule}: {reason}", error)
    assert not AUDIO.exists()


def test_a_column_without_a_single_file_is_an_error(monkeypatch):
    rows = write_manifest()
    write_rows([row | {"voice_file_name": ""} for row in rows])
    configure({"voice": SETTINGS}, corpus__on_error="skip")
    utterances = pd.DataFrame({"utterance_id": ["u0"], "audio_file_name": [""]})
    with pytest.raises(UserError, match="at least one utterance, but has none: all are empty"):
        extraction.write(params.load().corpus, "audio", utterances, extractors.Mfcc(**SETTINGS), Path("out"))


def test_auto_stops_for_a_manifest_and_skips_for_releases():
    assert not params.Corpus(source="manifest", root="raw").skips
    for source in params.RELEASES:
        assert params.Corpus(source=source, root="raw").skips
        assert not params.Corpus(source=source, root="raw", on_error="stop").skips


def test_missing_weights_are_one_error_whatever_on_error_says(monkeypatch, capfd):
    rows, rng = [], np.random.default_rng(0)
    for i in range(5):
        other_releases.write_video(Path(f"raw/u{i}.avi"), i, rng)
        rows.append({"utterance_id": f"u{i}", "label": "ab"[i % 2], "video_file_name": f"u{i}.avi"})
    write_rows(rows)
    for on_error in ("skip", "stop"):
        weights = {"extractor": "resnet101", "weights": "no-such.pth", "resize": 224, "device": "cpu"}
        configure({"video": weights}, corpus__on_error=on_error)
        assert stage(monkeypatch, corpus_stage) is None
        error = stage(monkeypatch, features_stage, "--modality", "video")
        assert "no-such.pth" in error
        assert ".avi" not in error
        assert "on_error" not in error
        assert capfd.readouterr().err == ""


def test_an_extractor_that_cannot_be_had_is_built_once_a_process(monkeypatch):
    def refuse(*_):
        with Path("built").open("a") as file:
            file.write("x")
        raise UserError("modalities.audio: weights are missing")

    write_manifest([2503] * 30)
    configure(corpus__on_error="skip")
    assert stage(monkeypatch, corpus_stage) is None
    monkeypatch.setattr(mfcc, "make", refuse)
    monkeypatch.setattr(processes, "cores", lambda: 1)
    error = stage(monkeypatch, features_stage, "--modality", "audio")
    assert error == "error: modalities.audio: weights are missing"
    assert len(Path("built").read_text()) < 30


def test_a_missing_library_is_an_error_even_with_skip(monkeypatch):
    other_releases.write_video(Path("raw/u0.avi"), 0, np.random.default_rng(0))
    write_rows([{"utterance_id": f"u{i}", "label": "ab"[i], "audio_file_name": "u0.avi"} for i in range(2)])
    configure(corpus__on_error="skip")
    assert stage(monkeypatch, corpus_stage) is None
    monkeypatch.setitem(sys.modules, "av", None)
    error = stage(monkeypatch, features_stage, "--modality", "audio")
    assert error == "error: raw/u0.avi: the sound of video files needs PyAV: `make av` installs it"


# ---- folds, names, checks


def test_incomplete_utterances_leave_the_folds_after_the_draw(monkeypatch, capfd):
    rows = write_manifest([2503] * 61)
    write_rows([row | {"voice_file_name": "" if i in (3, 17) else f"u{i}.wav"} for i, row in enumerate(rows)])
    write_wav(Path("raw/u29.wav"), 101, seed=0)  # too short for both
    found = {}
    for what in ("keep", "drop"):
        configure({"audio": SETTINGS, "voice": SETTINGS}, split__incomplete=what, split__folds=3)
        extract(monkeypatch)
        extract(monkeypatch, "voice")
        capfd.readouterr()
        assert stage(monkeypatch, split_stage) is None
        found[what] = pd.read_csv("data/folds.csv")
        said = capfd.readouterr().out
        assert said == (
            "3 of 61 utterances are in no fold: 1 have no audio, 3 have no voice\n" if what == "drop" else ""
        )
    assert len(found["keep"]) == 3 * 61
    left = found["keep"][~found["keep"]["utterance_id"].isin(["u3", "u17", "u29"])]
    assert left.values.tolist() == found["drop"].values.tolist()
    known = features.read(["audio", "voice"])
    assert features.fold_rows(known, found["drop"], 1)


def test_drop_says_so_where_nothing_is_missing(monkeypatch, capfd):
    write_manifest([2503] * 61)
    configure(split__incomplete="drop")
    extract(monkeypatch)
    capfd.readouterr()
    assert stage(monkeypatch, split_stage) is None
    assert capfd.readouterr().out == "0 of 61 utterances are in no fold: none lacks a modality\n"


def test_random_weights_are_told_in_the_corpus_name(monkeypatch):
    other_releases.ravdess(Path("raw"), actors=2)
    random = {"extractor": "resnet101", "weights": "random"}
    configure({"audio": SETTINGS, "video": random}, corpus__source="ravdess")
    assert stage(monkeypatch, corpus_stage) is None
    named = corpus.read_meta().corpus
    configure({"audio": SETTINGS, "video": random | {"weights": "a-file"}}, corpus__source="ravdess")
    assert stage(monkeypatch, corpus_stage) is None
    assert named == f"{corpus.read_meta().corpus}, not real: random weights for video"
    assert "not real" not in corpus.read_meta().corpus


def check(monkeypatch, capfd) -> str:
    capfd.readouterr()
    before = sorted(Path().rglob("*"))
    assert stage(monkeypatch, corpus_stage, "--check") is None
    assert sorted(Path().rglob("*")) == before
    said = capfd.readouterr()
    assert said.err == ""
    return said.out


def test_a_check_of_a_manifest_names_what_is_wrong(monkeypatch, capfd):
    rows = write_manifest([1601, 2503, 7919, 397, 5003, 3001, 6007])
    write_rows([row | {"start": "", "end": 0.05 if i == 1 else ""} for i, row in enumerate(rows)])
    Path("raw/u4.wav").write_bytes(b"broken" * 401)
    Path("raw/u5.wav").unlink()
    configure({"audio": SETTINGS | {"longest": 30}})
    said = check(monkeypatch, capfd)
    assert "7 utterances; it has audio" in said
    assert "by label: a 4, b 3" in said
    assert "by speaker: unknown 7" in said
    # 1601, 800 (cut), 7919, 397 and 6007 samples: .02481 … .4949 s
    assert "audio (mfcc): 5 of 7 utterances; 0.02481 to 0.4949 s, median 0.1001;" in said
    assert "2 are cut at 0.3 s (longest)" in said
    problems = said.partition("problems: ")[2].splitlines()
    assert problems[0] == "3"
    assert "u5.wav" in problems[1]
    assert "raw/u4.wav: must be sound" in problems[2]
    assert problems[3] == "  audio: shorter than 0.025 s, which gives no features: u3"


def test_a_check_tells_sound_that_is_too_long(monkeypatch, capfd):
    write_manifest()
    soundfile.write("raw/u6.wav", np.zeros(1001 * 3601, np.int16), 1001, subtype="PCM_U8")
    assert "audio: longer than 3600 s, which is an error: u6" in check(monkeypatch, capfd)


def test_a_check_of_iemocap(monkeypatch, capfd):
    spoken = iemocap_release.build(Path("raw/IEMOCAP_full_release"), sessions=1, dialogues=1)
    avi = next(Path("raw").rglob("Ses*.avi"))
    length = int((max(own.end for own in spoken) - 0.2) * 29.97) / 29.97
    labelled = [own for own in spoken if own.label not in iemocap_release.OTHERS]
    beyond = [own.name for own in labelled if own.start >= length]
    missing = next(Path("raw").rglob(f"{labelled[4].name}.wav"))
    missing.unlink()
    settings = {"extractor": "resnet101", "weights": "no-such-file"}
    configure({"audio": SETTINGS, "video": settings, "text": {"extractor": "glove"}}, corpus__source="iemocap")
    said = check(monkeypatch, capfd)
    assert "IEMOCAP (session 1): 21 utterances; it has text, audio, video" in said
    assert "by session: Session1 21\n" in said
    assert "audio (mfcc): 20 of 21 utterances; " in said
    assert "video (resnet101): 21 of 21 utterances; " in said
    words = [len(own.text.partition(":")[0].split()) for own in labelled]  # as the original, cut at a colon
    assert f"text (glove): {min(words)} to {max(words)} words, median {np.median(words):g}; 0 have none\n" in said
    problems = said.partition("problems: ")[2]
    assert missing.name in problems
    assert ("not within its file" in problems) == bool(beyond)
    avi.write_bytes(avi.read_bytes()[:1009])
    assert f"{avi}: must be video, but cannot be read; 21 utterances" in check(monkeypatch, capfd)


@pytest.mark.parametrize("source", ["ravdess", "crema_d", "meld"])
def test_a_check_of_other_releases_counts_and_names(monkeypatch, capfd, source):
    made = getattr(other_releases, source)(Path("raw"))
    settings = {"extractor": "resnet101", "weights": "random", "resize": 224}
    modalities = {"video": settings} if source == "meld" else {"audio": SETTINGS, "video": settings}
    configure(modalities, corpus__source=source)
    said = check(monkeypatch, capfd)
    assert f"{len(made)} utterances; it has" in said
    for label in set(made.values()):
        assert f"{label} {list(made.values()).count(label)}" in said
    faulty = {"ravdess": [], "crema_d": ["1001_IEO_ANG_XX.flv"], "meld": ["dia0_utt3.mp4", "dia1_utt5.mp4"]}[source]
    without_row = ["dia66_utt9.mp4"] if source == "meld" else []
    problems = said.partition("problems: ")[2]
    assert problems.startswith(f"{len(faulty + without_row) or 'none'}\n")
    assert all(name in problems for name in faulty + without_row)
    assert f"video (resnet101): {len(made) - len(faulty)} of {len(made)} utterances; 0.5 to 0.5 s" in said


@pytest.mark.long
def test_kills_lose_nothing(tmp_path):
    counts = extraction_kills.disturb(tmp_path / "study", kills=3, seed=1)
    assert sum(count for name, count in counts.items() if name.startswith("SIG")) == 3
