"""`python -m stages.features --modality NAME`: write `data/features/NAME/` for the utterances of `data/corpus/`."""

from stages.common import cli, corpus, features, files, params
from stages.common.errors import UserError
from stages.features import arrays, published_folds, synthetic

SOURCES = {"synthetic": synthetic.write, "published_folds": published_folds.write, "manifest": arrays.write}
"""Source of the corpus → what writes one modality of it to a folder."""


def main() -> None:
    """Write the features of one modality."""
    parser = cli.ArgumentParser(prog="python -m stages.features", description="Write the features of one modality.")
    parser.add_argument("--modality", required=True, help="one of those that data/corpus/meta.json names")
    modality = parser.parse_args().modality
    config, there = params.load().corpus, corpus.read_meta().modalities
    if modality not in there:
        raise UserError(f"modalities.{modality}: this corpus has {', '.join(there)}, but no {modality}")
    utterances = corpus.read_utterances()
    with files.replacing(features.FOLDER / modality) as folder:
        SOURCES[config.source](config, modality, utterances, folder)
        made = features.read_modality_meta(folder.name, folder.parent)
        if made.utterances != features.names_digest(utterances["utterance_id"]):
            raise UserError(
                f"{features.FOLDER / modality}: features must be of the utterances of {corpus.FOLDER}, in their order, "
                f"but are of others: is {corpus.FOLDER} of these params? `dvc repro corpus` writes it"
            )
        files.write_text(folder / features.LABELS, corpus.labels_digest() + "\n")


if __name__ == "__main__":
    cli.run(main)
