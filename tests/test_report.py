"""The report: what it says for every verdict, that it shows any text as it is, and that its numbers are the tables'."""

import itertools
import re
import shutil
import string
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.aggregate import __main__ as aggregate
from stages.common import corpus, figures, params, predictions, task, variants
from stages.common.errors import UserError
from stages.common.metrics import METRICS
from stages.evaluate import __main__ as evaluate
from stages.gates import __main__ as gates
from stages.report import __main__ as report
from stages.report import checklist, cite, confusions, findings, latex, pages, paragraph, ran, sections, wins
from stages.report.findings import Finding
from stages.report.material import Material, read
from stages.ttest import __main__ as ttest
from stages.ttest.verdict import Verdict, decide
from stages.tuning import __main__ as tuning
from tests import chromium
from tests.conftest import ROOT, make_up

HOSTILE = ["angry", "<script>alert(1)</script>", "a_b & 50% | $x$ \\ {y} ~ ^ #", "**悲しい** `Ünlü` łzy"]
"""Names of classes that HTML, Markdown and LaTeX would each take for more than text."""
SPOKEN = "</td><img src=x onerror=alert(1)> & \\input{x} 100 % | “naïve” Привет"
VARIANTS = ["self_t", "self_tv", "cross_tv", "self_ta", "cross_ta"]
SEEDS = [1, 2, 3]
TESTED = {1: np.arange(0, 11), 2: np.arange(13, 24)}
DEVELOPED = {1: np.arange(11, 18), 2: np.arange(0, 7)}
SETTINGS = params.Compare(pairs="auto", margin=0.01, alpha=0.05)
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU"
    b"\x00\x00\x00\nIDATx\x9cc\xf8\x0f\x00\x01\x01\x01\x00\x1b\xb6\xeeV\x00\x00\x00\x00IEND\xaeB`\x82"
)


def run_stages(classes: list[str], folder: Path, names: list[str], **changes) -> None:
    """A study in `folder`, as if trained, with all that the report reads; upstream figures are a dot each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(figures, "save", lambda figure, path: (path.parent.mkdir(exist_ok=True), path.write_bytes(PNG)))
        make_up(classes, TESTED, DEVELOPED, variants=names, headline__modalities="tv", **changes)
        table = pd.read_csv(corpus.FOLDER / "utterances.csv", dtype=str, keep_default_na=False)
        table["speaker"] = [f"speaker {row % 5}" for row in range(len(table))]
        table["transcription"] = [f"{row} {SPOKEN}" for row in range(len(table))]
        table.to_csv(corpus.FOLDER / "utterances.csv", index=False)
        shutil.copy(ROOT / "CITATION.cff", folder)
        for stage in (aggregate, ttest, gates, tuning, evaluate):
            stage.main()
        Path("plots/confusion").mkdir()
        Path("plots/confusion/recall.png").write_bytes(PNG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        report.main()


@pytest.fixture(scope="module")
def reported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    run_stages(HOSTILE, folder, VARIANTS, seeds=SEEDS)
    return folder


@pytest.fixture
def study(reported, monkeypatch) -> Material:
    """The study, whose folder is the current one: not to be changed."""
    monkeypatch.chdir(reported)
    return read()


class Page(HTMLParser):
    """Its elements, and its text element by element."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data.strip())

    def values(self, name: str) -> list[tuple[str, str]]:
        return [(tag, attributes[name]) for tag, attributes in self.tags if name in attributes]


@pytest.fixture(scope="module")
def page(reported) -> Page:
    return Page(reported / report.PAGE)


def finding(
    better: str | None, equivalent: bool, *, mean_a: float, mean_b: float, score: str = "accuracy", **names
) -> Finding:
    difference = mean_a - mean_b
    return Finding(
        **({"a": "self_tv", "b": "cross_tv"} | names),
        score=score,
        test="components",
        mean_a=mean_a,
        mean_b=mean_b,
        difference=difference,
        low=difference - 0.02,
        high=difference + 0.03,
        p_holm=0.012,
        p_equivalence_holm=0.034,
        verdict=Verdict(better, equivalent),
    )


@pytest.mark.parametrize(
    ("better", "equivalent", "mean_a", "said"),
    [
        (
            "a",
            False,
            0.7,
            "Self T+V is better than Cross T+V (.700 against .600, +10.0 points, 95 % interval [+8.0, +13.0]",
        ),
        (
            "b",
            False,
            0.5,
            "Cross T+V is better than Self T+V (.600 against .500, +10.0 points, 95 % interval [+7.0, +12.0]",
        ),
        (
            "a",
            True,
            0.604,
            "Self T+V is better than Cross T+V, but surely by less than 1 point (.604 against .600, +0.4",
        ),
        (
            "b",
            True,
            0.596,
            "Cross T+V is better than Self T+V, but surely by less than 1 point (.600 against .596, +0.4",
        ),
        (
            None,
            True,
            0.6,
            "Self T+V and Cross T+V are equivalent: their difference is surely within ± 1 point (.600 ag",
        ),
        (
            None,
            False,
            0.5,
            "undecided: neither Self T+V nor Cross T+V is shown to be better, nor are they shown to be eq",
        ),
    ],
)
def test_the_words_of_every_verdict(better, equivalent, mean_a, said):
    one = finding(better, equivalent, mean_a=mean_a, mean_b=0.6)
    assert one.sentence(SETTINGS).startswith(said)
    assert one.sentence(SETTINGS).endswith("P = .012, P of equivalence = .034)")


@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from(sorted(METRICS)),
    st.booleans(),
)
def test_the_better_model_is_named_first_whichever_way_they_stand(mean_a, mean_b, p, p_equal, score, turned):
    lower = METRICS[score].lower_is_better
    verdict = decide(mean_a - mean_b, p, p_equal, 0.05, lower_is_better=lower)
    names = {"a": "cross_tv", "b": "self_tv"} if turned else {}
    one = finding(verdict.better, verdict.equivalent, mean_a=mean_a, mean_b=mean_b, score=score, **names)
    labels = [variants.label(one.a), variants.label(one.b)]
    sentence, (summary,) = one.sentence(SETTINGS), findings.summaries([one], SETTINGS)
    if p >= 0.05:
        assert "is better than" not in sentence
        assert "is better" not in summary
        assert ("equivalent:" in sentence) == (p_equal < 0.05)
        return
    winner = labels[0] if (mean_a < mean_b) == lower and mean_a != mean_b else labels[1]
    if mean_a != mean_b:  # no real test finds a difference of 0
        loser = labels[1 - labels.index(winner)]
        assert sentence.startswith(f"{winner} is better than {loser}")
        assert f": {winner.split()[0]} is better" in summary
    assert ("the lower the better" in summary) == lower
    assert ("less than" in sentence) == ("less than" in summary) == (p_equal < 0.05)


def test_a_summary_groups_modalities_by_verdict():
    found = [
        finding("b", False, mean_a=0.5, mean_b=0.6),
        finding(None, False, mean_a=0.5, mean_b=0.51, a="self_ta", b="cross_ta"),
        finding("b", False, mean_a=0.5, mean_b=0.6, a="self_va", b="cross_va"),
        finding("a", False, mean_a=0.7, mean_b=0.6, a="self_tva", b="cross_tva"),
        finding(None, True, mean_a=0.7, mean_b=0.7, a="self_t", b="self_v"),
    ]
    assert findings.summaries(found, SETTINGS) == [
        "UWA (accuracy): Cross is better on T+V and V+A; undecided on T+A; Self is better on T+V+A.",
        "UWA (accuracy): equivalent within ± 1 point.",
    ]
    assert findings.papers(found) == found[:4]
    assert findings.count(found[:4]) == (
        "Of 4 comparisons (combinations of modalities × metrics): Cross is better in 2; Self is better in 1; none "
        "equivalent; 1 undecided."
    )


def test_a_verdict_against_its_sign_is_refused(study, tmp_path):
    table = pd.read_csv(findings.FILE)
    own = table.index[table["score"] == "accuracy"][0]
    for difference, verdict, wrong in (
        (0.1, "B better", "sign"),
        (-0.1, "A better", "sign"),
        (0.1, "better", "one of"),
    ):
        table.loc[own, ["difference", "verdict"]] = difference, verdict
        table.to_csv(tmp_path / "ttest.csv", index=False)
        with pytest.raises(UserError, match=f"line {own + 2}: .*{wrong}"):
            findings.read(tmp_path / "ttest.csv")
    table.loc[own, ["difference", "verdict"]] = -0.1, "B better, equivalent"
    table.to_csv(tmp_path / "ttest.csv", index=False)
    assert findings.read(tmp_path / "ttest.csv")["verdict"][own] == Verdict("b", True)


def test_the_page_has_its_sections_in_order(page):
    anchors = [value for tag, value in page.values("id") if tag == "section"]
    expected = [
        "answer",
        "scores",
        "differences",
        "runs",
        "confusion",
        "details",
        "training",
        "pairs",
        "wins",
        "optimism",
    ]
    assert anchors == [*expected, "run", "cite", "checklist"]


def test_text_is_shown_as_it_is(reported, page):
    for text in (*HOSTILE, f"0 {SPOKEN}"):
        assert any(text == shown or shown.startswith(text) for shown in page.texts), text
    assert not {"script", "td/"} & {tag for tag, _ in page.tags}
    assert not page.values("onerror")
    assert all(value.startswith("data:image/png;base64,") for _, value in page.values("src"))


def test_the_page_asks_for_nothing_and_its_links_lead_somewhere(page):
    anchors = [value for _, value in page.values("id")]
    assert len(set(anchors)) == len(anchors)
    for tag, value in page.values("href"):
        if value.startswith("#"):
            assert value[1:] in anchors
        else:
            assert value == "data:," if tag == "link" else value.startswith("https://") and tag == "a"
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    assert {"#wins-self_tv-cross_tv", "#checklist"} <= {value for _, value in page.values("href")}
    assert any(value.startswith("default-src 'none'") for _, value in page.values("content"))


def test_the_same_study_gives_the_same_bytes_without_its_place(reported, monkeypatch, tmp_path):
    folder = shutil.copytree(reported, tmp_path / "moved")
    written = [report.PAGE, report.TABLES, report.ANSWER]
    before = [(folder / path).read_bytes() for path in written]
    monkeypatch.chdir(folder)
    report.main()
    assert [path.read_bytes() for path in written] == before
    assert not [path for path, text in zip(written, before, strict=True) if str(reported).encode() in text]


def tex_rows(path: Path) -> dict[str, list[list[str]]]:
    """Label of each table → its rows, the head first, with the commands for text undone."""
    found = {}
    for table in path.read_text(encoding="utf-8").split(r"\begin{table}")[1:]:
        body = table.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
        rows = [line for line in body.replace(r"\midrule", "").split("\\\\\n") if line.strip()]
        plain = [re.sub(r"\\textbf\{(.*?)\}", r"\1", row) for row in rows]
        for command, sign in ((r"\(\pm\)", "±"), (r"\(-\)", "-"), (r"\textless{}", "<")):
            plain = [row.replace(command, sign) for row in plain]
        found[re.search(r"\\label\{tab:(.*?)\}", table)[1]] = [
            [cell.strip() for cell in row.split(" & ")] for row in plain
        ]
    return found


def shown(value: float, digits: int = 3) -> str:
    """As the tables print it: `.587`."""
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text


def test_the_numbers_for_latex_are_those_of_the_csv_files(reported):
    tables = tex_rows(reported / report.TABLES)
    scores = pd.read_csv(reported / "metrics/table1.csv").set_index(["variant", "metric"])
    head, *rows = tables["table1"]
    assert [len(row) for row in rows] == [len(head)] * len(VARIANTS)
    for (modality, model, *cells), name in zip(rows, dict.fromkeys(scores.index.get_level_values(0)), strict=True):
        assert f"{model} {modality}" == variants.label(name)
        for cell, metric in zip(cells, ("balanced_accuracy", "accuracy"), strict=False):
            assert cell == f"{shown(scores.loc[(name, metric), 'mean'])} ± {shown(scores.loc[(name, metric), 'std'])}"
        assert cells[2:] == [
            f"{scores.loc[(name, 'accuracy'), 'parameters']:,.0f}",
            f"{scores.loc[(name, 'accuracy'), 'epochs']:.1f}",
        ]
    tests = pd.read_csv(reported / "metrics/ttest.csv")
    for metric in ("balanced_accuracy", "accuracy"):
        own = tests[tests["score"] == metric]
        for row, cells in zip(own.to_dict("records"), tables[f"tests-{metric.replace('_', '-')}"][1:], strict=True):
            assert cells[1] == f"{shown(row['mean_a'])}, {shown(row['mean_b'])}"
            ends = [f"{100 * row[name]:+.1f}" for name in ("difference", "low", "high")]
            assert cells[2] == "{} [{}, {}]".format(*ends).replace("-0.0", "+0.0")
            ps = [
                shown(row[name]) if row[name] >= 0.001 else "< .001" for name in ("p", "p_holm", "p_equivalence_holm")
            ]
            assert cells[4:7] == ps
            assert cells[7] == row["verdict"].replace("A", "first").replace("B", "second")


def test_the_papers_numbers_stand_beside_where_tables_have_them(study, tmp_path, monkeypatch):
    table = pd.read_csv("metrics/table1.csv").assign(
        paper_mean=np.nan, paper_std=np.nan, paper_n=np.nan, difference=np.nan
    )
    own = (table["variant"] == "cross_tv") & (table["metric"] == "accuracy")
    table.loc[own, ["paper_mean", "paper_std", "difference"]] = 0.6123, 0.0171, -0.0456
    (tmp_path / "metrics").mkdir()
    table.to_csv(tmp_path / "metrics/table1.csv", index=False)
    monkeypatch.chdir(tmp_path)
    grid = sections.grids.scored(1)
    assert grid.columns[5:8] == ["UWA (accuracy)", "Paper", "Difference"]
    cells = {row[1].text + row[0].text: [cell.text for cell in row[6:8]] for row in grid.rows}
    assert cells["CrossT+V"] == [".612 ± .017", "-4.6"]
    assert cells["SelfT+V"] == ["–", "–"]


@given(st.text())
def test_escaped_text_has_no_command_of_latex_but_our_own(text):
    left = latex.escape(text)
    for command in sorted({*latex.COMMANDS.values(), "-{}-"}, key=len, reverse=True):
        left = left.replace(command, "")
    left = left.removeprefix("{}")
    assert not set(left) & set('\\{}$&#%_^~<>|"`')
    assert set(left) <= {*string.printable, *latex.LETTERS}
    assert "\n" not in left


def test_what_latex_has_no_sign_for_is_replaced():
    assert latex.escape("naïve Łódź −3 -.5 a-b 悲 ｆ é́") == r"naïve Łódź \(-\)3 \(-\).5 a-b ? f é?"
    assert latex.escape("[x]\n\n*y") == "{}[x] *y"
    assert latex.escape("a--b $1_%") == r"a-{}-b \$1\_\%"


@given(st.text())
def test_escaped_text_is_no_markdown(text):
    escaped = paragraph.escape(text)
    assert re.sub(r"\\([\\`*_|~$<&\]])", r"\1", escaped) == " ".join(text.split())
    bare = re.sub(r"\\.", " ", escaped)
    assert not set(bare) & set("`*_|~$")
    assert not re.search(r"<[A-Za-z/!?]|&[#A-Za-z]|\][(\[:]", bare)


def test_the_paragraph_holds_every_verdict_of_self_and_cross(study):
    text, own = Path(report.ANSWER).read_text(), findings.papers(study.findings)
    assert len(own) == 2 * 2
    for one in own:
        assert paragraph.escape(one.sentence(study.config.compare)) in text
    assert text.count("\n") == 1


def test_a_study_without_pairs_says_so(study, monkeypatch):
    alone = Material(
        **{name: getattr(study, name) for name in Material.__dataclass_fields__} | {"tests": study.tests[:0]}
    )
    said = [block.text for block in sections.answer(alone).blocks if block.kind == "paragraph"]
    assert said[0] == "The study has no pair of models to compare: see compare.pairs in params.yaml."
    assert sections.where(alone) is sections.differences(alone) is None
    assert "No pair of models was compared." in paragraph.markdown(alone)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("IEMOCAP", None),
        (
            "manifest, not real: random weights for text",
            "Not real: corpus manifest, not real: random weights for text.",
        ),
        ("synthetic", "Not real: the corpus is synthetic, made up by a computer."),
    ],
)
def test_what_is_not_real_is_said_loudly(study, monkeypatch, name, said):
    monkeypatch.setattr(sections.curves, "as_png", lambda figure: PNG)
    meta = corpus.Meta(corpus=name, classes=HOSTILE, modalities=["text"])
    own = Material(**{field: getattr(study, field) for field in Material.__dataclass_fields__} | {"meta": meta})
    text = report.page.html(own)
    assert ('<p class="loud" role="alert">' in text) == (said is not None)
    assert text.index(said or "<h1>") < text.index('id="answer"')
    assert (said or "On the corpus IEMOCAP") in paragraph.markdown(own)
    assert (said is not None) == (r"\noindent\textbf{Not real" in latex.page(own))


def test_confusion_counts_are_those_of_the_predictions(study):
    table = predictions.read_study(["cross_tv"], SEEDS, task.classes(HOSTILE))
    expected = [[len(table[(table["actual"] == a) & (table["predicted"] == p)]) for p in HOSTILE] for a in HOSTILE]
    assert confusions.counts(study, "cross_tv").tolist() == expected
    (own,) = [fold for fold in confusions.folds(study) if fold.summary == "Self T+V and Cross T+V"]
    first, second, gap = own.blocks[0].blocks
    assert [first.caption, second.caption, gap.caption] == ["Self T+V", "Cross T+V", "Cross T+V − Self T+V"]
    share = [round(100 * n / sum(expected[1])) for n in expected[1]]
    assert [int(cell.text) for cell in second.rows[1][1:]] == share
    assert abs(int(gap.rows[1][1].text) - (int(second.rows[1][1].text) - int(first.rows[1][1].text))) <= 1
    assert {cell.tone for row in gap.rows for cell in row[1:] if cell.text.startswith("-")} <= {"down"}


def test_the_telling_utterances_are_those_that_one_gets_right_and_the_other_wrong(study):
    a, b = (predictions.read_study([name], SEEDS, task.classes(HOSTILE)) for name in ("self_tv", "cross_tv"))
    shares = [(own["actual"] == own["predicted"]).groupby(own["utterance_id"]).mean() for own in (a, b)]
    found = wins.by_utterance(study, "self_tv", "cross_tv")
    np.testing.assert_allclose(found["a"], shares[0])
    np.testing.assert_allclose(found["b"], shares[1])
    of_right = [own.apply(lambda row: row[f"probability_{row['actual']}"], axis=1) for own in (a, b)]
    np.testing.assert_allclose(found["sure_b"], of_right[1].groupby(b["utterance_id"]).mean(), rtol=1e-6)
    for better, worse, sign in (("self_tv", "cross_tv", 1), ("cross_tv", "self_tv", -1)):
        heading, grid = wins.telling(study, found, better, worse, sign)
        assert heading.text == f"What {variants.label(better)} gets right more often"
        gap = sign * (shares[0] - shares[1])
        gaps = [gap[row[0].text] for row in grid.rows]
        assert gaps == sorted(gaps, reverse=True)
        assert min(gaps) > 0
        assert sorted(gaps) == sorted(gap[gap > 0])[-len(gaps) :]
        row = grid.rows[0]
        wrong = (b if sign > 0 else a).query("utterance_id == @row[0].text and predicted != actual")["predicted"]
        assert row[-1].text in set(wrong[wrong.map(wrong.value_counts()) == wrong.value_counts().max()])
        assert row[1].text == study.utterances.loc[row[0].text, "label"]
        assert row[3].text == study.utterances.loc[row[0].text, "transcription"]
        shown_shares = [float(cell.text.removesuffix(" %")) / 100 for cell in row[4:6]]
        assert shown_shares[0] - shown_shares[1] == pytest.approx(gaps[0], abs=0.011)


def test_shares_by_group_by_hand():
    found = pd.DataFrame({"a": [1.0, 0.5, 0.0, 0.25], "b": [0.0, 0.5, 1.0, 0.75]}, index=list("wxyz"))
    groups = pd.Series(["m", "m", "f", "m"], index=found.index)
    grid = wins.by_group(found, groups, "Speaker", ("A", "B"))
    # m: (1 + .5 + .25)/3 = .583 and (0 + .5 + .75)/3 = .417; f: 0 and 1.
    assert [[cell.text for cell in row] for row in grid.rows] == [
        ["f", "1", ".000", "1.000", "-100.0"],
        ["m", "3", ".583", ".417", "+16.7"],
    ]


def test_lengths_are_divided_into_quarters():
    lengths = pd.Series([0, 5, 1, 2, 3, 4, 6, 7, 8, 9], index=list("abcdefghij"))
    own = wins.quarters(lengths)
    assert next(iter(own.cat.categories)) == "none"
    assert own["a"] == "none"
    for name in own.cat.categories[1:]:
        low, high = (int(edge) for edge in name.split(" to "))
        assert set(lengths[own == name]) == set(range(low, high + 1))
        assert len(lengths[own == name]) in (2, 3)
    assert list(wins.quarters(pd.Series([3, 3, 3]))) == ["3", "3", "3"]
    assert list(wins.quarters(pd.Series([0, 0]))) == ["none", "none"]


def test_pages_of_other_stages_are_read_as_they_were_meant(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(
        "# Title\n\nSome **bold** `code`.\n\n* one\n* two\n\n## More\n\n| A | B |\n| --- | --- |\n| x \\| y | **1** |\n"
    )
    text, bullets, heading, grid = pages.read(path)
    assert (text.text, bullets.items, heading.text) == ("Some bold code.", ["one", "two"], "More")
    assert grid.columns == ["A", "B"]
    assert [(cell.text, cell.strong) for cell in grid.rows[0]] == [("x | y", False), ("1", True)]


def test_params_that_differ_are_shown_without_places():
    document = params.yaml_file.read(ROOT / "params.yaml")
    document["corpus"] = {"source": "manifest", "root": "/secret/place/corpus", "columns": {"emotion": "label"}}
    document["modalities"]["text"]["features"] = {"extractor": "glove", "weights": "/secret/glove.txt"}
    document["model"] = document["model"] | {"hidden": 30}
    document["train"] = document["train"] | {"workers": 3}
    own = params.Params.model_validate(document)
    found = {key: (value, default) for key, value, default in ran.differences(own)}
    assert found["model.hidden"] == (30, 60)
    assert found["modalities.text.features.weights"][0] == "/secret/glove.txt"
    assert found["modalities.text.dropout"] == (0.25, 0.0)
    assert not {"train.workers", "variants", "model.heads", "compare.margin"} & set(found)

    class Only:
        config = own

    text = str(ran.settings(Only()))
    assert "secret" not in text
    assert "…/corpus" in text
    assert "…/glove.txt" in text


def test_the_checklist_has_all_items_and_says_what_nobody_wrote_down(study, monkeypatch, tmp_path):
    rows = {row[0].text: row[2].text for row in checklist.grid(study).rows}
    modules = {1: "abc", 2: "abcde", 3: "abcdefg", 4: "abc", 5: "abcdef", 6: "abc", 7: "abc", 8: "ab"}
    assert list(rows) == [f"{number}{letter}" for number, own in modules.items() for letter in own]
    assert len(rows) == 32
    assert rows["1a"] == rows["3b"] == "not known from the files"
    assert rows["2a"].endswith("its checksum: not known from the files")
    assert rows["3e"] == "30 utterances of 5 speakers; by class: see What was run"
    lock = {
        "stages": {
            "corpus": {"outs": [{"path": "data/corpus", "md5": "17.dir"}]},
            "split": {"outs": [{"path": "data/folds.csv", "md5": "23"}]},
        }
    }
    monkeypatch.setattr(checklist, "LOCK", tmp_path / "dvc.lock")
    checklist.LOCK.write_text(str(lock))
    assert checklist.digests(study) == "data/corpus 17.dir, data/folds.csv 23 (MD5, in dvc.lock)"


def test_the_paper_and_the_software_are_cited(tmp_path):
    found = cite.read(ROOT / "CITATION.cff")
    assert "Vandana Rajan, Alessio Brutti, Andrea Cavallaro" in cite.sentences(found)[1]
    entries = cite.bibtex(found)
    assert entries.count("@") == 2
    assert "author = {Vandana Rajan and Alessio Brutti and Andrea Cavallaro}" in entries
    assert "year = {2022}" in entries
    (tmp_path / "CITATION.cff").write_text("title: [")
    with pytest.raises(UserError, match="must be YAML"):
        cite.read(tmp_path / "CITATION.cff")


def test_what_was_asked_for_appears_and_nothing_else(study, tmp_path):
    assert (
        sections.interaction(study)
        is sections.missing(study)
        is sections.tuning(study)
        is sections.gates(study)
        is None
    )
    (tmp_path / "emap.md").write_text(
        "# Is interaction used?\n\nCorpus: x.\n\n## UWA\n\n| Model | Score |\n| --- | --- |\n| a | .5 |\n"
    )
    (tmp_path / "emap.png").write_bytes(PNG)
    own = sections.evaluated(
        "emap", "EMAP", tmp_path / "emap.md", {tmp_path / "emap.png": "drawn", tmp_path / "no.png": ""}
    )
    assert [block.kind for block in own.blocks] == ["figure", "paragraph", "heading", "grid"]


def test_damaged_and_missing_files_are_named(reported, tmp_path, monkeypatch):
    folder = shutil.copytree(reported, tmp_path / "study")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sections.curves, "as_png", lambda figure: PNG)
    for name, content in (("plots/runs.png", b"no"), ("metrics/table1.csv", b""), ("plots/differences.png", None)):
        path, before = Path(name), Path(name).read_bytes()
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(UserError, match=name):
            report.main()
        path.write_bytes(before)


@pytest.mark.parametrize(("classes", "count"), [(2, 30), (30, 3)])
def test_few_and_many_classes_and_long_names_make_a_page(tmp_path, monkeypatch, classes, count):
    fusions = [
        name for name, own in variants.FUSIONS.items() if own.trained and own.at_least < 3 and own.at_most is None
    ]
    names = [variants.named(*own) for own in itertools.product(fusions, ("tv", "ta"))][:count]
    long = {
        name: variants.Fusion(**vars(own) | {"label": f"{own.label} {'very long name ' * 4}"})
        for name, own in variants.FUSIONS.items()
    }
    monkeypatch.setattr(variants, "FUSIONS", long)
    monkeypatch.setattr(sections.curves, "as_png", lambda figure: PNG)
    run_stages(
        [f"class {i} {'x' * 20}" for i in range(classes)], tmp_path, names, seeds=[1], headline__attention="cross"
    )
    own = Page(tmp_path / report.PAGE)
    assert (tmp_path / report.PAGE).stat().st_size < 20e6
    assert set(map(variants.label, names)) <= set(own.texts)
    if chromium.PATH:
        with chromium.Chromium() as browser:
            check_in_browser(browser, tmp_path / report.PAGE)


def check_in_browser(browser: chromium.Chromium, path: Path) -> None:
    """No complaint, no request and no scrolling to the side, on a desk and in a hand, by day and by night."""
    for width, dark in ((1280, False), (390, True)):
        browser.open(path, width=width, dark=dark)
        browser.evaluate("document.querySelectorAll('details').forEach(own => own.open = true)")
        assert browser.evaluate("innerWidth") == width
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate("document.images.length && [...document.images].every(own => own.naturalWidth > 0)")
    assert browser.complaints() == []
    assert {url.partition(":")[0] for url in browser.requested()} <= {"file", "data"}
    assert {url for url in browser.requested() if url.startswith("file:")} == {path.resolve().as_uri()}


@pytest.mark.skipif(not chromium.PATH, reason="needs Chromium on the path")
def test_a_browser_shows_it_without_complaint_or_request(reported):
    with chromium.Chromium() as browser:
        check_in_browser(browser, reported / report.PAGE)
        day, night = [], []
        for dark, found in ((False, day), (True, night)):
            browser.open(reported / report.PAGE, width=1280, dark=dark)
            found.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert day != night


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex on the path")
def test_latex_compiles_the_tables_whatever_the_names(study, tmp_path, monkeypatch):
    hostile = " ".join([*HOSTILE, SPOKEN, *latex.COMMANDS, *sorted(latex.LETTERS)])
    meta = corpus.Meta(corpus=hostile, classes=HOSTILE, modalities=["text"])
    own = Material(**{name: getattr(study, name) for name in Material.__dataclass_fields__} | {"meta": meta})
    long = {
        name: variants.Fusion(**vars(one) | {"label": f"[{one.label}] * {HOSTILE[2]}"})
        for name, one in variants.FUSIONS.items()
    }
    monkeypatch.setattr(variants, "FUSIONS", long)
    (tmp_path / "tables.tex").write_text(latex.page(own), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 10_000


def test_a_dot_is_a_png(tmp_path):
    (tmp_path / "dot.png").write_bytes(PNG)
    assert matplotlib.image.imread(tmp_path / "dot.png").shape[:2] == (1, 1)
