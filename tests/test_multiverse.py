"""Multiverses: the declaration and its errors, experiments' names and settings, what is collected, and the curve."""

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from stages.common import params
from stages.common.errors import UserError
from stages.multiverse import __main__ as command
from stages.multiverse import declaration, drawing, experiments, summary
from stages.ttest.verdict import Verdict
from tests.conftest import ROOT, Study

DECLARED = {
    "pair": ["self_tv", "cross_tv"],
    "metric": "accuracy",
    "choices": {"model.padding": ["attend", "mask"], "split.seed": [1, 2, 5]},
}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with the committed params.yaml and the pipeline, the current one."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def declare(**changes) -> Path:
    path = Path("own.yaml")
    path.write_text(yaml.safe_dump(DECLARED | changes, sort_keys=False))
    return path


def test_combinations_by_hand(project):
    made = declaration.read(declare(leave_out=[{"model.padding": "mask", "split.seed": 2}, {"split.seed": 5}]))
    assert [own.levels for own in made.specifications] == [
        {"model.padding": "attend", "split.seed": 1},
        {"model.padding": "attend", "split.seed": 2},
        {"model.padding": "mask", "split.seed": 1},
    ]
    assert [str(own) for own in made.specifications][1] == "model.padding = attend, split.seed = 2"
    assert [(own.params.model.padding, own.params.split.seed) for own in made.specifications] == [
        ("attend", 1),
        ("attend", 2),
        ("mask", 1),
    ]
    assert [own.own for own in made.specifications] == [True, False, False]  # params.yaml has attend and 1
    assert (made.name, made.pair, made.metric) == ("own", ("self_tv", "cross_tv"), "accuracy")
    assert made.choices == {"model.padding": ["attend", "mask"], "split.seed": ["1", "2", "5"]}


def test_the_study_is_restricted_to_the_pair(project):
    made = declaration.read(declare(pair=["late_tv", "cross_tv"])).specifications[0].params
    assert made.variants == ["cross_tv", "self_t", "self_v"]
    assert made.references == ["late_tv"]
    assert made.pairs == [("late_tv", "cross_tv")]
    assert made.compare.metrics == ["accuracy"]
    assert made.headline.variant in made.variants


def test_an_option_of_a_fusion_is_no_obstacle_to_the_headline(project):
    made = declaration.read(declare(pair=["self_tva_nosp", "cross_tva"])).specifications[0].params
    assert made.headline.variant == "self_tva_nosp"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": {"model.paddding": ["mask"]}}, "model.paddding: unknown key .*.in every combination"),
        (
            {"choices": {"model.padding": ["attend", "no"]}},
            "model.padding: .*'attend' or 'mask', but is 'no' .in model",
        ),
        ({"choices": {"split.seed": [1, 1]}}, "split.seed must have each value once, but has 1 2 times"),
        ({"choices": {"train.protocol.patience": [5, "5"]}}, "must have each value once"),
        ({"choices": {"split.dev_share": [0.25, 0.250]}}, "must have each value once"),
        ({"choices": {"train.checkpoint_seconds": [1, 1.0]}}, "these are the same: .* = 1; .* = 1.0"),
        ({"choices": {"variants": [["self_t"]]}}, "variants must not be among them: it follows from pair"),
        ({"choices": {"headline.attention": ["self"]}}, "headline.attention must not be among them"),
        ({"choices": {"model.hidden.x": [1]}}, "model.hidden.x: must be a key .* model.hidden has no keys: it is 60"),
        ({"choices": {"model": [1], "model.hidden": [30]}}, "model must not be among them, but its part model.hidden"),
        ({"choices": {"corpus.labels": [{"exc": "happy"}]}}, "corpus.labels must have values that are text"),
        ({"choices": {"corpus.root": ["${oc.env:HOME}"]}}, "corpus.root must have texts .* without"),
        ({"choices": {"model padding; ls": [1]}}, "keys must be keys of params.yaml"),
        ({"choices": {"split.seed": []}}, "choices: split.seed must be a list of at least one value, but is .."),
        ({"choices": {"split.seed": 5}}, "choices: split.seed must be a list of at least one value, but is 5"),
        ({"choices": {}}, "choices: .* at least 1"),
        ({"choices": {"split.seed": [*range(501)]}}, "at most 500 combinations, but have 501"),
        (
            {"choices": {"model.hidden": [30, 31], "model.heads": [6, 31]}},
            "heads must divide .*model.hidden = 30, model.h",
        ),
        ({"pair": ["self_tv", "self_tv"]}, "pair: must be two different models"),
        ({"pair": ["self_tv"]}, "pair: .* at least 2"),
        ({"pair": ["self_tv", "bert_tv"]}, "'bert' is none"),
        ({"pair": ["majority_tv", "prior_tv"]}, "pair: must have a model that is trained, or made of"),
        ({"pair": ["self_tx", "cross_tv"]}, "must name modalities by the letters .*in every combination"),
        ({"metric": "f1"}, "metric: must be one of balanced_accuracy, .*but is 'f1'"),
        ({"name": "../up"}, "name: must be 1 to 60 lower-case letters"),
        ({"leave_out": [{"split.seed": 3}]}, "leave_out: must name values of choices, but split.seed = 3 is none"),
        ({"leave_out": [{"split.sed": 1}]}, "leave_out: must name values of choices, but split.sed = 1 is none"),
        ({"leave_out": [{"split.seed": {"a": 1}}]}, "leave_out: must name values of choices, but split.seed = {"),
        ({"leave_out": [{}]}, "leave_out: must name at least one value each"),
        ({"leave_out": [{"split.seed": n} for n in (1, 2, 5)]}, "leave_out: must leave a combination"),
        ({"chioces": {}}, "chioces: unknown key"),
    ],
)
def test_mistakes_are_named_before_anything_runs(project, changes, message):
    with pytest.raises(UserError, match=r"^own\.yaml: ") as error:
        declaration.read(declare(**changes))
    assert re.search(message, str(error.value))


def test_a_combination_that_is_not_valid_can_be_left_out(project):
    choices = {"split.scheme": ["random", "leave_session_out"], "split.repeats": [1, 2]}
    with pytest.raises(
        UserError, match=r"repeats must be 1 .*in split.scheme = leave_session_out, split.repeats = 2; "
    ):
        declaration.read(declare(choices=choices))
    left_out = [{"split.scheme": "leave_session_out", "split.repeats": 2}]
    assert len(declaration.read(declare(choices=choices, leave_out=left_out)).specifications) == 3


def test_a_missing_file_is_named(project):
    with pytest.raises(UserError, match=r"no\.yaml must be a file that declares a multiverse"):
        declaration.read(Path("no.yaml"))


texts = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="$") | st.just(" "), min_size=1)
scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9) | texts


@given(st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=4))
def test_hydra_reads_a_setting_as_it_was_meant(value):
    (override,) = OverridesParser.create().parse_overrides([experiments.setting("model.padding", value)])
    assert override.key_or_group == "model.padding"
    assert not override.is_sweep_override()
    read = override.value()
    assert repr(plain(read)) == repr(value)


def plain(value: object) -> object:
    """Hydra's quoted text as text, also in lists."""
    if isinstance(value, list):
        return [plain(part) for part in value]
    return value.text if hasattr(value, "text") else value


@pytest.fixture
def repository(project) -> Path:
    """A git repository of the project, with a declaration of six specifications."""
    declare()
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "study")
    return project


def git(*arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()


DIFFERENCES = [-0.02, 0.03, -0.07, 0.002, 0.03, -0.11]
WORDS = ["undecided", "A better", "B better", "equivalent", "A better, equivalent", "B better"]
"""Of the specifications in the order of their combinations; the verdict needs not be that of the difference."""


def pretend(made: declaration.Multiverse, which: range, **changed) -> list[str]:
    """Make experiments of some specifications as DVC keeps them, without running any; all names."""
    names = experiments.names(made.specifications)
    start, document = git("rev-parse", "HEAD"), yaml.safe_load(Path("params.yaml").read_text())
    for i in which:
        overrides = made.specifications[i].overrides | changed
        Path("params.yaml").write_text(yaml.safe_dump(params.with_values(document, overrides)))
        row = dict.fromkeys(experiments.NUMBERS, 0.5) | {"difference": DIFFERENCES[i], "verdict": WORDS[i]}
        row |= {"low": DIFFERENCES[i] - 0.017, "high": DIFFERENCES[i] + 0.017, "a": "self_tv", "b": "cross_tv"}
        Path("metrics").mkdir(exist_ok=True)
        other = row | {"difference": 9.0}
        scores = pd.DataFrame([row | {"score": "accuracy"}, other | {"score": "recall_sad"}])
        scores.to_csv("metrics/ttest.csv", index=False)
        Path("metrics/ttest.md").write_text("# Which?\n\nCorpus: made, up. One, 5 folds × 3 seeds. Verdicts …\n")
        git("add", "-A")
        git("commit", "-qm", "experiment")
        git("update-ref", f"refs/exps/{start[:2]}/{start[2:]}/{names[i]}", "HEAD")
        git("reset", "-q", "--hard", start)
    return names


def test_what_experiments_found_is_collected_in_order(repository, capsys):
    made = declaration.read(Path("own.yaml"))
    names = pretend(made, range(6))
    command.main(["own.yaml", "--collect"])
    table = pd.read_csv("multiverse/own/specifications.csv")
    order = [5, 2, 0, 3, 1, 4]  # 1 and 4 have the same difference: in the order of their combinations
    assert table["experiment"].tolist() == [names[i] for i in order]
    assert table["difference"].tolist() == [DIFFERENCES[i] for i in order]
    assert table["verdict"].tolist() == [WORDS[i] for i in order]
    assert table["model.padding"].tolist() == ["mask", "attend", "attend", "mask", "attend", "mask"]
    assert table["split.seed"].tolist() == [5, 5, 1, 1, 2, 2]
    assert table["own"].tolist() == [False, False, True, False, False, False]
    assert table["low"].tolist() == pytest.approx([DIFFERENCES[i] - 0.017 for i in order])
    page = Path("multiverse/own/page.md").read_text()
    assert "Self T+V is better in 2, Cross T+V is better in 2, they are equivalent in 1, and 1 is undecided" in page
    assert "The median difference is -0.9 points; they reach from -11.0 to +3.0" in page  # (-.02 + .002) / 2
    assert "turned round" in page
    assert "give number 3 of them from the lowest: -2.0, undecided" in page
    assert "Corpus: made, up. One. Differences" in page
    assert "Not complete" not in page
    assert Path("multiverse/own/curve.png").read_bytes().startswith(b"\x89PNG")
    assert "Self T+V is better in 2" in capsys.readouterr().out
    assert git("status", "--porcelain") == "?? multiverse/"


def test_collecting_twice_gives_the_same_bytes(repository):
    pretend(declaration.read(Path("own.yaml")), range(6))
    contents = []
    for _ in range(2):
        command.main(["own.yaml", "--collect"])
        contents.append([path.read_bytes() for path in sorted(Path("multiverse/own").iterdir())])
    assert contents[0] == contents[1]


def test_what_has_not_run_is_said(repository):
    pretend(declaration.read(Path("own.yaml")), range(2, 6))
    command.main(["own.yaml", "--collect"])
    assert len(pd.read_csv("multiverse/own/specifications.csv")) == 4
    page = Path("multiverse/own/page.md").read_text()
    assert (
        "**Not complete**: 2 of 6 specifications have not run, model.padding = attend, split.seed = 1 for one" in page
    )


def test_nothing_is_written_where_none_has_run(repository):
    with pytest.raises(UserError, match="at least one specification must have run"):
        command.main(["own.yaml", "--collect"])
    assert not Path("multiverse").exists()


def test_an_experiment_with_other_params_is_an_error(repository):
    names = pretend(declaration.read(Path("own.yaml")), range(1), compare__margin=0.02, **{"compare.margin": 0.02})
    with pytest.raises(UserError, match=f"experiment {names[0]} must have the params of model.padding = attend, spl"):
        command.main(["own.yaml", "--collect"])


def test_an_experiment_without_the_pair_is_an_error(repository):
    made = declaration.read(Path("own.yaml"))
    (name, *_) = pretend(made, range(1))
    commit = experiments.existing()[name]
    with pytest.raises(UserError, match="must have one row of self_tv, cross_tv and brier_score, but has 0"):
        experiments.result(commit, name, made.specifications[0], ("self_tv", "cross_tv"), "brier_score")


def test_names_follow_params_and_code_alone(repository):
    specifications = declaration.read(Path("own.yaml")).specifications
    names = experiments.names(specifications)
    assert len(set(names)) == 6
    assert all(re.fullmatch("multiverse-[0-9a-f]{12}", name) for name in names)
    Path("params.yaml").write_text("# a comment\n" + Path("params.yaml").read_text())
    git("commit", "-qam", "another baseline")
    assert experiments.names(declaration.read(Path("own.yaml")).specifications) == names
    smaller = declaration.read(declare(choices={"split.seed": [2, 5]}))  # the others' padding is params.yaml's
    assert experiments.names(smaller.specifications) == names[1:3]
    Path("dvc.yaml").write_text(Path("dvc.yaml").read_text().replace("stages.ttest", "stages.ttest --other"))
    assert not set(experiments.names(specifications)) & set(names)


def test_only_what_is_missing_runs_and_a_failure_stops_no_other(repository, monkeypatch, capsys):
    made = declaration.read(Path("own.yaml"))
    names = pretend(made, range(4))
    ran = []

    def run(name, specification):
        ran.append(name)
        raise UserError(f"{name} broke")

    monkeypatch.setattr(experiments, "run", run)
    Path("params.yaml").write_text("# a comment\n" + Path("params.yaml").read_text())
    with pytest.raises(UserError, match=f"2 of 6 experiments failed\n{names[4]} broke\n{names[5]} broke"):
        command.main(["own.yaml"])
    assert ran == names[4:]
    said = capsys.readouterr().err
    assert "6 specifications, 2 to run" in said
    assert "uncommitted changes are part of every experiment: params.yaml" in said
    assert f"2 of 2, {names[5]}: model.padding = mask, split.seed = 5" in said
    assert len(pd.read_csv("multiverse/own/specifications.csv")) == 4


def test_a_failing_dvc_is_told_with_what_it_printed(repository):
    specification = declaration.read(Path("own.yaml")).specifications[1]
    with pytest.raises(
        UserError, match=r"x \(model.padding = attend, split.seed = 2\) failed; the end of .*x.log:"
    ) as e:
        experiments.run("x", specification)  # the folder is no DVC repository
    assert "not inside of a DVC repository" in str(e.value)


def table_of(made: declaration.Multiverse) -> pd.DataFrame:
    """The table of `DIFFERENCES` and `WORDS`."""
    names = [f"e{i}" for i in range(len(made.specifications))]
    numbers = dict.fromkeys(experiments.NUMBERS, 0.1)
    found = {
        name: numbers | {"difference": d, "low": d - 0.02, "high": d + 0.02, "verdict": v, "corpus": "made up"}
        for name, d, v in zip(names, DIFFERENCES, map(experiments.VERDICTS.get, WORDS), strict=True)
    }
    return summary.specifications(made, names, found)


def test_what_moves_the_difference_by_hand(project):
    made = declaration.read(declare())
    found = summary.moved(table_of(made), made.choices)
    # attend: -.02, .03, -.07; mask: .002, .03, -.11; seeds 1: -.02, .002; 2: .03, .03; 5: -.07, -.11
    assert list(found) == ["split.seed", "model.padding"]
    assert found["split.seed"].to_dict() == pytest.approx({"1": -0.009, "2": 0.03, "5": -0.09})
    assert found["model.padding"].to_dict() == pytest.approx({"attend": -0.02, "mask": -0.026})
    assert "| split.seed | 12.0 | 1: -0.9; 2: +3.0; 5: -9.0 |" in summary.page(table_of(made), made, [])


def test_a_verdict_counts_once():
    verdicts = [Verdict("a", True), Verdict("b"), Verdict("b", True), Verdict(None, True), Verdict(), Verdict()]
    assert summary.counts(pd.DataFrame({"verdict": verdicts})) == {"a": 1, "b": 2, "equivalent": 1, "undecided": 2}
    assert {str(own) for own in verdicts} <= set(experiments.VERDICTS)
    assert len(experiments.VERDICTS) == 6


def test_the_curve_shows_every_specification_and_its_choices(project):
    made = declaration.read(declare())
    table = table_of(made)
    figure = drawing.curve(table, made)
    above, below = figure.axes
    points = [line for line in above.lines if line.get_marker() not in ("", "None", None)]
    assert [line.get_ydata()[0] for line in points] == pytest.approx([-11, -7, -2, 0.2, 3, 3])
    assert [line.get_xdata()[0] for line in points] == [0, 1, 2, 3, 4, 5]
    assert [line.get_marker() for line in points] == ["s", "s", "o", "D", "o", "o"]
    rows = [tick.get_text() for tick in below.get_yticklabels()]
    assert rows == ["model.padding", "attend", "mask", "split.seed", "1", "2", "5"]
    dots = np.vstack([own.get_offsets() for own in below.collections if len(own.get_offsets())])
    drawn = {(int(x), rows[int(y)]) for x, y in dots}
    assert drawn == {(x, own[key]) for x, own in table.iterrows() for key in ("model.padding", "split.seed")}
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[:4] == ["Self T+V better: 2", "Cross T+V better: 2", "equivalent: 1", "undecided: 1"]


def test_the_committed_example_holds(monkeypatch):
    monkeypatch.chdir(ROOT)
    made = declaration.read(Path("docs/multiverse.yaml"))
    assert len(made.specifications) == 8
    assert "python -m stages.multiverse docs/multiverse.yaml" in (ROOT / "README.md").read_text()
    page = (ROOT / "docs/multiverse.md").read_text()
    own = pd.read_csv("metrics/ttest.csv").set_index(["a", "b", "score"]).loc[(*made.pair, made.metric)]
    assert f"params.yaml's own choices give {-100 * own['difference']:.1f}." in page
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert yaml.safe_load(blocks[0]) == yaml.safe_load((ROOT / "docs/multiverse.yaml").read_text())


@pytest.mark.long
def test_a_killed_multiverse_goes_on_with_what_is_missing(study: Study):
    study.set(variants=["self_tv", "cross_tv"], headline__modalities="tv", seeds=[1, 2], split__folds=2)
    declared = DECLARED | {"choices": {"split.seed": [1, 2]}}
    (study.folder / "own.yaml").write_text(yaml.safe_dump(declared))
    study.make_repository()
    study.ok("git", "add", "-A")
    study.ok("git", "commit", "-qm", "study")
    before = (study.folder / "params.yaml").read_bytes()
    running = study.start("python", "-m", "stages.multiverse", "own.yaml")
    while not study.ok("git", "for-each-ref", "refs/exps/*/*/multiverse-*"):
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.5)
    time.sleep(2)
    running.send_signal(signal.SIGKILL)  # the DVC that it has started runs on
    running.wait()
    said = study.ok("python", "-m", "stages.multiverse", "own.yaml")
    assert re.search("2 specifications, [01] to run", said)
    assert "2 specifications, 0 to run" in study.ok("python", "-m", "stages.multiverse", "own.yaml")
    assert study.ok("git", "status", "--porcelain").split() == ["??", "multiverse/"]
    assert (study.folder / "params.yaml").read_bytes() == before
    table = pd.read_csv(study.folder / "multiverse/own/specifications.csv")
    assert sorted(table["split.seed"]) == [1, 2]
    study.ok("dvc", "repro", "ttest")  # the study itself has the choices of one of them
    own = pd.read_csv(study.folder / "metrics/ttest.csv").set_index(["a", "b", "score"])
    expected = own.loc[("self_tv", "cross_tv", "accuracy"), "difference"]
    assert table.loc[table["own"] | (table["split.seed"] == 1), "difference"].tolist() == pytest.approx([expected])
