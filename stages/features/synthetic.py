"""One modality of the generated corpus (`stages/corpus/synthetic.py`)."""

from pathlib import Path

import pandas as pd

from stages.common.params import Corpus
from stages.corpus.synthetic import Speech
from stages.features.writer import Writer


def write(corpus: Corpus, modality: str, utterances: pd.DataFrame, folder: Path) -> None:
    """Generate the whole corpus once more, since one random generator draws all of it, and keep one modality."""
    speech = Speech(corpus.synthetic)
    writer = Writer(folder, "tokens" if modality == "text" else "frames")
    for utterance, sequences in speech.utterances():
        writer.add(utterance["utterance_id"], sequences[modality])
    writer.close(
        longest=getattr(corpus.synthetic, modality).longest,
        embedding=speech.embedding if modality == "text" else None,
        made={"source": "synthetic"},
    )
