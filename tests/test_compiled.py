"""Compiled loops are shared by copies of the same code, and never by different code."""

import importlib
import sys
from pathlib import Path

import numba
import pytest

from stages.common import code
from stages.train.kernels import compiled

LOOPS = """
from inner import f
from stages.train.kernels.compiled import njit

@njit(cache=True)
def apply(x):
    return f(x)
"""
INNER = """
import constants
from stages.train.kernels.compiled import njit

@njit
def f(x):
    return constants.FACTOR * x
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The cache's folder."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Makes a project with a loop that calls another module's, which has a constant of a third; its `apply`."""

    def make(name: str, factor: int):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        texts = {"loops": LOOPS, "inner": INNER, "constants": f"FACTOR = {factor}\n", "other": f"# {name}\n"}
        for module, text in texts.items():
            (folder / f"{module}.py").write_text(text)
            sys.modules.pop(module, None)
        monkeypatch.setattr(code, "PROJECT", folder)
        monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        compiled._digest.cache_clear()
        code._read.cache_clear()
        compiled._say.cache_clear()
        importlib.invalidate_caches()
        return importlib.import_module("loops").apply

    return make


def was_found(apply) -> bool:
    return sum(apply.stats.cache_hits.values()) == 1


def test_a_copy_finds_what_was_compiled(project):
    first, second = project("first", 3), project("second", 3)
    assert (first(7), was_found(first)) == (21, False)
    assert (second(7), was_found(second)) == (21, True)
    assert (second(7.0), was_found(second)) == (21.0, True)  # other types are other code


def test_a_change_in_what_a_loop_calls_is_compiled(project):
    assert project("first", 3)(7) == 21
    changed = project("first", 5)
    assert (changed(7), was_found(changed)) == (35, False)


def test_a_damaged_file_is_said_and_compiled_again(project, cache, capsys):
    assert project("first", 3)(7) == 21
    (path,) = cache.glob("*/loops.apply-*.compiled")
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]):
        path.write_bytes(damaged)
        again = project("first", 3)
        assert (again(7), was_found(again)) == (21, False)
        assert capsys.readouterr().err == f"{path}: its content does not agree with its checksum; removed, not used\n"
        after = project("first", 3)
        assert (after(7), was_found(after)) == (21, True)


def test_without_a_folder_everything_is_compiled(project, cache, capsys):
    cache.write_text("no folder")
    assert project("first", 3)(7) == 21
    assert capsys.readouterr().err.endswith(
        "Not a directory; compiled loops are not kept there: every process compiles its own\n"
    )


def test_the_folder_is_the_projects(project, tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    copy = ".dvc/tmp/exps/standalone/tmpabc"
    (tmp_path / copy).mkdir(parents=True)
    found = project(copy, 3)
    assert found(7) == 21
    assert len(list(tmp_path.glob(".work/*/loops.apply-*.compiled"))) == 1
