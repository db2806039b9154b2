"""`python -m stages.features --modality NAME`: write `data/features/NAME/` for the utterances of `data/corpus/`."""

from pathlib import Path

import pandas as pd

from stages.common import cli, corpus, extractors, features, files, params
from stages.common.errors import UserError
from stages.corpus import clips
from stages.features import arrays, extraction, published_folds, synthetic

SOURCES = {"synthetic": synthetic.write, "published_folds": published_folds.write}
"""Source that has features itself → what writes one modality of it to a folder."""


def main() -> None:
    """Write the features of one modality."""
    parser = cli.ArgumentParser(prog="python -m stages.features", description="Write the features of one modality.")
    parser.add_argument("--modality", required=True, help="one of those that params.yaml names")
    modality = parser.parse_args().modality
    config, utterances = params.load(), corpus.read_utterances()
    if modality not in config.modalities:
        raise UserError(f"--modality must be one of {', '.join(config.modalities)}, but is {modality}")
    with files.replacing(features.FOLDER / modality) as folder:
        write(config, modality, utterances, folder)
        made = features.read_modality_meta(folder.name, folder.parent)
        if made.utterances != features.names_digest(utterances["utterance_id"]):
            raise UserError(
                f"{features.FOLDER / modality}: features must be of the utterances of {corpus.FOLDER}, in their order, "
                f"but are of others: is {corpus.FOLDER} of these params? `dvc repro corpus` writes it"
            )
        files.write_text(folder / features.LABELS, corpus.labels_digest() + "\n")


def write(config: params.Params, modality: str, utterances: pd.DataFrame, folder: Path) -> None:
    """Write a modality to `folder`, as `Params.extractor` says.

    Raises
    ------
    UserError
        If the corpus has not got what the modality is made of, or a file of it is broken.
    """
    settings, there = config.extractor(modality), corpus.read_meta().modalities
    needed = extractors.medium(settings) if settings else None
    if modality not in there and needed not in there:
        what = modality if needed is None else f"{needed} to make {modality} of"
        raise UserError(f"modalities.{modality}: this corpus has {', '.join(there)}, but no {what}")
    if settings is None:
        SOURCES[config.corpus.source](config.corpus, modality, utterances, folder)
    elif settings.extractor == "arrays":
        arrays.write(config.corpus, modality, utterances, folder)
    elif settings.extractor == "glove":
        from stages.features import glove  # which imports nltk: a second

        transcripts = utterances[["utterance_id", clips.column_of(modality, settings, utterances)]]
        made = {"source": config.corpus.source}
        glove.write(settings, transcripts.itertuples(index=False), folder, modality=modality, made=made)
    else:
        extraction.write(config.corpus, modality, utterances, settings, folder)


if __name__ == "__main__":
    cli.run(main)
