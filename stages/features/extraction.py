"""A modality that is extracted from the corpus's media."""

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from stages.common import extractors
from stages.common.errors import UserError
from stages.common.params import Corpus
from stages.corpus import clips
from stages.features import parallel
from stages.features.writer import Writer


def write(corpus: Corpus, modality: str, utterances: pd.DataFrame, settings: extractors.Section, folder: Path) -> None:
    """Extract a modality into `folder`; an utterance without it is a sequence of length 0.

    Raises
    ------
    UserError
        If a file is missing or broken, unless `corpus.skips`; if none is sound; if weights are missing. Names it.
    """
    jobs, places = clips.jobs(corpus, clips.column_of(modality, settings, utterances), utterances)
    task, done = parallel.do(jobs, modality, settings, skip=corpus.skips)
    errors = [own.error for own in done if own.error]
    size = max((own.size for own in done), default=0)
    if not size:
        first = errors[0] if errors else "all are empty"
        raise UserError(f"modalities.{modality}: must have features of at least one utterance, but has none: {first}")
    for error in errors:
        print(f"warning: {error}; its utterances have no {modality}", file=sys.stderr)
    writer = Writer(folder, "frames", size)
    for name, sequence in zip(utterances["utterance_id"], _sequences(places, jobs, done, task), strict=True):
        writer.add(name, sequence if len(sequence) else np.empty((0, size), np.float32))
    writer.close(longest=None, made=made(corpus, settings))


def made(corpus: Corpus, settings: extractors.Section) -> dict:
    """How features are made, as `meta.json` says it: without paths."""
    shown = settings.model_dump()
    if shown.get("weights"):
        shown["weights"] = Path(shown["weights"]).name
    return {"source": corpus.source, **shown}


def _sequences(
    places: list[clips.Place], jobs: list[clips.Job], done: list[parallel.Done], task: parallel.Task
) -> Iterator[np.ndarray]:
    """Each utterance's sequence; a record is read once for utterances that follow each other."""
    for job, own in groupby(places, key=lambda place: place and place[0]):
        found = parallel.result(task, jobs[job], done[job]) if job is not None and done[job].record else None
        for place in own:
            yield np.empty((0, 0), np.float32) if found is None else found[place[1]]
