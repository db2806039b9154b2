"""What a comparison comes to, and in which words."""

from dataclasses import dataclass
from typing import Literal

from stages.common import metrics
from stages.common.metrics import METRICS

POINTS, HUNDREDTH = "points", "0.01"
"""Units of a hundredth of a score (`Metric.unit`)."""


@dataclass(frozen=True)
class Verdict:
    """Of two models a and b on one score; both parts hold for a tiny sure difference."""

    better: Literal["a", "b"] | None = None
    """The one that is surely better."""
    equivalent: bool = False
    """Whether the difference is surely smaller than the margin."""

    def __str__(self) -> str:
        """As `metrics/ttest.csv` has it."""
        return self.words("A", "B")

    @property
    def mirrored(self) -> "Verdict":
        """That on b and a."""
        return Verdict({"a": "b", "b": "a"}.get(self.better), self.equivalent)

    def words(self, a: str, b: str) -> str:
        """`A better`, `equivalent`, both, or `undecided`."""
        found = [f"{a if self.better == 'a' else b} better"] if self.better else []
        return ", ".join(found + ["equivalent"] * self.equivalent) or "undecided"

    def sentence(self, a: str, b: str, margin: str) -> str:
        """The same for a reader; `margin` as `1 point`."""
        if self.better is None:
            return f"equivalent within ± {margin}" if self.equivalent else "undecided"
        return f"{a if self.better == 'a' else b} is better" + (f", by less than {margin}" if self.equivalent else "")


VERDICTS = {str(own): own for own in (Verdict(better, equal) for better in ("a", "b", None) for equal in (True, False))}
"""All of them, as `metrics/ttest.csv` has them."""


def decide(difference: float, p: float, p_equivalence: float, alpha: float, *, lower_is_better: bool) -> Verdict:
    """The verdict on the difference a - b from corrected P: strictly below alpha counts; NaN never does."""
    better = None
    if p < alpha:
        better = "a" if (difference > 0) != lower_is_better else "b"
    return Verdict(better, bool(p_equivalence < alpha))


def amount(size: float, score: str = "accuracy") -> str:
    """.01 → `1 point`, `1 × 0.01 nat`, or of a score without a unit `0.01`."""
    own = unit(score)
    if own == POINTS:
        return f"{100 * size:g} point{'' if size == 0.01 else 's'}"
    return f"{size:g}" if own == HUNDREDTH else f"{100 * size:g} × {own}"


def unit(score: str) -> str:
    """What a hundredth of a score is called, be it a metric or the score of a single class or dimension."""
    if score in METRICS:
        return METRICS[score].unit
    return HUNDREDTH if score.startswith(metrics.concordance("")) else POINTS
