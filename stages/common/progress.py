"""One line that says how far a stage is and how long the rest takes: on a terminal only."""

import sys
from collections.abc import Collection, Iterable

from tqdm import tqdm

_LINE = "{desc}: {n_fmt} of {total_fmt} {unit} done, {remaining} left"


def line(what: str, unit: str, items: Iterable | None = None, total: int | None = None, *, scale: bool = False) -> tqdm:
    """`evaluate: 7 of 42 runs done, 01:38 left`, as a context manager with `update`, or around `items` to be taken.

    `total`: how many there will be, if `items` has no length; `scale`: write large numbers as `1.20G`.
    """
    total = len(items) if isinstance(items, Collection) else total
    return tqdm(
        items,
        desc=what,
        total=total,
        unit=unit,
        unit_scale=scale,
        bar_format=_LINE,
        smoothing=0.05,  # the past counts for long: what is found in .work/ goes fast
        dynamic_ncols=True,
        disable=total == 0 or not sys.stderr.isatty(),
    )
