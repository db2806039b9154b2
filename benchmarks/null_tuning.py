"""`python -m benchmarks.null_tuning`: how often the verdict's test errs where both models are tuned.

Prints the table of `docs/tuning.md`. A variant is compared with itself, with random numbers of its own on each side:
there is no difference. The studies, their corpora and their test are those of `benchmarks.null_simulation`; the models
are its ridge regressions on random features, trained anew in each fold, with each seed and with each random draw of
their settings (`stages/common/draws.py`). So development and test scores have the noise of real models on real parts.

Beside the study as it should be stand those that should not be: a side whose draw is chosen by the test part, and a
side that is tuned against one that is not.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from benchmarks.null_simulation import (
    ALPHA,
    FEATURES,
    METRICS,
    PRIOR,
    SETTINGS,
    SHAPES,
    TESTS,
    Setting,
    all_tests,
    compare,
    corpus,
    divide,
)
from stages.common import draws, tables
from stages.ttest import student

RANGES = {
    "fusions.ridge.penalty": {"low": 0.1, "high": 1000.0, "log": True},
    "fusions.ridge.scale": {"low": 0.3, "high": 3.0, "log": True},
    "fusions.ridge.features": [2, 4, 8, 16, 32],
}
SIDES = {
    "untuned": ("first", "first"),
    "tuned alike": ("dev", "dev"),
    "one by the test part": ("test", "dev"),
    "both by the test part": ("test", "test"),
    "only one tuned": ("dev", "first"),
}
"""What is compared: by what each of the two sides chooses its draw; first: it has but the first one."""

USUAL = [f"{split}-{kind}" for split in ("random", "grouped") for kind in ("small-noisy", "small-mixed", "large-mixed")]


def predict(
    x: np.ndarray, label: np.ndarray, train: np.ndarray, values: dict[str, float], runs: int, rng: np.random.Generator
) -> np.ndarray:
    """What `runs` models with a draw's settings say of all utterances x [utterances, features]: [runs, utterances]."""
    scale, width = values["fusions.ridge.scale"], values["fusions.ridge.features"]
    projection = scale * rng.standard_normal((runs, FEATURES, width)) / np.sqrt(FEATURES)
    hidden = np.tanh(x @ projection + rng.standard_normal((runs, 1, width)))  # (runs, utterances, width)
    hidden = np.concatenate([hidden, np.ones_like(hidden[..., :1])], axis=-1)
    inputs, targets = hidden[:, train], np.eye(len(PRIOR))[label[train]]
    transposed = inputs.swapaxes(-1, -2)
    ridge = values["fusions.ridge.penalty"] * np.eye(width + 1)
    return (hidden @ np.linalg.solve(transposed @ inputs + ridge, transposed @ targets)).argmax(axis=-1)


def study(setting: Setting, shape: tuple[int, int], count: int, number: int) -> tuple[np.ndarray, np.ndarray, float]:
    """What `compare` finds, [SIDES, metrics, …]; and the correction q.

    `count`: draws; they are others in each study.
    """
    (folds, seeds), rng = shape, np.random.default_rng([number, count, *shape, *repr(setting).encode()])
    data = corpus(setting, folds, rng)
    tune = draws.Tune(draws=count, seed=number, ranges=RANGES)
    drawn = [draws.values(tune, k) for k in range(1, count + 1)]
    parts, chosen = list(divide(setting, data, folds, rng)), []
    for train, test in parts:
        dev = np.setdiff1d(np.arange(len(data.label)), np.concatenate([train, test]))
        said = np.stack([predict(data.views[0], data.label, train, own, 2 * seeds, rng) for own in drawn])
        right = said == data.label  # (draws, sides · seeds, utterances)
        best = {"first": np.zeros(2 * seeds, int)}  # argmax: the first of equals
        best |= {name: right[:, :, rows].mean(axis=-1).argmax(axis=0) for name, rows in (("dev", dev), ("test", test))}
        chosen.append({by: right[place, np.arange(2 * seeds)][:, test] for by, place in best.items()})
    joined = {by: np.concatenate([own[by] for own in chosen], axis=-1).astype(float) for by in chosen[0]}
    trained, tested = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    fold = np.repeat(np.arange(folds), [len(test) for _, test in parts])
    q = student.correction(folds, len(tested) / len(trained))
    found = [
        compare(joined[a][:seeds] - joined[b][seeds:], data.label[tested], data.dialogue[tested], fold, q)
        for a, b in SIDES.values()
    ]
    d, parameters = (np.array(some) for some in zip(*found, strict=True))
    return d, parameters, q


def simulate(
    setting: Setting, shape: tuple[int, int], count: int, studies: int, pool: ProcessPoolExecutor
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Of each metric: its name; by `SIDES` the share of studies with P < .05, and the mean difference in points."""
    results = list(pool.map(partial(study, setting, shape, count), range(studies), chunksize=5))
    d, found, q = (np.array(some) for some in zip(*results, strict=True))
    p = all_tests(d, found, q).p[..., TESTS.index("components")]  # (studies, SIDES, metrics)
    for i, metric in enumerate(METRICS):
        yield metric, (p[:, :, i] < ALPHA).mean(axis=0), 100 * d[:, :, i].mean(axis=(0, 2, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="of each row (default: 1000)")
    parser.add_argument("--draws", type=int, default=8, help="of each run (default: 8)")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=USUAL, metavar="NAME")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: cores)")
    options = parser.parse_args()
    rows, errors = [], []
    with ProcessPoolExecutor(options.workers, initializer=threadpool_limits, initargs=(1,)) as pool:
        for name in options.settings:
            start = time.monotonic()
            for metric, error, points in simulate(SETTINGS[name], SHAPES[0], options.draws, options.studies, pool):
                cells = [f"{tables.fraction(e)} ({own:+.1f})" for e, own in zip(error, points, strict=True)]
                rows.append({"setting": name, "metric": metric} | dict(zip(SIDES, cells, strict=True)))
                errors.append(error)
            print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    deviation = np.sqrt(ALPHA * (1 - ALPHA) / options.studies)
    limit = ALPHA + 3 * deviation
    above = zip(SIDES, (np.array(errors) > limit).sum(axis=0), strict=True)
    print(
        f"{options.studies} studies a row, {SHAPES[0][0]} folds × {SHAPES[0][1]} seeds, {options.draws} draws: share "
        f"with P < .05 (mean difference in points); standard error {deviation:.4f}\n\n"
        f"{tables.markdown(pd.DataFrame(rows))}\n"
        f"Rows above .05 by more than three standard errors ({limit:.4f}), of {len(rows)}: "
        + ", ".join(f"{name} {count}" for name, count in above)
    )


if __name__ == "__main__":
    main()
