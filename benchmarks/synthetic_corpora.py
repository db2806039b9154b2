"""What the benchmarks that train on synthetic corpora without DVC share."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from stages.common import corpus as corpora
from stages.common import params
from stages.corpus import synthetic
from stages.features import synthetic as synthetic_features


def write(corpus: params.Corpus, modalities: Iterable[str], folder: Path, **changes: float) -> pd.DataFrame:
    """Generate a corpus and its features into `folder/corpus` and `folder/features`; its utterances.

    `changes`: of `corpus.synthetic`.
    """
    own = corpus.model_copy(update={"synthetic": corpus.synthetic.model_copy(update=changes)})
    synthetic.read(own).write(folder / "corpus")
    utterances = corpora.read_utterances(folder / "corpus")
    for modality in modalities:
        synthetic_features.write(own, modality, utterances, folder / "features" / modality)
    return utterances
