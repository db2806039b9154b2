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
from stages.common.metrics import DEFAULTS, METRICS, PAPERS
from stages.common.tables import mean_std
from stages.headline.__main__ import FILE

SHOWN = (*PAPERS, *DEFAULTS["dimensions"])
"""Metrics that have a column where an experiment has them."""
GAP = "  "
NARROWEST = 20
"""Characters of the last column, at least."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One state of the project: the folder, a commit, or an experiment that began from it."""

    name: str
    params: dict[str, str]
    """Key with dots → value as JSON."""
    scores: dict[str, str]
    """Of the headline variant: metric → its mean and standard deviation, of those of `SHOWN` that it has."""
    state: str | None
    """What is going on instead: queued, running or failed."""


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
    scores = {name: mean_std(found[name]["mean"], found[name]["std"]) for name in SHOWN if name in found}
    if state not in ("queued", "running", "failed"):
        state = "failed" if shown["error"] else None
    document = data.get("params", {}).get("params.yaml", {}).get("data") or {}
    return Row(name=name, params=dict(_flat(document)), scores=scores, state=state)


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
    names = [name for name in SHOWN if any(name in row.scores for row in listed)] or list(PAPERS)
    head = ["Experiment", *(METRICS[name].label for name in names), "Params that differ"]
    cells = [head]
    for row in listed:
        scores = [row.scores.get(name, "–") for name in names]
        if row.state:
            scores[0] = row.state
        cells.append([row.name, *scores, _difference(row.params, committed)])
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
