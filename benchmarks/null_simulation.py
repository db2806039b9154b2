"""`python -m benchmarks.null_simulation`: how often each test of two models errs, and how often it finds a difference.

Prints the tables of `docs/statistics.md`. Each study is real cross-validation on a corpus of its own. An utterance has
two views of a few features, and its class, one of four that differ in size, depends on both views alike and on noise.
Models are ridge regressions on random features of one view, drawn anew in each fold and with each seed: a few make a
model noisy, but nearly deterministic if it sees the view itself too; many are in between. Three models are trained:

* one on the first view and one on the second: neither is better, so whatever a test finds is an error;
* one on the second view with noise added: it is worse than the first, by the mean difference over all studies.

Features are isotropic, and the weights that make the classes are orthonormal and drawn with each study: so all studies
of a setting have the same true difference, with other weights. Utterances of a dialogue, and of speakers that differ,
share a part of their features and lean to some classes.

A study is a pure function of its setting, its shape and its number.
"""

import argparse
import os
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

from stages.common import tables
from stages.ttest import student
from stages.ttest.components import components, per_fold

SHAPES = ((5, 3), (5, 10), (10, 3))  # folds × seeds
ALPHA, HOLM = 0.05, 0.05 / 9  # of nine pairs, Holm's first step
DEV = 4  # one in so many utterances of a held-out fold is of its development part
FEATURES, RIDGE = 8, 10.0
PRIOR = np.array([0.9, 0.5, 0.1, -0.4])  # of the classes
LABEL_NOISE = 0.7
DIALOGUE, SPEAKER = 0.3, 0.3  # shares of the features' variance
TILT = 0.6  # of a dialogue, or a speaker, to a class: standard deviation
METRICS = ("accuracy", "balanced accuracy")
TESTS = (
    "paired t",
    "corrected resampled t",
    "t over fold means",
    "components, centred in folds",
    "so, with excess",
    "components",
    "with excess",
)
"""The last two are the project's; centred in folds: differences are centred in each fold, not over all folds."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    split: str
    utterances: int
    dialogue: int
    """Utterances of one; 1: a corpus without dialogues."""
    random_features: int
    view_too: bool
    """Whether models also see the view as it is."""
    noise: float
    """Standard deviation of what is added to the features of the worse model."""

    @property
    def by_speaker(self) -> bool:
        """Whether a fold leaves out a speaker."""
        return self.split.startswith("speakers")


SPLITS = ("random", "shared", "grouped", "speakers_alike", "speakers_differ")
"""Random folds without dialogues; that share dialogues; of whole dialogues; of a speaker each."""
SIZES = {"small": (240, 10, 2.0), "large": (1200, 20, 0.9)}
MODELS = {"noisy": (4, False), "mixed": (30, False), "steady": (2, True)}
SETTINGS = {
    f"{split}-{size}-{model}": Setting(
        split=split,
        utterances=SIZES[size][0],
        dialogue=1 if split == "random" else SIZES[size][1],
        random_features=MODELS[model][0],
        view_too=MODELS[model][1],
        noise=SIZES[size][2],
    )
    for split, size, model in product(SPLITS, SIZES, MODELS)
}


@dataclass(frozen=True)
class Corpus:
    views: np.ndarray
    """Features [3, utterances, features] of the three models."""
    label: np.ndarray
    dialogue: np.ndarray
    speaker: np.ndarray


def corpus(setting: Setting, speakers: int, rng: np.random.Generator) -> Corpus:
    count, classes = setting.utterances, len(PRIOR)
    dialogue = np.arange(count) // setting.dialogue
    speaker = dialogue % speakers
    shares = {"dialogue": DIALOGUE, "speaker": SPEAKER if setting.split == "speakers_differ" else 0.0}
    views = np.sqrt(1 - sum(shares.values())) * rng.standard_normal((2, count, FEATURES))
    logits = PRIOR + LABEL_NOISE * rng.standard_normal((count, classes))
    for group, share in zip((dialogue, speaker), shares.values(), strict=True):
        views += np.sqrt(share) * rng.standard_normal((2, count, FEATURES))[:, group]
        logits += TILT * (share > 0) * rng.standard_normal((count, classes))[group]
    weights = np.linalg.qr(rng.standard_normal((FEATURES, classes)))[0]
    label = (logits + np.sin(views @ weights).sum(axis=0)).argmax(axis=1)
    worse = views[1] + setting.noise * rng.standard_normal((count, FEATURES))
    return Corpus(np.stack([*views, worse]).astype(np.float32), label, dialogue, speaker)


def divide(setting: Setting, data: Corpus, folds: int, rng: np.random.Generator) -> Iterator[tuple]:
    """Rows of the training and the test part of each fold."""
    count = len(data.label)
    if setting.by_speaker:
        for fold in range(folds):  # the next speaker is the development part
            train = (data.speaker != fold) & (data.speaker != (fold + 1) % folds)
            yield np.flatnonzero(train), np.flatnonzero(data.speaker == fold)
        return
    if setting.split == "grouped":
        fold_of = rng.permutation(data.dialogue[-1] + 1)[data.dialogue] % folds
    else:
        fold_of = np.empty(count, int)
        fold_of[np.lexsort((rng.random(count), data.label))] = np.arange(count) % folds
    for fold in range(folds):
        held_out = np.flatnonzero(fold_of == fold)
        by_class = held_out[np.lexsort((rng.random(len(held_out)), data.label[held_out]))]
        yield np.flatnonzero(fold_of != fold), by_class[np.arange(len(held_out)) % DEV > 0]


def right(
    setting: Setting, data: Corpus, train: np.ndarray, test: np.ndarray, seeds: int, rng: np.random.Generator
) -> np.ndarray:
    """Whether the three models of each seed are right in `test`: [3, seeds, tested]."""
    shape, width = (len(data.views), seeds), setting.random_features
    projection = rng.standard_normal((*shape, FEATURES, width), np.float32) / np.float32(np.sqrt(FEATURES))
    x = np.tanh(data.views[:, None] @ projection + rng.standard_normal((*shape, 1, width), np.float32))
    if setting.view_too:
        view = np.broadcast_to(data.views[:, None], (*x.shape[:-1], FEATURES))
        x = np.concatenate([x, view, np.ones_like(x[..., :1])], axis=-1)
    targets, inputs = np.eye(len(PRIOR), dtype=np.float32)[data.label[train]], x[:, :, train]
    transposed = inputs.swapaxes(-1, -2)
    ridge = RIDGE * np.eye(x.shape[-1], dtype=np.float32)
    solution = np.linalg.solve(transposed @ inputs + ridge, transposed @ targets)
    return (x[:, :, test] @ solution).argmax(axis=-1) == data.label[test]


def study(setting: Setting, shape: tuple[int, int], number: int) -> tuple[np.ndarray, np.ndarray, float]:
    """What `compare` finds, [2, metrics, …], without and with a true difference; and the correction q."""
    rng = np.random.default_rng([number, *shape, *repr(setting).encode()])
    data = corpus(setting, shape[0], rng)
    parts = list(divide(setting, data, shape[0], rng))
    correct = [right(setting, data, *part, shape[1], rng) for part in parts]
    correct = np.concatenate(correct, axis=-1).astype(float)
    trained, tested = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    fold = np.repeat(np.arange(len(parts)), [len(test) for _, test in parts])
    q = student.correction(len(parts), len(tested) / len(trained))
    label, unit = data.label[tested], data.dialogue[tested]
    d, found = zip(*(compare(correct[0] - other, label, unit, fold, q) for other in correct[1:]), strict=True)
    return np.array(d), np.array(found), q


def compare(z: np.ndarray, label: np.ndarray, unit: np.ndarray, fold: np.ndarray, q: float) -> tuple[list, list]:
    """Of z [seeds, rows], by metric: differences [folds, seeds], and location, scale and df of the components' tests.

    Rows have a label, a unit and a fold each.
    """
    differences, found = [], []
    for group in (np.zeros_like(label), label):  # accuracy counts all utterances alike, balanced accuracy classes
        stratum = fold * (label.max() + 1) + group
        strata = np.bincount(fold[np.unique(stratum, return_index=True)[1]])[fold]  # in the row's fold
        weights = 1 / (strata * np.bincount(stratum)[stratum])
        both = [components(z, weights, fold, centre, unit) for centre in (stratum, group)]
        tests = [parts.test(q, with_excess=excess) for parts in both for excess in (False, True)]
        differences.append(per_fold(z, weights, fold))
        found.append([(test.location, test.scale, test.df) for test in tests])
    return differences, found


def all_tests(d: np.ndarray, found: np.ndarray, q: np.ndarray) -> student.Student:
    """`TESTS` along the last axis, from the results [studies, …, metrics, …] of studies, with q [studies]."""
    q = q.reshape(-1, *[1] * (d.ndim - 3))
    simple = [student.paired(d), student.corrected(d, q), student.fold_means(d)]
    location, scale = (
        np.concatenate([np.stack([getattr(test, name) for test in simple], axis=-1), found[..., i]], axis=-1)
        for i, name in enumerate(("location", "scale"))
    )
    df = np.broadcast_to([test.df for test in simple], (*location.shape[:-1], len(simple)))
    return student.Student(location=location, scale=scale, df=np.concatenate([df, found[..., 2]], axis=-1))


def simulate(setting: Setting, shape: tuple[int, int], studies: int, pool: ProcessPoolExecutor) -> Iterator[dict]:
    """A row of results for each metric."""
    results = list(pool.map(partial(study, setting, shape), range(studies), chunksize=5))
    d, found, q = (np.array(some) for some in zip(*results, strict=True))
    tests = all_tests(d, found, q)  # [studies, 2, metrics, tests]
    low, high = tests.interval(0.95)
    for i, metric in enumerate(METRICS):
        null, truth = d[:, 0, i], d[:, 1, i].mean()
        yield {
            "folds × seeds": "{} × {}".format(*shape),
            "metric": metric,
            "fold share": 1 - null.var(axis=-1, ddof=1).mean() / null.var(),
            "error": (tests.p[:, 0, i] < ALPHA).mean(axis=0),
            "holm": (tests.p[:, 0, i] < HOLM).mean(axis=0),
            "truth": truth,
            "power": (tests.p[:, 1, i] < ALPHA).mean(axis=0),
            "coverage": ((low <= truth) & (truth <= high))[:, 1, i].mean(axis=0),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="of each row (default: 1000)")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="NAME")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: cores)")
    options = parser.parse_args()
    rows = []
    with ProcessPoolExecutor(options.workers, initializer=threadpool_limits, initargs=(1,)) as pool:
        for name, shape in product(options.settings, SHAPES):
            start = time.monotonic()
            new = [{"setting": name} | row for row in simulate(SETTINGS[name], shape, options.studies, pool)]
            rows += new
            print(f"{name}, {shape[0]} × {shape[1]}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    print(report(rows, options.studies))


def report(rows: list[dict], studies: int) -> str:
    """The tables as Markdown, and where the verdict's test misses what it promises."""
    errors = {level: np.sqrt(level * (1 - level) / studies) for level in (ALPHA, HOLM)}
    limits = {level: level + 3 * error for level, error in errors.items()}
    lines = [
        f"{studies} studies a row; standard error {errors[ALPHA]:.4f} at .05 and {errors[HOLM]:.4f} at .05/9\n",
        "No true difference: share of studies with P < .05 / P < .05/9; in bold the verdict's test\n",
        table(rows, "error", "holm", {"fold share": "fold share of variance"}),
        "A true difference: share of studies with P < .05 / coverage of the 95 % interval\n",
        table(rows, "power", "coverage", {"truth": "true difference"}),
        "By split: greatest error at .05 / at .05/9 / mean power / least coverage\n",
        summary(rows),
    ]
    for what, key, low, high in (
        ("an error at .05", "error", 0.0, limits[ALPHA]),
        ("an error at .05/9", "holm", 0.0, limits[HOLM]),
        ("a coverage", "coverage", 0.93, 1.0),
        ("a coverage", "coverage", 0.0, 0.97),
    ):
        found = Counter(row["setting"] for row in rows if not low <= row[key][verdict(row)] <= high)
        lines.append(
            f"{found.total()} of {len(rows)} rows where the verdict's test has {what} outside {low:g} to {high:.4g}: "
            + (", ".join(f"{name} ({count})" for name, count in found.items()) or "none")
            + "\n"
        )
    return "\n".join(lines)


def verdict(row: dict) -> int:
    """The place in `TESTS` of the test that the project's verdict is from."""
    return TESTS.index("with excess" if SETTINGS[row["setting"]].by_speaker else "components")


def table(rows: list[dict], first: str, second: str, more: dict[str, str]) -> str:
    """`first` / `second` of each test, a row a setting, shape and metric, after the columns `more`."""
    lines = []
    for row in rows:
        line = {name: row[name] for name in ("setting", "folds × seeds", "metric")}
        line |= {title: tables.fraction(row[key]) for key, title in more.items()}
        for i, test in enumerate(TESTS):
            cell = f"{tables.fraction(row[first][i])} / {tables.fraction(row[second][i])}"
            line[test] = f"**{cell}**" if i == verdict(row) else cell
        lines.append(line)
    return tables.markdown(pd.DataFrame(lines))


def summary(rows: list[dict]) -> str:
    """The rows of each split in one."""
    lines = []
    for split in SPLITS:
        own = [row for row in rows if SETTINGS[row["setting"]].split == split]
        if own:
            values = [np.max([row[key] for row in own], axis=0) for key in ("error", "holm")]
            values += [np.mean([row["power"] for row in own], axis=0), np.min([row["coverage"] for row in own], axis=0)]
            cells = [" / ".join(map(tables.fraction, some)) for some in np.transpose(values)]
            lines.append({"split": split, "rows": len(own)} | dict(zip(TESTS, cells, strict=True)))
    return tables.markdown(pd.DataFrame(lines))


if __name__ == "__main__":
    main()
