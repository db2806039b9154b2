"""`python -m stages.tuning`: write `metrics/tuning.csv`, `metrics/tuning.md` and `plots/tuning/`.

The best of n draws is the one with the best development value; its test score is what such tuning yields. Nothing is
chosen here: each fold's choice was made where it was trained, by its development part alone (`stages/train/choice.py`).
"""

from pathlib import Path

import pandas as pd

from stages.common import cli, corpus, figures, files, params, progress, scores, tables, task, tuning, variants
from stages.common.errors import UserError
from stages.common.metrics import METRICS
from stages.common.task import Task
from stages.tuning import drawing
from stages.tuning.expected import best_of

TABLE, PAGE, FOLDER = Path("metrics/tuning.csv"), Path("metrics/tuning.md"), Path("plots/tuning")
COLUMNS = ["variant", "draws", "development", "test", "runs"]
CHOSEN = ["variant", "draw", "chosen", "runs"]
SCORE = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "loss": "negative_log_likelihood",
    "ccc": "ccc",
}
"""`train.protocol.select` → the same score of the test part."""


def main() -> None:
    """Summarise and draw what each number of draws yields, and what was chosen."""
    config, meta = params.load(), corpus.read_meta()
    aim, score = task.of(config.task, meta), SCORE[config.train.protocol.select]
    names = progress.line("tuning", "variants", config.variants if config.tune.draws else [])
    tuned = {name: _read(name, config.seeds, aim, score) for name in names}
    lower = METRICS[score].lower_is_better
    curves = _joined([expected(name, draws, lower) for name, draws in tuned.items()], COLUMNS)
    chosen = _joined([choices(name, draws) for name, draws in tuned.items()], CHOSEN)
    files.write_csv(TABLE, curves)
    files.write_text(PAGE, as_markdown(curves, chosen, score, meta.corpus))
    with files.replacing(FOLDER) as folder:
        folder.mkdir()
        files.write_csv(folder / "chosen.csv", chosen)
        if tuned:
            figure = drawing.curves(curves, METRICS[score].label, config.letters, meta.corpus)
            figures.save(figure, folder / "draws.png")


def _read(variant: str, seeds: list[int], aim: Task, score: str) -> pd.DataFrame:
    """The draws of all runs of a variant: the columns of `tuning.csv`, seed, and the test part's score as `test`."""
    found = []
    for seed in seeds:
        draws = tuning.read_runs(variant, seed)
        if draws is None:
            raise UserError(f"{variant} seed {seed}: its draws are missing: dvc repro writes what is missing")
        rows = tuning.read_predictions(variant, seed).groupby(["fold", "draw"], sort=False)
        tested = pd.DataFrame(
            [{"fold": fold, "draw": draw, "test": scores.scores(own, aim)[score]} for (fold, draw), own in rows]
        )
        found.append(draws.merge(tested, on=["fold", "draw"], validate="1:1").assign(seed=seed))
    return pd.concat(found, ignore_index=True)


def expected(variant: str, draws: pd.DataFrame, lower_is_better: bool) -> pd.DataFrame:
    """`COLUMNS`: for 1, 2, … draws the expected development value and test score of the best by the development value.

    `best_of` each run's own draws, then the mean over the runs (fold × seed). `draws` has the columns seed, fold, draw,
    development and test.
    """
    sign = -1 if lower_is_better else 1
    curves = [
        pd.DataFrame(
            {name: best_of(own[name].to_numpy(), sign * own["development"].to_numpy()) for name in COLUMNS[2:4]}
        )
        for _, own in draws.groupby(["seed", "fold"], sort=False)
    ]
    mean = sum(curves) / len(curves)
    return mean.assign(variant=variant, draws=range(1, len(mean) + 1), runs=len(curves))[COLUMNS]


def choices(variant: str, draws: pd.DataFrame) -> pd.DataFrame:
    """`CHOSEN` and the settings: how many of the runs chose each draw."""
    settings = [name for name in draws if "." in name]
    by_draw = draws.groupby("draw")
    table = by_draw[settings].first().assign(chosen=by_draw["chosen"].sum(), runs=by_draw.size()).reset_index()
    return table.assign(variant=variant)[[*CHOSEN, *settings]]


def _joined(parts: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def as_markdown(curves: pd.DataFrame, chosen: pd.DataFrame, score: str, name: str) -> str:
    """The page: a row a variant with the expected scores of 1, 2, 4, … draws, then what was chosen."""
    if curves.empty:
        return "# Tuning\n\nNothing was tuned: `tune.draws` in params.yaml is 0 (docs/tuning.md).\n"
    most = int(curves["draws"].max())
    shown = sorted({2**power for power in range(most.bit_length())} | {most})
    rows = []
    for variant, own in curves.groupby("variant", sort=False):
        own = own.set_index("draws")
        cells = {
            f"{count} draw{'s' * (count > 1)}": ", ".join(
                tables.fraction(own.loc[count, part]) for part in ("development", "test")
            )
            for count in shown
        }
        rows.append({"Model": variants.label(variant)} | cells)
    return (
        f"# Tuning\n\nCorpus: {name}. Each variant had the same {most} random draws of settings; in each fold and with "
        "each seed the draw with the best development value was taken. Each cell: the expected development value, and "
        f"the test score, of the best by the development value of so many draws ({METRICS[score].label}; "
        "Dodge et al., EMNLP 2019, Section 3), mean over runs. Models are compared by their test scores.\n\n"
        f"{tables.markdown(pd.DataFrame(rows))}\n## What was chosen\n\n"
        "In how many runs (fold × seed) each draw was the best; the draws that never were are in "
        f"`plots/tuning/chosen.csv`.\n\n{tables.markdown(_chosen(chosen))}"
    )


def _chosen(chosen: pd.DataFrame) -> pd.DataFrame:
    """The draws that were chosen, the most frequent first, with their settings in words."""
    settings = [name for name in chosen if "." in name]
    rows = []
    for _, own in chosen[chosen["chosen"] > 0].groupby("variant", sort=False):
        for row in own.sort_values("chosen", ascending=False, kind="stable").to_dict("records"):
            said = [f"{name} {row[name]}" for name in settings if pd.notna(row[name])]
            rows.append(
                {
                    "Model": variants.label(row["variant"]),
                    "Draw": row["draw"],
                    "Chosen": f"{row['chosen']} of {row['runs']}",
                    "Settings": ", ".join(said),
                }
            )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    cli.run(main)
