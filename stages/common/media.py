"""Sound and pictures out of files, in bounded memory, and nothing but a UserError from a broken one.

Sound: WAV, FLAC, MP3 and Ogg by libsndfile; that of video files by PyAV, which is optional. Pictures: by OpenCV, which
decodes a file once, in order. The container's first bytes decide what may read a file, so that no playlist or other
text that names further files is followed.
"""

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.common.errors import UserError, short

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # else FFmpeg speaks of broken files on stderr, beside our error

MOST_SECONDS = 3600
"""Of sound or video that one utterance may have."""
MOST_PIXELS = 8192 * 4320
MOST_FRAMES_PER_SECOND = 1000
BLOCK = 1 << 20  # samples that are read at a time
FORMATS = {"mov": (4, (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")), "avi": (0, (b"RIFF",))}
FORMATS |= {"flv": (0, (b"FLV",)), "matroska": (0, (b"\x1aE\xdf\xa3",))}
"""FFmpeg's name of a container → where its signature lies, and what it may be."""


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
    """FFmpeg's name of a video file's container; None if it is none of those that are read."""
    with path.open("rb") as file:
        head = file.read(16)
    found = [name for name, (offset, signatures) in FORMATS.items() if head[offset:].startswith(signatures)]
    return found[0] if found and (found[0] != "avi" or head[8:12] == b"AVI ") else None


def sound(path: Path, clips: Sequence[Clip], rate: int) -> Iterator[np.ndarray]:
    """The sound of some parts of a file: [samples] in -1 … 1 each, float32, channels averaged, `rate` samples a second.

    One after the other, so that no more than one is in memory (but all of a video file's sound).

    Raises
    ------
    UserError
        If the file cannot be read as sound, or a part is longer than `MOST_SECONDS`.
    """
    if container(path):
        samples = _sound_of_video(path, clips, rate)
        for clip in clips:
            end = len(samples) if clip.end is None else _sample(clip.end, rate)
            yield samples[_sample(clip.start or 0, rate) : end]
        return
    import soundfile
    import soxr

    try:
        with soundfile.SoundFile(path) as file:
            for clip in clips:
                samples = _finite(path, _read(file, clip))
                yield samples if file.samplerate == rate else soxr.resample(samples, file.samplerate, rate)
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: must be sound, but cannot be read ({short(error)})") from None


def _sample(seconds: float, rate: float) -> int:
    """The number of the sample at a time."""
    return math.floor(seconds * rate + 0.5)


def _finite(path: Path, samples: np.ndarray) -> np.ndarray:
    if not np.isfinite(samples).all():
        raise UserError(f"{path}: samples must be finite, but one is not")
    return samples


def _read(file: "soundfile.SoundFile", clip: Clip) -> np.ndarray:  # noqa: F821
    """A part's samples, channels averaged. A header may claim more than there is: what is there counts."""
    first = _sample(clip.start or 0, file.samplerate)
    last = file.frames if clip.end is None else _sample(clip.end, file.samplerate)
    most = MOST_SECONDS * file.samplerate
    if first >= file.frames:
        return np.empty(0, np.float32)
    file.seek(first)
    blocks, left = [], min(last - first, most + 1)
    while left > 0:
        block = file.read(min(left, BLOCK), dtype="float32", always_2d=True)
        if not len(block):
            break
        blocks.append(block.mean(axis=1, dtype=np.float32))
        left -= len(block)
    samples = np.concatenate(blocks or [np.empty(0, np.float32)])
    if len(samples) > most:
        raise UserError(_too_long(file.name))
    return samples


def _too_long(path: object) -> str:
    return f"{path}: an utterance must have at most {MOST_SECONDS} s, but has more; start and end can name a part"


@contextmanager
def _audio_stream(path: Path) -> Iterator[tuple["av.container.InputContainer", "av.AudioStream"]]:  # noqa: F821
    """A video file and its sound, with all that can go wrong as a UserError."""
    try:
        import av
    except ImportError:
        raise UserError(f"{path}: the sound of video files needs PyAV: `make av` installs it") from None
    try:
        with av.open(str(path), format=container(path), metadata_errors="replace") as file:
            if not file.streams.audio:
                raise UserError(f"{path}: must have sound, but has none")
            yield file, file.streams.audio[0]
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UserError(f"{path}: must have sound, but cannot be read ({short(error)})") from None


def _video_sound_seconds(path: Path) -> float:
    with _audio_stream(path) as (file, stream):
        seconds = [float(stream.duration * stream.time_base)] if stream.duration else []
        return next(iter([*seconds, (file.duration or 0) / 1e6]))


def _sound_of_video(path: Path, clips: Sequence[Clip], rate: int) -> np.ndarray:
    """A video file's sound from its beginning to where the last part ends."""
    ends = [clip.end for clip in clips]
    seconds = MOST_SECONDS if None in ends else min(MOST_SECONDS, max(ends))
    blocks, count = [], 0
    with _audio_stream(path) as (file, stream):
        import av

        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        for frame in itertools.chain(file.decode(stream), [None]):
            own = [part.to_ndarray().reshape(-1) for part in resampler.resample(frame)]
            blocks.extend(own)
            count += sum(map(len, own))
            if count > seconds * rate:
                break
    if None in ends and count > MOST_SECONDS * rate:
        raise UserError(_too_long(path))
    return _finite(path, np.concatenate(blocks or [np.empty(0, np.float32)]))


def frame_numbers(clip: Clip, seconds: float, rate: float, per_second: float, longest: int | None) -> list[int]:
    """The numbers of the frames that show a part: at its start, then `per_second` times a second before its end.

    `seconds`: the file's; `rate`: its frames a second; `longest`: at most so many.
    """
    start, end = clip.start or 0, min(seconds, seconds if clip.end is None else clip.end)
    count = max(0, math.ceil((end - start) * per_second - 1e-6))
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
        self.path = path
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
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
            If the file breaks off more than a second before where its header says that it ends.
        """
        at = -1
        for number in numbers:
            while at < number:
                if not self._capture.grab():
                    self._check_end(at + 1)
                    return
                at += 1
            found, frame = self._capture.retrieve()
            if not found or frame is None:
                raise UserError(f"{self.path}: frame {number} cannot be decoded")
            yield number, frame[:, :, ::-1]

    def _check_end(self, frames: int) -> None:
        if not frames or frames < self.info.frames - self.info.rate:
            raise UserError(
                f"{self.path}: must have the {self.info.frames} frames that its header claims, but breaks off after "
                f"{frames}"
            )


def cropped(frame: np.ndarray, crop: str) -> np.ndarray:
    """The left or right half of a frame [height, width, 3], or all of it."""
    half = frame.shape[1] // 2
    return {"left": frame[:, :half], "right": frame[:, -half:], "": frame}[crop]


def sound_seconds(path: Path) -> float:
    """How long a file's sound is, by its header.

    Raises
    ------
    UserError
        If it cannot be read as sound.
    """
    if container(path):
        return _video_sound_seconds(path)
    import soundfile

    try:
        return soundfile.info(path).duration
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: must be sound, but cannot be read ({short(error)})") from None
