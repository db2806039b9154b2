"""`python -m tools.repair_lock`: repair the files that DVC was writing when it was killed.

DVC writes `dvc.lock` and its lists of files in use in place, and refuses them where they are cut short. DVC finds the
stages that are lost by this again in its run cache, and training finds its results in `.work/`. The command waits for
what a killed `make train` has left running, and warns of an experiment that was killed in the workspace.
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
"""DVC's lists of what is in use: files, and the refs of experiments. DVC locks `rwlock.lock` while it writes one."""
DVC_LOCK = Path(".dvc/tmp/lock")
"""The file that DVC locks while it writes anything else."""

JOBS = Path(".work/locks/jobs")
"""Held by `tools.jobs` and by the DVCs that it starts."""

EXPERIMENT = Path(".dvc/tmp/exps/run/workspace")
"""Where DVC keeps notes on a `dvc exp run` in the workspace while it runs."""


class User(BaseModel):
    """A DVC that uses a file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pid: int
    cmd: str
    """Its arguments."""

    def is_running(self) -> bool:
        """Whether that very DVC is running: its process id may be another process's by now, or that of a zombie."""
        return " ".join(_arguments(self.pid)).endswith(self.cmd.rpartition(" ")[2])


class InUse(BaseModel):
    """The content of `.dvc/tmp/rwlock`: file → the DVCs that write or read it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    write: dict[str, User] = {}
    read: dict[str, list[User]] = {}

    def of_running(self) -> "InUse":
        """The same without DVCs that have ended."""
        read = {path: [user for user in users if user.is_running()] for path, users in self.read.items()}
        return InUse(
            write={path: user for path, user in self.write.items() if user.is_running()},
            read={path: users for path, users in read.items() if users},
        )


def main() -> None:
    """Repair what a killed DVC left, once no `make train` and no DVC is running."""
    with jobs_lock():
        repair()


def jobs_lock() -> AbstractContextManager[bool]:
    """Lock `make train`, for as long as this process or a DVC that it starts is running; waits for another's end."""
    waiting = "make train ({owner}), or what it left when it was killed, is running; waiting for its end"
    return files.lock(JOBS, waiting, inherited=True)


def repair() -> None:
    """Repair DVC's files, once no DVC is writing them, and warn of an experiment that was killed."""
    with _while_no_dvc_runs():
        _repair_lock()
        for path in RWLOCKS:
            if path.exists():
                with files.lock(
                    path.with_suffix(".lock"), f"another DVC ({{owner}}) is writing {path}; waiting for it"
                ):
                    _repair_rwlock(path)
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
    """A process's command line; empty if it has ended, also as a zombie."""
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def _repair_lock() -> None:
    """Cut `dvc.lock` back to its last whole stage; remove it if there is none."""
    text = LOCK.read_text(encoding="utf-8") if LOCK.exists() else None
    if text is not None and not _is_whole(text):
        *whole, (_, cut) = _entries(text) or [("", text)]
        kept = text[: len(text) - len(cut)]
        if whole and _is_whole(kept):
            files.write_text(LOCK, kept)
        else:
            LOCK.unlink()
        print(f"{LOCK} was cut short when DVC was killed: its first {len(whole)} stages stay", file=sys.stderr)


def _repair_rwlock(path: Path) -> None:
    """Remove a list of files in use that is cut short; take DVCs that have ended out of a whole one."""
    try:
        used = InUse.model_validate_json(path.read_bytes())
    except ValidationError:  # also where it is empty
        path.unlink()
        print(f"{path} was cut short when DVC was killed: removed", file=sys.stderr)
        return
    running = used.of_running()
    if running != used:
        files.write_text(path, running.model_dump_json())
        print(f"{path} named a DVC that is no longer running: repaired", file=sys.stderr)


def _while_no_dvc_runs() -> AbstractContextManager[bool]:
    """Wait until no DVC is writing, and let none begin: a file that is half written is not one that was cut short."""
    return files.lock(DVC_LOCK, "another DVC ({owner}) is running; waiting for it")


def _entries(text: str) -> list[tuple[str, str]]:
    """The name and the lines of each stage in `dvc.lock`."""
    parts = re.split(r"^(?=  \S)", text, flags=re.MULTILINE)[1:]
    return [(part.partition(":\n")[0].strip().strip("'\""), part) for part in parts]


def _is_whole(text: str) -> bool:
    """Whether all stages in the text of a `dvc.lock` are whole; a last one may lack outs, which DVC notices.

    DVC writes outs after params, which may have been cut anywhere: so a stage with params must have some.
    """
    try:
        document = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        stages = document["stages"].values()
        entries = [entry for stage in stages for entry in (*stage.get("deps", []), *_outs(stage))]
        return text.endswith("\n") and all(_is_complete(entry) for entry in entries)
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        return False


def _outs(stage: dict) -> list[dict]:
    return stage["outs"] if "params" in stage else stage.get("outs", [])


def _is_complete(entry: dict) -> bool:
    """Whether a dep or out has all the keys that DVC writes."""
    return {"path", "md5", "size"} <= set(entry) and ("nfiles" in entry or not entry["md5"].endswith(".dir"))


if __name__ == "__main__":
    cli.run(main)
