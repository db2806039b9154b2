"""The sections of the page, in their order.

Each is a function of the study that returns a `Section`, or None where its files have no content. Another one is a
function more, and its place in `SECTIONS`.
"""

from collections.abc import Callable
from pathlib import Path

from stages.common import scores, variants
from stages.common.metrics import METRICS
from stages.confusion.__main__ import groups
from stages.headline.__main__ import SCORE, mean_curves
from stages.report import blocks, checklist, cite, confusions, curves, findings, grids, pages, ran, wins
from stages.report.blocks import Bullets, Cell, Code, Fold, Grid, Heading, Links, Paragraph, Section
from stages.report.findings import Finding
from stages.report.material import Material, labels
from stages.ttest.report import MOST, TESTS, foremost, interval, pair, shared, signed
from stages.ttest.verdict import amount

METRICS_FOLDER, PLOTS = Path("metrics"), Path("plots")
NOT_ASKED = ("Not asked for:", "Nothing was tuned:")
"""How the page of a stage begins that was asked for nothing."""


def answer(material: Material) -> Section:
    """The verdicts in words: of self and cross first, then of other pairs."""
    settings, papers = material.config.compare, findings.papers(material.findings)
    others = [one for one in material.findings if one not in papers]
    parts = []
    if papers:
        parts += [
            Heading("Is cross-attention preferable to self-attention?"),
            *(Paragraph(text, lead=True) for text in findings.summaries(papers, settings)),
            Paragraph(findings.count(papers)),
            _verdicts(papers, material),
        ]
    if others:
        parts += [Heading("Other pairs" if papers else "Which is better?"), _verdicts(others, material)]
    if not parts:
        parts.append(Paragraph("The study has no pair of models to compare: see compare.pairs in params.yaml."))
    return Section("answer", "The answer", [*parts, *_meaning(material)])


def _verdicts(found: list[Finding], material: Material) -> Grid:
    """A row a pair, a column a metric: the verdict and its numbers; of the best models alone where there are many."""
    settings, metrics = material.config.compare, material.config.compare.metrics
    best = foremost(material.tests, metrics[0])
    names, rows = set(zip(best["a"], best["b"], strict=True)), {}
    for one in found:
        if (one.a, one.b) in names:
            rows.setdefault((one.a, one.b), []).append(one)
    shown = [
        [
            Cell(pair(*models), href=f"#{wins.anchor(*models)}"),
            *(cell for one in own for cell in _verdict(one, material)),
        ]
        for models, own in rows.items()
    ]
    heads = [name for metric in metrics for name in (findings.named(metric), "Difference")]
    left = len({(one.a, one.b) for one in found} - names)
    more = f" {left} more pairs, of lesser models, stand in metrics/ttest.csv." if left else ""
    level = f"{100 * (1 - settings.alpha):g} %"
    text = (
        f"Verdicts, and differences (first model minus second) with their {level} intervals before Holm's correction."
    )
    return Grid(["Models", *heads], shown, text + more)


def _verdict(one: Finding, material: Material) -> list[Cell]:
    """One pair's verdict and difference on one metric."""
    margin = amount(material.config.compare.margin, one.score)
    words = one.verdict.sentence(variants.label(one.a), variants.label(one.b), margin)
    bounds = f" {interval(one.low, one.high)}" if one.low == one.low else ""
    strong = one.verdict.better is not None
    return [Cell(words[:1].upper() + words[1:], strong=strong), Cell(f"{signed(one.difference)}{bounds}")]


def _meaning(material: Material) -> list[Paragraph]:
    """What a verdict means, and what test and training parts share."""
    settings = material.config.compare
    tests = dict.fromkeys(one.test for one in material.findings if one.test == one.test)
    named = " / ".join(TESTS[name] for name in tests) or "No test"
    pairs = len({(one.a, one.b) for one in material.findings})
    text = (
        f"Corpus: {material.meta.corpus}, {material.shape}. {named}; verdicts hold at α = {settings.alpha:g} after "
        f"Holm's correction over the {pairs} pair{'s' if pairs != 1 else ''} of a metric. Equivalent: the difference "
        f"is surely within ± {material.margin}. Undecided is no evidence either way. docs/statistics.md says "
        "which test to believe and how often each is wrong."
    )
    return [Paragraph(text)] + ([Paragraph(shared(material.design))] if material.design.shared else [])


def scored(material: Material) -> Section | None:
    """Tables 1 and 2."""
    found = [grid for grid in map(grids.scored, (1, 2)) if grid]
    names = "WA and UWA are the paper's names, the reverse of most of the field's. "
    note = Paragraph(
        f"Bold: the best mean of those compared. {names if material.task.kind == 'classes' else ''}"
        "Parameters: without word vectors; epochs: mean of a run, to the one that ended it. Seconds differ from "
        "machine to machine and are not on this page: metrics/cost.md and plots/cost.png have them."
    )
    return Section("scores", "Scores and cost", [*found, note]) if found else None


def differences(material: Material) -> Section | None:
    """Differences with intervals, then the tests."""
    if not material.findings:
        return None
    settings = material.config.compare
    drawn = blocks.figure(
        PLOTS / "differences.png",
        f"Differences of the compared pairs with their intervals, against the margin of ± {material.margin}.",
    )
    tests = [grids.tested(material.tests, metric, settings) for metric in settings.metrics]
    every = Fold("Every number of the tests: metrics/ttest.md", pages.read(METRICS_FOLDER / "ttest.md"))
    return Section("differences", "Differences", [drawn, *tests, every])


def runs(material: Material) -> Section:
    """Every run."""
    text = f"Every run's test score ({material.shape} a model); the mean is a line."
    return Section("runs", "Every run", [blocks.figure(PLOTS / "runs.png", text)])


def confusion(material: Material) -> Section | None:
    """Confusion matrices: self, cross, difference."""
    if material.task.kind != "classes":
        return None
    text = Paragraph(
        "Rows: the actual class; columns: what was predicted; per cent of the actual class over all folds and seeds. "
        "The difference, in points, is the second model minus the first: on the diagonal more is better."
    )
    return Section("confusion", "Confusion matrices", [text, *confusions.folds(material)])


def scatter(material: Material) -> Section | None:
    """Predicted against actual values."""
    if material.task.kind != "dimensions":
        return None
    drawn = [
        blocks.figure(PLOTS / f"scatter/{stem}.png", f"{' and '.join(labels(names))}: predicted against actual values.")
        for stem, names in groups(material.config.models).items()
    ]
    return Section("scatter", "Predicted and actual values", drawn)


def details(material: Material) -> Section:
    """Recall by class, or CCC by dimension."""
    if material.task.kind == "classes":
        path, what, title = "confusion/recall.png", "Mean recall of each class", "Recall by class"
    else:
        path, what, title = "scatter/ccc.png", "Mean CCC of each dimension", "CCC by dimension"
    drawn = blocks.figure(PLOTS / path, f"{what}, ± one standard deviation over runs.")
    return Section("details", title, [drawn])


def training(material: Material) -> Section:
    """Training curves of all variants."""
    config, numbers = material.config, set(material.answers.folds)
    means = {name: mean_curves(name, config.seeds, numbers, SCORE[config.task]) for name in config.variants}
    score = "accuracy" if config.task == "classes" else "CCC"
    drawn = curves.draw(means, score, config.letters, material.meta.corpus)
    caption = f"Loss (dotted: training, solid: development) and development {score} over epochs."
    return Section("training", "Training curves", [blocks.Figure(curves.as_png(drawn), caption)])


def all_pairs(material: Material) -> Section | None:
    """The matrix of all pairs, a metric each, and how probably each model is the best."""
    if len(material.config.models) < 2:
        return None
    metrics = material.config.compare.metrics
    drawn = [
        blocks.figure(PLOTS / f"pairs/{name}.png", f"{METRICS[name].label}: every model against every other.")
        for name in metrics
    ]
    return Section("pairs", "All pairs", drawn)


def where(material: Material) -> Section | None:
    """Where one model of a pair beats the other."""
    best = foremost(material.tests, material.config.compare.metrics[0]) if len(material.tests) else material.tests
    pairs = list(dict.fromkeys(zip(best["a"], best["b"], strict=True)))
    if not pairs:
        return None
    papers = {(one.a, one.b) for one in findings.papers(material.findings)}
    pairs.sort(key=lambda names: names not in papers)
    found = [wins.compare(material, a, b, is_open=(a, b) == pairs[0]) for a, b in pairs]
    links = Links([(fold.summary, f"#{fold.anchor}") for fold in found])
    more = [Paragraph(f"The {MOST} pairs of the best models.")] if len(pairs) == MOST else []
    return Section("wins", "Where one beats the other", [wins.contents(material), *more, links, *found])


def evaluated(anchor: str, title: str, page: Path, figures: dict[Path, str]) -> Section | None:
    """A stage's Markdown page and figures; None where the page says that it was asked for nothing."""
    found = pages.read(page)
    first = next((block.text for block in found if isinstance(block, Paragraph)), "")
    if first.startswith(NOT_ASKED):
        return None
    drawn = [blocks.figure(path, caption) for path, caption in figures.items() if path.exists()]
    return Section(anchor, title, [*drawn, *found])


def interaction(material: Material) -> Section | None:
    """EMAP."""
    if not material.config.evaluate.emap:
        return None
    drawn = {PLOTS / "evaluate/emap.png": "Scores of models, and of their projections without interactions."}
    return evaluated("emap", "Is interaction used?", METRICS_FOLDER / "emap.md", drawn)


def missing(material: Material) -> Section | None:
    """Missing and noisy modalities."""
    if not material.config.evaluate.missing:
        return None
    drawn = {PLOTS / "evaluate/missing.png": "Scores with noise on a modality, and without it."}
    return evaluated("missing", "Missing and noisy modalities", METRICS_FOLDER / "missing.md", drawn)


def attention(material: Material) -> Section | None:
    """Attention maps; those of single heads are folded away."""
    path = PLOTS / "attention/index.csv"
    if not material.config.report.attention or not path.exists():
        return None
    rows = scores.read_csv(path, numbers=[]).fillna("")
    drawn = [
        (row.file, blocks.figure(PLOTS / "attention" / row.file, f"{row.utterance_id} {row.what}".strip()))
        for row in rows.itertuples()
    ]
    shown = [figure for file, figure in drawn if not file.endswith("_heads.png")]
    heads = [figure for file, figure in drawn if file.endswith("_heads.png")]
    folded = [Fold("Single heads", heads)] if heads else []
    note = Paragraph(
        "Which positions attend to which. What a model attends to is not yet what it decides by: docs/attention.md."
    )
    return Section("attention", "Attention", [note, *shown, *folded])


def tuning(material: Material) -> Section | None:
    """Tuning."""
    drawn = {PLOTS / "tuning/draws.png": "Expected score of the best of so many draws."}
    return evaluated("tuning", "Tuning", METRICS_FOLDER / "tuning.md", drawn)


def gates(material: Material) -> Section | None:
    """What gates let through."""
    table = scores.read_csv(PLOTS / "gates/gates.csv", numbers=[])
    names = list(dict.fromkeys(table["variant"]))
    drawn = [
        blocks.figure(PLOTS / f"gates/{name}.png", f"{variants.label(name)}: what its gate lets through.")
        for name in names
    ]
    return Section("gates", "Gates", drawn) if drawn else None


def optimism(material: Material) -> Section | None:
    """How much better runs look on the part that chose their epochs."""
    return evaluated("optimism", "What choosing the epoch flatters", METRICS_FOLDER / "optimism.md", {})


def was_run(material: Material) -> Section:
    """What was run."""
    settings = ran.settings(material)
    same = Paragraph("All params are the defaults.")
    found = [ran.corpus(material), Heading("Models"), ran.models(material), Heading("Params that are not the defaults")]
    text = Paragraph(
        "Defaults are the paper's values (stages/common/params.py); how a modality enters the model has none, so all "
        "of it is here. What changes nothing but the time is left out; of paths the last part stands here."
    )
    found += [text, settings or same, Heading("Libraries"), ran.libraries()]
    return Section("run", "What was run", found)


def citing(material: Material) -> Section:
    """How to cite, and to repeat."""
    citation = cite.read()
    again = (
        "make repro      # sets up what is missing, then dvc repro\n"
        "dvc repro       # in an environment that is set up: runs what is missing or has changed\n"
        "dvc status      # says what differs from dvc.lock"
    )
    text = (
        "The same params, data and machine give the same bytes. The commit of this repository and dvc.lock say exactly "
        "what was run; a corpus that is not the embedded one must be had from those who release it."
    )
    found = [
        Bullets(cite.sentences(citation)),
        Links(cite.links(citation)),
        Code(cite.bibtex(citation)),
        Heading("To repeat"),
        Code(again),
        Paragraph(text),
    ]
    return Section("cite", "How to cite and to repeat", found)


def reforms(material: Material) -> Section:
    """The checklist."""
    text = Paragraph(
        "REFORMS (Kapoor et al., Science Advances, 2024): its 32 items in short, answered from params.yaml, the data "
        f"and dvc.lock. What stands as “{checklist.UNKNOWN}” is for the authors to say."
    )
    source = Links([("REFORMS: Consensus-based Recommendations for Machine-learning-based Science", checklist.SOURCE)])
    return Section("checklist", "Reproducibility checklist", [text, source, checklist.grid(material)])


SECTIONS: tuple[Callable[[Material], Section | None], ...] = (
    answer,
    scored,
    differences,
    runs,
    confusion,
    scatter,
    details,
    training,
    all_pairs,
    where,
    interaction,
    missing,
    attention,
    tuning,
    gates,
    optimism,
    was_run,
    citing,
    reforms,
)
