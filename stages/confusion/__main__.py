"""`python -m stages.confusion`: write `plots/confusion/`, of classes, or `plots/scatter/`, of dimensions."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from stages.common import cli, corpus, figures, files, params, predictions, progress, scores, task, variants
from stages.common.errors import UserError
from stages.common.task import Task
from stages.confusion import drawing

PLOTS = Path("plots")
README = "Drawn for the other task of params.yaml: `plots/confusion/` for classes, `plots/scatter/` for dimensions.\n"
"""The text of a file that an empty folder has: DVC warns of outputs that are empty."""


def main() -> None:
    """Draw every self/cross pair of the study: all folds and seeds, and `confusion.fold` alone."""
    config, meta = params.load(), corpus.read_meta()
    aim, fold = task.of(config.task, meta), config.confusion.fold
    table = predictions.read_study(config.models, config.seeds, aim)
    folds = sorted(set(table["fold"]))
    if fold not in folds:
        raise UserError(f"confusion.fold must be one of the folds {folds}, but is {fold}")
    seeds = f"{_counted(config.seeds, 'seed')} (corpus: {meta.corpus})"
    everything = f"{_counted(folds, 'fold')}, {seeds}"
    with files.replacing(PLOTS / "confusion") as matrices, files.replacing(PLOTS / "scatter") as clouds:
        for folder in (matrices, clouds):
            folder.mkdir()
        own, other, draw = (matrices, clouds, _draw) if aim.kind == "classes" else (clouds, matrices, _scatter)
        files.write_text(other / "README.md", README)
        with ProcessPoolExecutor() as pool:
            drawings = []
            for stem, names in groups(config.models).items():
                rows = table[table["variant"].isin(names)]
                for name, part, title in (
                    (stem, rows, everything),
                    (f"{stem}_fold{fold}", rows[rows["fold"] == fold], f"Fold {fold}, {seeds}"),
                ):
                    drawings.append(pool.submit(draw, part, names, aim, title, own / f"{name}.png"))
            for done in progress.line("confusion", "figures", drawings):
                done.result()
        combinations = variants.combinations(config.models, config.letters)
        drawn = drawing.details(details(table, aim), aim, combinations, everything)
        figures.save(drawn, own / ("recall.png" if aim.kind == "classes" else "ccc.png"))


def groups(names: list[str]) -> dict[str, list[str]]:
    """File name → variants drawn together: self and cross of the same modalities and option, any other one alone."""
    together: dict[str, list[str]] = {}
    for name in names:
        base, _, rest = name.partition("_")
        together.setdefault(rest if base in ("self", "cross") else f"{rest}_{base}", []).append(name)
    return {stem: sorted(group, reverse=True) for stem, group in together.items()}  # self is left, as in the paper


def confusion_matrices(table: pd.DataFrame, names: list[str], classes: list[str]) -> dict[str, np.ndarray]:
    """Label of each variant in `names` → counts [actual, predicted] over all of its predictions in `table`."""
    rows = {name: table[table["variant"] == name] for name in names}
    return {
        variants.parse(name).label: confusion_matrix(own["actual"], own["predicted"], labels=classes)
        for name, own in rows.items()
    }


def details(table: pd.DataFrame, aim: Task) -> pd.DataFrame:
    """modalities, fusion, name (of a class or dimension), mean and std (ddof 1) of its recall or CCC, and the number of
    runs that have it.
    """
    runs = scores.run_scores(table, aim).rename(columns=dict(zip(aim.details, aim.names, strict=True)))
    long = runs.melt(id_vars="variant", value_vars=aim.names, var_name="name", value_name="score")
    parsed = [variants.parse(name) for name in long["variant"]]
    long["modalities"] = [variant.modalities for variant in parsed]
    long["fusion"] = [variant.fusion for variant in parsed]
    by_name = long.groupby(["modalities", "fusion", "name"], sort=False)["score"]
    return by_name.agg(mean="mean", std="std", runs="count").reset_index()


def _draw(table: pd.DataFrame, names: list[str], aim: Task, title: str, path: Path) -> None:
    """Draw the confusion matrices of some variants, side by side."""
    figures.save(drawing.confusion(confusion_matrices(table, names, aim.names), aim.names, title), path)


def _scatter(table: pd.DataFrame, names: list[str], aim: Task, title: str, path: Path) -> None:
    """Draw what some variants predict against what is true, side by side."""
    runs = scores.run_scores(table, aim).rename(columns=dict(zip(aim.details, aim.names, strict=True)))
    found = runs.groupby("variant")[aim.names].mean().rename(index=variants.label)
    tables = {variants.label(name): table[table["variant"] == name] for name in names}
    figures.save(drawing.scatter(tables, found, aim, title), path)


def _counted(things: list, name: str) -> str:
    return f"{len(things)} {name}{'s' if len(things) > 1 else ''}"


if __name__ == "__main__":
    cli.run(main)
