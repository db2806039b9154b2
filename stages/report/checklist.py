"""REFORMS, the checklist of Kapoor et al. (Science Advances 10, eadk3452, 2024, Table 1), as far as files answer it.

Each item has a function of the study that answers it, or None where the authors alone can: then the page says so.
"""

from collections.abc import Callable
from pathlib import Path

import yaml

from stages.common.metrics import METRICS
from stages.report import ran
from stages.report.blocks import Cell, Grid, cells
from stages.report.material import MADE_UP, Material
from stages.ttest.report import TESTS, shared
from stages.ttest.verdict import amount

LOCK = Path("dvc.lock")
UNKNOWN = "not known from the files"
SOURCE = "https://doi.org/10.1126/sciadv.adk3452"
Answer = Callable[[Material], str | None]


def grid(material: Material) -> Grid:
    """All items with their answers."""
    rows = []
    for number, (item, answer) in ITEMS.items():
        said = answer(material) if answer else None
        rows.append([*cells(number, item), Cell(said) if said else Cell(UNKNOWN, tone="down", amount=0.35)])
    return Grid(["Item", "What it asks", "Answer"], rows, heads=1)


def digests(material: Material) -> str | None:
    """The MD5 of the corpus and the folds, as dvc.lock has them."""
    try:
        stages = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"]
        outs = {out["path"]: out["md5"] for name in ("corpus", "split") for out in stages[name]["outs"]}
        return f"data/corpus {outs['data/corpus']}, data/folds.csv {outs['data/folds.csv']} (MD5, in dvc.lock)"
    except (FileNotFoundError, ValueError, yaml.YAMLError, KeyError, TypeError):  # by hand, before DVC has written it
        return None


def _dataset(material: Material) -> str:
    own = digests(material)
    return f"corpus {material.meta.corpus}; {own or 'its checksum: ' + UNKNOWN}"


def _source(material: Material) -> str | None:
    if material.meta.corpus == MADE_UP:
        return "made by stages/corpus/synthetic.py from corpus.synthetic in params.yaml; nothing was recorded"
    return None


def _outcome(material: Material) -> str:
    if material.task.kind == "dimensions":
        scales = ", ".join(f"{name} from {low:g} to {high:g}" for name, (low, high) in material.meta.dimensions.items())
        return f"the utterance's {scales}"
    counts = material.utterances["label"].value_counts().reindex(material.meta.classes, fill_value=0)
    shares = ", ".join(f"{name} {100 * number / counts.sum():.0f} %" for name, number in counts.items())
    return f"the utterance's class: {shares}"


def _samples(material: Material) -> str:
    utterances, speakers = len(material.utterances), ""
    if material.known("speaker"):
        speakers = f" of {material.utterances['speaker'].nunique():,} speakers"
    return f"{utterances:,} utterances{speakers}; by class: see What was run"


def _missing(material: Material) -> str | None:
    if set(material.lengths) != set(material.config.letters):
        return None
    parts = []
    for name, own in material.config.modalities.items():
        empty = material.lengths[own.letter].reindex(material.utterances.index) == 0
        shares = empty.groupby(material.utterances["label"]).mean().reindex(material.meta.classes)
        by_class = [f"{label} {100 * share:.1f} %" for label, share in shares.items() if share > 0]
        parts.append(f"no {name}: {100 * empty.mean():.1f} %" + (f" ({', '.join(by_class)})" if by_class else ""))
    return "; ".join(parts)


def _excluded(material: Material) -> str:
    out = len(material.utterances) - material.folds["utterance_id"].nunique()
    return f"{out:,} utterances of the corpus are in no fold (split.incomplete: {material.config.split.incomplete})"


def _corrupt(material: Material) -> str:
    does = "left out, with a warning" if material.config.corpus.skips else "an error that stops the study"
    return f"a missing or broken file is {does} (corpus.on_error); arrays are checked against their checksums"


def _transformed(material: Material) -> str:
    standardised = [name for name, own in material.config.modalities.items() if own.standardise]
    text = "padded to the longest sequence"
    if standardised:
        text += f"; {', '.join(standardised)} standardised by the mean and variance of the fold's training part"
    return text


def _models(material: Material) -> str:
    return (
        f"{len(material.config.variants)} variants, under What was run; recurrent encoders, a fusion, a classifier "
        "(stages/train/model.py); cross-entropy"
    )


def _selected(material: Material) -> str:
    protocol = material.config.train.protocol
    return (
        f"of each run the epoch with the best development {protocol.select.replace('_', ' ')}; never by the test part"
    )


def _tuned(material: Material) -> str:
    tune = material.config.tune
    if not tune.draws:
        return "nothing was tuned: all variants have the settings of params.yaml"
    return (
        f"{tune.draws} random draws, the same for all variants, of {', '.join(tune.ranges)}; chosen by development part"
    )


def _baselines(material: Material) -> str:
    kept = "one protocol for all models: same folds, seeds, encoders, optimiser and stopping"
    references = ", ".join(material.config.references)
    return kept + (f"; references that are not trained: {references}" if references else "")


def _leakage(material: Material) -> str:
    return (
        "standardisation by the training part alone; epochs chosen by the development part; nothing of the test part "
        "is seen before the test"
    )


def _dependent(material: Material) -> str | None:
    return shared(material.design) if material.design.shared else None


def _metrics(material: Material) -> str:
    return ", ".join(METRICS[name].label for name in material.config.compare.metrics)


def _uncertainty(material: Material) -> str:
    level = 100 * (1 - material.config.compare.alpha)
    return (
        f"standard deviations over runs; {level:g} % intervals of differences, which count test utterances, what folds "
        "share and runs (docs/statistics.md)"
    )


def _test(material: Material) -> str | None:
    names = dict.fromkeys(material.tests.loc[material.tests["score"].isin(METRICS), "test"].dropna())
    if not names:
        return None
    own = material.config.compare
    return (
        f"{' / '.join(TESTS[name] for name in names)}; Holm's correction; equivalence within ± {amount(own.margin)} by "
        f"two one-sided tests; α = {own.alpha:g}. How often each errs: docs/statistics.md"
    )


def _limits(material: Material) -> str | None:
    if material.warning:
        return material.warning
    return shared(material.design) if material.design.shared else None


ITEMS: dict[str, tuple[str, Answer | None]] = {
    "1a": ("Population that the claim is about", None),
    "1b": ("Why this population", None),
    "1c": ("Why machine learning", None),
    "2a": ("Data set, with a permanent address", _dataset),
    "2b": ("Code and its version", lambda _: "this repository; its commit is the version"),
    "2c": ("Computing infrastructure", lambda _: "library versions: see What was run; the machine: " + UNKNOWN),
    "2d": ("README with instructions", lambda _: "README.md"),
    "2e": ("Script that reproduces all results", lambda _: "dvc repro (dvc.yaml)"),
    "3a": ("Source of the data and of the labels", _source),
    "3b": ("Sampling frame", None),
    "3c": ("Why the data suit the task", None),
    "3d": ("Outcome variable and its distribution", _outcome),
    "3e": ("Number of samples", _samples),
    "3f": ("Missing data by class", _missing),
    "3g": ("Why the data represent the population", None),
    "4a": ("Excluded samples", _excluded),
    "4b": ("Impossible or corrupt samples", _corrupt),
    "4c": ("Transformations", _transformed),
    "5a": ("All models trained, inputs and loss", _models),
    "5b": ("Why these types of models", None),
    "5c": ("How models are evaluated", ran.folds),
    "5d": ("How models are selected", _selected),
    "5e": ("Tuning of hyperparameters", _tuned),
    "5f": ("Appropriate baselines", _baselines),
    "6a": ("Only training data in preprocessing and modelling", _leakage),
    "6b": ("Dependencies between training and test", _dependent),
    "6c": ("Legitimacy of each input", None),
    "7a": ("Metrics", _metrics),
    "7b": ("Uncertainty, and how it is estimated", _uncertainty),
    "7c": ("Choice of tests and their assumptions", _test),
    "8a": ("Evidence of external validity", None),
    "8b": ("Where the findings are not expected to hold", _limits),
}
"""Number → item in short, and what answers it."""
