"""Names and seeds that are commands or lead out of the project: nothing of them runs, nothing outside is touched."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.conftest import Study

VARIANTS, SEEDS = ["self_tva", "cross_tva"], [1]
COMMAND = "; touch pwned; "


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Study:
    """A repository with folders around it that hostile names lead to."""
    base = tmp_path_factory.mktemp("hostile")
    (base / "study").mkdir()
    study = Study(base / "study")
    study.set(variants=VARIANTS, seeds=SEEDS)
    study.make_repository()
    study.ok("dvc", "repro", "plan", "features", "split")  # so that a changed stage is the first one to run
    study.ok("git", "add", "-A")
    study.ok("git", "commit", "-qm", "study")
    for folder in outside(study):
        (folder / "seed1").mkdir(parents=True)
        (folder / "seed1/kept").touch()
    return study


def outside(study: Study) -> list[Path]:
    """What `../../outside` means in the project and in a copy of it, and a folder of its own."""
    return [study.folder.parent / "outside", study.folder / ".dvc/tmp/exps/outside", study.folder.parent / "elsewhere"]


def unharmed(study: Study) -> bool:
    """Whether nothing was run and nothing outside removed."""
    return not list(study.folder.parent.rglob("pwned*")) and all((f / "seed1/kept").exists() for f in outside(study))


HOSTILE = {
    "a command as a seed": {"seeds": [1, f"3{COMMAND}"]},
    "a command in place of a seed": {"seeds": ["$(touch pwned)"]},
    "a path as a seed": {"seeds": [1, "/../../../outside/seed1"]},
    "a quote in a variant": {"variants": [*VARIANTS, f"x'{COMMAND}'"]},
    "a line in a variant": {"variants": [*VARIANTS, "x\ntouch pwned\n"]},
    "a path up": {"variants": [*VARIANTS, "../../outside"]},
    "a whole path": {"variants": [*VARIANTS, "{elsewhere}"]},
    "a command as a modality": {"modalities": {f"text{COMMAND}": {"letter": "t"}}},
    "a path as a modality": {"modalities": {"../../../outside/seed1": {"letter": "t"}}},
    "a whole path as a modality": {"modalities": {"{elsewhere}": {"letter": "t"}}},
    "a list as a modality": {"modalities": [f"a{COMMAND}b"]},
    "a command as a fusion": {"fusions": {f"cross{COMMAND}": {"heads": f"{COMMAND}"}}},
    "a headline": {"headline": {"attention": "../../outside", "modalities": f"x{COMMAND}"}},
    "a mapping as a variant": {"variants": [*VARIANTS, {f"a{COMMAND}b": 1}]},
    "a list as a variant": {"variants": [*VARIANTS, [f"a{COMMAND}b"]]},
}


EXPERIMENTS = ["exp", "run"], ["exp", "run", "--temp"]


def flat(document: dict) -> list[tuple[str, object]]:
    """Keys with dots, and their values."""
    pairs = []
    for key, value in document.items():
        own = flat(value) if isinstance(value, dict) else None
        pairs += [(key, value)] if own is None else [(f"{key}.{name}", below) for name, below in own]
    return pairs


def overrides(hostile: dict) -> bool:
    """Whether `-S` takes such keys and values."""
    nested = any(isinstance(value, dict | list) for value in hostile.get("variants", []))
    keys = all(re.fullmatch(r"[\w.]+", key) for key, _ in flat(hostile))
    return keys and not nested and not isinstance(hostile.get("modalities"), list)


def crossed(names: list[str], *commands: list[str]) -> list:
    """Each of some hostile values with each command; with one of them, in turn, if there is not much time."""
    return [
        pytest.param(
            name, command, id=f"{name}-{' '.join(command)}", marks=[pytest.mark.long] * (i % len(commands) != j)
        )
        for i, name in enumerate(names)
        for j, command in enumerate(commands)
    ]


BY_OVERRIDE = [name for name, own in HOSTILE.items() if overrides(own)]
BY_FILE = [name for name in HOSTILE if name not in BY_OVERRIDE]
"""With these, experiments cannot be had by `-S`."""


@pytest.fixture
def hostile(request, repository) -> dict:
    """Params that a repository does not want; the file is put back afterwards."""
    yield yaml.safe_load(yaml.safe_dump(HOSTILE[request.param]).replace("{elsewhere}", str(outside(repository)[2])))
    repository.ok("git", "checkout", "-q", "--", ".")
    shutil.rmtree(repository.folder / "runs", ignore_errors=True)


@pytest.mark.parametrize(
    ("hostile", "command"),
    crossed(list(HOSTILE), ["repro"]) + crossed(BY_FILE, *EXPERIMENTS),
    indirect=["hostile"],
)
def test_by_file(command, hostile, repository):
    path = repository.folder / "params.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | hostile, sort_keys=False))
    refused(repository.run("dvc", *command), repository)


@pytest.mark.parametrize(
    "hostile",
    [pytest.param(name, marks=[pytest.mark.long] * ("modalities" not in own)) for name, own in HOSTILE.items()],
    indirect=True,
)
def test_features_alone(hostile, repository):
    """DVC removes what is in the place of a stage's outputs before it runs the stage."""
    path = repository.folder / "params.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | hostile, sort_keys=False))
    done = repository.run("dvc", "repro", "features")
    if "modalities" in hostile:
        refused(done, repository)
    assert unharmed(repository)


@pytest.mark.parametrize(("hostile", "command"), crossed(BY_OVERRIDE, *EXPERIMENTS), indirect=["hostile"])
def test_by_override(command, hostile, repository):
    pairs = [f"-S{key}={written(value)}" for key, value in flat(hostile)]
    refused(repository.run("dvc", *command, *pairs), repository)


def written(value: object) -> str:
    """A value as `-S` reads it."""
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    return '"' + value.replace('"', '\\"') + '"' if isinstance(value, str) else str(value)


def refused(done, study: Study) -> None:
    """It failed, without a traceback, and did nothing."""
    output = done.stdout + done.stderr
    assert done.returncode != 0
    by_dvc = re.search(r"ERROR: (output .* is specified in|failed to parse .* in 'dvc.yaml')", output)
    assert "error: params.yaml: " in output or by_dvc
    assert "Traceback" not in output
    assert "Running stage 'train" not in output
    assert unharmed(study)


@pytest.mark.parametrize("name", ["a command as a seed", "a quote in a variant", "a line in a variant"])
def test_a_stage_run_past_the_plan_runs_no_command(name, repository):
    """Text is quoted; what `--single-item` can still do is in docs/experiments.md."""
    path = repository.folder / "params.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | HOSTILE[name], sort_keys=False))
    assert repository.run("dvc", "repro", "--single-item", "train").returncode != 0
    assert unharmed(repository)
    repository.ok("git", "checkout", "-q", "--", ".")
