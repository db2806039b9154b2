"""`python -m benchmarks.null_dimensions`: `null_simulation` for the concordance correlation coefficient (CCC).

Prints the tables of `docs/statistics.md`. Each study is real cross-validation on a corpus of its own. An utterance has
two views of a few features, and the values of two dimensions, each rated from 1 to 5 in steps of a half, depend on both
views alike and on noise: little of it, or much, so that models reach a high or a low CCC. Models are ridge regressions
on random features of one view, drawn anew in each fold and with each seed: a few make a model noisy, but nearly
deterministic if it sees the view itself too. Three models are trained:

* one on the first view and one on the second: neither is better, so whatever a test finds is an error;
* one on the second view with noise added: it is worse than the first, by the mean difference over all studies.

The tests are those of differences of the CCC, the mean over both dimensions (`ccc`) and the first one's alone. Studies
of three seeds are those of ten seeds without the other seven. A study is a pure function of its setting and its number.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from benchmarks.null_simulation import ALPHA, HOLM, all_tests
from stages.common import scores, tables
from stages.ttest import student
from stages.ttest.components import components, per_fold

FOLDS, SEEDS = 5, (3, 10)
DEV = 4  # one in so many utterances of a held-out fold is of its development part
FEATURES, DIMENSIONS, RIDGE = 6, 2, 10.0
DIALOGUE, SPEAKER = 0.3, 0.3  # shares of the features' variance
LEAN = 0.5  # of the ratings of a dialogue, or of a speaker: standard deviation
SPREAD = 0.6  # of the ratings, for one standard deviation of what makes them
METRICS = ("ccc", "one dimension")
TESTS = (
    "paired t",
    "corrected resampled t",
    "t over fold means",
    "linearised",
    "so, with excess",
    "jackknife",
    "with excess",
)
"""The last is the project's. Linearised: what an utterance adds to a CCC is its influence alone."""

SPLITS = ("random", "shared", "grouped", "speakers_alike", "speakers_differ")
"""Random folds without dialogues; that share dialogues; of whole dialogues; of a speaker each."""
SIZES = {"small": (50, 10, 1.4), "medium": (150, 15, 0.9), "large": (500, 25, 0.5)}
"""Test utterances of a fold, utterances of a dialogue, and the standard deviation of the worse model's noise."""
FEWER = {"small": 1.0, "medium": 1.0, "large": 0.4}
"""Of the studies that are asked for, the share that is run."""
SIGNALS = {"strong": 0.5, "weak": 2.0}
"""The standard deviation of the ratings' noise."""
MODELS = {"noisy": (4, False), "steady": (2, True)}
"""Random features, and whether models also see the view as it is."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    split: str
    size: str
    signal: str
    model: str

    @property
    def name(self) -> str:
        return f"{self.split}-{self.size}-{self.signal}-{self.model}"

    @property
    def by_speaker(self) -> bool:
        """Whether a fold leaves out a speaker."""
        return self.split.startswith("speakers")


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(split=split, size=size, signal=signal, model=model)
        for split, size, signal, model in product(SPLITS, SIZES, SIGNALS, MODELS)
    )
    if setting.size == "small" or (setting.signal == "strong") == (setting.model == "noisy")
}
"""All small ones; of the others the strong signal with noisy models and the weak one with steady models: the tests of
small ones err most there."""


@dataclass(frozen=True)
class Corpus:
    views: np.ndarray
    """Features [3, utterances, features] of the three models."""
    values: np.ndarray
    """Ratings [utterances, dimensions]."""
    dialogue: np.ndarray
    speaker: np.ndarray


def corpus(setting: Setting, rng: np.random.Generator) -> Corpus:
    tested, in_dialogue, worse = SIZES[setting.size]
    count = tested * FOLDS if setting.by_speaker else tested * FOLDS * DEV // (DEV - 1)
    dialogue = np.arange(count) // (1 if setting.split == "random" else in_dialogue)
    speaker = dialogue % FOLDS
    shares = {"dialogue": DIALOGUE, "speaker": SPEAKER if setting.split == "speakers_differ" else 0.0}
    views = np.sqrt(1 - sum(shares.values())) * rng.standard_normal((2, count, FEATURES))
    raw = SIGNALS[setting.signal] * rng.standard_normal((count, DIMENSIONS))
    for group, share in zip((dialogue, speaker), shares.values(), strict=True):
        views += np.sqrt(share) * rng.standard_normal((2, count, FEATURES))[:, group]
        raw += LEAN * (share > 0) * rng.standard_normal((count, DIMENSIONS))[group]
    weights = np.linalg.qr(rng.standard_normal((FEATURES, DIMENSIONS)))[0]
    raw += np.sin(views @ weights).sum(axis=0)
    values = np.clip(np.round(2 * (3 + SPREAD * raw)) / 2, 1, 5)
    third = views[1] + worse * rng.standard_normal((count, FEATURES))
    return Corpus(np.stack([*views, third]).astype(np.float32), values, dialogue, speaker)


def divide(setting: Setting, data: Corpus, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of the training and the test part of each fold."""
    count = len(data.values)
    if setting.by_speaker:
        for fold in range(FOLDS):  # the next speaker is the development part
            train = (data.speaker != fold) & (data.speaker != (fold + 1) % FOLDS)
            yield np.flatnonzero(train), np.flatnonzero(data.speaker == fold)
        return
    units = data.dialogue if setting.split == "grouped" else np.arange(count)
    fold_of = (rng.permutation(units[-1] + 1) % FOLDS)[units]
    for fold in range(FOLDS):
        held_out = rng.permutation(np.flatnonzero(fold_of == fold))
        yield np.flatnonzero(fold_of != fold), held_out[np.arange(len(held_out)) % DEV > 0]


def predicted(
    setting: Setting, data: Corpus, train: np.ndarray, test: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """What the three models of each seed predict of `test`: [3, seeds, dimensions, tested]."""
    width, view_too = MODELS[setting.model]
    shape = (len(data.views), max(SEEDS))
    projection = rng.standard_normal((*shape, FEATURES, width), np.float32) / np.float32(np.sqrt(FEATURES))
    x = np.tanh(data.views[:, None] @ projection + rng.standard_normal((*shape, 1, width), np.float32))
    if view_too:
        x = np.concatenate([x, np.broadcast_to(data.views[:, None], (*x.shape[:-1], FEATURES))], axis=-1)
    inputs, mean = x[:, :, train], data.values[train].mean(axis=0)
    transposed = inputs.swapaxes(-1, -2)
    ridge = RIDGE * np.eye(x.shape[-1], dtype=np.float32)
    solution = np.linalg.solve(transposed @ inputs + ridge, transposed @ (data.values[train] - mean).astype(np.float32))
    return np.moveaxis(mean + x[:, :, test] @ solution, -1, -2)


def study(setting: Setting, number: int) -> tuple[list, list, float]:
    """For each of SEEDS what `compare` finds, [2, metrics, …], without and with a true difference; and q."""
    rng = np.random.default_rng([number, *setting.name.encode()])
    data = corpus(setting, rng)
    parts = list(divide(setting, data, rng))
    outputs = [predicted(setting, data, train, test, rng) for train, test in parts]
    trained, tested = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    fold, unit = np.repeat(np.arange(FOLDS), [len(test) for _, test in parts]), data.dialogue[tested]
    q = student.correction(FOLDS, len(tested) / len(trained))
    each = [
        both_values(data.values[part[1]].T, own, data.dialogue[part[1]])
        for part, own in zip(parts, outputs, strict=True)
    ]
    values = np.concatenate(each, axis=-1)  # (linearised and jackknife, 3, seeds, dimensions, rows)
    values = np.stack([values.mean(axis=3), values[:, :, :, 0]], axis=2)  # (…, 3, metrics, seeds, rows)
    d, found = [], []
    for seeds in SEEDS:
        z = values[:, :1, :, :seeds] - values[:, 1:, :, :seeds]
        pairs = [[compare(z[:, i, j], fold, unit, q) for j in range(len(METRICS))] for i in range(2)]
        d.append(np.array([[pair[0] for pair in other] for other in pairs]))
        found.append(np.array([[pair[1] for pair in other] for other in pairs]))
    return d, found, q


def both_values(actual: np.ndarray, predicted: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """What utterances add to the CCC, linearised and by the jackknife: [2, *predicted.shape]."""
    linearised = scores.concordance_influence(actual, predicted) + scores.concordance(actual, predicted)[..., None]
    return np.stack([linearised, scores.concordance_values(actual, predicted, unit)])


def compare(z: np.ndarray, fold: np.ndarray, unit: np.ndarray, q: float) -> tuple[np.ndarray, list]:
    """Of z [2, seeds, rows]: differences [folds, seeds], and location, scale and df of the components' tests."""
    weights = (1 / np.bincount(fold))[fold]
    both = [components(each, weights, fold, np.zeros_like(fold), unit) for each in z]
    tests = [parts.test(q, with_excess=excess) for parts in both for excess in (False, True)]
    return per_fold(z[0], weights, fold), [(test.location, test.scale, test.df) for test in tests]


def simulate(setting: Setting, studies: int, pool: ProcessPoolExecutor) -> Iterator[dict]:
    """A row of results for each number of seeds and metric."""
    studies = round(FEWER[setting.size] * studies)
    results = list(pool.map(partial(study, setting), range(studies), chunksize=20))
    q = np.array([result[2] for result in results])
    for j, seeds in enumerate(SEEDS):
        d, found = (np.array([result[i][j] for result in results]) for i in (0, 1))
        tests = all_tests(d, found, q)  # [studies, 2, metrics, tests]
        low, high = tests.interval(0.95)
        for i, metric in enumerate(METRICS):
            null, truth = d[:, 0, i], d[:, 1, i].mean()
            yield {
                "setting": setting.name,
                "studies": studies,
                "seeds": seeds,
                "metric": metric,
                "fold share": 1 - null.var(axis=-1, ddof=1).mean() / null.var(),
                "truth": truth,
                "error": (tests.p[:, 0, i] < ALPHA).mean(axis=0),
                "holm": (tests.p[:, 0, i] < HOLM).mean(axis=0),
                "power": (tests.p[:, 1, i] < ALPHA).mean(axis=0),
                "coverage": ((low <= truth) & (truth <= high))[:, 1, i].mean(axis=0),
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="of each row (default: 1000); of large ones fewer")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="NAME")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    options = parser.parse_args()
    rows = []
    with ProcessPoolExecutor(options.workers, initializer=threadpool_limits, initargs=(1,)) as pool:
        for name in options.settings:
            start = time.monotonic()
            rows += simulate(SETTINGS[name], options.studies, pool)
            print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    print(report(rows))


def report(rows: list[dict]) -> str:
    """The tables as Markdown, and where each test misses what it promises by more than three standard errors."""
    lines = [
        "No true difference: share of studies with P < .05 / P < .05/9; in bold the verdict's test\n",
        table(rows, "error", "holm", "fold share"),
        "A true difference: share of studies with P < .05 / coverage of the 95 % interval\n",
        table(rows, "power", "coverage", "truth"),
        "Greatest error at .05 / at .05/9 / mean power / least coverage\n",
        summary(rows),
    ]
    for key, level in (("error", ALPHA), ("holm", HOLM)):
        for place, name in enumerate(TESTS):
            found = Counter(
                row["setting"] for row in rows if row[key][place] > level + 3 * error(level, row["studies"])
            )
            which = ", ".join(f"{setting} ({count})" for setting, count in found.items()) or "none"
            lines.append(f"{name} errs too often at {level:.4f} in {found.total()} of {len(rows)} rows: {which}\n")
    return "\n".join(lines)


def error(share: float, studies: int) -> float:
    """The standard error of a share of studies."""
    return np.sqrt(share * (1 - share) / studies)


def table(rows: list[dict], first: str, second: str, more: str) -> str:
    """`first` / `second` of each test, a row a setting, number of seeds and metric, after the column `more`."""
    lines = []
    for row in rows:
        line = {name: row[name] for name in ("setting", "seeds", "metric")} | {more: tables.fraction(row[more])}
        for i, test in enumerate(TESTS):
            cell = f"{tables.fraction(row[first][i])} / {tables.fraction(row[second][i])}"
            line[test] = f"**{cell}**" if test == TESTS[-1] else cell
        lines.append(line)
    return tables.markdown(pd.DataFrame(lines))


def summary(rows: list[dict]) -> str:
    """The rows of each split and kind of model in one."""
    lines = []
    for split, model in product(SPLITS, MODELS):
        own = [row for row in rows if SETTINGS[row["setting"]].split == split and row["setting"].endswith(model)]
        if own:
            values = [np.max([row[key] for row in own], axis=0) for key in ("error", "holm")]
            values += [np.mean([row["power"] for row in own], axis=0), np.min([row["coverage"] for row in own], axis=0)]
            cells = [" / ".join(map(tables.fraction, some)) for some in np.transpose(values)]
            shares = [row["fold share"] for row in own]
            line = {"split": split, "models": model, "rows": len(own)}
            line["fold share"] = f"{tables.fraction(min(shares))} to {tables.fraction(max(shares))}"
            lines.append(line | dict(zip(TESTS, cells, strict=True)))
    return tables.markdown(pd.DataFrame(lines))


if __name__ == "__main__":
    main()
