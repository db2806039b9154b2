"""Mini releases of RAVDESS, CREMA-D and MELD: their layouts, names and known faults, with made-up media.

Sound and picture depend on the class, and in MELD the words do too, so that a study of them can be trained.
"""

import csv
import shutil
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import soundfile

FRAMES_PER_SECOND = 10
SECONDS = 0.5
SHAPE = (48, 64, 3)  # height, width, colours
CODECS = {".mp4": "mp4v", ".flv": "\x02\0\0\0", ".avi": "MJPG"}  # .flv: its own number of FLV1

RAVDESS_LABELS = ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"]
CREMA_D_LABELS = {"ANG": "angry", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
MELD_LABELS = ["anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"]
MELD_FOLDERS = {
    "train": "train/train_splits",
    "dev": "dev/dev_splits_complete",
    "test": "test/output_repeated_splits_test",
}
MELD_HEADER = ["Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"]
MELD_HEADER += ["Season", "Episode", "StartTime", "EndTime"]
MELD_DIALOGUES = {"train": 5, "dev": 2, "test": 3}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + 64 * "0" + "\nsize 81234\n"


def sound(kind: int, rng: np.random.Generator, rate: int) -> np.ndarray:
    """A noisy tone whose pitch tells the class, `SECONDS` long."""
    times = np.arange(round(SECONDS * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * 150 * 1.25**kind * rng.uniform(0.97, 1.03) * times)
    return (tone + 0.02 * rng.standard_normal(len(times))).astype(np.float32)


def pictures(kind: int, rng: np.random.Generator) -> np.ndarray:
    """Frames (time, height, width, BGR) whose hue tells the class."""
    hsv = np.full((round(SECONDS * FRAMES_PER_SECOND), *SHAPE), (20 * kind, 200, 180), np.uint8)
    hsv[..., 2] += rng.integers(0, 60, hsv.shape[:-1], dtype=np.uint8)
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_HSV2BGR) for frame in hsv])


def write_wav(path: Path, kind: int, rng: np.random.Generator, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound(kind, rng, rate), rate, subtype="PCM_16")


def write_video(path: Path, kind: int, rng: np.random.Generator, *, with_sound: bool = False) -> None:
    """A video of the class; only an .mp4 can have sound, which takes PyAV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if with_sound:
        _write_mp4_with_sound(path, pictures(kind, rng), sound(kind, rng, 16_000), 16_000)
        return
    codec = cv2.VideoWriter_fourcc(*CODECS[path.suffix])
    writer = cv2.VideoWriter(str(path), codec, FRAMES_PER_SECOND, SHAPE[1::-1])
    for frame in pictures(kind, rng):
        writer.write(frame)
    writer.release()


def _write_mp4_with_sound(path: Path, frames: np.ndarray, samples: np.ndarray, rate: int) -> None:
    import av  # optional

    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=FRAMES_PER_SECOND)
        video.height, video.width, video.pix_fmt = *SHAPE[:2], "yuv420p"
        audio = container.add_stream("aac", rate=rate, layout="mono", options={"aac_coder": "fast"})
        for stream in (video, audio):
            stream.thread_count = 1
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        block = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        block.sample_rate = rate
        container.mux(audio.encode(block))
        for stream in (video, audio):
            container.mux(stream.encode())


def ravdess(root: Path, *, actors: int = 5, repetitions: int = 1, sound: bool = False) -> dict[str, str]:
    """Speech of the first actors, as 01, 02 and 03, in two archives' folders; utterance_id → label.

    `sound`: whether files 01 have sound, as they should (takes PyAV).
    """
    rng, labels = np.random.default_rng(7), {}
    for actor, emotion, statement, repetition in product(
        range(1, actors + 1), range(1, 9), (1, 2), range(1, repetitions + 1)
    ):
        name, kind = f"01-{emotion:02d}-01-{statement:02d}-{repetition:02d}-{actor:02d}", emotion - 1
        folder = f"Actor_{actor:02d}"
        write_wav(root / "Audio_Speech_Actors_01-24" / folder / f"03-{name}.wav", kind, rng, 48_000)
        silent = root / "Video_Speech" / folder / f"02-{name}.mp4"
        write_video(silent, kind, rng)
        both = silent.with_name(f"01-{name}.mp4")
        if sound:
            write_video(both, kind, rng, with_sound=True)
        else:
            shutil.copyfile(silent, both)
        labels[name] = RAVDESS_LABELS[kind]
    return labels


def crema_d(root: Path, *, actors: int = 5, sentences: tuple[str, ...] = ("IEO", "DFA"), flv: bool = True) -> dict:
    """The first actors' sentences, and the utterance whose audio has X for its level; utterance_id → label.

    The video of the first utterance is a pointer of Git LFS. `flv`: whether there are videos.
    """
    rng, labels = np.random.default_rng(11), {}
    names = [*product(range(1001, 1001 + actors), sentences, CREMA_D_LABELS), (1040, "ITH", "SAD")]
    for actor, sentence, emotion in names:
        name, kind = f"{actor}_{sentence}_{emotion}", list(CREMA_D_LABELS).index(emotion)
        write_wav(root / f"AudioWAV/{name}_{'X' if actor == 1040 else 'XX'}.wav", kind, rng)
        if flv:
            write_video(root / f"VideoFlash/{name}_XX.flv", kind, rng)
        labels[f"{name}_XX"] = CREMA_D_LABELS[emotion]
    if flv:
        (root / f"VideoFlash/1001_{sentences[0]}_ANG_XX.flv").write_text(POINTER)
    return labels


def meld(root: Path, *, dialogues: Mapping[str, int] = MELD_DIALOGUES, sound: bool = False) -> dict[str, str]:
    """Dialogues of seven utterances, one of each class, in `root/MELD.Raw`; utterance_id → label.

    Faults as in the release: the clip train dia0_utt3 is corrupt, dev dia1_utt5 is absent, dev dia66_utt9 has no row,
    a copy of test dia0_utt0 is named final_videos_test…, and there are files `._*`. `sound`: whether clips have sound,
    as they should (takes PyAV).
    """
    rng, labels, base = np.random.default_rng(13), {}, root / "MELD.Raw"
    for part, folder in MELD_FOLDERS.items():
        rows = [meld_row(dialogue, number) for dialogue in range(dialogues[part]) for number in range(7)]
        for row in rows:
            clip = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
            kind = MELD_LABELS.index(row["Emotion"])
            write_video(base / folder / f"{clip}.mp4", kind, rng, with_sound=sound)
            labels[f"{part}_{clip}"] = row["Emotion"]
        write_table(base / ("train" if part == "train" else "") / f"{part}_sent_emo.csv", rows)
    train, dev, test = (base / MELD_FOLDERS[part] for part in ("train", "dev", "test"))
    (train / "dia0_utt3.mp4").write_bytes(rng.bytes(2003))
    (train / "._dia0_utt0.mp4").write_bytes(rng.bytes(163))
    (dev / "dia1_utt5.mp4").rename(dev / "dia66_utt9.mp4")
    (test / "final_videos_testdia0_utt0.mp4").write_bytes((test / "dia0_utt0.mp4").read_bytes())
    return labels


def meld_row(dialogue: int, number: int) -> dict[str, str]:
    """A row of a table of MELD."""
    label = MELD_LABELS[(2 * dialogue + number) % 7]
    times = {"StartTime": f"00:{number:02d}:01,250", "EndTime": f"00:{number:02d}:01,750"}
    names = ("Joey", "Phoebe", "The Waiter")
    return {
        "Sr No.": str(7 * dialogue + number + 1),
        "Utterance": f"Well, that’s {label}, isn’t it? It’s the {label} of dialogue {dialogue}.",
        "Speaker": names[(dialogue + number) % 3],
        "Emotion": label,
        "Sentiment": "neutral",
        "Dialogue_ID": str(dialogue),
        "Utterance_ID": str(number),
        "Season": "8",
        "Episode": "21",
    } | times


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    """A table of MELD, with lines that end in CRLF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, MELD_HEADER)
        writer.writeheader()
        writer.writerows(rows)
