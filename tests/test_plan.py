"""A plan names the code that its variant's trainings run and no other, and changes with what it names alone."""

import ast
import contextlib
import difflib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common import code, params, variants
from stages.common.plan import Plan
from stages.plan.__main__ import make
from tests.conftest import ROOT, changed

TRAINS = """
import importlib, json, os, sys
from pathlib import Path
import numba, numpy as np, pandas, pydantic, pyarrow, safetensors, torch  # once; each fork imports the project afresh

def imported():
    return [name for name in sys.modules if name.partition(".")[0] == "stages"]

def train(plan_file):
    from stages.train import protocol
    from stages.common import corpus, plan, records
    from stages.common.features import Features, Ragged
    plan = plan.Plan.model_validate_json(plan_file.read_bytes())
    importlib.import_module(f"stages.train.fusions.{plan.fusion.name}")
    n, longest = 24, 5
    def sequences(size):
        values = np.random.default_rng(0).standard_normal((n * longest, size)).astype(np.float32)
        return Ragged(values=values, offsets=np.arange(n) * longest, lengths=np.full(n, longest), longest=longest)
    features = Features(
        meta=corpus.Meta(corpus="made", classes=["a", "b"], modalities=plan.names),
        utterance_id=np.array([f"u{i}" for i in range(n)]),
        label=np.arange(n) % 2,
        sequences={name: sequences(size) for name, size in zip(plan.names, (3, 5, 7))},
    )
    rows = {part: np.arange(start, n, 3) for start, part in enumerate(corpus.PARTS)}
    ((_, run),) = protocol.train(plan, [records.RunId(1, 1)], {1: rows}, features)
    return features, rows, run

def write(folder, features, rows, run):
    from stages.train import outputs
    folds = [{"fold": 1, "part": part, "utterance_id": f"u{i}"} for part, own in rows.items() for i in own]
    assert outputs.write(folder, features, pandas.DataFrame(folds), {1: run.record(weights=True)}, "classes") == 1

assert imported() == []
for plan_file in map(Path, sys.argv[1:]):
    if os.fork() == 0:
        trained = train(plan_file)
        after_training = imported()
        write(plan_file.with_suffix(""), *trained)
        print(json.dumps([after_training, imported()]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""
"""Trains by each plan for an epoch and writes the outputs; says what has been imported after each of the two."""


def config(**changes) -> params.Params:
    """The committed params with all fusions on as many modalities as each takes, small, and some keys changed."""
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    trained = [(name, own) for name, own in variants.FUSIONS.items() if own.trained]
    parts = [(*fusion.partition("_"), "tva"[: own.at_most]) for fusion, own in trained]
    names = ["_".join(filter(None, (base, letters, option))) for base, _, option, letters in parts]
    small = {"variants": names, "model__hidden": 6, "train__protocol__max_epochs": 1, "train__save_weights": True}
    return params.Params.model_validate(changed(document, small | changes))


def plans(**changes) -> dict[str, Plan]:
    """Variant → its plan."""
    own = config(**changes)
    return {name: make(name, own) for name in own.variants}


def python(folder: Path, *arguments: str, **environment: str) -> str:
    """Run Python in a folder with this project on its path; its output."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    ).stdout


def test_a_plan_has_the_modules_that_its_trainings_import_and_no_others(tmp_path):
    own = plans()
    for name, plan in own.items():
        (tmp_path / f"{name}.json").write_text(plan.as_json())
    said = python(tmp_path, "-c", TRAINS, *(f"{name}.json" for name in own))
    for plan, line in zip(own.values(), said.splitlines(), strict=True):
        training, everything = map(set, json.loads(line))
        assert f"stages.train.fusions.{plan.fusion.name}" in training
        assert training == set(plan.training_code)
        assert everything - training == set(plan.output_code)


@pytest.mark.parametrize("name", config().variants)
def test_what_decides_no_result_is_in_no_plan(name):
    plan = make(name, config())
    outside = {f"stages.common.{name}" for name in ("params", "variants", "fusion_settings", "yaml_file", "figures")}
    modules = plan.training_code.keys() | plan.output_code.keys()
    assert not modules & outside
    assert not [name for name in modules if name.startswith(("stages.train.engine", "stages.plan", "stages.corpus"))]


def test_plans_are_made_without_torch_and_are_the_same_in_every_process(tmp_path):
    stage = "import json, runpy, sys; runpy.run_module('stages.plan', run_name='__main__')"
    written = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        shutil.copy(ROOT / "params.yaml", folder)
        modules = json.loads(python(folder, "-c", f"{stage}; print(json.dumps([*sys.modules]))", PYTHONHASHSEED=seed))
        assert "stages.common.params" in modules
        assert not [name for name in modules if name.partition(".")[0] in ("torch", "numba", "ray")]
        assert not [name for name in modules if name.startswith("stages.train")]
        plans = folder / "data/plans"
        written.append({path.name: path.read_bytes() for path in plans.glob("*.json")})
        assert {path.name: path.read_text() for path in (plans / "features").iterdir()} == {
            f"{name}.json": "{}\n" for name in ("text", "video", "audio")
        }
    assert written[0] == written[1]
    assert sorted(written[0]) == sorted(f"{name}.json" for name in params.load(ROOT / "params.yaml").variants)
    for text in written[0].values():
        assert text.decode() == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"


def difference(before: Plan, after: Plan) -> list[str]:
    """The lines of two plans that differ, without commas."""
    lines = difflib.ndiff(before.as_json().splitlines(), after.as_json().splitlines())
    return [f"{line[0]} {line[1:].strip(' ,')}" for line in lines if line[0] in "+-"]


def test_a_difference_of_two_plans_names_the_setting():
    before = plans()["cross_tva"]
    after = plans(fusions={"cross": {"heads": 4}})["cross_tva"]
    assert difference(before, after) == ['- "heads": 6', '+ "heads": 4']
    after = plans(modalities__text__dropout=0.5)["cross_tva"]
    assert difference(before, after) == ['- "dropout": 0.25', '+ "dropout": 0.5']


@contextlib.contextmanager
def project(folder: Path) -> Iterator[None]:
    """Have hashes be those of the code in another folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code, "PROJECT", folder)
        code._read.cache_clear()
        try:
            yield
        finally:
            code._read.cache_clear()


def test_a_difference_of_two_plans_names_the_module(tmp_path):
    shutil.copytree(ROOT / "stages", tmp_path / "stages")
    changed_file = tmp_path / "stages/train/fusions/cross.py"
    changed_file.write_text(changed_file.read_text() + "\nADDED = 1\n")
    before = plans()
    with project(tmp_path):
        after = plans()
    differences = {name: difference(before[name], after[name]) for name in before}
    assert {name for name, lines in differences.items() if lines} == {"cross_tva", "crossself_tva"}
    for name in ("cross_tva", "crossself_tva"):
        assert [line.partition(":")[0] for line in differences[name]] == [
            f'{sign} "stages.train.fusions.cross"' for sign in "-+"
        ]


def hashes(files: dict[str, str], *modules: str) -> dict[str, str]:
    """The hashes of some modules in a project of these files."""
    with TemporaryDirectory() as folder, project(Path(folder)):
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return code.hashes(modules)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"a/b/c.py": "from . import d", "a/b/d.py": ""}, {"a.b.d"}),
        ({"a/b/c.py": "from .d import e", "a/b/d.py": ""}, {"a.b.d"}),
        ({"a/b/c.py": "from ..d import e", "a/d.py": ""}, {"a.d"}),
        ({"a/b/c.py": "from ..d import e", "a/d/__init__.py": "", "a/d/e.py": ""}, {"a.d", "a.d.e"}),
        ({"a/b/c.py": "import a.d, os.path", "a/d.py": ""}, {"a.d"}),
        ({"a/b/c.py": "import a.d.e as f", "a/d/__init__.py": "", "a/d/e.py": ""}, {"a.d", "a.d.e"}),
        ({"a/b/c.py": "def f():\n    if f:\n        from a import d", "a/d.py": "", "a/e.py": ""}, {"a.d"}),
        ({"a/b/c.py": "try:\n    import a.d\nexcept ImportError:\n    import a.e", "a/e.py": ""}, {"a.e"}),
        ({"a/b/c.py": "", "a/b/__init__.py": "from . import d", "a/b/d.py": ""}, {"a.b", "a.b.d"}),
        ({"a/b/c.py": "", "a/b/__init__.py": "from .d import e", "a/b/d.py": ""}, {"a.b", "a.b.d"}),
        ({"a/b/c.py": "", "a/__init__.py": "import a.d", "a/d.py": ""}, {"a", "a.d"}),  # a/b has no __init__.py
        ({"a/b/c.py": "import a.d", "a/d.py": "import a.e", "a/e.py": "import a.b.c"}, {"a.d", "a.e"}),
        ({"a/b/c.py": "import a.d", "a/d.py": "import a.e", "a/d/__init__.py": ""}, {"a.d"}),
        ({"a/b/c.py": "'import a.d'  # import a.d", "a/d.py": ""}, set()),
    ],
)
def test_imports_are_followed(files, found):
    assert hashes(files, "a.b.c").keys() == {"a.b.c"} | found


def test_a_change_is_one_of_the_module_in_which_it_is_made():
    files = {"a/b.py": "import a.c", "a/c.py": "SIZE = 1"}
    before, after = hashes(files, "a.b"), hashes(files | {"a/c.py": "SIZE = 2"}, "a.b")
    assert before["a.b"] == after["a.b"]
    assert before["a.c"] != after["a.c"]


SOURCE = (ROOT / "stages/train/optimiser.py").read_text()


def hash_of(source: str) -> str:
    return hashes({"module.py": source}, "module")["module"]


def bodies(tree: ast.AST) -> list[list[ast.stmt]]:
    """All lists of statements: those of the module, its functions, their loops and branches."""
    found = [getattr(node, name, None) for node in ast.walk(tree) for name in ("body", "orelse")]
    return [body for body in found if isinstance(body, list) and body]


@settings(deadline=None)
@given(st.data())
def test_texts_comments_and_lines_change_no_hash(data):
    tree = ast.parse(SOURCE)
    for body in bodies(tree):
        place = data.draw(st.integers(0, len(body)))
        body.insert(place, ast.Expr(ast.Constant(data.draw(st.text("ab \n'\"#", max_size=5)))))
    assert hash_of(ast.unparse(tree)) == hash_of(SOURCE)  # without its comments and blank lines
    comment = data.draw(st.text("ab '#", max_size=5))
    assert hash_of("".join(f"{line}\n\n  # {comment}\n" for line in SOURCE.splitlines())) == hash_of(SOURCE)


def edited(node: ast.AST) -> bool:
    """Change a number, a name, an argument's name or an attribute in place; whether the node is one."""
    for kind, field in ((ast.Name, "id"), (ast.arg, "arg"), (ast.Attribute, "attr"), (ast.FunctionDef, "name")):
        if isinstance(node, kind):
            setattr(node, field, getattr(node, field) + "_")
            return True
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        node.value += 1
        return True
    return False


def test_every_number_and_name_changes_the_hash():
    places, hashes_seen = range(len(list(ast.walk(ast.parse(SOURCE))))), {hash_of(SOURCE)}
    changes = 0
    for place in places:
        tree = ast.parse(SOURCE)
        if edited(list(ast.walk(tree))[place]):
            changes += 1
            hashes_seen.add(hash_of(ast.unparse(tree)))
    assert changes > 100
    assert len(hashes_seen) == changes + 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("def f(a=1): return a", "def f(a=2): return a"),
        ("def f(*, a=1): return a", "def f(*, a='1'): return a"),
        ("def f(a: int): return a", "def f(a: float): return a"),
        ("A = 'text'", "A = 'other'"),
        ("f('text')", "f('other')"),
        ("f'{text}'", "f'{other}'"),
        ("@cache\ndef f(): pass", "def f(): pass"),
        ("import a", "import a as b"),
        ("A = 1\nB = 2", "B = 2\nA = 1"),
        ("if a:\n    b()\nc()", "if a:\n    b()\n    c()"),
    ],
)
def test_what_code_does_changes_the_hash(before, after):
    assert hash_of(before) != hash_of(after)
