"""`python -m tools.repair_lock`: mend what a kill in the middle of DVC's own writing leaves.

DVC writes `dvc.lock` and its list of the files in use in place, and refuses them where they are cut short. The stages
that are lost are found again in DVC's run cache and, what was trained, in `.work/`. What a `make train` that was killed
has left running is waited for. Of an experiment that was killed in the workspace there is a warning.
"""

import json
import re
import subprocess
import sys
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import psutil
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from stages.common import cli, files

LOCK = Path("dvc.lock")
RWLOCKS = Path(".dvc/tmp/rwlock"), Path(".dvc/tmp/exps/rwlock")
"""DVC's lists of what is in use: files, and the experiments' refs. It locks `rwlock.lock` while it writes one."""
AT_WORK = Path(".dvc/tmp/lock")
"""What DVC locks while it writes anything else."""

JOBS = Path(".work/locks/jobs")
"""Held by `tools.jobs` and by the DVCs that it starts."""

EXPERIMENT = Path(".dvc/tmp/exps/run/workspace")
"""What DVC notes of a `dvc exp run` in the workspace while it runs."""


class User(BaseModel):
    """A DVC that uses a file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pid: int
    cmd: str
    """Its arguments."""

    def lives(self) -> bool:
        """Whether that process runs: another may have its number by now, and one that has ended may not be cleared."""
        return " ".join(_arguments(self.pid)).endswith(self.cmd.rpartition(" ")[2])


class InUse(BaseModel):
    """What DVC keeps in `.dvc/tmp/rwlock`: file → who writes or reads it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    write: dict[str, User] = {}
    read: dict[str, list[User]] = {}

    def of_the_living(self) -> "InUse":
        """Without processes that have ended."""
        read = {path: [user for user in users if user.lives()] for path, users in self.read.items()}
        return InUse(
            write={path: user for path, user in self.write.items() if user.lives()},
            read={path: users for path, users in read.items() if users},
        )


def main() -> None:
    """Mend what no living DVC is writing, once no `make train` is at work."""
    with jobs_lock():
        mend()


def jobs_lock() -> AbstractContextManager[bool]:
    """Be the only `tools.jobs`, for as long as this process and the DVCs that it starts live."""
    waiting = "make train ({owner}), or what it left when it was killed, is at work; waiting for its end"
    return files.lock(JOBS, waiting, inherited=True)


def mend() -> None:
    """Mend what no living DVC is writing, and warn of an experiment that was killed."""
    with _instead_of_dvc():
        _mend_lock()
        for path in RWLOCKS:
            if path.exists():
                with files.lock(path.with_suffix(".lock"), f"another DVC ({{owner}}) writes {path}; waiting for it"):
                    _mend_rwlock(path)
    warning = killed_experiment()
    if warning:
        print(warning, file=sys.stderr)


def killed_experiment() -> str | None:
    """A warning, if a `dvc exp run` was killed here that has left its params, and git without a branch.

    None while it runs, in the copies that DVC makes for experiments, and where someone has come to that by choice.
    """
    if not EXPERIMENT.is_dir():
        return None
    with suppress(OSError, ValueError, KeyError):  # no such file, or not all of it
        if "exp" in _arguments(json.loads((EXPERIMENT / "workspace.json").read_text())["pid"]):
            return None
    refs = "refs/exps/exec/EXEC_"
    if _git("symbolic-ref", "HEAD") or _git("rev-parse", "HEAD") != _git("rev-parse", f"{refs}HEAD"):
        return None
    if _git("diff", "--quiet", f"{refs}MERGE", "--", "params.yaml") is None:
        return None
    return (
        "warning: a dvc exp run was killed, and params.yaml still has that experiment's values. Back to your own: "
        "`git checkout -`, then `git checkout HEAD params.yaml`, or take those values out; see docs/durability.md"
    )


def _git(*arguments: str) -> str | None:
    """What a git command prints, or None if it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout.strip()


def _arguments(pid: int) -> list[str]:
    """A process's command line; empty if it has ended, though perhaps nobody has asked yet how."""
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def _mend_lock() -> None:
    text = LOCK.read_text(encoding="utf-8") if LOCK.exists() else None
    if text is not None and not _is_whole(text):
        *whole, (_, cut) = _entries(text) or [("", text)]
        kept = text[: len(text) - len(cut)]
        if whole and _is_whole(kept):
            files.write_text(LOCK, kept)
        else:
            LOCK.unlink()
        print(f"{LOCK} was cut short when DVC was killed: its first {len(whole)} stages stay", file=sys.stderr)


def _mend_rwlock(path: Path) -> None:
    try:
        used = InUse.model_validate_json(path.read_bytes())
    except ValidationError:  # also where it is empty
        path.unlink()
        print(f"{path} was cut short when DVC was killed: removed", file=sys.stderr)
        return
    living = used.of_the_living()
    if living != used:
        files.write_text(path, living.model_dump_json())
        print(f"{path} named a DVC that was killed: no more", file=sys.stderr)


def _instead_of_dvc() -> AbstractContextManager[bool]:
    """Wait until no DVC writes, and let none begin: what a living one has half written is not cut short."""
    return files.lock(AT_WORK, "another DVC ({owner}) is at work; waiting for it")


def _entries(text: str) -> list[tuple[str, str]]:
    """Each stage's name and lines."""
    parts = re.split(r"^(?=  \S)", text, flags=re.MULTILINE)[1:]
    return [(part.partition(":\n")[0].strip().strip("'\""), part) for part in parts]


def _is_whole(text: str) -> bool:
    """Whether a text is all that DVC writes for the stages that it has, but perhaps for an out: that DVC notices."""
    try:
        document = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        stages = document["stages"].values()
        entries = [entry for stage in stages for entry in (*stage.get("deps", []), *stage["outs"])]
        return text.endswith("\n") and all(_is_complete(entry) for entry in entries)
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        return False


def _is_complete(entry: dict) -> bool:
    return {"path", "md5", "size"} <= set(entry) and ("nfiles" in entry or not entry["md5"].endswith(".dir"))


if __name__ == "__main__":
    cli.run(main)
