"""The scores that a study may compare, and how tables speak of them; `scores.py` computes them."""

from dataclasses import dataclass

from stages.common.plan import TaskKind


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What is true of a score."""

    label: str
    """As tables name it."""
    is_sum: bool = True
    """Whether it is a weighted sum over utterances."""
    classes_alike: bool = False
    """Whether each class counts the same, however many utterances it has."""
    lower_is_better: bool = False
    needs_probabilities: bool = False
    unit: str = "points"
    """Of a hundredth of it."""
    task: TaskKind = "classes"
    """Of what predictions it is a score."""


METRICS = {
    "balanced_accuracy": Metric(label="WA (balanced accuracy)", classes_alike=True),
    "accuracy": Metric(label="UWA (accuracy)"),
    "weighted_f1": Metric(label="Weighted F1", is_sum=False),
    "macro_f1": Metric(label="Macro F1", is_sum=False),
    "negative_log_likelihood": Metric(
        label="Negative log-likelihood", lower_is_better=True, needs_probabilities=True, unit="0.01 nat"
    ),
    "brier_score": Metric(label="Brier score", lower_is_better=True, needs_probabilities=True),
    "calibration_error": Metric(
        label="Calibration error", is_sum=False, lower_is_better=True, needs_probabilities=True
    ),
    "ccc": Metric(label="CCC", is_sum=False, unit="0.01", task="dimensions"),
}
"""Beside them each class has a recall, a sum over its utterances; each dimension a CCC, whose mean is `ccc`."""

PAPERS = ("balanced_accuracy", "accuracy")
"""The paper's two, in its order."""


DEFAULTS: dict[TaskKind, tuple[str, ...]] = {"classes": PAPERS, "dimensions": ("ccc",)}
"""Task → what `compare.metrics: auto` means."""


def recall(label: str) -> str:
    """The name of a class's recall."""
    return f"recall_{label}"


def concordance(dimension: str) -> str:
    """The name of a dimension's CCC."""
    return f"ccc_{dimension}"
