"""Differences over several corpora: numbers worked by hand, a plain loop, strict reading, the page and the figure."""

import csv
import io
import itertools
import math
import re
import sys

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.patches import Polygon
from scipy import stats

from stages.common import figures
from stages.common.errors import UserError
from stages.ttest import corpora, corpora_input, forest

PAIR = ("self_tva", "cross_tva")
T1, T2 = math.tan(0.475 * math.pi), 0.95 / math.sqrt(0.5 * (1 - 0.95**2))
"""The .975 quantiles of Student's distribution with 1 and 2 degrees of freedom, in closed form."""


def row(difference, se, *, pair=PAIR, score="accuracy", df=11.5, folds=5, seeds=3) -> dict:
    values = (*pair, score, folds, seeds, difference, se, df)
    return dict(zip(corpora_input.COLUMNS, values, strict=True))


def write(folder, *rows: dict):
    """A study of these rows, with a column that nobody asked for."""
    path = folder / "metrics" / "ttest.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).assign(verdict="undecided").to_csv(path, index=False)
    return str(folder)


def run(monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["corpora", *map(str, arguments)])
    corpora.main()


def combined(differences, ses) -> dict[str, float]:
    return corpora.random_effects(np.array(differences, float), np.array(ses, float))[0]


def test_two_corpora_by_hand():
    # 0 and 4 points, se 1: Q = 2² + 2² = 8 on 1 df. Paule and Mandel: 8 / (1 + τ²) = 1, τ² = 7. Mean 2, SE = √(8/2) =
    # 2; t = 1 on 1 df (Cauchy): P = 1/2. I² = 1 - 1/8. A chi² on 1 df is a squared normal: P(Q) = erfc(√(8/2)).
    found = combined([0.00, 0.04], [0.01, 0.01])
    assert found["tau"] ** 2 == pytest.approx(0.0007)
    assert (found["difference"], found["se"], found["df"]) == (pytest.approx(0.02), pytest.approx(0.02), 1)
    assert (found["low"], found["high"]) == (pytest.approx(0.02 - T1 * 0.02), pytest.approx(0.02 + T1 * 0.02))
    assert found["p"] == pytest.approx(0.5)
    assert (found["q"], found["p_q"], found["i2"]) == (
        pytest.approx(8),
        pytest.approx(math.erfc(2)),
        pytest.approx(7 / 8),
    )
    assert np.isnan([found["prediction_low"], found["prediction_high"]]).all()


def test_two_corpora_of_unequal_precision_by_hand():
    # 0 and 4 points, variances 1 and 3: 4² / (1 + 3 + 2 τ²) = 1, τ² = 6. Weights 1/7 and 1/9, shares 9/16 and 7/16:
    # mean 7/4, SE² = 63/16. With τ² = 0, Q = 4²/(1 + 3) = 4.
    found, weight = corpora.random_effects(np.array([0.0, 0.04]), np.array([0.01, 0.01 * math.sqrt(3)]))
    np.testing.assert_allclose(weight, [9 / 16, 7 / 16], rtol=1e-9)
    assert found["tau"] == pytest.approx(0.01 * math.sqrt(6))
    assert (found["difference"], found["se"]) == (pytest.approx(0.0175), pytest.approx(0.01 * math.sqrt(63 / 16)))
    assert found["q"] == pytest.approx(4)


def test_three_corpora_by_hand():
    # 0, 3 and 6 points, se 1: 18 / (1 + τ²) = 2, τ² = 8; mean 3, SE = √(9/3) = √3, t = √3. On 2 df P = 1 - t/√(2 + t²)
    # and t(.975) = 4.30. Q = 18: P = exp(-9), I² = 1 - 2/18. A new corpus: 1 df, √(8 + 3).
    found = combined([0.0, 0.03, 0.06], [0.01] * 3)
    assert found["tau"] == pytest.approx(0.01 * math.sqrt(8))
    assert (found["difference"], found["se"]) == (pytest.approx(0.03), pytest.approx(0.01 * math.sqrt(3)))
    assert found["p"] == pytest.approx(1 - math.sqrt(3 / 5))
    assert (found["high"] - 0.03) / found["se"] == pytest.approx(T2)
    assert (found["q"], found["p_q"], found["i2"]) == (
        pytest.approx(18),
        pytest.approx(math.exp(-9)),
        pytest.approx(16 / 18),
    )
    reach = T1 * 0.01 * math.sqrt(11)
    assert (found["prediction_low"], found["prediction_high"]) == (
        pytest.approx(0.03 - reach),
        pytest.approx(0.03 + reach),
    )


def test_corpora_that_happen_to_agree_make_no_narrow_interval():
    # 1 and 1.2 points, se 1: Q = 2 · .1² = .02 < 1, so τ = 0; Hartung and Knapp's SE would be √(.02 / 2) = .1 points.
    found = combined([0.01, 0.012], [0.01, 0.01])
    assert (found["tau"], found["i2"]) == (0, 0)
    assert found["scale"] == pytest.approx(0.02)
    assert found["se"] == pytest.approx(0.01 * math.sqrt(1 / 2))
    same = combined([0.013] * 3, [0.01, 0.02, 0.03])
    assert (same["q"], same["tau"], same["i2"]) == (pytest.approx(0, abs=1e-20), 0, 0)
    assert (same["difference"], same["p_q"]) == (pytest.approx(0.013), 1)


def plain(differences: list[float], ses: list[float]) -> dict[str, float]:
    """Random effects by loops and bisection."""
    k = len(differences)

    def by_weight(tau2: float) -> tuple[float, float, float]:
        weights = [1 / (se * se + tau2) for se in ses]
        mean = math.fsum(w * d for w, d in zip(weights, differences, strict=True)) / math.fsum(weights)
        spread = math.fsum(w * (d - mean) ** 2 for w, d in zip(weights, differences, strict=True))
        return mean, spread, math.fsum(weights)

    q = by_weight(0.0)[1]
    low, high = 0.0, 2 * (max(differences) - min(differences)) ** 2
    for _ in range(300):
        middle = (low + high) / 2
        low, high = (middle, high) if by_weight(middle)[1] > k - 1 else (low, middle)
    tau2 = low if q > k - 1 else 0.0
    mean, spread, total = by_weight(tau2)
    se = math.sqrt(max(1.0, spread / (k - 1)) / total)
    reach = stats.t.ppf(0.975, k - 1) * se
    found = {"tau": math.sqrt(tau2), "difference": mean, "se": se, "low": mean - reach, "high": mean + reach, "q": q}
    found["p"] = float(stats.t.sf(abs(mean) / se, k - 1) + stats.t.cdf(-abs(mean) / se, k - 1))
    found["i2"] = max(0.0, (q - (k - 1)) / q) if q else 0.0
    if k > 2:
        found["prediction_high"] = mean + stats.t.ppf(0.975, k - 2) * math.sqrt(tau2 + se * se)
    return found


def differ(found: dict[str, float], expected: dict[str, float]) -> dict[str, tuple[float, float]]:
    """What is not the same to 1e-10 of a score, a statistic or a probability, by more than rounding of large ones."""
    return {
        name: (found[name], value)
        for name, value in expected.items()
        if abs(found[name] - value) > 1e-10 * max(1, abs(value))
    }


@settings(max_examples=300)
@given(st.lists(st.tuples(st.floats(-0.3, 0.3), st.floats(0.002, 0.1)), min_size=2, max_size=13))
def test_a_plain_loop_finds_the_same(study):
    differences, ses = map(list, zip(*study, strict=True))
    assert not differ(combined(differences, ses), plain(differences, ses))


@pytest.mark.parametrize("precision", [1e-3, 1e-6, 1e-11])
def test_tau_is_found_however_precise_the_studies(precision):
    # Newton's steps from τ² = 0 take about 2 log2(distance / se) of them; statsmodels stops at 50 by default.
    differences, ses = [0.21, 0.24, 0.2, 0.29], [precision, 3 * precision, 2 * precision, 5 * precision]
    found, expected = combined(differences, ses), plain(differences, ses)
    for name in ("tau", "difference", "se", "low", "high", "p"):
        assert found[name] == pytest.approx(expected[name], rel=1e-8), name


def test_the_differences_place_on_the_axis_does_not_matter():
    far, near = (combined([place + d for d in (0.0, 0.00001, 0.00003)], [0.00001] * 3) for place in (0.7, 0.0))
    assert far["q"] == pytest.approx(near["q"], rel=1e-8)
    assert far["tau"] == pytest.approx(near["tau"], rel=1e-8)


def test_holm_over_the_pairs_of_a_score(tmp_path):
    pairs = [("self_tv", "cross_tv"), ("self_ta", "cross_ta"), ("self_va", "cross_va")]
    effects = dict(zip(pairs, (0.5, 0.2, 0.35), strict=True))
    folders = [
        write(
            tmp_path / name,
            *(row(effects[pair], 0.01, pair=pair) for pair in pairs),
            row(0.9, 0.01, pair=pairs[0], score="balanced_accuracy"),
        )
        for name in "pq"
    ]
    table, _ = corpora.combine(corpora_input.read(folders), ["accuracy", "balanced_accuracy"])
    # The least P first: times 3, 2 and 1, none below the one before; the other score is a family of one pair.
    p = table["p"].to_numpy()
    assert p[0] < p[2] < p[1]
    second = max(3 * p[0], 2 * p[2])
    np.testing.assert_allclose(table["p_holm"], [3 * p[0], max(second, p[1]), second, p[3]], rtol=1e-12)


def test_a_pair_the_other_way_round_is_the_same_pair(tmp_path):
    first = write(tmp_path / "first", row(0.03, 0.01, df=7.25))
    straight = write(tmp_path / "straight", row(-0.02, 0.02, df=13.5))
    flipped = write(tmp_path / "flipped", row(0.02, 0.02, pair=PAIR[::-1], df=13.5))
    (one, its), (other, others) = (
        corpora.combine(corpora_input.read([first, second]), ["accuracy"]) for second in (straight, flipped)
    )
    numbers = one.columns.drop(["names"])
    pd.testing.assert_frame_equal(one[numbers], other[numbers])
    pd.testing.assert_frame_equal(its.drop(columns="study"), others.drop(columns="study"))
    assert others["difference"].tolist() == [0.03, -0.02]
    back, _ = corpora.combine(corpora_input.read([flipped, first]), ["accuracy"])
    assert (back["a"][0], back["b"][0]) == PAIR[::-1]
    assert back["difference"][0] == pytest.approx(-one["difference"][0])
    assert (back["low"][0], back["high"][0]) == (pytest.approx(-one["high"][0]), pytest.approx(-one["low"][0]))


def test_a_studys_own_interval_has_its_own_degrees_of_freedom(tmp_path):
    folders = [write(tmp_path / "p", row(0.0, 0.01, df=1)), write(tmp_path / "q", row(0.04, 0.01, df=2))]
    _, members = corpora.combine(corpora_input.read(folders), ["accuracy"])
    np.testing.assert_allclose(members["low"], [0 - T1 * 0.01, 0.04 - T2 * 0.01])
    np.testing.assert_allclose(members["high"], [0 + T1 * 0.01, 0.04 + T2 * 0.01])
    np.testing.assert_allclose(members["weight"], [0.5, 0.5])


def test_studies_without_a_standard_error_are_left_out_and_named(tmp_path):
    other = ("self_tv", "cross_tv")
    folders = [
        write(tmp_path / "p", row(0.01, 0.01), row(0.01, 0.01, pair=other)),
        write(tmp_path / "never-differ", row(0.0, 0.0, df=""), row(0.0, 0.0, pair=other, df="")),
        write(tmp_path / "rounding", row(0.5, 1e-15), row(0.5, 1e-15, pair=other)),
        write(tmp_path / "one-fold", row(0.3, "", df="", folds=1), row("", "", pair=other, df="", folds=0, seeds=0)),
        write(tmp_path / "q", row(0.03, 0.01)),
    ]
    table, members = corpora.combine(corpora_input.read(folders), ["accuracy"])
    assert list(zip(table["a"], table["b"], strict=True)) == [PAIR]  # of the other, only one study can tell
    assert table["names"].tolist() == ["p; q"]
    assert table["left_out"].tolist() == ["never-differ; rounding; one-fold"]
    assert table["difference"][0] == pytest.approx(0.02)
    text = corpora.page(table, members)
    assert "* Self T+V+A − Cross T+V+A: never-differ; rounding; one-fold\n" in text


def test_recalls_are_combined_on_demand(tmp_path, monkeypatch, capsys):
    rows = [row(0.02, 0.01, score=score) for score in ("accuracy", "recall_a | b $c$", "macro_f1")]
    folders = [write(tmp_path / name, *rows) for name in "pq"]
    run(monkeypatch, *folders)
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if line.startswith("##")] == ["## UWA (accuracy)", "## Macro F1"]
    run(monkeypatch, *folders, "--score", "recall_a | b $c$", "--score", "accuracy", "--out", tmp_path / "out")
    assert pd.read_csv(tmp_path / "out" / "corpora.csv")["score"].tolist() == ["recall_a | b $c$", "accuracy"]
    with pytest.raises(UserError, match=r"--score must be one of accuracy, recall_a \| b \$c\$, macro_f1, but is 'f1'"):
        run(monkeypatch, *folders, "--score", "f1")


def test_what_is_written_is_what_is_printed(tmp_path, monkeypatch, capsys):
    folders = [write(tmp_path / name, row(d, 0.01)) for name, d in (("p", 0.0), ("q", 0.03), ("r", 0.06))]
    run(monkeypatch, *folders, "--out", tmp_path / "a" / "b")
    out = tmp_path / "a" / "b"
    assert sorted(path.name for path in out.iterdir()) == ["corpora.csv", "corpora.md", "forest.png"]
    text = capsys.readouterr().out
    assert (out / "corpora.md").read_text() == text
    # The numbers of test_three_corpora_by_hand; Student's quantiles give 3 ± 4.303 · √3 and 3 ± 12.706 · √11.
    cells = ["+3.0 [-4.5, +10.5]", ".225", ".225", "18.00 (P < .001)", "89 %", "2.8", "[-39.1, +45.1]"]
    assert f"| Self T+V+A − Cross T+V+A | 3 | {' | '.join(cells)} |\n" in text
    table = pd.read_csv(out / "corpora.csv")
    assert table.columns.tolist() == list(corpora.COLUMNS)
    assert table["tau"][0] == pytest.approx(0.01 * math.sqrt(8))


@pytest.mark.parametrize(
    ("study", "name", "file"),
    [
        ("iemocap", "iemocap", "iemocap/metrics/ttest.csv"),
        ("./iemocap/", "iemocap", "iemocap/metrics/ttest.csv"),
        ("iemocap/metrics/ttest.csv", "iemocap", "iemocap/metrics/ttest.csv"),
        ("iemocap/metrics/..", "iemocap", "iemocap/metrics/../metrics/ttest.csv"),
        ("iemocap/other.csv", "iemocap", "iemocap/other.csv"),
        ("my corpus=iemocap", "my corpus", "iemocap/metrics/ttest.csv"),
        ("x=lr=1/ttest.csv", "x", "lr=1/ttest.csv"),
        ("./lr=1", "lr=1", "./lr=1/metrics/ttest.csv"),
    ],
)
def test_names_of_studies(tmp_path, monkeypatch, study, name, file):
    write(tmp_path / "iemocap", row(0, 1))
    write(tmp_path / "lr=1", row(0, 1))
    monkeypatch.chdir(tmp_path)
    found, path = corpora_input.locate(study)
    assert (found, str(path)) == (name, file.removeprefix("./"))


def test_studies_must_differ(tmp_path, monkeypatch):
    one, other = write(tmp_path / "x" / "meld", row(0, 0.01)), write(tmp_path / "y" / "meld", row(0, 0.02))
    with pytest.raises(
        UserError, match=rf"different names, but {one}\S+ and {other}\S+ are both 'meld': write NAME=PATH"
    ):
        corpora_input.read([one, other])
    with pytest.raises(UserError, match="different files, but 'meld' and 'again' are both"):
        corpora_input.read([one, f"again={one}"])
    for name in ("a|b", "x" * 61, " ", "a\nb"):
        with pytest.raises(UserError, match="name must be 1 to 60 printable characters"):
            corpora_input.read([one, f"{name}={other}"])
    assert corpora_input.read([one, f"second={other}"])["study"].tolist() == ["meld", "second"]


def test_fewer_than_two_studies_of_a_pair(tmp_path, monkeypatch, capsys):
    one, other = write(tmp_path / "p", row(0, 0.01)), write(tmp_path / "q", row(0, 0.01, pair=("a", "b")))
    flat = write(tmp_path / "r", row(0, 0))
    for studies in ([one], [one, other], [one, flat]):
        with pytest.raises(UserError, match="at least two of the studies must have the same pair and score"):
            run(monkeypatch, *studies, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match="missing: STUDY must be the folder of a study"):
        run(monkeypatch, one, tmp_path / "nowhere")
    with pytest.raises(UserError, match="required"):
        run(monkeypatch)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("difference", "inf", "difference must be a number from -1e+09 to 1e+09, as se is above 0, but is 'inf'"),
        ("difference", "", "difference must be a number from -1e+09 to 1e+09, as se is above 0, but is ''"),
        ("difference", "1_0", "difference must be a number"),
        ("se", "-0.01", "se must be a number from 0 to 1e+09, or empty, but is '-0.01'"),
        ("se", "nan", "se must be a number"),
        ("se", "1e999", "se must be a number"),
        ("df", "0.5", "df must be a number from 1 to 1e+09, as se is above 0, but is '0.5'"),
        ("df", "", "df must be a number"),
        ("folds", "2.5", "folds must be a whole number from 0 to 1e+09, but is '2.5'"),
        ("seeds", "-1", "seeds must be a whole number"),
        ("a", "", "a must be 1 to 80 printable characters, but is ''"),
        ("a", "x\ny", "a must be 1 to 80 printable characters"),
        ("b", "self_tva", "b must be another variant than a, but is 'self_tva'"),
        ("score", "x\ty", "score must be 1 to 80 printable characters"),
    ],
)
def test_a_cell_that_breaks_a_rule(tmp_path, column, value, message):
    path = tmp_path / "metrics" / "ttest.csv"
    write(tmp_path, row(0.1, 0.01, score="macro_f1"), row(0.1, 0.01) | {column: value})
    with pytest.raises(UserError) as error:
        corpora_input.read([str(tmp_path)])
    line = 4 if "\n" in value else 3
    assert str(error.value).startswith(f"{path} line {line}: {message}")


def test_a_file_that_breaks_a_rule(tmp_path):
    path = tmp_path / "t.csv"
    good = io.StringIO()
    csv.DictWriter(good, corpora_input.COLUMNS).writerow(row(0.1, 0.01))
    header, line = ",".join(corpora_input.COLUMNS) + "\r\n", good.getvalue()
    path.write_text(header + line)
    assert len(corpora_input.read_file(path)) == 1
    flipped = line.replace("self_tva,cross_tva", "cross_tva,self_tva")
    cases = {
        "": "must have one column a, but has 0",
        header.replace("df", "dof") + line: "must have one column df, but has 0",
        header.replace("seeds", "se") + line: "must have one column seeds, but has 0",
        "a," + header + "x," + line: "must have one column a, but has 2",
        header + line + line: "line 3: a pair must have one row a score, but .* are in line 2 too",
        header + line + flipped: "line 3: a pair must have one row a score",
        header + line + "x\r\n": "line 3: must have 8 cells, one a column, but has 1",
        header + line[:-3] + ",,\r\n": "line 2: must have 8 cells, one a column, but has 10",
        header + '"' + line: "must be a CSV file in UTF-8, but is damaged",
    }
    for text, message in cases.items():
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            corpora_input.read_file(path)
    path.write_bytes((header + line).encode() + b"\xff")
    with pytest.raises(UserError, match="must be a CSV file in UTF-8, but is damaged"):
        corpora_input.read_file(path)
    path.write_text("\ufeff" + header + line)  # as spreadsheets write it
    assert len(corpora_input.read_file(path)) == 1


CELLS = st.one_of(
    st.sampled_from(
        ["", "nan", "inf", "-inf", "0", "-0.0", "1e-320", "1e-13", "1e308", "1e9", "-1e9", "1_0", "٣", " 1", '"']
    ),
    st.floats(allow_nan=True).map(str),
    st.floats(-1, 1).map(str),
    st.text(max_size=5),
    st.sampled_from([*PAIR, "accuracy", "recall_x"]),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 7)), CELLS, max_size=4),
    cut=st.integers(0, 400),
    noise=st.binary(max_size=4),
)
def test_a_damaged_file_is_an_error_of_one_line_or_a_result(tmp_path, monkeypatch, capsys, changes, cut, noise):
    cells = [list(corpora_input.COLUMNS)]
    cells += [[str(cell) for cell in row(0.02, 0.01, score=score).values()] for score in ("accuracy", "macro_f1", "ua")]
    for (i, j), cell in changes.items():
        cells[i][j] = cell
    text = io.StringIO()
    csv.writer(text).writerows(cells)
    damaged = text.getvalue().encode(errors="surrogatepass")
    path = tmp_path / "damaged.csv"
    path.write_bytes(damaged[:cut] + noise + damaged[cut:] if noise else damaged)
    good = write(tmp_path / "good", row(0.03, 0.02), row(0.01, 0.02, score="ua"))
    message = ""
    try:
        run(monkeypatch, good, path)
    except UserError as error:
        message = str(error)
    text = capsys.readouterr().out
    assert bool(message) != text.startswith("# Over 2 corpora\n")
    assert "\n" not in message
    assert "nan" not in text


def made(tmp_path, studies: int, pairs: list, scores=("balanced_accuracy", "accuracy")):
    """Combined differences of studies with long names; the last study has only the first pair."""
    rng = np.random.default_rng(studies)
    names = [f"a corpus of conversations by telephone, number {'i' * i}" for i in range(studies)]
    arguments = []
    for i, name in enumerate(names):
        own = pairs if i < studies - 1 or studies < 3 else pairs[:1]
        rows = [
            row(rng.normal(0.01, 0.02), 0.01 + 0.02 * rng.random(), pair=pair, score=score, df=1 + 9 * rng.random())
            for pair, score in itertools.product(own, scores)
        ]
        arguments.append(write(tmp_path / name, *rows))
    return corpora.combine(corpora_input.read(arguments), list(scores)), names


def overlaps(boxes: list) -> bool:
    return any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("studies", [2, 12])
def test_the_figure_shows_every_study(tmp_path, studies):
    pairs = [PAIR, ("crossself_tva", "cross_tva_nosp"), ("a_fusion_of_another_checkout", "self_tva")]
    (table, members), names = made(tmp_path, studies, pairs)
    figure = forest.draw(table, members, corpora.LEVEL)
    figures.save(figure, tmp_path / "forest.png")
    panels = [axis for axis in figure.axes if axis.get_visible()]
    assert len(panels) == 6
    for axis, (pair, score) in zip(panels, itertools.product(pairs, ("balanced_accuracy", "accuracy")), strict=True):
        own = members[(members["a"] == pair[0]) & (members["score"] == score)]
        squares = [mark for mark in axis.collections if isinstance(mark, PathCollection)]
        places = np.array([mark.get_offsets()[0] for mark in squares])
        np.testing.assert_allclose(places[:, 0], 100 * own["difference"])
        assert [names[int(y)] for y in places[:, 1]] == own["study"].tolist()
        areas = np.array([mark.get_sizes()[0] for mark in squares])
        np.testing.assert_array_equal(np.argsort(areas), np.argsort(own["weight"].to_numpy()))
        result = table[(table["a"] == pair[0]) & (table["score"] == score)].iloc[0]
        (diamond,) = (patch for patch in axis.patches if type(patch) is Polygon)
        ends = diamond.get_xy()[:, 0]
        assert (ends.min(), ends.max()) == (pytest.approx(100 * result["low"]), pytest.approx(100 * result["high"]))
        low, high = axis.get_xlim()
        assert low < min(0, places[:, 0].min())
        assert high > max(0, places[:, 0].max())
    rows = [label.get_text() for label in panels[0].get_yticklabels()]
    assert rows == names + (["combined"] if studies == 2 else ["combined", "a new corpus"])


@pytest.mark.parametrize("studies", [2, 12])
def test_nothing_in_the_figure_overlaps_or_is_cut_off(tmp_path, studies):
    (table, members), _ = made(tmp_path, studies, [PAIR, ("x" * 60, "y" * 60)])
    figure = forest.draw(table, members, corpora.LEVEL)
    figures.save(figure, tmp_path / "forest.png")
    figure.draw_without_rendering()
    panels = [axis for axis in figure.axes if axis.get_visible()]
    labels = [text for text in panels[0].get_yticklabels() if text.get_text()]
    boxes = [text.get_window_extent() for text in (*labels, *(axis.title for axis in panels))]
    boxes += [axis.get_window_extent() for axis in panels] + [figure.legends[0].get_window_extent()]
    boxes.append(figure._supxlabel.get_window_extent())
    assert not overlaps(boxes)
    image = matplotlib.image.imread(tmp_path / "forest.png")[..., :3]
    for edge in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert (edge == 1).all()


def test_an_interval_beyond_the_panel_ends_in_an_arrow(tmp_path):
    # 0 and 4 points, se 1; combined 2, se 2, 2 ± 25 points. The panel shows 3.5 standard errors, -5 to 9, and 3 % more.
    folders = [write(tmp_path / name, row(d, 0.01, df=30)) for name, d in (("p", 0.0), ("q", 0.04))]
    (axis,) = forest.draw(*corpora.combine(corpora_input.read(folders), ["accuracy"]), corpora.LEVEL).axes
    arrows = [line for line in axis.lines if line.get_marker() in (forest.CARETLEFT, forest.CARETRIGHT)]
    assert [(line.get_marker(), line.get_xdata()[0]) for line in arrows] == [
        (forest.CARETLEFT, axis.get_xlim()[0]),
        (forest.CARETRIGHT, axis.get_xlim()[1]),
    ]
    assert axis.get_xlim() == (pytest.approx(-5.42), pytest.approx(9.42))
    assert {line.get_ydata()[0] for line in arrows} == {2}


def test_very_many_pairs_go_on_beside_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(forest, "HIGHEST", 5.0)
    pairs = [(f"v{i}", "w") for i in range(5)]
    (table, members), _ = made(tmp_path, 4, pairs, scores=("accuracy",))
    figure = forest.draw(table, members, corpora.LEVEL)
    grid = figure.axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (1, 5)
    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert titles == [f"v{i} − w\nUWA (accuracy)" for i in range(5)]


def test_a_pair_without_one_of_the_scores_says_so(tmp_path):
    folders = [write(tmp_path / "p", row(0, 0.01), row(0, 0.01, score="ua")), write(tmp_path / "q", row(0.01, 0.01))]
    folders.append(write(tmp_path / "r", row(0, 0.01, score="ua", pair=("v", "w"))))
    folders.append(write(tmp_path / "s", row(0, 0.02, score="ua", pair=("v", "w"))))
    figure = forest.draw(*corpora.combine(corpora_input.read(folders), ["accuracy", "ua"]), corpora.LEVEL)
    said = {axis.get_title(): [text.get_text() for text in axis.texts] for axis in figure.axes}
    missing = ["in fewer than two studies"]
    assert said == {
        "Self T+V+A − Cross T+V+A\nUWA (accuracy)": [],
        "Self T+V+A − Cross T+V+A\nua": missing,
        "v − w\nUWA (accuracy)": missing,
        "v − w\nua": [],
    }


def test_names_are_no_mathematics(tmp_path):
    rows = row(0.02, 0.01, score=r"recall_$\no$")
    folders = [f"{name}={write(tmp_path / str(i), rows)}" for i, name in enumerate((r"$\such$", "5 $", "$_$"))]
    figure = forest.draw(*corpora.combine(corpora_input.read(folders), [rows["score"]]), corpora.LEVEL)
    figures.save(figure, tmp_path / "forest.png")  # `$\such$` would be an error of matplotlib's
    shown = [text.get_text().replace(r"\$", "$") for text in figure.axes[0].get_yticklabels()]
    assert shown[:3] == [r"$\such$", "5 $", "$_$"]


def test_scores_in_another_unit_have_an_axis_of_their_own(tmp_path):
    scores = ("accuracy", "brier_score", "negative_log_likelihood")
    (table, members), _ = made(tmp_path, 3, [PAIR], scores)
    large = members["score"] == "negative_log_likelihood"
    for frame, own in ((table, table["score"] == "negative_log_likelihood"), (members, large)):
        frame.loc[own, ["difference", "se", "low", "high"]] *= 50
    one, same, other = forest.draw(table, members, corpora.LEVEL).axes
    assert one.get_xlim() == same.get_xlim()
    assert np.diff(other.get_xlim()) > 5 * np.diff(one.get_xlim())
    titles = [axis.get_title().partition("\n")[2] for axis in (one, same, other)]
    assert titles == [
        "UWA (accuracy)",
        "Brier score; the lower the better",
        "Negative log-likelihood, in units of 0.01 nat; the lower the better",
    ]
    assert [f"## {title}" for title in titles] == re.findall("## .*", corpora.page(table, members))
