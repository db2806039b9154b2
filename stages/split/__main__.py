"""`python -m stages.split`: write `data/folds.csv` from `data/corpus/`."""

from stages.common import cli, corpus, files, params
from stages.common.errors import UserError
from stages.split import schemes


def main() -> None:
    """Divide the corpus as `split.scheme` says, check the result, write it."""
    study = params.load()
    config = study.split
    utterances = corpus.read_utterances()
    published = corpus.FOLDER / "folds.csv"
    scheme = config.scheme
    if scheme == "auto":
        scheme = "published" if published.exists() else "random"
    if scheme == "published":
        if not published.exists():
            raise UserError(
                "split.scheme is published, but this corpus brings no folds: "
                "use random, leave_session_out or leave_speaker_out"
            )
        folds = corpus.read_folds(published, set(utterances["utterance_id"]))
    elif scheme == "random":
        folds = schemes.random(utterances, config)
    else:
        folds = schemes.leave_out(utterances, config, column=scheme.split("_")[1])
    folds = folds.reset_index(drop=True)
    schemes.check(folds, utterances, corpus.read_meta().classes)
    if study.confusion.fold not in corpus.numbers(folds):  # before all the trainings rather than after them
        raise UserError(
            f"confusion.fold must be one of the folds 1 … {folds['fold'].max()}, but is {study.confusion.fold}"
        )
    files.write_csv(corpus.FOLDS, folds)


if __name__ == "__main__":
    cli.run(main)
