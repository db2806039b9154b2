"""The committed dvc.lock, metrics and plots are those of the committed code and params, and the README shows them."""

import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "params.yaml").read_text())
LOCK = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]


@pytest.fixture(scope="module")
def status() -> dict:
    """What DVC finds changed since dvc.lock was written."""
    command = [Path(sys.executable).with_name("dvc"), "status", "--json"]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def test_nothing_differs_from_the_lock(status):
    """Code, params, metrics and plots are those of dvc.lock.

    Data, runs and references are not in git: they are absent, or this machine's own, with its processor's last digits.
    """
    differences = []
    for stage, changes in status.items():
        for change in changes:
            if change == "always changed":
                continue
            if isinstance(change, str):
                differences.append(f"{stage}: {change}")
                continue
            for kind, paths in change.items():
                for path, what in paths.items():
                    if path.split("/")[0] not in ("data", "runs", "references", "evaluations"):
                        differences.append(f"{stage}: {kind}: {path}: {what}")
    assert differences == []


def test_the_lock_has_every_run_and_no_other():
    trained = {name.removeprefix("train@") for name in LOCK if name.startswith("train@")}
    assert trained == {f"{variant}-{seed}" for variant, seed in product(CONFIG["variants"], CONFIG["seeds"])}


def test_what_a_stage_read_is_what_another_one_wrote():
    written = {out["path"]: out["md5"] for stage in LOCK.values() for out in stage.get("outs", [])}
    read = {(dep["path"], dep["md5"]) for stage in LOCK.values() for dep in stage.get("deps", [])}
    assert [(path, md5) for path, md5 in read if path in written and written[path] != md5] == []


def test_the_readme_shows_the_committed_table():
    readme = (ROOT / "README.md").read_text()
    table = (ROOT / "metrics/table1.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert "\n".join(rows) in readme


def test_the_readmes_verdicts_are_the_committed_ones():
    page, readme = (
        [line for line in (ROOT / name).read_text().splitlines() if line.startswith("* ") and " is better**" in line]
        for name in ("metrics/ttest.md", "README.md")
    )
    assert page
    assert readme == page


def test_the_committed_study_finds_what_is_true_of_its_corpus():
    """Where there are both text and video, cross-attention is better; elsewhere no pair differs by construction."""
    table = pd.read_csv(ROOT / "metrics/ttest.csv")
    better = table[(table["family"] != "recall") & table["verdict"].str.contains("better")]
    assert len(better)
    for row in better.itertuples():
        first, second = (name.partition("_")[0] for name in (row.a, row.b))
        assert {"t", "v"} <= set(row.a.split("_")[1])
        worse = second if row.verdict.startswith("A") else first
        assert worse == "self", (row.a, row.b, row.verdict)


def test_the_readmes_links_lead_somewhere():
    for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
