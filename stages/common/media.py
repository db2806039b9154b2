"""Sound and pictures out of files, in bounded memory, and nothing but a UserError from a broken one.

Sound: WAV, FLAC, MP3 and Ogg by libsndfile; that of video files by PyAV, which is optional. Pictures: by OpenCV, which
decodes a file once, in order. The container's first bytes decide what may read a file, so that no playlist or other
text that names further files is followed.
"""

import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.common.errors import UserError, short

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # else FFmpeg speaks of broken files on stderr, beside our error
# OpenCV lets FFmpeg guess the container: not one that names other files or hosts, whatever a file holds further on
os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "format_whitelist;mov,avi,flv,matroska|protocol_whitelist;file"

MOST_SECONDS = 3600
"""Of sound or video that one utterance may have."""
MOST_PIXELS = 8192 * 4320
MOST_FRAMES_PER_SECOND = 1000
RATES = 1000, 1_000_000
"""Samples a second that sound may have."""
MOST_SAMPLES = 1 << 48  # libsndfile has 2^63 − 1 for FLAC that does not say, and 0 for Ogg that is cut short
MP3_LEAD = 10 * 1152
"""Samples that are decoded before those that are wanted: an MP3 frame is made of the ones before it, too."""
BLOCK = 1 << 20  # samples that are read at a time
FRAMES_A_BLOCK = 512  # of a codec, some thousand samples each
FORMATS = {"mov": (4, (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")), "avi": (0, (b"RIFF",))}
FORMATS |= {"flv": (0, (b"FLV",)), "matroska": (0, (b"\x1aE\xdf\xa3",))}
"""FFmpeg's name of a container → where its signature lies, and what it may be."""


class MissingLibrary(UserError):
    """What reads a kind of file is not installed: no fault of the file."""


@dataclass(frozen=True)
class Clip:
    """The part of a file that is one utterance."""

    start: float | None = None
    """Seconds from the file's beginning; None: from there."""
    end: float | None = None
    """Likewise; None: to the file's end. An end beyond that is cut."""
    crop: str = ""
    """`left` or `right` half of the picture; empty: all of it."""


def container(path: Path) -> str | None:
    """FFmpeg's name of a video file's container; None if it is none of those that are read.

    Raises
    ------
    UserError
        If the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    found = [name for name, (offset, signatures) in FORMATS.items() if head[offset:].startswith(signatures)]
    return found[0] if found and (found[0] != "avi" or head[8:12] == b"AVI ") else None


def sound(path: Path, clips: Sequence[Clip], rate: int) -> Iterator[np.ndarray]:
    """The sound of some parts of a file: [samples] in -1 … 1 each, float32, channels averaged, `rate` samples a second.

    A part is cut at the file's own rate, to the nearest sample, and then resampled by itself, so that it does not
    depend on what else is read. A video file's time begins with the first of its streams: sound that begins later has
    silence before it. A sound file's parts are in memory one at a time, a video file's all at once.

    Raises
    ------
    UserError
        If the file cannot be read as sound, or a part is longer than `MOST_SECONDS`.
    """
    parts = _parts_of_video if container(path) else _parts_of_sound
    for samples, own_rate in parts(path, clips):
        if len(samples) > MOST_SECONDS * own_rate:
            raise UserError(
                f"{path}: an utterance must have at most {MOST_SECONDS} s, but has more; start and end can name a part"
            )
        if not np.isfinite(samples).all():
            raise UserError(f"{path}: samples must be finite, but one is not")
        yield samples if own_rate == rate else _resampled(samples, own_rate, rate)


def sound_seconds(path: Path) -> float:
    """How long a file's sound is, by its header.

    Raises
    ------
    UserError
        If it cannot be read as sound.
    """
    if not container(path):
        with _sound_file(path) as file:
            return file.frames / file.samplerate
    with _audio_stream(path) as (file, stream):
        if stream.duration:
            return float(stream.duration * stream.time_base)
        if file.duration:
            return file.duration / 1e6
        ends = (packet.pts + (packet.duration or 0) for packet in file.demux(stream) if packet.pts is not None)
        return float(max(ends, default=0) * stream.time_base)


def _resampled(samples: np.ndarray, own_rate: int, rate: int) -> np.ndarray:
    import soxr

    return soxr.resample(samples, own_rate, rate)


def _span(clip: Clip, rate: int) -> tuple[int, int]:
    """The numbers of a part's first sample and of the one after its last, one more than are allowed at most."""
    start, end = (clip.start or 0), math.inf if clip.end is None else clip.end
    most = start + MOST_SECONDS + 1 / rate
    return math.floor(start * rate + 0.5), math.floor(min(end, most) * rate + 0.5)


def _check_rate(path: Path, rate: int) -> None:
    low, high = RATES
    if not low <= rate <= high:
        raise UserError(f"{path}: sound must have {low} … {high} samples a second, but has {rate}")


@contextmanager
def _sound_file(path: Path) -> Iterator["soundfile.SoundFile"]:  # noqa: F821
    """A sound file, with all that can go wrong as a UserError."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            _check_rate(path, file.samplerate)
            if not 0 < file.frames <= MOST_SAMPLES:
                raise UserError(f"{path}: must have sound and say how much, but claims {file.frames} samples")
            yield file
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: must be sound, but cannot be read ({short(error)})") from None


def _parts_of_sound(path: Path, clips: Sequence[Clip]) -> Iterator[tuple[np.ndarray, int]]:
    """Each part's samples, channels averaged, and how many a second has."""
    with _sound_file(path) as file:
        for clip in clips:
            yield _read(file, *_span(clip, file.samplerate)), file.samplerate


def _read(file: "soundfile.SoundFile", first: int, last: int) -> np.ndarray:  # noqa: F821
    """Samples first … last − 1. A header may claim more than there is: what is there counts."""
    blocks, at = [np.empty(0, np.float32)], min(first, file.frames)
    while at < last:
        before = min(at, MP3_LEAD if file.format == "MP3" else 0)
        file.seek(at - before)
        count = before + min(last - at, max(1, BLOCK // file.channels))
        block = file.read(count, dtype="float32", always_2d=True)[before:]
        if not len(block):
            break
        blocks.append(block.mean(axis=1, dtype=np.float32))
        at += len(block)
    return np.concatenate(blocks)


@contextmanager
def _audio_stream(path: Path) -> Iterator[tuple["av.container.InputContainer", "av.AudioStream"]]:  # noqa: F821
    """A video file and its sound, with all that can go wrong as a UserError."""
    try:
        import av
    except ImportError:
        raise MissingLibrary(f"{path}: the sound of video files needs PyAV: `make av` installs it") from None
    try:
        with av.open(f"file:{path}", format=container(path), metadata_errors="replace") as file:
            if not file.streams.audio:
                raise UserError(f"{path}: must have sound, but has none")
            yield file, file.streams.audio[0]
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UserError(f"{path}: must have sound, but cannot be read ({short(error)})") from None


def _parts_of_video(path: Path, clips: Sequence[Clip]) -> Iterator[tuple[np.ndarray, int]]:
    """As `_parts_of_sound`; the file is decoded once, from its beginning to where the last part ends.

    From its beginning, since a decoder that starts elsewhere gives other samples.
    """
    with _audio_stream(path) as (file, stream):
        frames = file.decode(stream)
        head = next(frames, None)
        if head is None:
            raise UserError(f"{path}: must have sound, but has none")
        rate = head.sample_rate  # the stream's own claim is half of that for some AAC
        _check_rate(path, rate)
        late = (head.time or 0) - (file.start_time or 0) / 1e6
        if late > MOST_SECONDS:
            raise UserError(f"{path}: sound must begin within {MOST_SECONDS} s, but begins after {late:g} s")
        spans = [_span(clip, rate) for clip in clips]
        parts = [[np.empty(0, np.float32)] for _ in clips]
        for at, block in _blocks(itertools.chain([head], frames), round(late * rate)):
            for own, (first, last) in zip(parts, spans, strict=True):
                own.append(block[max(0, first - at) : max(0, last - at)].copy())
            if at + len(block) >= max(last for _, last in spans):
                break
    yield from ((np.concatenate(own), rate) for own in parts)


def _blocks(frames: Iterable["av.AudioFrame"], at: int) -> Iterator[tuple[int, np.ndarray]]:  # noqa: F821
    """Samples, channels averaged, with the number of the first, which is `at` of all; before that is silence."""
    import av

    yield 0, np.zeros(max(0, at), np.float32)
    planar = av.AudioResampler(format="fltp")  # rate and channels stay
    converted = (part.to_ndarray().mean(axis=0) for frame in frames for part in planar.resample(frame))
    while own := list(itertools.islice(converted, FRAMES_A_BLOCK)):
        block = np.concatenate(own)
        yield at, block
        at += len(block)


def frame_numbers(clip: Clip, seconds: float, rate: float, per_second: float, longest: int | None) -> list[int]:
    """The numbers of the frames that show a part: at its start, then `per_second` times a second before its end.

    `seconds`: the file's; `rate`: its frames a second; `longest`: at most so many, and never more than those of
    `MOST_SECONDS`. Time is a frame's number by the mean rate: where frames do not follow each other evenly, or the
    first is late, a number means a somewhat different moment.
    """
    start, end = clip.start or 0, min(seconds, seconds if clip.end is None else clip.end)
    count = max(0, math.ceil(min(end - start, MOST_SECONDS) * per_second - 1e-6))
    count = count if longest is None else min(count, longest)
    return [math.floor((start + i / per_second) * rate + 1e-6) for i in range(count)]


@dataclass(frozen=True)
class VideoInfo:
    """What a video file's header claims."""

    rate: float
    """Frames a second."""
    frames: int

    @property
    def seconds(self) -> float:
        """The file's length; where the header does not say it, the most that is read."""
        return self.frames / self.rate if self.frames else MOST_SECONDS


class Video:
    """A video file that is being decoded; a context manager."""

    def __init__(self, path: Path):
        """Raise a UserError if it cannot be read as video."""
        import cv2

        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        if container(path) is None:
            raise UserError(f"{path}: must be an MP4, MOV, AVI, Matroska or FLV file, but does not begin like one")
        if any("\ud800" <= letter <= "\udfff" for letter in str(path)):  # OpenCV crashes on them
            raise UserError(f"{path}: a video file's name must be UTF-8")
        self.path = path
        self._capture = cv2.VideoCapture(f"file:{path}", cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not self._capture.isOpened():
            raise UserError(f"{path}: must be video, but cannot be read")
        rate, frames, width, height = (
            self._capture.get(what)
            for what in (
                cv2.CAP_PROP_FPS,
                cv2.CAP_PROP_FRAME_COUNT,
                cv2.CAP_PROP_FRAME_WIDTH,
                cv2.CAP_PROP_FRAME_HEIGHT,
            )
        )
        if not 0 < rate <= MOST_FRAMES_PER_SECOND or not 0 < width * height <= MOST_PIXELS:
            raise UserError(
                f"{path}: must have 0 … {MOST_FRAMES_PER_SECOND} frames a second of at most {MOST_PIXELS} pixels, but "
                f"has {rate:g} of {width:g} × {height:g}"
            )
        self.info = VideoInfo(rate, max(0, int(frames)))

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()

    def frames(self, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The frames of these ascending numbers, [height, width, 3] in RGB, uint8, as far as the file has them.

        Raises
        ------
        UserError
            If the file breaks off more than a second before where its header says that it ends, or a frame differs in
            size from those before.
        """
        at, shape = -1, None
        for number in numbers:
            while at < number:
                if not self._capture.grab():
                    self._check_end(at + 1)
                    return
                at += 1
            found, frame = self._capture.retrieve()
            if not found or frame is None:
                raise UserError(f"{self.path}: frame {number} cannot be decoded")
            if frame.shape != (shape := shape or frame.shape):
                raise UserError(
                    f"{self.path}: frame {number} must have {shape[1]} × {shape[0]} pixels as those before, but has "
                    f"{frame.shape[1]} × {frame.shape[0]}"
                )
            yield number, frame[:, :, ::-1]

    def _check_end(self, frames: int) -> None:
        if not frames or frames < self.info.frames - self.info.rate:
            raise UserError(
                f"{self.path}: must have the {self.info.frames} frames that its header claims, but breaks off after "
                f"{frames}"
            )


def cropped(frame: np.ndarray, crop: str) -> np.ndarray:
    """The left or right half of a frame [height, width, 3], or all of it."""
    width = frame.shape[1]
    return {"left": frame[:, : width // 2], "right": frame[:, width - width // 2 :], "": frame}[crop]
