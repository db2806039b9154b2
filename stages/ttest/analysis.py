"""From answers to tables and figures, whoever trained the models."""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from stages.common import figures, files
from stages.common.metrics import METRICS
from stages.common.params import Compare
from stages.ttest import bootstrap, comparisons, drawing, report
from stages.ttest.answers import Answers
from stages.ttest.design import Design

METRICS_FOLDER, PLOTS = Path("metrics"), Path("plots")


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """All that is said of a study's models."""

    answers: Answers
    settings: Compare
    design: Design
    corpus: str
    pairs: pd.DataFrame
    """`comparisons.COLUMNS` of the pairs that the study is about."""
    every_pair: pd.DataFrame
    """The same of all pairs, without those of single classes or dimensions; Holm's correction is over all of them."""
    ranks: pd.DataFrame
    """variant, and for each metric the probability that it is the best."""

    def write(self, tables: Path, plots: Path) -> None:
        """Write all tables and figures into two folders."""
        shown = report.foremost(self.pairs, self.settings.metrics[0])
        page = report.as_markdown(self.pairs, self.settings, self.corpus, self.design, self.ranks)
        files.write_csv(tables / "ttest.csv", self.pairs)
        files.write_text(tables / "ttest.md", page)
        files.write_csv(tables / "pairs.csv", self.every_pair)
        files.write_csv(tables / "ranks.csv", self.ranks)
        metrics, names = self.settings.metrics, self.answers.variants
        figures.save(drawing.differences(shown, self.settings, self.corpus), plots / "differences.png")
        figures.save(drawing.runs(run_table(self.answers, metrics), names, metrics, self.corpus), plots / "runs.png")
        with files.replacing(plots / "pairs") as folder:
            folder.mkdir()
            for metric in metrics:
                figures.save(drawing.matrix(self.every_pair, names, metric, self.corpus), folder / f"{metric}.png")


def analyse(answers: Answers, pairs: list[tuple[str, str]], settings: Compare, design: Design, corpus: str) -> Analysis:
    """Compare the models of a study: `pairs` of them, and all with all."""
    drawn = bootstrap.draws(answers, design.numbers(answers.utterance_id), settings.metrics)
    ranks = {
        name: bootstrap.best(drawn[name], lower_is_better=METRICS[name].lower_is_better) for name in settings.metrics
    }
    every = list(combinations(answers.variants, 2))
    compared = comparisons.compare(answers, pairs, settings, design, drawn)
    if pairs == every:
        every_pair = compared[compared["score"].isin(METRICS)]
    else:
        every_pair = comparisons.compare(answers, every, settings, design, drawn, details=False)
    return Analysis(
        answers=answers,
        settings=settings,
        design=design,
        corpus=corpus,
        pairs=compared,
        every_pair=every_pair,
        ranks=pd.DataFrame({"variant": answers.variants} | ranks),
    )


def run_table(answers: Answers, metrics: list[str]) -> pd.DataFrame:
    """One row a run: variant, seed, fold and its scores."""
    shape = len(answers.variants), len(answers.seeds), len(answers.folds)
    v, s, k = (index.ravel() for index in np.indices(shape))
    names = {"variant": answers.variants, "seed": answers.seeds, "fold": answers.folds}
    table = {name: np.array(own)[i] for (name, own), i in zip(names.items(), (v, s, k), strict=True)}
    found = answers.run_scores(metrics)
    return pd.DataFrame(table | {name: found[name].ravel() for name in metrics})
