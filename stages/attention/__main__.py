"""`python -m stages.attention`: draw which positions attend to which, where `report.attention` in params.yaml asks.

Writes `plots/attention/`: maps of some utterances (`chosen.py`), the mean over heads and single heads, and
`padding.{csv,png}`, how much attention of each variant falls on padding. `index.csv` lists the figures in order. Where
it is not asked for, there is nothing but `README.md`, which also names the variants that are left out.
"""

import re
from itertools import product
from pathlib import Path

import pandas as pd

from stages.attention import chosen
from stages.attention.chosen import Chosen
from stages.common import cli, corpus, features, figures, files, params, predictions, task, variants
from stages.common.tables import fraction

FOLDER = Path("plots/attention")
INDEX = ["file", "utterance_id", "what"]
README = "What the stage `attention` leaves, where params.yaml asks for it: docs/attention.md.\n"
REASON = "whose fusion has no attention between the modalities' encodings"


def main() -> None:
    """Find the attention of all runs, and draw it."""
    config = params.load()
    with files.replacing(FOLDER) as folder:
        folder.mkdir()
        text = README
        if config.report.attention:
            text += _draw(config, folder)
        files.write_text(folder / "README.md", text)


def _draw(config: params.Params, folder: Path) -> str:
    """Draw into a folder; what is to be said of the variants that are left out."""
    from stages.attention import found  # which imports torch
    from stages.evaluate import parallel

    meta, drawn = corpus.read_meta(), chosen.drawn_variants(config)
    wanted = chosen.locate(_wanted(config, drawn, meta.classes), features.read([]), corpus.read_folds())
    jobs = [
        (variant, seed, wanted if variant in drawn and seed == config.seeds[0] else [])
        for variant, seed in product(config.variants, config.seeds)
    ]
    results = parallel.in_processes(found.find, jobs, config.train.workers, stage="attention", unit="variants × seeds")
    shown = {(each.variant, each.utterance_id): each for own in results for each in own.shown}
    jobs = []
    for number, one in enumerate(wanted, start=1):
        maps = [shown[name, one.utterance_id] for name in drawn if (name, one.utterance_id) in shown]
        if maps:
            jobs.append((folder, f"{number:02d}_{_plain(one.utterance_id)}", one, maps, config.seeds[0], meta.corpus))
    rows = parallel.in_processes(_draw_utterance, jobs, config.train.workers, stage="attention", unit="utterances")
    padding = pd.concat([own.padding for own in results], ignore_index=True)
    _write_tables(folder, [row for own in rows for row in own], padding, meta.corpus)
    left_out = dict.fromkeys(own.variant for own in results if not own.attends)
    return "".join(f"Left out: {variants.label(name)}, {REASON}.\n" for name in left_out)


def _write_tables(folder: Path, index: list[tuple], padding: pd.DataFrame, corpus_name: str) -> None:
    """Write and draw what falls on padding, and the list of all figures: rows of `INDEX`."""
    from stages.attention import drawing

    files.write_csv(folder / "padding.csv", padding)
    if len(padding):
        figures.save(drawing.padding(padding, corpus_name), folder / "padding.png")
        index = [*index, ("padding.png", "", "How much attention falls on padding, all variants")]
    if index:
        files.write_csv(folder / "index.csv", pd.DataFrame(index, columns=INDEX))


def _wanted(config: params.Params, drawn: list[str], classes: list[str]) -> dict[str, str]:
    """Utterance → why it is drawn."""
    if config.report.utterances == "auto":
        return chosen.extremes(predictions.read_study(drawn, config.seeds, task.classes(classes)), classes)
    return dict.fromkeys(config.report.utterances, "named in params.yaml")


def _draw_utterance(
    folder: Path,
    name: str,
    one: Chosen,
    shown: list["Shown"],  # noqa: F821
    seed: int,
    corpus_name: str,
) -> list[tuple]:
    """Draw one utterance; its rows of the index."""
    from stages.attention import drawing

    said = "; ".join(f"{variants.label(each.variant)}: {each.says} {fraction(each.probability)}" for each in shown)
    where = f"seed {seed}, fold {one.fold}, {one.part} part (corpus: {corpus_name})"
    title = f"{one.utterance_id} ({one.label}, {one.why})\n{said}\n{where}"
    what = f"{one.why}: attention of {' and '.join(variants.label(each.variant) for each in shown)}"
    drawn = [(f"{name}.png", drawing.maps(shown, title), "mean over heads")]
    if any(len(own.weights) > 1 for each in shown for own in each.maps):
        drawn.append((f"{name}_heads.png", drawing.heads(shown, title), "single heads"))
    for file, figure, _ in drawn:
        figures.save(figure, folder / file)
    return [(file, one.utterance_id, f"{what}, {which}") for file, _, which in drawn]


def _plain(name: str) -> str:
    """An utterance's name as part of a file's; the number before it tells apart those that become alike."""
    return re.sub("[^A-Za-z0-9_-]+", "-", name)[:60]


if __name__ == "__main__":
    cli.run(main)
