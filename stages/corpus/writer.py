"""Writes `data/corpus/`, after a check of everything that goes into it."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from stages.common.arrays import is_integer
from stages.common.corpus import NAMES, Meta, check_folds
from stages.common.errors import UserError, short

LONGEST_NAME = 1000
"""Characters of an utterance_id: arrays of names take the longest one's width for each."""


def write(folder: Path, *, meta: Meta, utterances: Sequence[dict], folds: pd.DataFrame | None = None) -> None:
    """Write a corpus to `folder`; use it inside `files.replacing`, so that it is there whole or not at all.

    `utterances`: for each one utterance_id; speaker, session and dialogue, empty where unknown; label, a class's name
    or its index in `meta.classes`; then, the same for all, columns of the source's own: text or finite numbers.
    `folds`: those that the corpus brings, if any (`corpus.check_folds`).

    Raises
    ------
    UserError
        If a rule is broken; names the utterance or the row, the rule and the value.
    """
    meta.check()
    table = _table(utterances, meta.classes)
    if folds is not None:
        check_folds(folds, set(table["utterance_id"]))
    folder.mkdir(parents=True)
    table.to_csv(folder / "utterances.csv", index=False, lineterminator="\n")
    if folds is not None:
        folds.to_csv(folder / "folds.csv", index=False, lineterminator="\n")
    (folder / "meta.json").write_text(json.dumps(asdict(meta), indent=1) + "\n", encoding="utf-8")


def _table(utterances: Sequence[dict], classes: list[str]) -> pd.DataFrame:
    """`utterances.csv`, with labels as names."""
    own = [name for name in utterances[0] if name not in NAMES] if utterances else []
    rows = {}
    for utterance in utterances:
        row = _checked(utterance, [*NAMES, *own], classes)
        if row["utterance_id"] in rows:
            raise UserError(f"utterance {row['utterance_id']!r}: utterance_id must be unique, but was there before")
        rows[row["utterance_id"]] = row
    labels = {row["label"] for row in rows.values()}
    missing = [name for name in classes if name not in labels]
    if missing:
        raise UserError(f"every class of the corpus must have an utterance, but {', '.join(missing)} has none")
    return pd.DataFrame(list(rows.values()), columns=[*NAMES, *own])


def _checked(utterance: dict, columns: list[str], classes: list[str]) -> dict:
    """An utterance's row of the table."""
    if not isinstance(utterance, dict) or sorted(map(str, utterance)) != sorted(columns):
        found = list(utterance) if isinstance(utterance, dict) else utterance
        raise UserError(f"what is known of an utterance must be {', '.join(columns)}, but is {short(found)}")
    where = f"utterance {short(utterance['utterance_id'])}"
    for name in columns:
        value = utterance[name]
        if name not in NAMES and _is_number(value):
            continue
        if name != "label" and not (isinstance(value, str) and value.isprintable()):
            raise UserError(f"{where}: {name} must be text of printable characters, but is {short(value)}")
    if not 0 < len(utterance["utterance_id"]) <= LONGEST_NAME:
        raise UserError(f"{where}: utterance_id must have 1 … {LONGEST_NAME} characters")
    return {name: utterance[name] for name in columns} | {"label": _class_name(where, utterance["label"], classes)}


def _class_name(where: str, label: object, classes: list[str]) -> str:
    if not isinstance(label, str) and not is_integer(label):
        raise UserError(f"{where}: label must be a class's name or index, but is {short(label)}")
    if is_integer(label) and 0 <= label < len(classes):
        return classes[label]
    if label not in classes:
        raise UserError(f"{where}: label must be one of {', '.join(classes)} or an index of these, but is {label!r}")
    return str(label)


def _is_number(value: object) -> bool:
    return is_integer(value) or (isinstance(value, float) and math.isfinite(value))
