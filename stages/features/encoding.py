"""What one extractor makes of one file, or of transcripts: nothing else decides a feature's value.

Each extractor is a module of its own here, named as in params. Its `make(settings, modality)` returns a function from
samples [N], frames [T, height, width, 3] or a transcript to features [T, F]; frames of video are taken one by one,
whatever else is in the same call. If it has a method `pool`, that takes these, and their seconds, to what is kept.
"""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np

from stages.common import extractors, media
from stages.common.errors import UserError
from stages.common.media import Video
from stages.corpus.clips import Job

FRAMES = 16  # that are encoded at once


@contextmanager
def _naming(path: Path | None) -> Iterator[None]:
    """Have all that is wrong with a file be a UserError that names it: an extractor knows but samples and frames."""
    try:
        yield
    except UserError as error:
        if path is None or isinstance(error, media.MissingLibrary):
            raise
        raise UserError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    except OSError as error:
        raise UserError(f"{path}: this file cannot be read ({error.strerror})") from None


class Encoder:
    """An extractor with its settings and weights."""

    def __init__(self, settings: extractors.Section, modality: str):
        """Raise a UserError if weights or a library are missing."""
        module = importlib.import_module(f"stages.features.{settings.extractor}")
        self._encode = module.make(settings, modality)
        self._pool = getattr(self._encode, "pool", lambda values, _: values)
        self._settings = settings

    def __call__(self, job: Job) -> list[np.ndarray]:
        """The features [T, F] of each of a job's parts, float32, at most `longest` positions.

        Raises
        ------
        UserError
            If the file cannot be read; names it.
        """
        make = {"audio": self._of_sound, "video": self._of_video, "text": self._of_text}
        longest = getattr(self._settings, "longest", None)
        with _naming(job.path):
            return [np.ascontiguousarray(own[:longest], "<f4") for own in make[extractors.medium(self._settings)](job)]

    def _of_text(self, job: Job) -> Iterator[np.ndarray]:
        for text in job.parts:
            yield self._pool(self._encode(text), 0.0)

    def _of_sound(self, job: Job) -> Iterator[np.ndarray]:
        rate = self._settings.rate
        for samples in media.sound(job.path, job.parts, rate):
            yield self._pool(self._encode(samples), len(samples) / rate)

    def _of_video(self, job: Job) -> list[np.ndarray]:
        """Of a file that is decoded once; a frame that several parts share is encoded once."""
        settings = self._settings
        with Video(job.path) as video:
            info = video.info
            wanted = [
                [
                    (number, clip.crop)
                    for number in media.frame_numbers(
                        clip, info.seconds, info.rate, settings.frames_per_second, settings.longest
                    )
                ]
                for clip in job.parts
            ]
            encoded = self._encoded(video, sorted({picture for own in wanted for picture in own}))
        sequences = [[encoded[picture] for picture in own if picture in encoded] for own in wanted]
        return [
            self._pool(np.stack(own), len(own) / settings.frames_per_second) if own else np.empty((0, 0), np.float32)
            for own in sequences
        ]

    def _encoded(self, video: Video, pictures: Sequence[tuple[int, str]]) -> dict[tuple[int, str], np.ndarray]:
        """The features [F] of each picture: a frame's number and which half of it."""
        crops: dict[int, list[str]] = {}
        for number, crop in pictures:
            crops.setdefault(number, []).append(crop)
        cut = (
            ((number, crop), media.cropped(frame, crop))
            for number, frame in video.frames(list(crops))
            for crop in crops[number]
        )
        found = {}
        while batch := list(islice(cut, FRAMES)):
            names, frames = zip(*batch, strict=True)
            found.update(zip(names, self._encode(np.stack(frames)), strict=True))
        return found
