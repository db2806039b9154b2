"""Random draws of settings: the section `tune` of `params.yaml`, and what each draw is.

A draw is the same values for every variant. Each value has a random number of its own, seeded by `tune.seed`, the
draw's number and the key alone: more draws leave the earlier ones as they are, and another range leaves the values of
the other keys as they are.
"""

import math
import re
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from stages.common.errors import short
from stages.common.plan import Entry, Section

Value = int | float | bool | str | None
"""Of a setting."""

TUNABLE = re.compile(
    rf"train\.protocol\.(?!select$)\w+|model\.\w+|fusions\.\w+\.\w+|modalities\.\w+\.({'|'.join(Entry.model_fields)})"
)
"""The keys that may be drawn: what a variant's plan is made of, but for what draws are compared by."""

_DIGITS = 6
"""Significant digits of a drawn number: the same on every machine, and short to read."""


class Range(Section):
    """Numbers between two bounds."""

    low: float
    high: float
    log: bool = False
    """Whether the logarithm is what is drawn uniformly."""

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("low must be less than high, and above 0 with log")
        return self


DEFAULT: dict[str, Range | list[Value]] = {
    "train.protocol.learning_rate": Range(low=0.0003, high=0.003, log=True),
    "model.hidden": [30, 60],
    "model.attention_dropout": Range(low=0.0, high=0.3),
}

_SHAPE = TypeAdapter(Range | Annotated[list[Value], Field(min_length=1)])


class Tune(Section):
    """Tuning: each variant gets the same number of random draws over the same ranges (docs/tuning.md)."""

    draws: Annotated[int, Field(ge=0, le=1000)] = 0
    """0: nothing is tuned, and a variant's settings are those of the rest of the file."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 1
    ranges: dict[str, Range | list[Value]] = Field(default_factory=lambda: dict(DEFAULT))
    """A setting's key with dots, such as model.hidden → its values, equally probable, or its bounds."""

    @field_validator("ranges", mode="before")
    @classmethod
    def _shapes(cls, ranges: object) -> object:
        for key, own in ranges.items() if isinstance(ranges, dict) else ():
            try:
                _SHAPE.validate_python(own, strict=True)
            except ValidationError:
                raise ValueError(
                    f"{short(key)} must have a list of values, or {{low: …, high: …}} with numbers, low less than "
                    f"high, and perhaps log: true, for which low is above 0; but has {short(own)}"
                ) from None
            if not isinstance(key, str) or not TUNABLE.fullmatch(key):
                raise ValueError(
                    "keys must be settings of train.protocol (but not select, by which draws are compared), of model, "
                    f"of fusions.<fusion>, or {', '.join(Entry.model_fields)} of modalities.<name>, but one is "
                    f"{short(key)}"
                )
        return ranges

    @model_validator(mode="after")
    def _something_drawn(self) -> "Tune":
        if self.draws and not self.ranges:
            raise ValueError("ranges must name what is drawn where draws is above 0, but is empty")
        return self


def values(tune: Tune, number: int) -> dict[str, Value]:
    """Draw `number`, from 1: key → value."""
    return {key: _value(own, _uniform(tune.seed, number, key)) for key, own in tune.ranges.items()}


def _uniform(seed: int, number: int, key: str) -> float:
    """The random number of one value, from 0 to 1."""
    return float(np.random.default_rng([seed, number, *key.encode()]).random())


def _value(own: Range | list[Value], uniform: float) -> Value:
    if isinstance(own, list):
        return own[int(uniform * len(own))]
    if own.log:
        number = math.exp(math.log(own.low) + uniform * (math.log(own.high) - math.log(own.low)))
    else:
        number = own.low + uniform * (own.high - own.low)
    return min(max(float(f"{number:.{_DIGITS}g}"), own.low), own.high)
