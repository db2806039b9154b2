"""A prediction as people and as programs read it."""

import json
from dataclasses import dataclass

import numpy as np

from stages.common import corpus, variants
from stages.common.corpus import Meta
from stages.common.tables import fraction
from stages.common.task import Task
from stages.predict.models import Asked

WIDTH = 40
"""Characters of a bar of probability 1, or of the highest value of a scale."""
EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is said of an utterance."""

    kind: str
    """probabilities of classes, or values of dimensions."""
    numbers: dict[str, float]
    """Class → its probability, or dimension → its value on the corpus's scale."""
    bars: list[float]
    """0 … 1: how long the bar of each is."""

    @classmethod
    def of(cls, task: Task, meta: Meta, outputs: np.ndarray) -> "Found":
        """Of outputs [classes], probabilities, or [dimensions], values between -1 and 1."""
        if task.kind == "classes":
            return cls(kind="probabilities", numbers=_named(task, outputs), bars=outputs.tolist())
        scaled = [corpus.on_scale(value, meta.dimensions[name]) for name, value in _named(task, outputs).items()]
        bars = np.clip((outputs + 1) / 2, 0, 1).tolist()
        return cls(kind="values", numbers=dict(zip(task.names, scaled, strict=True)), bars=bars)

    def rows(self) -> list[tuple[str, float, str]]:
        """Name, length of the bar and number in words: the most probable class first, dimensions in their order."""
        rows = [
            (name, bar, fraction(number) if self.kind == "probabilities" else f"{number:.2f}")
            for (name, number), bar in zip(self.numbers.items(), self.bars, strict=True)
        ]
        return sorted(rows, key=lambda row: -row[1]) if self.kind == "probabilities" else rows


def _named(task: Task, outputs: np.ndarray) -> dict[str, float]:
    return dict(zip(task.names, outputs.tolist(), strict=True))


def chart(asked: Asked, found: Found, missing: list[str], encoding: str) -> str:
    """A bar a class or dimension; `encoding`: what the terminal can show."""
    (seed, fold), count = asked.runs[0], len(asked.runs)
    which = f"mean of {count} models, all seeds and folds" if count > 1 else f"seed {seed}, fold {fold}"
    without = f", without {', '.join(missing)}" if missing else ""
    lines = [f"{variants.label(asked.variant)} ({which}{without})"]
    widest = max(map(len, found.numbers))
    lines += [f"{name:<{widest}}  {_bar(bar, encoding):<{WIDTH}}  {said}" for name, bar, said in found.rows()]
    return "\n".join(lines)


def _bar(share: float, encoding: str) -> str:
    whole, eighth = divmod(round(8 * WIDTH * share), 8)
    try:
        "█▏".encode(encoding)
    except UnicodeEncodeError:
        return "#" * round(WIDTH * share)
    return "█" * whole + (EIGHTHS[eighth] if eighth else "")


def as_json(asked: Asked, found: Found, missing: list[str]) -> str:
    """One line: variant, models (seed and fold of each), missing, and of classes predicted and probabilities, of
    dimensions values.
    """
    content = {
        "variant": asked.variant,
        "models": [run._asdict() for run in asked.runs],
        "missing": missing,
        **({"predicted": max(found.numbers, key=found.numbers.get)} if found.kind == "probabilities" else {}),
        found.kind: found.numbers,
    }
    return json.dumps(content)
