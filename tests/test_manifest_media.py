"""Manifests of sound, video and transcripts, and tables that others made: what is read of them, and what is refused."""

import csv
import io
import json
import os
import random
import re
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml

from stages.common import corpus, extractors, features, files, params
from stages.common.errors import UserError
from stages.common.media import Clip
from stages.common.params import Corpus
from stages.corpus import clips, manifest, metadata
from stages.corpus.contents import Contents
from stages.features import __main__ as features_stage
from stages.features.encoding import Encoder
from tests.conftest import ROOT, changed
from tests.other_releases import write_video
from tests.test_manifest import EXISTS, INSIDE, KINDS, build, save, write_rows

RATE = 16000
PAGE = "docs/your-own-corpus.md"
MFCC = extractors.Mfcc(extractor="mfcc", coefficients=5, mel_bands=7, rate=RATE)
TIME = "seconds from 0, or a time such as 0 days 00:00:01.5"
NKULULEKO = {"file": "audio_file_name", "emotion": "label", "split": "part"}
EMOBOX = {"key": "utterance_id", "wav": "audio_file_name", "emo": "label"}


def tone(hertz: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def sound(path: Path, hertz: float = 440, seconds: float = 0.1, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(hertz, seconds, rate), rate)


def rows_of(root: Path, count: int = 5) -> list[dict]:
    """Rows of two classes, each with a WAV of its own."""
    for i in range(count):
        sound(root / f"audio/u{i}.wav", 300 + 100 * i)
    return [{"utterance_id": f"u{i}", "label": f"c{i % 2}", "audio_file_name": f"audio/u{i}.wav"} for i in range(count)]


def read(root: Path, **settings):
    return manifest.read(Corpus(source="manifest", root=str(root), **settings))


def refused(root: Path, **settings) -> str:
    with pytest.raises(UserError) as error:
        read(root, **settings)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{root}/")


def column(root: Path, name: str, **settings) -> list:
    return [row[name] for row in read(root, **settings).utterances]


def lines(path: Path, *text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


def prepare(root: Path, modalities: dict, **settings) -> features.Features:
    """Corpus and features in the current folder."""
    changes = {
        "corpus": {"source": "manifest", "root": str(root), **settings},
        "modalities": modalities,
        "variants": [f"self_{own['letter']}" for own in modalities.values()],
        "headline": {"attention": "self", "modalities": next(iter(modalities.values()))["letter"]},
    }
    config = params.Params(**changed(yaml.safe_load((ROOT / "params.yaml").read_text()), changes))
    with files.replacing(corpus.FOLDER) as folder:
        manifest.read(config.corpus).write(folder)
    for name in modalities:
        with files.replacing(features.FOLDER / name) as folder:
            features_stage.write(config, name, corpus.read_utterances(), folder)
    return features.read(list(modalities))


def lengths(found: features.Features, modality: str) -> list[int]:
    return [len(found.sequences[modality][i]) for i in range(len(found.utterance_id))]


# ---- what is read of media


@pytest.mark.parametrize("kind", KINDS)
def test_times_targets_and_transcriptions_are_read_alike_from_each_format(tmp_path, kind):
    rows = rows_of(tmp_path)
    starts, ends = [0.25, None, 1, 0.0, float("nan")], [1.5, 2.0, None, 3, None]
    if kind == "parquet":
        starts = [None if value is None or value != value else timedelta(seconds=value) for value in starts]
        ends = [float("nan") if value is None else float(value) for value in ends]
    said = ["Oh,\r\nno!", None, "", " a\u2028b\tc\0 ", "\u00fc"]
    for row, start, end, text, valence in zip(rows, starts, ends, said, [1.5, -2, None, 0, 1e-3], strict=True):
        row |= {"start": start, "end": end, "transcription": text, "valence": None if valence is None else valence}
        row |= {"dominance": None}
    if kind == "parquet":
        for row in rows:
            row["valence"] = row["valence"] if row["valence"] is None else float(row["valence"])
    write_rows(tmp_path, rows, kind)
    found = read(tmp_path)
    assert [row["audio_start"] for row in found.utterances] == [0.25, "", 1.0, 0.0, ""]
    assert [row["audio_end"] for row in found.utterances] == [1.5, 2.0, "", 3.0, ""]
    assert [row["transcription"] for row in found.utterances] == ["Oh, no!", "", "", "a b c", "\u00fc"]
    assert [row["valence"] for row in found.utterances] == [1.5, -2.0, "", 0.0, 0.001]
    assert "dominance" not in found.utterances[0]  # empty in every row
    assert found.meta.modalities == ["audio", "text"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("0 days 00:00:01.500000", 1.5), ("0 days", ""), ("1 days 02:03:04.25", 93784.25), ("2 days", 172800.0)],
        *[("00:16:16,059", 976.059), ("0:00:07", 7.0), ("3", 3.0), ("2.5", 2.5), ("1e-1", 0.1), (".5", 0.5)],
        *[("NaT", ""), ("nan", ""), ("NaN", ""), ("", "")],
    ],
)
def test_a_time_is_a_number_or_as_pandas_and_subtitles_write_it(tmp_path, text, seconds):
    rows = [row | {"start": "", "end": "1e6"} for row in rows_of(tmp_path, 2)]
    rows[1]["start"] = text
    write_rows(tmp_path, rows)
    found = column(tmp_path, "audio_start")[1] if text not in ("", "NaT", "nan", "NaN") else ""
    assert found == (0.0 if text == "0 days" else seconds)
    assert column(tmp_path, "audio_end") == [1e6, 1e6]


@pytest.mark.parametrize("kind", KINDS)
def test_pandas_own_times_pass(tmp_path, kind):
    """What audformat writes: a table with the times as timedelta, one of them missing."""
    table = pd.DataFrame(rows_of(tmp_path, 3))
    table["start"] = pd.to_timedelta([0, 1.234567891, 2], unit="s")
    table["end"] = pd.to_timedelta([pd.NaT, pd.Timedelta(3.5, "s"), pd.NaT])
    if kind == "csv":
        table.to_csv(tmp_path / "metadata.csv")  # with an index that has no name
        assert "0 days 00:00:03.5" in (tmp_path / "metadata.csv").read_text()
    elif kind == "parquet":
        table.to_parquet(tmp_path / "metadata.parquet")
    else:
        table[["start", "end"]] = table[["start", "end"]].astype(str)
        table.to_json(tmp_path / "metadata.jsonl", orient="records", lines=True)
    assert column(tmp_path, "audio_start") == pytest.approx([0, 1.234567891, 2], abs=1e-6)
    assert column(tmp_path, "audio_end") == ["", 3.5, ""]


@pytest.mark.parametrize("subtype", [".wav", ".flac"])
def test_features_of_a_part_are_those_of_the_part_as_a_file(tmp_path, subtype):
    rate = 8000 if subtype == ".flac" else RATE  # FLAC is resampled, too
    hertz, seconds = [300, 700, 1100, 300, 700], [0.21, 0.35, 0.13, 0.28, 0.44]
    ends = np.cumsum(seconds)
    soundfile.write(
        tmp_path / f"long{subtype}",
        np.concatenate([tone(*own, rate) for own in zip(hertz, seconds, strict=True)]),
        rate,
    )
    decoded, _ = soundfile.read(tmp_path / f"long{subtype}", dtype="float32")
    rows = []
    for i, (start, end) in enumerate(zip(ends - seconds, ends, strict=True)):
        part = decoded[round(start * rate) : round(end * rate)]
        soundfile.write(tmp_path / f"part{i}.wav", part, rate, subtype="FLOAT")
        times = {"start": round(start, 2), "end": round(end, 2)}
        rows.append({"utterance_id": i, "label": hertz[i], "audio_file_name": f"long{subtype}"} | times)
        rows.append({"utterance_id": f"own{i}", "label": hertz[i], "audio_file_name": f"part{i}.wav"})
    write_rows(tmp_path, rows)
    settings = Corpus(source="manifest", root=str(tmp_path))
    utterances = pd.DataFrame(read(tmp_path).utterances)
    jobs, places = clips.jobs(settings, clips.column_of("audio", MFCC, utterances), utterances)
    assert len(jobs) == 6  # the long file is read once
    assert jobs[0].parts[0] == Clip(0.0, 0.21)
    encode = Encoder(MFCC, "audio")
    done = [encode(job) for job in jobs]
    found = [done[job][part] for job, part in places]
    for i in range(5):
        assert len(found[2 * i]) == 1 + (round(seconds[i] * RATE) - 400) // 160
        np.testing.assert_array_equal(found[2 * i], found[2 * i + 1])
    assert not np.allclose(found[0][:9], found[2][:9], atol=0.5)  # of different classes


def test_a_part_of_an_mp3_is_where_its_times_say(tmp_path):
    parts = [tone(hertz, 0.5) for hertz in (300, 1100, 700)]
    soundfile.write(tmp_path / "long.MP3", np.concatenate(parts), RATE, format="MP3")
    soundfile.write(tmp_path / "own.wav", parts[1][800:-800], RATE)
    rows = [{"utterance_id": i, "label": i, "audio_file_name": name} for i, name in enumerate(("long.MP3", "own.wav"))]
    rows[0] |= {"start": 0.55, "end": 0.95}
    write_rows(tmp_path, rows)
    utterances = pd.DataFrame(read(tmp_path).utterances)
    jobs, _ = clips.jobs(Corpus(source="manifest", root=str(tmp_path)), "audio_file_name", utterances)
    (found,), (expected,) = (Encoder(MFCC, "audio")(job) for job in jobs)
    assert found.shape == expected.shape == (1 + (6400 - 400) // 160, 15)
    assert np.argmax(found[:, :5].mean(axis=0)) == np.argmax(expected[:, :5].mean(axis=0))
    np.testing.assert_allclose(found[:, 1], expected[:, 1], atol=3)


def test_modalities_of_arrays_sound_video_and_words_beside_each_other(tmp_path, monkeypatch):
    """Two from one column, one with a name of its own, one of arrays, whose times mean nothing; and one of words."""
    monkeypatch.chdir(tmp_path)
    root, rng = tmp_path / "in", np.random.default_rng(3)
    rows = rows_of(root, 4)
    soundfile.write(root / "long.wav", tone(500, 2), RATE)
    for i, row in enumerate(rows):
        save(root / f"gaze/{i}.npy", rng.standard_normal((2 + i, 3)))
        row |= {"audio_file_name": "long.wav", "start": 0.2 * i, "end": 0.2 * i + 0.1, "transcription": "so be it"}
        row |= {"gaze_file_name": f"gaze/{i}.npy", "speech_file_name": f"audio/u{i}.wav"}
    rows[2] |= {"start": 2, "end": 3, "speech_file_name": "", "gaze_file_name": "", "transcription": ""}
    write_rows(root, rows)
    mfcc = MFCC.model_dump()
    found = prepare(
        root,
        {
            "text": {"letter": "t", "features": {"extractor": "glove", "weights": "random"}},
            "audio": {"letter": "a", "features": mfcc},
            "prosody": {"letter": "p", "features": {"extractor": "prosody"}},
            "speech": {"letter": "s", "features": mfcc},
            "gaze": {"letter": "g"},
        },
    )
    assert lengths(found, "gaze") == [2, 3, 0, 5]
    assert lengths(found, "audio") == [8, 8, 0, 8]  # 1 + (1600 - 400) // 160; the third begins after the file's end
    assert lengths(found, "prosody") == [1, 1, 0, 1]
    assert lengths(found, "speech")[2] == 0
    assert lengths(found, "speech")[0] == 8  # the times are of all sound of the row: here the whole file
    table = corpus.read_utterances()
    assert "gaze_start" not in table
    assert table["speech_start"].tolist() == ["0.0", "0.2", "", "0.6000000000000001"]


def test_video_and_its_times(tmp_path):
    rows = rows_of(tmp_path, 3)
    for row, name in zip(rows, ("a.mp4", "b.avi", "C.AVI"), strict=True):
        write_video(tmp_path / name.lower(), 0, np.random.default_rng(0))
        (tmp_path / name.lower()).rename(tmp_path / name)
        del row["audio_file_name"]
        row |= {"video_file_name": name, "end": 0.25}
    write_rows(tmp_path, rows)
    utterances = pd.DataFrame(read(tmp_path).utterances)
    settings = extractors.Resnet101(extractor="resnet101", weights="random")
    jobs, _ = clips.jobs(Corpus(source="manifest", root=str(tmp_path)), "video_file_name", utterances)
    assert clips.column_of("face", settings, utterances) == "video_file_name"
    assert [job.parts for job in jobs] == [(Clip(None, 0.25),)] * 3
    with pytest.raises(UserError, match="mfcc needs a corpus with the column voice_file_name or audio_file_name, but"):
        clips.column_of("voice", MFCC, utterances)


def test_a_start_of_arrays_alone_means_nothing(tmp_path):
    rows = build(tmp_path, 6)
    for kind, value in (("csv", "tomorrow"), ("csv", "a\nb"), ("jsonl", [1]), ("jsonl", True), ("parquet", b"\xff")):
        for i, row in enumerate(rows):
            row |= {"start": value, "end": value if i else "", "duration": "long", "speaker": ""}
            if kind == "parquet":
                row["end"] = value
        for path in tmp_path.glob("metadata.*"):
            path.unlink()
        write_rows(tmp_path, rows, kind)
        found = read(tmp_path).utterances
        assert list(found[0]) == [*corpus.NAMES, "text_file_name", "gaze_file_name"]
        assert {row["speaker"] for row in found} == {""}
    twice = [row | {"fold": fold, "part": "test", "start": f"of fold {fold}"} for fold in (1, 2) for row in rows]
    (tmp_path / "metadata.parquet").unlink()
    write_rows(tmp_path, [{name: own for name, own in row.items() if name != "end"} for row in twice])
    assert len(read(tmp_path).utterances) == 6


# ---- other people's tables


def test_a_table_of_nkululeko_is_read_unchanged(tmp_path):
    for i in range(4):
        sound(tmp_path / f"wav/03a0{i}.wav")
    path = lines(
        tmp_path / "emodb.csv",
        "\ufeff,file,emotion,speaker,gender,split,text,label,fold",
        '0,wav/03a00.wav,happiness,3,male,train,"Well, yes",7,x',
        "1,./wav/03a01.wav,neutral,,female,dev,,8,x",
        "2,wav/03a02.wav,boredom,4,female,test,,9,x",
        '3,"wav/03a03.wav",happiness,4,female,test,,7,x',
    )
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(UserError, match=r"line 2 .*: fold must be a whole number in 1 … 999999, but is 'x'"):
        read(path, columns=NKULULEKO)
    path.write_text(path.read_text(encoding="utf-8").replace(",fold", ",lap"), encoding="utf-8")
    found = read(path, columns=NKULULEKO | {"text": "transcription"}, labels={"boredom": None, "happiness": "glad"})
    assert [tuple(row[name] for name in corpus.NAMES) for row in found.utterances] == [
        ("wav/03a00", "3", "", "", "glad"),
        ("wav/03a01", "", "", "", "neutral"),
        ("wav/03a03", "4", "", "", "glad"),
    ]
    assert found.meta.classes == ["glad", "neutral"]
    assert found.folds.values.tolist() == [[1, "wav/03a00", "train"], [1, "wav/03a01", "dev"], [1, "wav/03a03", "test"]]
    assert found.utterances[0]["transcription"] == "Well, yes"
    assert "audio_start" not in found.utterances[0]


def test_a_segmented_table_is_read_unchanged(tmp_path):
    sound(tmp_path / "db/a.b.wav", seconds=0.5)
    lines(
        tmp_path / "db/segments.csv",
        "file,start,end,speaker,emotion",
        "a.b.wav,0 days,0 days 00:00:00.250000,C_01,anger",
        "a.b.wav,0 days 00:00:00.250000,0 days 00:00:00.500000,C_01,joy",
        "./a.b.wav,0 days 00:00:12.5,,C_01,joy",
    )
    columns = {"file": "audio_file_name", "emotion": "label"}
    found = read(tmp_path / "db/segments.csv", columns=columns).utterances
    assert [row["utterance_id"] for row in found] == ["a.b@0", "a.b@0.25", "a.b@12.5"]
    assert [(row["audio_start"], row["audio_end"]) for row in found] == [(0.0, 0.25), (0.25, 0.5), (12.5, "")]
    lines(
        tmp_path / "db/segments.csv",
        *["file,start,end,emotion", "a.b.wav,0 days,1,anger", "a.b.wav,0.0,2,joy"],  # ends differ, the name doesn't
    )
    message = "line 3: utterance_id must be unique, but 'a.b@0' is in line 2 too"
    assert refused(tmp_path / "db/segments.csv", columns=columns).endswith(message)


def test_a_file_of_emobox_is_read_unchanged(tmp_path):
    common = {"dataset": "iemocap", "type": "raw", "sample_rate": 16000, "num_frame": 1600.0, "task": "category"}
    rows = []
    for i, emotion in enumerate(["hap", "exc", "neu"]):
        sound(tmp_path / f"downloads/iemocap/a ({i}).wav")
        key, wav = f"iemocap-Ses01F_impro01_F00{i}", f"downloads/iemocap/a ({i}).wav"
        rows.append({"key": key, "wav": wav, **common, "length": 0.1, "emo": emotion, "channel": 1})
    path = lines(tmp_path / "iemocap_train_fold_1.jsonl", *map(json.dumps, rows))
    found = read(path, columns=EMOBOX, labels={"exc": "hap", "xxx": None})
    assert [row["utterance_id"] for row in found.utterances] == [row["key"] for row in rows]
    assert [row["audio_file_name"] for row in found.utterances] == [row["wav"] for row in rows]
    assert [row["label"] for row in found.utterances] == ["hap", "hap", "neu"]
    assert found.meta.classes == ["hap", "neu"]


def test_a_parquet_tables_columns_are_renamed(tmp_path):
    rows = rows_of(tmp_path, 2)
    table = pa.table(
        {
            "file_name": [row["audio_file_name"] for row in rows],
            "emotion": pa.array(["joy", "fear"]).dictionary_encode(),
            "audio": [{"bytes": b"x", "path": "y"}] * 2,
        }
    )
    pq.write_table(table, tmp_path / "metadata.parquet")
    found = read(tmp_path, columns={"file_name": "audio_file_name", "emotion": "label"})
    assert [(row["utterance_id"], row["label"]) for row in found.utterances] == [
        ("audio/u0", "joy"),
        ("audio/u1", "fear"),
    ]


def test_a_row_without_the_first_file_is_named_by_the_next(tmp_path):
    sound(tmp_path / "a.wav")
    sound(tmp_path / "b.c.wav")
    path = lines(tmp_path / "t.csv", "close,far,label", "a.wav,b.c.wav,x", ",b.c.wav,y")
    assert column(path, "utterance_id", columns={"close": "close_file_name", "far": "far_file_name"}) == ["a", "b.c"]
    lines(path, "close,far,label", "a.wav,b.c.wav,x", ",,y")
    message = refused(path, columns={"close": "close_file_name", "far": "far_file_name"})
    assert message.endswith("line 3: utterance_id must be text or a whole number, but is empty")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": {"File": "audio_file_name"}}, "corpus.columns must name columns of this file, but 'File' is none"),
        (
            {"columns": {"emotion": "lable"}},
            "corpus.columns: 'emotion' must be one of utterance_id, speaker, session, ",
        ),
        (
            {"columns": {"emotion": "label", "file": "label"}},
            "corpus.columns must give each name once, but 'emotion' and 'file' are label",
        ),
        (
            {"columns": NKULULEKO, "labels": {"Joy": "glad", "sorrow": None}},
            "corpus.labels must name labels of this file, 'fear', 'joy', but names 'Joy', 'sorrow'",
        ),
        ({"columns": NKULULEKO, "labels": {"joy": None, "fear": None}}, "corpus.labels must leave some rows, but"),
        (
            {"columns": NKULULEKO, "labels": {"joy": "a", "fear": "a"}},
            "label must name two or more classes, but is 'a'",
        ),
    ],
)
def test_columns_and_labels_that_cannot_be_meant(tmp_path, settings, message):
    for name in "ab":
        sound(tmp_path / f"{name}.wav")
    path = lines(tmp_path / "t.csv", "file,emotion,split", "a.wav,joy,train", "b.wav,fear,test")
    assert refused(path, **settings).removeprefix(f"{path}: ").startswith(message)


# ---- what is refused


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        *[(value, "", f"start must be {TIME}, but is {value!r}") for value in ("-1", "-0.1", "1e400", "inf", "soon")],
        *[
            (value, "", f"start must be {TIME}, but is {value!r}")
            for value in ("-1 days +23:59:59", "1:2", "1_0", "1s")
        ],
        *[("", value, f"end must be {TIME}, but is {value!r}") for value in ("-inf", "0x10", "\u0663", "1.5.2")],
        ("2", "1.5", "end must be after its start, 2.0, but is '1.5'"),
        ("1", "0 days 00:00:01", "end must be after its start, 1.0, but is '0 days 00:00:01'"),
        ("", "0", "end must be after its start, 0, but is '0'"),
    ],
)
def test_times_that_are_none(tmp_path, start, end, message):
    rows = rows_of(tmp_path)
    rows[0] |= {"start": "0", "end": "9"}
    rows[3] |= {"start": start, "end": end}
    write_rows(tmp_path, rows)
    assert refused(tmp_path) == f"metadata.csv: line 5 (utterance 'u3'): {message}"


@pytest.mark.parametrize(
    ("value", "message"),
    [("high", "'high'"), ("inf", "'inf'"), ("-1e400", "'-1e400'"), (True, "'True'"), ([0.5], "'[0.5]'")],
)
def test_targets_that_are_none(tmp_path, value, message):
    rows = rows_of(tmp_path)
    rows[1]["activation"] = value
    write_rows(tmp_path, rows, "jsonl")
    found = refused(tmp_path)
    assert (
        found
        == f"metadata.jsonl: line 2 (utterance 'u1'): activation must be a finite number or empty, but is {message}"
    )


def test_files_that_may_not_be_read(tmp_path):
    root = tmp_path / "in"
    rows = rows_of(root)
    sound(tmp_path / "out.wav")
    os.mkfifo(root / "pipe.wav")
    (root / "folder.wav").mkdir()
    (root / "away.wav").symlink_to("../out.wav")
    (root / "zero.wav").symlink_to("/dev/zero")
    (root / "loop.wav").symlink_to("loop.wav")
    (root / "up").symlink_to("..")
    (root / "list.m3u8").write_text("#EXTM3U\n/etc/passwd\n")
    ends = f"the path of a file that ends in {', '.join(manifest.ARRAYS + manifest.SOUND + manifest.VIDEO)}"
    rules = {
        **dict.fromkeys(["../out.wav", f"{tmp_path}/out.wav", "away.wav", "zero.wav", "up/out.wav"], INSIDE),
        **dict.fromkeys(["pipe.wav", "folder.wav"], "a file, not a folder or a device"),
        **dict.fromkeys(["list.m3u8", "x.pkl", "audio/u1", "http://example.org/x.mp4?list"], ends),
        "loop.wav": "the path of a file that can be read (Too many levels of symbolic links)",
        "audio/u1.WAV": EXISTS,
        "audio\\u1.wav": f"{EXISTS}, with / between folders, not \\",
    }
    for name, rule in rules.items():
        rows[1]["audio_file_name"] = name
        write_rows(root, rows)
        place = "metadata.csv: line 3 (utterance 'u1')"
        assert refused(root) == f"{place}: audio_file_name must be {rule}, but is {name!r}"
    sound(root / "audio\\u1.wav")  # a name that a file may have here
    rows[1]["audio_file_name"] = "audio\\u1.wav"
    write_rows(root, rows)
    assert column(root, "audio_file_name")[1] == "audio\\u1.wav"
    rows[1]["audio_file_name"] = "zero.wav"
    write_rows(root, rows)
    assert refused(root, allow_outside=True).endswith("must be a file, not a folder or a device, but is 'zero.wav'")


def test_skipping_leaves_utterances_without_what_is_missing_or_broken(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "in"
    rows = rows_of(root, 7)
    (root / "audio/u1.wav").unlink()
    rows[2]["audio_file_name"] = "../in/audio/u2.wav"
    rows[2]["start"] = "soon"  # of no matter without a file
    (root / "audio/u3.wav").write_bytes(b"no sound")
    write_rows(root, rows)
    assert refused(root).startswith("metadata.csv: line 3 (utterance 'u1')")
    found = read(root, on_error="skip")
    assert found.problems == [
        f"{root}/metadata.csv: line 3 (utterance 'u1'): audio_file_name must be {EXISTS}, but is 'audio/u1.wav'",
        f"{root}/metadata.csv: line 4 (utterance 'u2'): audio_file_name must be {INSIDE}, but is '../in/audio/u2.wav'",
    ]
    modalities = {"audio": {"letter": "a", "features": MFCC.model_dump()}}
    made = prepare(root, modalities, on_error="skip")
    assert [length > 0 for length in lengths(made, "audio")] == [True, False, False, False, True, True, True]
    assert f"warning: {root}/audio/u3.wav: must be sound" in capfd.readouterr().err
    (root / "audio/u6.wav").rename(root / "audio/gone.wav")  # after the corpus was read
    settings = Corpus(source="manifest", root=str(root), on_error="skip")
    paths = list(clips.paths(settings, "audio_file_name", corpus.read_utterances()))
    assert paths == [root / f"audio/u{i}.wav" if i in (0, 3, 4, 5) else None for i in range(7)]
    message = f"{root}/metadata.csv: utterance 'u6': audio_file_name must be {EXISTS}, but is 'audio/u6.wav'"
    assert capfd.readouterr().err == f"warning: {message}\n"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        list(clips.paths(settings.model_copy(update={"on_error": "stop"}), "audio_file_name", corpus.read_utterances()))


# ---- random damage

VALUES = [
    "",
    " ",
    "u1.wav",
    "u1.npy",
    "../u1.wav",
    "NaT",
    "-1",
    "0.5",
    "1e999",
    "0 days",
    "1 days 00:00:00.1",
    "x" * 2000,
]
VALUES += ["c1", "c2", "train", "9" * 5000, "a\nb", "\0", "\ud800", '"', "nan", "00:00:01,5", "\u0663", "u1.wav/x.wav"]
OTHERS = [None, True, 3, -2, 1.5, float("nan"), float("inf"), 10**400, [], {"a": [1]}, timedelta(1), b"\xff"]
THEIRS = {"file": "audio_file_name", "emotion": "label", "from": "start"}
NAMES = [
    *THEIRS,
    "end",
    "video_file_name",
    "transcription",
    "valence",
    "part",
    "fold",
    "speaker",
    "utterance_id",
    "",
    "x",
]


def damaged(rng: random.Random, kind: str) -> bytes | None:
    """A table of four rows with some cells replaced, and perhaps some bytes; None if the format cannot hold it."""
    rows = [{"file": f"u{i % 2}.wav", "from": str(i), "emotion": f"c{i % 2}"} for i in range(4)]
    for _ in range(rng.randint(0, 3)):
        name, value = rng.choice(NAMES), rng.choice(VALUES + (OTHERS if kind != "csv" else []))
        for row in rows if rng.random() < 0.5 else [rng.choice(rows)]:
            row[name] = value
    names = list(dict.fromkeys(name for row in rows for name in row))
    try:
        if kind == "parquet":
            buffer = io.BytesIO()
            pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), buffer)
            made = buffer.getvalue()
        elif kind == "jsonl":
            made = "".join(json.dumps(row) + "\n" for row in rows).encode()
        else:
            text = io.StringIO()
            table = csv.DictWriter(text, names)
            table.writeheader()
            table.writerows(rows)
            made = text.getvalue().encode()
    except (UnicodeError, pa.ArrowException, ValueError, TypeError, OverflowError):
        return None
    if rng.random() < 0.3:
        at = rng.randrange(len(made))
        made = made[:at] + rng.choice([b"", b"\0", b"\xff", b'"', b",", b"\n", b"}"]) + made[at + rng.randint(0, 3) :]
    return made


def attempt(path: Path, folder: Path) -> tuple[Contents | None, str]:
    """What is read and can be written; or the message."""
    try:
        found = read(path, columns=THEIRS)
        found.write(folder)
    except UserError as error:
        return None, str(error)
    return found, ""


@pytest.mark.parametrize("kind", KINDS)
def test_random_damage_is_read_or_refused_by_its_place(tmp_path, kind):
    for i in range(2):
        sound(tmp_path / f"u{i}.wav")
    path, accepted, located = tmp_path / f"table.{kind}", 0, 0
    for seed in range(100):
        made = damaged(random.Random(seed), kind)
        if made is None:
            continue
        path.write_bytes(made)
        found, message = attempt(path, tmp_path / f"out{seed}")
        assert found or message.startswith(f"{path}: ")
        assert "\n" not in message
        assert len(message) < 1000
        accepted += bool(found)
        located += bool(re.match(r": (line|row) [0-9]+", message.removeprefix(str(path))))
        for row in found.utterances if found else []:
            start, end = row.get("audio_start", ""), row.get("audio_end", "")
            assert start == "" or 0 <= start < float("inf")
            assert end == "" or (start or 0) < end < float("inf")
    assert accepted > 20
    assert located > 20


# ---- the page


def printed(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", (ROOT / PAGE).read_text(), re.DOTALL)


def test_the_pages_example_of_sound_runs_as_printed(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (program,), (settings, *_) = printed("py"), printed("yml")
    exec(compile(program, PAGE, "exec"), {})
    changes = yaml.safe_load(settings)
    study.set(**changes | {"corpus": changes["corpus"] | {"root": str(tmp_path / "my_sound")}})
    for command in (("corpus", "--check"), ("corpus",), ("features", "--modality", "audio"), ("split",)):
        done = study.stage(*command)
        assert done.returncode == 0, done.stderr
        if "--check" in command:
            assert "by label: angry 21, happy 21, sad 18" in done.stdout
            assert "audio (mfcc): 60 of 60 utterances; 0.2 to 0.59 s" in done.stdout
            assert "problems: none" in done.stdout
    found = features.read(["audio"], study.folder / "data/features", study.folder / "data/corpus")
    table = pd.read_csv(tmp_path / "my_sound/metadata.csv")
    expected = 1 + (np.round((table["end"] - table["start"]) * RATE).astype(int) - 400) // 160
    assert lengths(found, "audio") == expected.tolist()
    assert found.sequences["audio"].dimensions == 120
    means = np.array([found.sequences["audio"][row].mean(axis=0) for row in range(60)])
    centres = np.array([means[found.label == label].mean(axis=0) for label in range(3)])
    nearest = np.argmin(((means[:, None] - centres) ** 2).sum(axis=-1), axis=1)
    assert (nearest == found.label).all()  # the parts are where the tones are
    folds = corpus.read_folds(study.folder / "data/folds.csv")
    assert set(folds["part"]) == {"train", "dev", "test"}


def test_the_pages_settings_of_others_tables_are_those_tested_here():
    nkululeko, emobox = [yaml.safe_load(text)["corpus"] for text in printed("yml")[1:]]
    assert (nkululeko["columns"], emobox["columns"]) == (NKULULEKO, EMOBOX)
    assert Corpus(**nkululeko).labels == {"boredom": None}
    assert Corpus(**emobox).labels == {"exc": "hap"}


def test_the_page_names_every_column_and_ending():
    page = (ROOT / PAGE).read_text()
    for name in (*corpus.DIMENSIONS, *metadata.TIMES, metadata.TRANSCRIPTION, *corpus.NAMES, "fold", "part"):
        assert f"`{name}`" in page
    for ending in manifest.ARRAYS + manifest.SOUND + manifest.VIDEO:
        assert f"`{ending}`" in page


def test_a_column_of_ours_that_means_something_else_is_left_out(tmp_path):
    (tmp_path / "metadata.csv").write_text(
        "utterance_id,label,transcription,fold,Original_file_name\na,x,one,0,\nb,y,two,,q\n"
    )
    rows = metadata.read(tmp_path / "metadata.csv", {"fold": None, "Original_file_name": None})
    assert [sorted(row.cells) for row in rows] == [["label", "transcription", "utterance_id"]] * 2
