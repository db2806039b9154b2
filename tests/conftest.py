"""What several tests share: a small corpus in the published layout, and studies in folders of their own."""

import copy
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from hypothesis import settings

from benchmarks.published_corpus import Corpus, Sizes, parts, write
from stages.common import corpus, costs, features, files, params, plan, predictions
from stages.common.records import RunId
from stages.corpus import manifest, writer

ROOT = Path(__file__).parents[1]
SMALL = Sizes(audio=(19, 5), video=(7, 11), text=13, vocabulary=29, embedding=3, prosody=2)
UTTERANCES = 140
HEARD = ["self_tva", "cross_tva", "concat_ta"]
"""The variants of the study that `heard` is."""
LONGEST = (
    "test_pipeline",
    "test_durability",
    "test_retraining",
    "test_train",
    "test_real_corpora",
    "test_hostile_params",
)
"""Files that take a minute or more."""


settings.register_profile("no deadline", deadline=None)  # a busy machine is no fault
settings.load_profile("no deadline")


def pytest_configure(config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; `make test-long` runs it, `make test` leaves it out")
    config.option.loadscopereorder = False  # xdist's own order puts the files with the fewest tests last


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that at the end no process waits for one of them."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def changed(document: dict, changes: dict) -> dict:
    """A document of params with some keys changed, written with `__` for the dots."""
    document = copy.deepcopy(document)
    for key, value in changes.items():
        *sections, last = key.split("__")
        section = document
        for name in sections:
            section = section[name]
        section[last] = value
    return document


def make_up(
    classes: list[str], tested: dict[int, np.ndarray], developed: dict[int, np.ndarray] | None = None, **changes
) -> None:
    """Write a study of 30 utterances to the current folder, as if trained.

    `tested`: fold → the rows of its test part; `developed`: likewise of its development part, if there is one; the
    others are its training part. `changes`: of the committed params, written as for `changed`.
    """
    rng, names = np.random.default_rng(0), [f"u{row:02d}" for row in range(30)]
    unknown = dict.fromkeys(corpus.NAMES, "")
    utterances = [unknown | {"utterance_id": name, "label": row % len(classes)} for row, name in enumerate(names)]
    meta = corpus.Meta(corpus="made up", classes=classes, modalities=["text"])
    writer.write(corpus.FOLDER, meta=meta, utterances=utterances)
    predicted = {"test": tested} | ({"dev": developed} if developed else {})
    parts = [
        {
            "fold": fold,
            "utterance_id": name,
            "part": next((part for part, rows in predicted.items() if row in rows[fold]), "train"),
        }
        for fold in tested
        for row, name in enumerate(names)
    ]
    pd.DataFrame(parts).to_csv(corpus.FOLDS, index=False)
    document = changed(yaml.safe_load((ROOT / "params.yaml").read_text()), changes)
    Path("params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    known = features.read([])
    for variant, seed in product(document["variants"], document["seeds"]):
        run = predictions.folder(variant, seed)
        run.mkdir(parents=True)
        for part, rows_of in predicted.items():
            tables = [
                predictions.table(known, fold, rows, rng.dirichlet(np.ones(len(classes)), len(rows)).astype(np.float32))
                for fold, rows in rows_of.items()
            ]
            predictions.write(run, pd.concat(tables, ignore_index=True), part)
        costs.write(run, costs.Cost(1234, {fold: 3 + fold for fold in tested}))
        curves = [[fold, epoch, *rng.random(3), 0.001] for fold in tested for epoch in range(1, 4 + fold)]
        columns = ["fold", "epoch", "train_loss", "dev_loss", "dev_accuracy", "learning_rate"]
        pd.DataFrame(curves, columns=columns).to_csv(run / "curves.csv", index=False)


@pytest.fixture
def published(tmp_path) -> Path:
    """A corpus of 140 utterances in five folders; rows 0 and 77 have no video."""
    root = tmp_path / "published"
    write(root, Corpus(np.arange(UTTERANCES) % 7, SMALL, without_video=(0, 77)), parts(UTTERANCES, 5, seed=3))
    return root


class Study:
    """A copy of the project in a folder of its own, run as a user would."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@example.org",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@example.org",
        }
        self.environment.pop("OMP_NUM_THREADS", None)  # as a user's
        for name in ("stages", "tools", "dvc.yaml", "params.yaml", "CITATION.cff", ".dvcignore", ".gitignore"):
            put = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            put(ROOT / name, folder / name)

    def set(self, **changes) -> None:
        """Change keys of params.yaml, written as for `changed`."""
        path = self.folder / "params.yaml"
        path.write_text(yaml.safe_dump(changed(yaml.safe_load(path.read_text()), changes), sort_keys=False))

    def prepare(self) -> None:
        """Run all stages that a training needs."""
        modalities = yaml.safe_load((self.folder / "params.yaml").read_text())["modalities"]
        features = [("features", "--modality", name) for name in modalities]
        for command in [("plan",), ("corpus",), *features, ("split",)]:
            done = self.stage(*command)
            assert done.returncode == 0, done.stderr

    def untrained(self, folder: Path) -> "Study":
        """The same study in another folder, with nothing trained."""
        study = Study(folder)
        shutil.copy(self.folder / "params.yaml", folder)
        shutil.copytree(self.folder / "data", folder / "data")
        return study

    def copied(self, folder: Path) -> "Study":
        """The same study in another folder, with all that was trained."""
        study = copy.copy(self)
        study.folder = Path(shutil.copytree(self.folder, folder, symlinks=True))
        return study

    def add_readmes_fusion(self) -> tuple[dict, list[str]]:
        """Add the fusion that the README shows, as it is printed; the params and the commands that go with it."""
        text = (ROOT / "README.md").read_text()
        section = text.partition("\n## Your own fusion mechanism\n")[2].partition("\n## ")[0]
        module, entry, settings, commands = re.findall(r"^```\w*\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
        (self.folder / "stages/train/fusions/gated.py").write_text(module)
        registry = self.folder / "stages/common/variants.py"
        before, end, after = registry.read_text().partition("\n}\n\n\n@dataclass")
        registry.write_text(f"{before}\n{entry}{end[1:]}{after}")
        return yaml.safe_load(settings), commands.splitlines()

    def make_repository(self) -> None:
        """Make the folder a git and DVC repository."""
        self.ok("git", "init", "-q")
        self.ok("dvc", "init", "-q")

    def run(self, *command: str) -> subprocess.CompletedProcess:
        """Run a command in the study's folder."""
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, text=True, capture_output=True, check=False
        )

    def start(self, *command: str) -> subprocess.Popen:
        """Start a command in the study's folder, with a process group of its own and signals as on a terminal."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_heed_signals,
        )

    def ok(self, *command: str) -> str:
        """Run a command that must succeed; its output."""
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def stage(self, name: str, *arguments: str) -> subprocess.CompletedProcess:
        """Run one stage."""
        return self.run("python", "-m", f"stages.{name}", *arguments)

    def outputs(self, variant: str, seed: int) -> dict[str, bytes]:
        """Name → content of what a train stage wrote."""
        folder = self.folder / f"runs/{variant}/seed{seed}"
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _heed_signals() -> None:
    """What started the tests may have these two ignored, as `nohup` does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def enter_copy(tmp_path, monkeypatch) -> Callable[[Path], Path]:
    """Makes a copy of a study's folder the current one."""

    def enter(made: Path) -> Path:
        folder = Path(shutil.copytree(made, tmp_path / "study"))
        monkeypatch.chdir(folder)
        return folder

    return enter


@pytest.fixture
def study(tmp_path) -> Study:
    """A study of the synthetic corpus at its smallest."""
    folder = tmp_path / "study"
    folder.mkdir()
    study = Study(folder)
    study.set(corpus__synthetic__utterances=150, model__hidden=6, train__protocol__patience=2)
    return study


@pytest.fixture(scope="session")
def heard(tmp_path_factory) -> Path:
    """A study of sound, words and arrays of video, trained with weights kept; its corpus is in `corpus/`."""
    folder = tmp_path_factory.mktemp("heard")
    rng, words = np.random.default_rng(0), ["well", "no", "unbelievable", "antidisestablishmentarianism", "you", "go"]
    (folder / "corpus").mkdir()
    rows = []
    for i in range(40):
        seconds = 0.05 + 0.01 * rng.integers(15)
        samples = 0.3 * np.sin(2 * np.pi * (300 + 200 * (i % 2)) * np.arange(round(seconds * 16000)) / 16000)
        soundfile.write(folder / f"corpus/u{i}.wav", samples + 0.01 * rng.standard_normal(len(samples)), 16000)
        np.save(folder / f"corpus/u{i}.npy", rng.standard_normal((rng.integers(1, 6), 5)).astype("f4"))
        text = " ".join(rng.choice(words, rng.integers(1, 8)))
        row = {"utterance_id": f"u{i}", "label": ("calm", "angry")[i % 2], "transcription": text}
        rows.append(row | {"audio_file_name": f"u{i}.wav", "video_file_name": f"u{i}.npy"})
    pd.DataFrame(rows).to_csv(folder / "corpus/metadata.csv", index=False)
    modalities = {
        "text": {"letter": "t", "features": {"extractor": "glove", "weights": "random"}},
        "video": {"letter": "v", "positions": 0.6},
        "audio": {"letter": "a", "standardise": True, "features": {"extractor": "mfcc", "coefficients": 3}},
    }
    changes = {"variants": HEARD, "seeds": [1, 2], "modalities": modalities, "headline__modalities": "tva"}
    changes |= {"corpus": {"source": "manifest", "root": "corpus"}, "split__folds": 2, "model__hidden": 3}
    changes |= {"model__heads": 2, "train__protocol__max_epochs": 2, "train__save_weights": True}
    document = changed(yaml.safe_load((ROOT / "params.yaml").read_text()), changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        _train_here()
    return folder


def _train_here() -> None:
    """Run the study of the current folder up to its runs, in this process."""
    from stages.features import __main__ as features_stage  # these take long to import, and most tests need none
    from stages.plan import __main__ as plan_stage
    from stages.split.__main__ import divide
    from stages.train import outputs, protocol

    config = params.load()
    with files.replacing(corpus.FOLDER) as folder:
        manifest.read(config.corpus).write(folder)
    utterances = corpus.read_utterances()
    for name in config.modalities:
        with files.replacing(features.FOLDER / name) as folder:
            features_stage.write(config, name, utterances, folder)
    divide(utterances, config.split).to_csv(corpus.FOLDS, index=False)
    plan_stage.main()
    folds = corpus.read_folds()
    for variant in config.variants:
        own = plan.read(variant)
        known = features.read(own.names)
        rows = {fold: features.fold_rows(known, folds, fold) for fold in corpus.numbers(folds)}
        ids = [RunId(seed, fold) for seed in config.seeds for fold in rows]
        runs = dict(protocol.train(own, ids, rows, known, at_once=len(ids)))
        for seed in config.seeds:
            records = {fold: runs[seed, fold].record(weights=True) for fold in rows}
            with files.replacing(predictions.folder(variant, seed)) as run_folder:
                outputs.write(run_folder, known, folds, records, own.task)
