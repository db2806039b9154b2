"""`python -m stages.mend`: mend what a kill in the middle of DVC's own writing leaves, so that `dvc repro` can go on.

DVC writes `dvc.lock` in place. Cut short, it is refused; without the stages that are lost, DVC finds them again in its
run cache and the train stages in `.work/`.
"""

import json
import re
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import yaml

from stages import cli, files

LOCK = Path("dvc.lock")
RWLOCK, AT_WORK = Path(".dvc/tmp/rwlock"), Path(".dvc/tmp/lock")
"""DVC's list of the files in use, and what it locks while it writes."""


def main() -> None:
    """Mend `dvc.lock` and DVC's list of the files in use."""
    with _instead_of_dvc():
        _mend()


def _mend() -> None:
    text = LOCK.read_text(encoding="utf-8") if LOCK.exists() else None
    if text is not None and not _is_whole(text):
        *whole, (_, cut) = _entries(text) or [("", text)]
        kept = text[: len(text) - len(cut)]
        if whole and _is_whole(kept):
            files.write_text(LOCK, kept)
        else:
            LOCK.unlink()
        print(f"{LOCK} was cut short when DVC was killed: its first {len(whole)} stages stay", file=sys.stderr)
    if RWLOCK.exists() and not _is_json(RWLOCK.read_text(encoding="utf-8")):
        RWLOCK.unlink()
        print(f"{RWLOCK} was cut short when DVC was killed: removed", file=sys.stderr)


def stages() -> list[str]:
    """The stages in `dvc.lock`, in order."""
    return [name for name, _ in _entries(LOCK.read_text(encoding="utf-8"))] if LOCK.exists() else []


def order(wanted: list[str]) -> None:
    """Let those of `dvc.lock`'s stages that are in `wanted` change places until they are in that order."""
    with _instead_of_dvc():
        if LOCK.exists():
            _order(wanted)


def _order(wanted: list[str]) -> None:
    text = LOCK.read_text(encoding="utf-8")
    entries = _entries(text)
    found = dict(entries)
    ordered = iter([name for name in wanted if name in found])
    places = [next(ordered) if name in wanted else name for name, _ in entries]
    head = text[: text.index(entries[0][1])] if entries else text
    reordered = head + "".join(found[name] for name in places)
    if reordered != text:
        files.write_text(LOCK, reordered)


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


def _is_json(text: str) -> bool:
    try:
        json.loads(text or "{}")
    except json.JSONDecodeError:
        return False
    return True


if __name__ == "__main__":
    cli.run(main)
