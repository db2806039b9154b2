"""`python -m stages.corpus`: write `data/features/` from the corpus that `params.yaml` names."""

from stages.common import cli, features, files, params
from stages.corpus import published_folds, synthetic

SOURCES = {"synthetic": synthetic.write, "published_folds": published_folds.write}


def main() -> None:
    """Write the features of `corpus.source`."""
    corpus = params.load().corpus
    with files.replacing(features.FOLDER) as folder:
        SOURCES[corpus.source](corpus, folder)


if __name__ == "__main__":
    cli.run(main)
