"""`python -m stages.mend`: mend what a kill in the middle of DVC's own writing leaves, so that `dvc repro` can go on.

DVC writes `dvc.lock` in place. Cut short, it is refused; without the stages that are lost, DVC finds them again in its
run cache and the train stages in `.work/`.
"""

import json
import re
import sys
from pathlib import Path

import yaml

from stages import cli, files

LOCK, RWLOCK = Path("dvc.lock"), Path(".dvc/tmp/rwlock")


def main() -> None:
    """Mend `dvc.lock` and DVC's list of the files in use."""
    text = LOCK.read_text(encoding="utf-8") if LOCK.exists() else None
    if text is not None and not _is_whole(text):
        starts = [match.start() for match in re.finditer(r"^  \S", text, re.MULTILINE)]
        if starts and _is_whole(kept := text[: starts[-1]]):
            files.write_text(LOCK, kept)
        else:
            LOCK.unlink()
        print(
            f"{LOCK} was cut short when DVC was killed: its first {max(0, len(starts) - 1)} stages stay",
            file=sys.stderr,
        )
    if RWLOCK.exists() and not _is_json(RWLOCK.read_text(encoding="utf-8")):
        RWLOCK.unlink()
        print(f"{RWLOCK} was cut short when DVC was killed: removed", file=sys.stderr)


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
