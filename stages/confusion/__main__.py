"""`python -m stages.confusion`: write `plots/confusion/` and `plots/recall.png`."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from stages.common import cli, corpus, figures, files, params, predictions, progress, scores, variants
from stages.common.errors import UserError
from stages.confusion import drawing

PLOTS = Path("plots")


def main() -> None:
    """Draw every self/cross pair of the study: all folds and seeds, and `confusion.fold` alone."""
    config, meta = params.load(), corpus.read_meta()
    table, fold = predictions.read_study(config.models, config.seeds, meta.classes), config.confusion.fold
    folds = sorted(set(table["fold"]))
    if fold not in folds:
        raise UserError(f"confusion.fold must be one of the folds {folds}, but is {fold}")
    seeds = f"{_counted(config.seeds, 'seed')} (corpus: {meta.corpus})"
    everything = f"{_counted(folds, 'fold')}, {seeds}"
    with files.replacing(PLOTS / "confusion") as folder, ProcessPoolExecutor() as pool:
        folder.mkdir()
        drawings = []
        for stem, names in groups(config.models).items():
            rows = table[table["variant"].isin(names)]
            drawn = {
                stem: (rows, everything),
                f"{stem}_fold{fold}": (rows[rows["fold"] == fold], f"Fold {fold}, {seeds}"),
            }
            for name, (part, title) in drawn.items():
                matrices = confusion_matrices(part, names, meta.classes)
                drawings.append(pool.submit(_draw, matrices, meta.classes, title, folder / f"{name}.png"))
        for done in progress.line("confusion", "figures", drawings):
            done.result()
    combinations = variants.combinations(config.models, config.letters)
    drawn = drawing.recalls(recalls(table, meta.classes), meta.classes, combinations, everything)
    figures.save(drawn, PLOTS / "recall.png")


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


def recalls(table: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """modalities, fusion, class, mean and std (ddof 1) of the recall, and the number of runs that test the class."""
    runs = scores.run_scores(table, classes).rename(columns={f"recall_{name}": name for name in classes})
    long = runs.melt(id_vars="variant", value_vars=classes, var_name="class", value_name="recall")
    parsed = [variants.parse(name) for name in long["variant"]]
    long["modalities"] = [variant.modalities for variant in parsed]
    long["fusion"] = [variant.fusion for variant in parsed]
    by_class = long.groupby(["modalities", "fusion", "class"], sort=False)["recall"]
    return by_class.agg(mean="mean", std="std", runs="count").reset_index()


def _draw(matrices: dict[str, np.ndarray], classes: list[str], title: str, path: Path) -> None:
    figures.save(drawing.confusion(matrices, classes, title), path)


def _counted(things: list, name: str) -> str:
    return f"{len(things)} {name}{'s' if len(things) > 1 else ''}"


if __name__ == "__main__":
    cli.run(main)
