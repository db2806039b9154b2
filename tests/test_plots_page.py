"""The pages of `dvc plots` draw without a network."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, Study

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=10000"),
]
PLOTS = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
IMAGES = [ROOT / path for path in PLOTS if isinstance(path, str)]
"""Files and folders of images; the others are drawn by Vega."""
NEEDS = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium, to see what a page draws")


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Study:
    """The committed plots at a tag `self`, and others at a tag `cross`."""
    study = Study(tmp_path_factory.mktemp("plots"))
    shutil.copytree(ROOT / "plots", study.folder / "plots")
    (study.folder / "dvc.yaml").write_text(yaml.safe_dump({"plots": PLOTS}, sort_keys=False))
    study.make_repository()
    shutil.copy(ROOT / ".dvc/config", study.folder / ".dvc/config")
    study.ok("python", "-m", "tools.vega")
    curves = study.folder / "plots/headline/curves.csv"
    for tag in ("self", "cross"):
        study.ok("git", "add", "-A")
        study.ok("git", "commit", "-qm", tag)
        study.ok("git", "tag", tag)
        curves.write_text("".join(curves.read_text().splitlines(keepends=True)[:-2]))
    return study


def shown(page: Path, folder: Path) -> str:
    """The page as a browser without a network makes it."""
    offline = "--host-resolver-rules=MAP * ~NOTFOUND"
    command = [CHROMIUM, *QUIET, offline, f"--user-data-dir={folder}", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@NEEDS
@pytest.mark.parametrize("command", [["show"], ["diff", "self", "cross"]], ids=" ".join)
def test_pages_draw_all_their_plots_without_a_network(command, repository, tmp_path):
    repository.ok("dvc", "plots", *command)
    page = shown(repository.folder / "dvc_plots/index.html", tmp_path)
    assert len(re.findall(r'<(?:canvas|svg)[^>]* class="marks"', page)) == len(PLOTS) - len(IMAGES) == 3
    assert "show-error" not in page
    images = re.findall(r'<img src="([^"]+)"', page)
    drawn = sum(len(list(path.iterdir())) if path.is_dir() else 1 for path in IMAGES)
    assert len(images) == drawn * (2 if command[0] == "diff" else 1)
    for image in images:
        assert (repository.folder / "dvc_plots" / image).read_bytes().startswith(b"\x89PNG")


@NEEDS
def test_without_the_file_vega_is_had_from_the_network(repository, tmp_path):
    repository.ok("dvc", "plots", "show", "-o", "elsewhere")
    page = shown(repository.folder / "elsewhere/index.html", tmp_path)
    outside = re.sub(r"<template.*?</template>", "", page, flags=re.DOTALL)
    assert re.findall(r'src="https://[^"]*/npm/([\w-]+)@', outside) == ["vega", "vega-lite", "vega-embed"]
