"""`python -m stages.evaluate`: score the trained variants under changed inputs, where `evaluate` in params.yaml asks.

Writes `metrics/emap.{csv,md}`, `metrics/missing.{csv,md}`, the figures `plots/evaluate/{emap,missing}.png` and EMAP's
predictions, `evaluations/emap/<variant>/seed<seed>/`. What is not asked for is a table without rows and a page that
says so.
"""

from functools import partial
from itertools import product
from pathlib import Path

from stages.common import cli, corpus, figures, files, params, predictions, task, variants
from stages.evaluate import drawing, emap, missing
from stages.evaluate.found import Evaluated

TABLES, FOLDER, PLOTS = Path("metrics"), Path("evaluations"), Path("plots/evaluate")
README = "What the stage `evaluate` leaves, where params.yaml asks for it: docs/evaluations.md.\n"
"""The text of a file that is always there: DVC warns of outputs that are empty folders."""


def main() -> None:
    """Evaluate all variants with all seeds, and write tables, pages and figures."""
    config, meta = params.load(), corpus.read_meta()
    asked, metrics, found = config.evaluate, config.compare.metrics, _evaluated(config)
    interactions = emap.compare(found, config, task.of(config.task, meta))
    changed = missing.summarise(found, metrics)
    _write_predictions(found)
    files.write_csv(TABLES / "emap.csv", interactions)
    page = emap.as_markdown(interactions, config.compare, asked.partners, meta.corpus)
    files.write_text(TABLES / "emap.md", page if asked.emap else _not_asked("emap"))
    files.write_csv(TABLES / "missing.csv", changed)
    page = missing.as_markdown(changed, metrics, meta.corpus)
    files.write_text(TABLES / "missing.md", page if asked.missing else _not_asked("missing"))
    with files.replacing(PLOTS) as folder:
        folder.mkdir()
        files.write_text(folder / "README.md", README)
        if len(interactions):
            figures.save(drawing.emap(interactions, metrics, meta.corpus), folder / "emap.png")
        if len(changed):
            named = {modality.letter: name for name, modality in config.modalities.items()}
            figures.save(drawing.missing(changed, named, metrics[0], meta.corpus), folder / "missing.png")


def _evaluated(config: params.Params) -> list[Evaluated]:
    """What the evaluations that are asked for find of each variant and seed."""
    several = [name for name in config.variants if len(variants.parse(name).modalities) > 1]
    names = config.variants if config.evaluate.missing else several if config.evaluate.emap else []
    if not names:
        return []
    from stages.evaluate import parallel, run  # which import torch

    work = partial(run.evaluate, asked=config.evaluate, metrics=config.compare.metrics)
    return parallel.in_processes(
        work, list(product(names, config.seeds)), config.train.workers, stage="evaluate", unit="variants × seeds"
    )


def _write_predictions(found: list[Evaluated]) -> None:
    """Write EMAP's predictions, a folder a variant and seed."""
    with files.replacing(FOLDER) as root:
        root.mkdir()
        files.write_text(root / "README.md", README)
        for one in found:
            if one.emap is not None:
                folder = root / "emap" / one.variant / f"seed{one.seed}"
                folder.mkdir(parents=True)
                predictions.write(folder, one.emap)


def _not_asked(name: str) -> str:
    return f"Not asked for: `evaluate.{name}` in params.yaml is false (docs/evaluations.md).\n"


if __name__ == "__main__":
    cli.run(main)
