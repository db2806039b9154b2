"""`python -m stages.aggregate`: write `metrics/scores.csv`, Tables 1 and 2, and `metrics/optimism.md`."""

from pathlib import Path

from stages.aggregate import optimism, papers_tables
from stages.common import cli, corpus, costs, files, params, predictions, scores, task, tuning

METRICS_FOLDER = Path("metrics")


def main() -> None:
    """Score every run of the study, then summarise them as the paper does."""
    config, meta = params.load(), corpus.read_meta()
    aim = task.of(config.task, meta)
    study = config.models, config.seeds, aim
    test, dev = (predictions.read_study(*study, part=part) for part in ("test", "dev"))
    runs, developed = scores.run_scores(test, aim, dev), scores.run_scores(dev, aim, dev)
    runs = tuning.with_parameters(costs.with_costs(runs))
    files.write_csv(scores.FILE, runs)
    of_paper = meta.corpus == "IEMOCAP" and aim.kind == "classes"
    published = papers_tables.read_published() if of_paper else None
    summary = papers_tables.summarise(runs, config.compare.metrics)
    for number in (1, 2):
        table = papers_tables.arrange(summary, number, published, config.letters)
        files.write_csv(METRICS_FOLDER / f"table{number}.csv", table)
        files.write_text(METRICS_FOLDER / f"table{number}.md", papers_tables.as_markdown(table, number, meta.corpus))
    flattered = optimism.compare(developed, runs, config.compare.metrics)
    files.write_csv(METRICS_FOLDER / "optimism.csv", flattered)
    page = optimism.as_markdown(flattered, config.train.protocol.select, meta.corpus, config.tune.draws)
    files.write_text(METRICS_FOLDER / "optimism.md", page)


if __name__ == "__main__":
    cli.run(main)
