"""`python -m stages.gates`: write `plots/gates/`, what the gates of the study's fusions let through, class by class.

A fusion has a gate where its module has a method `shares` (`stages/common/gates.py`): for DCA the share of a modality's
steps for which what it took from another one was chosen, for Gate each modality's weight. All are of test utterances.
"""

from pathlib import Path

import pandas as pd

from stages.common import cli, corpus, figures, files, gates, params, variants
from stages.gates import drawing

FOLDER = Path("plots/gates")
COLUMNS = ["variant", "gate", "class", "mean", "std", "runs"]
ALL = "all classes"


def main() -> None:
    """Summarise and draw the gates of all variants that have any."""
    config, meta = params.load(), corpus.read_meta()
    found = [summarise(variant, config.seeds, meta.classes) for variant in config.variants]
    with files.replacing(FOLDER) as folder:
        folder.mkdir()
        files.write_csv(folder / "gates.csv", pd.concat(found, ignore_index=True))
        for variant, table in zip(config.variants, found, strict=True):
            if len(table):
                title = f"{variants.label(variant)} (corpus: {meta.corpus})"
                figures.save(drawing.shares(table, [*meta.classes, ALL], title), folder / f"{variant}.png")


def summarise(variant: str, seeds: list[int], classes: list[str]) -> pd.DataFrame:
    """`COLUMNS`: each gate's mean share in the test utterances of each class and of all, and how it varies with runs.

    mean, std (ddof 1; NaN for one run) and number of the fold × seed runs' own means; a run counts where it tests the
    class. No rows for a variant without a gate.
    """
    shares = pd.concat([gates.read(variant, seed) for seed in seeds], ignore_index=True)
    if shares.empty:
        return pd.DataFrame(columns=COLUMNS)
    labels = corpus.read_utterances().set_index("utterance_id")["label"]
    shares["class"] = shares["utterance_id"].map(labels)
    shares = pd.concat([shares, shares.assign(**{"class": ALL})])
    runs = shares.groupby(["gate", "class", "seed", "fold"], sort=False)["share"].mean()
    summary = runs.groupby(["gate", "class"], sort=False).agg(mean="mean", std="std", runs="size").reset_index()
    place = [*classes, ALL].index
    summary = summary.sort_values("class", key=lambda own: own.map(place), kind="stable")
    gate_place = list(dict.fromkeys(shares["gate"])).index
    summary = summary.sort_values("gate", key=lambda own: own.map(gate_place), kind="stable")
    return summary.assign(variant=variant)[COLUMNS].reset_index(drop=True)


if __name__ == "__main__":
    cli.run(main)
