"""`python -m tools.experiments`: the experiments with the headline variant's scores and what differs in their params.

`dvc exp show` has a column for every param, file and class; here is what tells experiments apart, no wider than the
terminal.
"""

import json
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from stages.common import cli
from stages.common.errors import UserError
from stages.common.metrics import METRICS, PAPERS
from stages.common.tables import mean_std
from stages.headline.__main__ import FILE

GAP = "  "
NARROWEST = 20
"""Characters of the last column, at least."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One state of the project: the folder, a commit, or an experiment that began from it."""

    name: str
    params: dict[str, str]
    """Key with dots → value as JSON."""
    scores: list[str]
    """Of the headline variant: those of `PAPERS`, or what is going on instead."""


def main() -> None:
    """Print the table."""
    cli.ArgumentParser(prog="python -m tools.experiments", description=__doc__.splitlines()[0]).parse_args()
    done = subprocess.run(["dvc", "exp", "show", "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"dvc exp show failed: {done.stderr.strip()}")
    print(table(list(rows(json.loads(done.stdout))), shutil.get_terminal_size((120, 24)).columns), end="")


def rows(shown: list[dict]) -> Iterator[Row]:
    """The rows of `dvc exp show --json`: the folder, then each commit with its experiments."""
    for commit in shown:
        rev = commit["rev"] if commit["rev"] == "workspace" else commit["rev"][:7]
        yield _row(commit["name"] or rev, commit)
        for experiment in commit["experiments"] or []:
            state = (experiment["executor"] or {}).get("state")
            yield _row(f"└ {experiment['name'] or experiment['revs'][0]['rev'][:7]}", experiment["revs"][0], state)


def _row(name: str, shown: dict, state: str | None = None) -> Row:
    data = shown["data"] or {}
    found = data.get("metrics", {}).get(str(FILE), {}).get("data") or {}
    scores = [mean_std(found[metric]["mean"], found[metric]["std"]) if metric in found else "–" for metric in PAPERS]
    if state in ("queued", "running", "failed") or shown["error"]:
        scores[0] = state or "failed"
    document = data.get("params", {}).get("params.yaml", {}).get("data") or {}
    return Row(name=name, params=dict(_flat(document)), scores=scores)


def _flat(document: dict, before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in document.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace('"', "")


def table(listed: list[Row], width: int) -> str:
    """The rows as text of at most `width` characters a line; params are those in which one differs from the commit.

    The commit is the first row after the folder's.
    """
    committed = listed[1].params if len(listed) > 1 else listed[0].params
    head = ["Experiment", *(METRICS[name].label for name in PAPERS), "Params that differ"]
    cells = [head, *([row.name, *row.scores, _difference(row.params, committed)] for row in listed)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head) - 1)]
    left = max(NARROWEST, width - sum(widths) - len(GAP) * len(widths))
    lines = []
    for *fixed, last in cells:
        texts = textwrap.wrap(last, left, break_on_hyphens=False) or [""]
        start = GAP.join(cell.ljust(own) for cell, own in zip(fixed, widths, strict=True))
        lines += [f"{start if i == 0 else ' ' * len(start)}{GAP}{text}".rstrip() for i, text in enumerate(texts)]
    return "\n".join(lines) + "\n"


def _difference(params: dict[str, str], committed: dict[str, str]) -> str:
    """`model.hidden=90 seeds=[1,2]`; a key that is no longer there is `-key`."""
    keys = [key for key in {**committed, **params} if params and params.get(key) != committed.get(key)]
    return " ".join(f"{key}={params[key]}" if key in params else f"-{key}" for key in keys)


if __name__ == "__main__":
    cli.run(main)
