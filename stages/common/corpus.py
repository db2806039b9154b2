"""`data/corpus/` and `data/folds.csv`, as the later stages read them: who said what when, and which part is for what.

`utterances.csv` has a row an utterance: utterance_id, speaker, session, dialogue, label (empty where unknown), then
columns of the corpus's own, among them its dimensions. `folds.csv` is there only if the corpus brings folds.
`meta.json` says the rest (`Meta`).
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from stages.common.arrays import is_integer
from stages.common.errors import UserError, restorable, short

FOLDER = Path("data/corpus")
FOLDS = Path("data/folds.csv")
PARTS = ("train", "dev", "test")
DIMENSIONS = ("valence", "activation", "dominance")
"""What a corpus may know as numbers."""
NAMES = ("utterance_id", "speaker", "session", "dialogue", "label")


@dataclass(frozen=True, kw_only=True)
class Meta:
    """`meta.json`: what is true of the whole corpus."""

    corpus: str
    """The corpus's name, such as `synthetic`, `IEMOCAP` or `unknown`."""
    classes: list[str]
    """Class names in the order of their labels."""
    modalities: list[str]
    """Names of the modalities that the corpus has."""
    dimensions: dict[str, list[float]] = field(default_factory=dict)
    """Of `DIMENSIONS`, those that the corpus knows the values of → the lowest and the highest value of their scale."""

    def check(self) -> None:
        """Raise a UserError that names the rule and the value if a field breaks one."""
        if not isinstance(self.corpus, str):
            raise UserError(f"corpus must be text, but is {short(self.corpus)}")
        if not _distinct(self.classes, str.isprintable) or len(self.classes) < 2:
            raise UserError(
                f"classes must be two or more different names of printable characters, but are {short(self.classes)}"
            )
        if not _distinct(self.modalities, re.compile("[a-z0-9_]+").fullmatch):
            raise UserError(
                f"modalities must be different names of lower-case letters, digits and _, "
                f"but are {short(self.modalities)}"
            )
        if not isinstance(self.dimensions, dict) or not all(map(_is_scale, self.dimensions.items())):
            raise UserError(
                f"dimensions must be {', '.join(DIMENSIONS)}, each with the lowest and the highest value of its scale, "
                f"but are {short(self.dimensions)}"
            )


def read_meta(folder: Path = FOLDER) -> Meta:
    """`meta.json` of a corpus.

    Raises
    ------
    UserError
        If it is missing or damaged, as all readers below.
    """
    path = folder / "meta.json"
    with restorable(path):
        meta = Meta(**json.loads(path.read_text(encoding="utf-8")))
        meta.check()
        return meta


def read_utterances(folder: Path = FOLDER) -> pd.DataFrame:
    """`utterances.csv` of a corpus: every column is text, and what is unknown is empty."""
    path = folder / "utterances.csv"
    with restorable(path):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        missing = [name for name in NAMES if name not in table]
        if missing:
            raise UserError(f"must have the columns {', '.join(missing)}")
        if not table["utterance_id"].is_unique:
            raise UserError("utterance_id must be unique")
        return table


def values(utterances: pd.DataFrame, meta: Meta) -> np.ndarray:
    """[utterances, dimensions]: each between -1, the lowest of its scale, and 1, the highest; NaN where unknown.

    Raises
    ------
    UserError
        If a column is missing or holds something else than numbers.
    """
    found = np.full((len(utterances), len(meta.dimensions)), np.nan, np.float32)
    for k, (name, (low, high)) in enumerate(meta.dimensions.items()):
        if name not in utterances:
            raise UserError(f"{FOLDER / 'utterances.csv'} must have the column {name}: run dvc repro")
        own = pd.to_numeric(utterances[name].replace("", np.nan), errors="coerce").to_numpy(np.float64)
        if not np.isfinite(own[(utterances[name] != "").to_numpy()]).all():
            raise UserError(f"{FOLDER / 'utterances.csv'}: {name} must be a number or empty: run dvc repro")
        found[:, k] = (own - (low + high) / 2) / ((high - low) / 2)
    return found


def on_scale(values: np.ndarray, scale: Sequence[float]) -> np.ndarray:
    """Values between -1 and 1 as they are on a dimension's scale, its lowest and its highest value."""
    low, high = scale
    return (low + high) / 2 + (high - low) / 2 * values


def labels_digest(folder: Path = FOLDER) -> str:
    """SHA-256 of what a training reads of a corpus: classes and scales, every utterance's name, label and values."""
    meta = read_meta(folder)
    table = read_utterances(folder)[["utterance_id", "label", *meta.dimensions]]
    content = [meta.classes, meta.dimensions, table.to_dict("list")]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_folds(path: Path = FOLDS, known: Collection[str] | None = None) -> pd.DataFrame:
    """A table fold, utterance_id, part, perhaps repeat, as `check_folds` has it; folds count from 1."""
    dtypes = {"fold": int, "utterance_id": str, "part": str, "repeat": int}
    with restorable(path):
        folds = pd.read_csv(path, dtype=dtypes, keep_default_na=False)
        check_folds(folds, known)
    return folds


def check_folds(folds: pd.DataFrame, known: Collection[str] | None = None) -> None:
    """Check a table fold (from 1), utterance_id, part: each utterance at most once in a fold, and `known` if given.

    A column repeat (from 1) may say which partition of the corpus a fold belongs to.

    Raises
    ------
    UserError
        If it breaks a rule; names the row, counted from 0, the rule and the value.
    """
    columns = list(folds.columns) if isinstance(folds, pd.DataFrame) else folds
    names = {"fold", "utterance_id", "part"}
    if not isinstance(columns, list) or sorted(map(str, columns)) not in (sorted(names), sorted(names | {"repeat"})):
        raise UserError(
            f"columns of the folds must be fold, utterance_id, part and perhaps repeat, but are {short(columns)}"
        )
    number = ("a whole number in 1 … 999999", lambda value: is_integer(value) and 0 < value < 10**6)
    rules = {
        "fold": number,
        "utterance_id": (
            "text" if known is None else "an utterance of the corpus",
            lambda value: isinstance(value, str) and (known is None or value in known),
        ),
        "part": (f"one of {', '.join(PARTS)}", lambda value: isinstance(value, str) and value in PARTS),
    } | ({"repeat": number} if "repeat" in columns else {})
    for column, (rule, holds) in rules.items():
        for row, value in enumerate(folds[column]):
            if not holds(value):
                raise UserError(f"folds: row {row}: {column} must be {rule}, but is {short(value)}")
    repeated = folds.duplicated(["fold", "utterance_id"]).tolist()
    if any(repeated):
        row = repeated.index(True)
        fold, name = folds.iloc[row][["fold", "utterance_id"]]
        raise UserError(f"folds: row {row}: an utterance must be in a fold once, but {name!r} is in fold {fold} twice")
    if "repeat" in columns:
        others = folds["repeat"] != folds.groupby("fold")["repeat"].transform("first")
        if others.any():
            row = others.tolist().index(True)
            fold, repeat = folds.iloc[row][["fold", "repeat"]]
            raise UserError(
                f"folds: row {row}: a fold must belong to one repeat, but {fold} is of repeat {repeat} and another"
            )


def numbers(folds: pd.DataFrame) -> list[int]:
    """The folds' numbers, in order."""
    return sorted(int(fold) for fold in folds["fold"].unique())


def _is_scale(entry: tuple[object, object]) -> bool:
    """Whether a dimension and its scale are so."""
    name, scale = entry
    numbers = isinstance(scale, list) and len(scale) == 2 and all(isinstance(value, int | float) for value in scale)
    return name in DIMENSIONS and numbers and scale[0] < scale[1]


def _distinct(names: object, holds: Callable[[str], object]) -> bool:
    """Whether `names` is a list of at least one name, all different, and each of them text that keeps a rule."""
    if not isinstance(names, list) or not all(isinstance(name, str) and name and holds(name) for name in names):
        return False
    return 0 < len(names) == len(set(names))
