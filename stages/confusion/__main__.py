"""`python -m stages.confusion`: write `plots/confusion/` and `plots/recall.png`."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from stages import cli, features, files, params, predictions, scores, variants
from stages.confusion import drawing

PLOTS = Path("plots")


def main() -> None:
    """Draw every self/cross pair of the study: all folds and seeds, and `confusion.fold` alone."""
    config, classes = params.load(), features.read_meta().classes
    table = predictions.read_study(config.variants, config.seeds, classes)
    if config.confusion.fold not in set(table["fold"]):
        raise cli.UserError(
            f"confusion.fold must be one of the folds {sorted(set(table['fold']))}, but is {config.confusion.fold}"
        )
    runs = f"{len(config.seeds)} seed{'s' if len(config.seeds) > 1 else ''}"
    with files.replacing(PLOTS / "confusion") as folder:
        folder.mkdir()
        for stem, names in groups(config.variants).items():
            rows = table[table["variant"].isin(names)]
            _draw(rows, names, classes, f"All {rows['fold'].nunique()} folds, {runs}", folder / f"{stem}.png")
            one = rows[rows["fold"] == config.confusion.fold]
            _draw(
                one,
                names,
                classes,
                f"Fold {config.confusion.fold}, {runs}",
                folder / f"{stem}_fold{config.confusion.fold}.png",
            )
    drawing.recalls(recalls(table, classes), classes, PLOTS / "recall.png")


def groups(names: list[str]) -> dict[str, list[str]]:
    """File name → variants drawn together: self and cross of the same modalities and option, any other one alone."""
    together: dict[str, list[str]] = {}
    for name in names:
        base, _, rest = name.partition("_")
        together.setdefault(rest if base in ("self", "cross") else f"{rest}_{base}", []).append(name)
    return {stem: sorted(group, reverse=True) for stem, group in together.items()}  # self is left, as in the paper


def recalls(table: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """combination, model, class and recall of every run, for the fusions of the paper's Table 1."""
    runs = scores.run_scores(table, classes)
    parsed = {name: variants.parse(name) for name in runs["variant"].unique()}
    shown = {name: v for name, v in parsed.items() if variants.FUSIONS[v.fusion].table == 1}
    long = (
        runs[runs["variant"].isin(shown)]
        .rename(columns={f"recall_{name}": name for name in classes})
        .melt(id_vars="variant", value_vars=classes, var_name="class", value_name="recall")
    )
    long.insert(0, "combination", [variants.combination_label(shown[name].modalities) for name in long["variant"]])
    long.insert(1, "model", [variants.FUSIONS[shown[name].fusion].label for name in long["variant"]])
    return long


def _draw(rows: pd.DataFrame, names: list[str], classes: list[str], what: str, path: Path) -> None:
    matrices: dict[str, np.ndarray] = {}
    for name in names:
        own = rows[rows["variant"] == name]
        matrices[variants.parse(name).label] = confusion_matrix(own["actual"], own["predicted"], labels=classes)
    drawing.confusion(matrices, classes, what, path)


if __name__ == "__main__":
    cli.run(main)
