"""A prediction as people and as programs read it."""

import json

import numpy as np

from stages.common import variants
from stages.common.tables import fraction
from stages.predict.models import Asked

WIDTH = 40
"""Characters of a bar of probability 1."""
EIGHTHS = " ▏▎▍▌▋▊▉"


def chart(asked: Asked, classes: list[str], probabilities: np.ndarray, missing: list[str], encoding: str) -> str:
    """A bar a class, the most probable first. `probabilities` [classes]; `encoding`: what the terminal can show."""
    (seed, fold), count = asked.runs[0], len(asked.runs)
    which = f"mean of {count} models, all seeds and folds" if count > 1 else f"seed {seed}, fold {fold}"
    without = f", without {', '.join(missing)}" if missing else ""
    lines = [f"{variants.label(asked.variant)} ({which}{without})"]
    widest = max(map(len, classes))
    for i in np.argsort(-probabilities, kind="stable"):
        share = fraction(probabilities[i])
        lines.append(f"{classes[i]:<{widest}}  {_bar(probabilities[i], encoding):<{WIDTH}}  {share}")
    return "\n".join(lines)


def _bar(probability: float, encoding: str) -> str:
    whole, eighth = divmod(round(8 * WIDTH * probability), 8)
    try:
        "█▏".encode(encoding)
    except UnicodeEncodeError:
        return "#" * round(WIDTH * probability)
    return "█" * whole + (EIGHTHS[eighth] if eighth else "")


def as_json(asked: Asked, classes: list[str], probabilities: np.ndarray, missing: list[str]) -> str:
    """One line: variant, models (seed and fold of each), missing, predicted, probabilities (class → probability)."""
    content = {
        "variant": asked.variant,
        "models": [run._asdict() for run in asked.runs],
        "missing": missing,
        "predicted": classes[int(probabilities.argmax())],
        "probabilities": dict(zip(classes, probabilities.tolist(), strict=True)),
    }
    return json.dumps(content)
