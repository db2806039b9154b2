"""`python -m stages.corpus`: write `data/corpus/` from the corpus that `params.yaml` names.

With `--check` nothing is written: it says what would be, and opens every file of sound and video.
"""

import sys
from dataclasses import replace

from stages.common import cli, corpus, extractors, files, params
from stages.common.errors import UserError
from stages.corpus import check, iemocap, manifest, meld, named_files, published_folds, synthetic
from stages.corpus.contents import Contents

SOURCES = {
    "synthetic": synthetic.read,
    "published_folds": published_folds.read,
    "manifest": manifest.read,
    "iemocap": iemocap.read,
    "ravdess": named_files.ravdess,
    "crema_d": named_files.crema_d,
    "meld": meld.read,
}
"""Source → what reads its corpus."""
SHOWN = 20  # problems that are shown, of many


def main() -> None:
    """Write, or check, the corpus of `corpus.source`."""
    parser = cli.ArgumentParser(prog="python -m stages.corpus", description="Write data/corpus/.")
    parser.add_argument("--check", action="store_true", help="write nothing; say what would be, and open every file")
    checked, config = parser.parse_args().check, params.load()
    if checked:  # tells all that is missing, not the first alone
        config = config.model_copy(update={"corpus": config.corpus.model_copy(update={"on_error": "skip"})})
    contents = _marked(SOURCES[config.corpus.source](config.corpus), config)
    for note in contents.notes:
        print(note)
    if checked:
        check.report(contents, config)
        return
    _tell(contents.problems, skip=config.corpus.skips)
    with files.replacing(corpus.FOLDER) as folder:
        contents.write(folder)


def _tell(problems: list[str], *, skip: bool) -> None:
    """Warn of what is missing or broken; or raise a UserError, if it is not to be skipped."""
    lines = [*problems[:SHOWN], *([f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else [])]
    if problems and not skip:
        raise UserError("\n       ".join([*lines, "corpus.on_error: skip goes on without these files"]))
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)


def _marked(contents: Contents, config: params.Params) -> Contents:
    """The corpus, with a name that says so if features will come from random weights."""
    random = [name for name in config.modalities if extractors.is_random(config.extractor(name))]
    if not random:
        return contents
    name = f"{contents.meta.corpus}, not real: random weights for {', '.join(random)}"
    return replace(contents, meta=replace(contents.meta, corpus=name))


if __name__ == "__main__":
    cli.run(main)
