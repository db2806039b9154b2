"""`python -m stages.corpus`: write `data/corpus/` from the corpus that `params.yaml` names."""

from stages.common import cli, corpus, files, params
from stages.corpus import manifest, published_folds, synthetic

SOURCES = {"synthetic": synthetic.write, "published_folds": published_folds.write, "manifest": manifest.write}
"""Source → what writes its corpus to a folder."""


def main() -> None:
    """Write the corpus of `corpus.source`."""
    config = params.load().corpus
    with files.replacing(corpus.FOLDER) as folder:
        SOURCES[config.source](config, folder)


if __name__ == "__main__":
    cli.run(main)
