"""`python -m stages.corpus --check`: what a corpus holds, before hours go into its features."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from stages.common import extractors, media, params, processes, progress
from stages.common.errors import UserError
from stages.common.media import Video
from stages.corpus import clips
from stages.corpus.contents import Contents, unusable
from stages.corpus.metadata import TRANSCRIPTION

SHOWN = 20  # names of many
SHORTEST = 0.025  # seconds: one frame of MFCC


def report(contents: Contents, config: params.Params) -> None:
    """Print counts, then lengths of each of the study's modalities that is made of media, then all problems.

    Every media file is opened, and its header read; decoding alone can find what is broken further inside.
    """
    utterances = pd.DataFrame(contents.utterances)
    print(f"{contents.meta.corpus}: {len(utterances)} utterances; it has {', '.join(contents.meta.modalities)}")
    for column in ("label", "speaker", "session"):
        print(f"by {column}: {_counts(utterances[column], contents.meta.classes if column == 'label' else None)}")
    if contents.folds is not None:
        for fold, own in contents.folds.groupby("fold"):
            print(f"fold {fold} of the corpus: {_counts(own['part'], None)}")
    problems = list(contents.problems)
    for modality in config.modalities:
        settings = config.extractor(modality)
        if settings and extractors.medium(settings):
            problems += _check_modality(modality, settings, utterances, config.corpus)
    print(f"problems: {len(problems) or 'none'}")
    for line in problems:
        print(f"  {line}")


def _counts(values: pd.Series, order: list[str] | None) -> str:
    counts = Counter(values)
    return _listed([f"{name or 'unknown'} {counts[name]}" for name in order or sorted(counts)])


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _check_modality(
    modality: str, settings: extractors.Section, utterances: pd.DataFrame, corpus: params.Corpus
) -> list[str]:
    """Print one line on the modality's lengths; what is wrong with it."""
    try:
        column = clips.column_of(modality, settings, utterances)
    except UserError as error:
        return [str(error)]
    if column == TRANSCRIPTION:
        words = np.array([len(text.split()) for text in utterances[TRANSCRIPTION]])
        print(f"{modality} ({settings.extractor}): {_spread(words, 'words')}; {(words == 0).sum()} have none")
        return []
    jobs, places = clips.jobs(corpus, column, utterances)
    medium = extractors.medium(settings)
    length = media.sound_seconds if medium == "audio" else _video_seconds
    with ThreadPoolExecutor(processes.cores()) as pool:
        opened = list(progress.line(column, "files", pool.map(lambda job: _open(job, length), jobs), len(jobs)))
    problems = [f"{error}; {len(job.parts)} utterances" for job, (_, error) in zip(jobs, opened, strict=True) if error]
    seconds = {}
    for name, place in zip(utterances["utterance_id"], places, strict=True):
        if place and not opened[place[0]][1]:
            clip = jobs[place[0]].parts[place[1]]
            end = opened[place[0]][0] if clip.end is None else min(clip.end, opened[place[0]][0])
            seconds[name] = max(0.0, end - (clip.start or 0))
    _tell_lengths(modality, settings, np.array(list(seconds.values())), len(utterances))
    return problems + _unfit(modality, medium, seconds)


def _unfit(modality: str, medium: extractors.Medium, seconds: dict[str, float]) -> list[str]:
    """The utterances whose lengths give no features, or an error."""
    rules = [("not within its file, which gives no features", lambda own: own == 0)]
    if medium == "audio":
        rules = [
            (f"shorter than {SHORTEST} s, which gives no features", lambda own: own < SHORTEST),
            (f"longer than {media.MOST_SECONDS} s, which is an error", lambda own: own > media.MOST_SECONDS),
        ]
    found = [(rule, [name for name, own in seconds.items() if broken(own)]) for rule, broken in rules]
    return [f"{modality}: {rule}: {_listed(names)}" for rule, names in found if names]


def _open(job: clips.Job, length: Callable[[Path], float]) -> tuple[float, str]:
    """A file's seconds, and what is wrong with it."""
    reason = unusable(job.path)
    try:
        return (0.0, f"{job.path}: this file {reason}") if reason else (length(job.path), "")
    except UserError as error:
        return 0.0, str(error)
    except OSError as error:
        return 0.0, f"{job.path}: this file cannot be read ({error.strerror})"


def _video_seconds(path: Path) -> float:
    with Video(path) as video:
        return video.info.seconds


def _tell_lengths(modality: str, settings: extractors.Section, seconds: np.ndarray, utterances: int) -> None:
    kept = extractors.kept_seconds(settings)
    cut = "" if kept is None else f"; {(seconds > kept).sum()} are cut at {kept:g} s (longest)"
    print(
        f"{modality} ({settings.extractor}): {len(seconds)} of {utterances} utterances; {_spread(seconds, 's')}; "
        f"{seconds.sum() / 3600:.2f} h in all{cut}"
    )


def _spread(values: np.ndarray, unit: str) -> str:
    if not len(values):
        return "none"
    return f"{values.min():.4g} to {values.max():.4g} {unit}, median {np.median(values):.4g}"
