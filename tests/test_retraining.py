"""DVC trains again what a change touches, and nothing else: a finished study, one change, and what is stale then.

Changes that must touch no training are made all at once: if they touch none together, none of them does alone.
"""

import json
import re
import shlex
import shutil

import pandas as pd
import pytest

from stages.common.work_folder import shared
from tests.conftest import ROOT, Study

VARIANTS = ("self_a", "self_tv", "cross_tv", "crossself_tv")
SEEDS = (1,)
ALL = {f"train@{variant}-{seed}" for variant in VARIANTS for seed in SEEDS}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Study:
    """A small study that is trained."""
    study = Study(tmp_path_factory.mktemp("finished"))
    study.environment["NUMBA_CACHE_DIR"] = str(shared(ROOT))  # where tests find what others have compiled
    study.set(
        variants=list(VARIANTS),
        seeds=list(SEEDS),
        corpus__synthetic__utterances=150,
        split__folds=2,
        model__hidden=6,
        train__protocol__patience=1,
        train__protocol__max_epochs=2,
        train__workers=1,
        headline__modalities="tv",
    )
    study.make_repository()
    assert ran(study.ok("dvc", "repro", "train")) >= ALL
    return study


@pytest.fixture
def study(finished, tmp_path) -> Study:
    """A copy of the study, to be changed."""
    return finished.copied(tmp_path / "study")


def edit(study: Study, path: str, old: str, new: str) -> None:
    """Replace a text of a file that stands there once."""
    file = study.folder / path
    text = file.read_text()
    assert text.count(old) == 1, f"{path}: {old}"
    file.write_text(text.replace(old, new))


def add(study: Study, path: str, text: str) -> None:
    """Add a text to a file's end."""
    with (study.folder / path).open("a") as file:
        file.write(text)


def ran(output: str) -> set[str]:
    """The stages that an output of DVC says it ran."""
    return set(re.findall(r"Running stage '([^']+)'", output))


def stale(study: Study, *prepared: str) -> set[str]:
    """The train stages that are out of date once the plans and `prepared` are up to date."""
    if prepared:
        assert "plan" in ran(study.ok("dvc", "repro", "plan", *prepared))
    else:  # the same, in half the time
        study.ok("python", "-m", "stages.plan")
    status = json.loads(study.run("dvc", "status", "--json").stdout)
    assert ("plan" in status) == (not prepared)
    return {stage for stage in status if stage.startswith("train@")}


def of(*variants: str) -> set[str]:
    """The train stages of some variants."""
    return {stage for stage in ALL if stage.partition("@")[2].rpartition("-")[0] in variants}


def test_code_that_no_training_uses_makes_none_stale(study):
    for path in sorted((study.folder / "stages/train").rglob("*.py")):
        add(study, path, '\n\n# A comment.\n\n"""And a text."""\n')
    edit(
        study, "stages/train/model.py", '"""What a corpus fixes of a model', '"""Another docstring: what a corpus fixes'
    )
    for path in (*(study.folder / "stages/train/engine").glob("*.py"), study.folder / "stages/train/__main__.py"):
        add(study, path, "\nADDED = 1\n")
    edit(study, "stages/common/variants.py", 'label="Cross"', 'label="Crossing"')
    edit(study, "stages/common/variants.py", "FUSIONS = {", 'FUSIONS = {\n    "new": Fusion(label="New"),')
    shutil.copy(study.folder / "stages/train/fusions/self.py", study.folder / "stages/train/fusions/new.py")
    edit(study, "stages/common/params.py", "    alpha: Annotated", "    beta: int = 1\n    alpha: Annotated")
    study.set(compare__beta=2)
    (study.folder / "stages/corpus/new.py").write_text("ADDED = 1\n")
    edit(study, "stages/confusion/drawing.py", '"YlGnBu"', '"Blues"')
    add(study, "stages/common/figures.py", "\nADDED = 1\n")
    assert stale(study, "features", "split") == set()


def test_settings_that_no_training_uses_make_none_stale(study):
    study.set(
        compare__pairs=[["self_tv", "crossself_tv"]],
        compare__margin=0.02,
        compare__alpha=0.1,
        confusion__fold=2,
        headline__attention="cross",
        fusions={"cross_nosp": {"heads": 3}},
        train__workers=2,
        train__together=1,
        train__checkpoint_seconds=0,
        train__work={"days": 1, "gib": 1},
        train__ray__retries=1,
    )
    assert stale(study, "split") == set()


def test_a_fusions_setting_makes_its_variants_stale(study):
    study.set(fusions={"cross": {"heads": 3}})
    assert stale(study) == of("cross_tv")


def test_a_modalitys_setting_makes_the_variants_stale_that_have_it(study):
    study.set(modalities__text__dropout=0.5)
    assert stale(study) == of("self_tv", "cross_tv", "crossself_tv")


def test_a_new_variant_and_a_new_seed_leave_the_others(study):
    study.set(variants=[*VARIANTS, "self_t"], seeds=[*SEEDS, 3])
    assert stale(study) == {f"train@{variant}-3" for variant in VARIANTS} | {f"train@self_t-{s}" for s in (1, 3)}


def test_the_models_size_makes_all_stale(study):
    study.set(model__hidden=12)
    assert stale(study) == ALL


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        ("fusions/cross.py", "list(permutations(modalities, 2))", "sorted(permutations(modalities, 2))", "its own"),
        ("model.py", "max(1, round(longest", "max(2, round(longest", "all"),
        ("protocol.py", "at_once: int = 1", "at_once: int = 2", "all"),
        ("optimiser.py", "EPSILON = 1e-8", "EPSILON = 1e-7", "all"),
    ],
)
def test_code_makes_the_variants_stale_that_use_it(path, old, new, expected, study):
    edit(study, f"stages/train/{path}", old, new)
    assert stale(study) == (ALL if expected == "all" else of("cross_tv", "crossself_tv"))


def test_a_run_is_not_trained_again_for_what_it_does_not_read(study):
    """All stages run if what writes the outputs or any of the data changes, and find the runs that are the same."""
    edit(study, "stages/train/outputs.py", "return sum(epochs.values())", "return 1 * sum(epochs.values())")
    assert stale(study) == ALL
    edit(study, "stages/corpus/synthetic.py", 'speaker = f"ses', 'speaker = f"speaker')
    edit(study, "stages/features/synthetic.py", "sequences[modality])", 'sequences[modality] + (modality == "audio"))')
    first = [f"train@{variant}-1" for variant in VARIANTS]
    said = study.ok("dvc", "repro", *first)
    assert pd.read_csv(study.folder / "data/corpus/utterances.csv")["speaker"].str.startswith("speaker").all()
    assert ran(said) >= set(first)
    found = re.findall(r"(\S+) seed 1: 2 folds, 2 of them found in .work/", said)
    assert sorted(found) == ["cross_tv", "crossself_tv", "self_tv"]
    assert re.findall(r"(\S+) seed 1: 2 folds, \d+ epochs", said) == ["self_a"]


def test_the_readmes_own_fusion_is_trained_alone_and_compared(study):
    added, commands = study.add_readmes_fusion()
    study.set(variants=[*VARIANTS, *added["variants"]], fusions=added["fusions"])
    check, repro, experiment = (shlex.split(line, comments=True) for line in commands)
    assert study.ok(*check) == ""
    trained = {stage for stage in ran(study.ok(*repro, "aggregate", "ttest")) if stage.startswith("train@")}
    assert trained == {"train@gated_tv-1"}
    plan = json.loads((study.folder / "data/plans/gated_tv.json").read_text())
    assert plan["fusion"] == {"name": "gated", "settings": added["fusions"]["gated"]}
    assert [word.partition("=")[0] for word in experiment if "=" in word] == ["fusions.gated.dropout"]
    table = (study.folder / "metrics/table1.md").read_text()
    assert re.search(r"^\| T\+V \| Gated \|", table, re.MULTILINE)
    tests = pd.read_csv(study.folder / "metrics/ttest.csv")
    own = tests[tests["a"] == "gated_tv"]
    assert set(own["b"]) == {"self_tv", "cross_tv"}
    assert own["difference"].notna().all()
