"""`python -m stages.cost`: write `metrics/cost.csv`, `metrics/cost.md` and `plots/cost.png`: scores and their costs.

None of the three is an output of DVC's, nor in git: they hold times, and the same study would not give the same bytes.
The times lie in `.work/times/`, where the trainings left them.
"""

import statistics
from pathlib import Path

import pandas as pd

from stages.common import cli, corpus, figures, files, params, scores, tables, variants
from stages.common.metrics import METRICS
from stages.cost import drawing
from stages.train.engine.work import Draws, data_digest

TABLE, PAGE, FIGURE = Path("metrics/cost.csv"), Path("metrics/cost.md"), Path("plots/cost.png")


def main() -> None:
    """Summarise the scores, parameters, epochs and times of all models of the study."""
    config, meta = params.load(), corpus.read_meta()
    metrics = config.compare.metrics
    runs = scores.read_csv(scores.FILE, numbers=["fold", "seed", "parameters", *metrics])
    runs = runs.merge(run_seconds(config), on=["variant", "seed", "fold"], how="left")
    table = summarise(runs, metrics, config)
    files.write_csv(TABLE, table)
    files.write_text(PAGE, as_markdown(table, metrics, meta.corpus))
    figures.save(drawing.cost(table, metrics[0], config.letters, meta.corpus), FIGURE)


def run_seconds(config: params.Params) -> pd.DataFrame:
    """variant, seed, fold and seconds of the runs whose times are known: the number of epochs times their median.

    The median, because an epoch may have waited for the compiler, or for its machine to go on. A run that was tuned
    took the seconds of all its draws, and is there if all of these are known.
    """
    data, found = data_digest(), []
    for variant in config.variants:
        works = Draws(variant, data).works
        for seed in config.seeds:
            times = [work.times(seed) for work in works]
            for fold in times[0]:
                of_draws = [own.get(fold) for own in times]
                if all(of_draws):
                    seconds = sum(len(epochs) * statistics.median(epochs) for epochs in of_draws)
                    found.append({"variant": variant, "seed": seed, "fold": fold, "seconds": seconds})
    trained = pd.DataFrame(found, columns=["variant", "seed", "fold", "seconds"])
    return pd.concat([trained, *(_of_parts(reference, trained) for reference in config.references)])


def _of_parts(reference: str, trained: pd.DataFrame) -> pd.DataFrame:
    """The seconds of the runs of a reference whose parts were trained: all of theirs."""
    parts = variants.parse(reference).parts
    runs = trained[trained["variant"].isin(parts)].groupby(["seed", "fold"])["seconds"].agg(["sum", "size"])
    runs = runs[runs["size"] == len(parts)].rename(columns={"sum": "seconds"}).reset_index()
    return runs.assign(variant=reference)[list(trained)]


def summarise(runs: pd.DataFrame, metrics: list[str], config: params.Params) -> pd.DataFrame:
    """A row a model: its parameters, mean epochs, seconds of a run (NaN: not known), and its scores' means and stds."""
    costs = ["parameters", "epochs", "seconds"]
    by_variant = runs.groupby("variant", sort=False)
    summary = by_variant[costs].mean()
    for metric in metrics:
        summary[[metric, f"{metric}_std"]] = by_variant[metric].agg(["mean", "std"])
    combinations = variants.combinations(summary.index, config.letters)
    parsed = [variants.parse(name) for name in summary.index]
    summary.insert(0, "modalities", [own.modalities for own in parsed])
    summary.insert(1, "fusion", [own.fusion for own in parsed])
    orders = {"modalities": combinations, "fusion": list(variants.FUSIONS)}
    return summary.sort_values(list(orders), key=lambda own: own.map(orders[own.name].index)).reset_index()


def as_markdown(table: pd.DataFrame, metrics: list[str], name: str) -> str:
    """The page: what the columns mean, and a row a model."""
    shown = {
        "Modality": table["modalities"].map(variants.combination_label),
        "Model": [variants.FUSIONS[fusion].label for fusion in table["fusion"]],
        "Parameters": [f"{parameters:,.0f}" for parameters in table["parameters"]],
        "Epochs": table["epochs"].map(tables.number),
        "Seconds a run": table["seconds"].map(tables.number),
    }
    for metric in metrics:
        pairs = zip(table[metric], table[f"{metric}_std"], strict=True)
        shown[METRICS[metric].label] = [tables.mean_std(mean, std) for mean, std in pairs]
    return (
        f"# What each model costs\n\nCorpus: {name}. Parameters: without word vectors. Epochs: mean of a run, to the "
        "one that ended it. Seconds a run: its epochs times their median, the processor's (on CUDA the clock's), "
        "shared out among the runs that were trained at once; –: not known, as nothing was trained, or not here. "
        "Scores: mean ± standard deviation over folds × seeds. Times differ from machine to machine and from day to "
        f"day: neither this page nor `plots/cost.png` is in git.\n\n{tables.markdown(pd.DataFrame(shown))}"
    )


if __name__ == "__main__":
    cli.run(main)
