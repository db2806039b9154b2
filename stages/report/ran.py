"""What was run: the corpus, the variants, the params that are not the defaults, the libraries."""

import json
from importlib import metadata
from pathlib import PurePath

from stages.common import extractors, variants
from stages.common.plan import Section
from stages.report.blocks import Grid, cells
from stages.report.material import Material

ELSEWHERE = {"variants", "references", "seeds", "headline"}
"""Keys that the page shows in other words, or that concern no result."""
NO_RESULT = {f"train.{name}" for name in ("workers", "together", "checkpoint_seconds", "work", "engine", "ray")}
"""Keys that change nothing but the time."""
PATHS = {"root", "weights"}
"""Keys that name a place on a disk, of which the last part is shown."""
LIBRARIES = (
    "torch",
    "numpy",
    "pandas",
    "scipy",
    "statsmodels",
    "scikit-learn",
    "numba",
    "pyarrow",
    "matplotlib",
    "pydantic",
    "dvc",
)


def corpus(material: Material) -> Grid:
    """The corpus and how it is divided."""
    config, utterances, dimensions = material.config, material.utterances, material.meta.dimensions
    classes = utterances["label"].value_counts().reindex(material.meta.classes, fill_value=0)
    shown = {
        "Corpus": material.meta.corpus,
        "Source": config.corpus.source,
        "Utterances": f"{len(utterances):,}, of which {material.folds['utterance_id'].nunique():,} in folds",
        "Task": material.task.kind,
        "Classes": ", ".join(f"{name} {number:,}" for name, number in classes.items()),
        "Modalities": material.letters,
        "Folds": folds(material),
        "Seeds": ", ".join(map(str, config.seeds)),
        "What is not real": material.warning or "nothing that the files know of",
    }
    if material.task.kind == "dimensions":
        shown["Dimensions"] = ", ".join(f"{name} ({low:g} to {high:g})" for name, (low, high) in dimensions.items())
    for column in ("speaker", "session", "dialogue"):
        if material.known(column):
            shown[f"{column.capitalize()}s"] = f"{utterances[column].nunique():,}"
    return Grid(["Study", ""], [cells(name, text) for name, text in shown.items()])


def folds(material: Material) -> str:
    """How the corpus is divided, in words."""
    parts = material.folds.groupby(["fold", "part"]).size().groupby("part").agg(["min", "max"])
    sizes = [
        f"{part} {low:,}" if low == high else f"{part} {low:,} to {high:,}"
        for part, low, high in parts.reindex(["train", "dev", "test"]).itertuples()
    ]
    own = material.config.split
    scheme = "those of the corpus if it brings any, else random" if own.scheme == "auto" else own.scheme
    kept = f", {own.group}s kept together" if own.group else ""
    return f"{len(material.answers.folds)} folds ({scheme}{kept}); utterances a fold: {', '.join(sizes)}"


def models(material: Material) -> Grid:
    """The variants and references, and where each fusion comes from."""
    rows = []
    for name in material.config.models:
        own = variants.parse(name)
        fusion = variants.FUSIONS[own.fusion]
        kind = "trained" if own.trained else "reference, not trained"
        rows.append(cells(own.label, name, fusion.source or "–", kind))
    return Grid(["Model", "Name", "Source", "Kind"], rows)


def settings(material: Material) -> Grid | None:
    """The params that differ from their defaults; None where none does."""
    found = [row for row in differences(material.config) if not row[0].endswith(".letter")]
    rows = [cells(key, _value(value, key), _value(default, key)) for key, value, default in found]
    return Grid(["Key of params.yaml", "Here", "Default"], rows) if rows else None


def differences(section: Section, prefix: str = "") -> list[tuple[str, object, object]]:
    """Key with dots, value and default of all that is not its default; a key without a default has the default None.

    Modalities and their settings have none and are all there.
    """
    found = []
    for name, field in type(section).model_fields.items():
        key, value = f"{prefix}{name}", getattr(section, name)
        if key in ELSEWHERE or key in NO_RESULT:
            continue
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(value, Section):
            found += differences(value, f"{key}.")
        elif isinstance(value, dict) and value and all(isinstance(own, Section) for own in value.values()):
            for entry, own in value.items():
                found += [] if own == (default or {}).get(entry) else differences(own, f"{key}.{entry}.")
        elif value != default:
            found.append((key, value, default))
    return found


def _value(value: object, key: str) -> str:
    if value is None:
        return "–"
    if key.rpartition(".")[2] in PATHS and isinstance(value, str) and value != extractors.RANDOM:
        return f"…/{PurePath(value).name}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, Section) else str(value)


def libraries() -> Grid:
    """The versions of what computes, where this page was written."""
    rows = [cells(name, metadata.version(name).partition("+")[0]) for name in LIBRARIES]
    return Grid(["Library", "Version"], rows)
