"""`python -m stages.split`: write `data/folds.csv` from `data/corpus/`."""

from collections.abc import Collection

import pandas as pd

from stages.common import cli, corpus, features, files, params, task
from stages.common.errors import UserError
from stages.split import dimensions, schemes


def main() -> None:
    """Divide the corpus as `split.scheme` says, check the result, write it."""
    study, utterances = params.load(), corpus.read_utterances()
    folds = divide(utterances, study.split)
    if study.split.incomplete == "drop":
        folds = complete(folds, study.modalities)
    meta = corpus.read_meta()
    if task.of(study.task, meta).kind == "dimensions":
        folds = dimensions.rated(folds, utterances, meta)
    schemes.check(folds, utterances, meta.classes if study.task == "classes" else [])
    if study.confusion.fold not in corpus.numbers(folds):  # before all the trainings rather than after them
        raise UserError(
            f"confusion.fold must be one of the folds 1 … {folds['fold'].max()}, but is {study.confusion.fold}"
        )
    files.write_csv(corpus.FOLDS, folds)


def complete(folds: pd.DataFrame, modalities: Collection[str]) -> pd.DataFrame:
    """The folds without the utterances that have no position in one of the modalities."""
    found = features.read(modalities)
    empty = {name: set(found.utterance_id[own.lengths == 0]) for name, own in found.sequences.items()}
    dropped = set().union(*empty.values())
    counts = ", ".join(f"{len(own)} have no {name}" for name, own in empty.items() if own)
    print(f"{len(dropped)} of {len(found.utterance_id)} utterances are in no fold: {counts or 'none lacks a modality'}")
    return folds[~folds["utterance_id"].isin(dropped)].reset_index(drop=True)


def divide(utterances: pd.DataFrame, config: params.Split) -> pd.DataFrame:
    """A table fold, utterance_id, part, with repeats also repeat, by the scheme that the params name.

    Raises
    ------
    UserError
        If the corpus does not have what the scheme needs, or the scheme not what the params ask of it.
    """
    published, scheme = corpus.FOLDER / "folds.csv", config.scheme
    if scheme == "auto":
        scheme = "published" if published.exists() else "random"
    unfit = config.unfit(scheme)
    if unfit:
        raise UserError(f"split.{unfit}")
    if scheme == "published":
        if not published.exists():
            raise UserError(
                "split.scheme is published, but this corpus brings no folds: "
                "use random, leave_session_out or leave_speaker_out"
            )
        return corpus.read_folds(published, set(utterances["utterance_id"]))
    if scheme == "random":
        return schemes.random(utterances, config).reset_index(drop=True)
    return schemes.leave_out(utterances, config, column=scheme.split("_")[1]).reset_index(drop=True)


if __name__ == "__main__":
    cli.run(main)
