"""The figures: what they show of made-up studies of all shapes, and that nothing is cut off or alike."""

import itertools
import re
import subprocess
import sys

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from stages.common import figures, metrics, params, scores, task, variants
from stages.confusion import __main__ as confusion
from stages.confusion import drawing
from stages.ttest import comparisons
from stages.ttest import drawing as ttest_drawing
from stages.ttest.verdict import Verdict

CLASSES = ["angry", "excited", "happy", "sad", "frustrated", "surprise", "neutral"]
LONG = [f"{a}-{b}-disappointed" for a in "abcdef" for b in ("hardly", "very", "pleasantly", "not", "overwhelmingly")]
DEFAULT = params.load().variants
BLACK_ON_WHITE = 21
SETTINGS = params.Compare(pairs="auto", margin=0.01, alpha=0.05)


def made(names: list[str], classes: list[str], folds: int, seeds: int, untested: tuple = ()) -> pd.DataFrame:
    """Predictions of 30 utterances a fold, half of them right."""
    rng = np.random.default_rng(len(names))
    tested = [name for name in classes if name not in untested]
    parts = []
    for fold in range(1, folds + 1):
        actual = rng.choice(tested, 30)
        for name, seed in ((name, seed) for name in names for seed in range(seeds)):
            predicted = np.where(rng.random(30) < 0.5, actual, rng.choice(classes, 30))
            columns = {"variant": name, "fold": fold, "seed": seed, "actual": actual, "predicted": predicted}
            parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def differences(pairs: list[tuple[str, str]]) -> pd.DataFrame:
    """What the figures of the tests need of their table."""
    verdicts = [Verdict(), Verdict("a"), Verdict(None, True), Verdict("b", True)]
    columns = ["a", "b", "score", "test", "difference", "low", "high", "p_holm", "verdict"]
    rows = [
        (a, b, score, comparisons.COMPONENTS, 0.01 * i, -0.02, 0.03, 0.04, verdicts[i % 4])
        for i, (a, b) in enumerate(pairs)
        for score in metrics.PAPERS
    ]
    return pd.DataFrame(rows, columns=columns)


def recall_figure(predictions: pd.DataFrame, classes: list[str] = CLASSES, letters: str = "tva") -> Figure:
    combinations = variants.combinations(predictions["variant"].unique(), letters)
    return drawing.details(
        confusion.details(predictions, task.classes(classes)), task.classes(classes), combinations, "a study"
    )


def points(axis) -> dict[tuple[str, str], np.ndarray]:
    """Colour and marker → positions [class, (x, y)] of a panel's points."""
    lines = [container[0] for container in axis.containers if isinstance(container, ErrorbarContainer)]
    return {(line.get_color(), line.get_marker()): line.get_xydata() for line in lines}


def legend(figure: Figure) -> dict[str, tuple[str, str]]:
    """Text → colour and marker."""
    keys = figure.legends[0]
    handles = zip(keys.get_texts(), keys.legend_handles, strict=True)
    return {text.get_text(): (handle.get_color(), handle.get_marker()) for text, handle in handles}


def pixels(figure: Figure, path) -> np.ndarray:
    """The figure as it is saved: [height, width, channel]."""
    figures.save(figure, path)
    return matplotlib.image.imread(path)[..., :3]


def contrast(one: float, other: float) -> float:
    """WCAG's, of two relative luminances."""
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def luminance(colour) -> float:
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in matplotlib.colors.to_rgb(colour)]
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


@pytest.mark.parametrize(
    "names", [["self_tv", "cross_tv"], ["cross_tv", "self_tv"], ["cross_tv"], ["crossself_tva", "self_t", "cross_tva"]]
)
def test_a_model_has_one_look_whatever_else_is_drawn(names):
    figure = recall_figure(made(names, CLASSES, 2, 1))
    fusions = {variants.parse(name).fusion for name in names}
    assert legend(figure) == {variants.FUSIONS[fusion].label: variants.look(fusion) for fusion in fusions}
    drawn = set().union(*(points(axis) for axis in figure.axes))
    assert drawn == {variants.look(fusion) for fusion in fusions}


def test_the_order_of_the_variants_changes_no_byte(tmp_path):
    predictions = made(["self_tv", "cross_tv", "self_t"], CLASSES, 2, 2)
    swapped = pd.concat([predictions[predictions["variant"] == name] for name in ("cross_tv", "self_t", "self_tv")])
    for name, table in {"a.png": predictions, "b.png": swapped}.items():
        figures.save(recall_figure(table), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_no_two_fusions_look_alike_and_another_one_changes_none(monkeypatch):
    looks = {name: variants.look(name) for name in variants.FUSIONS}
    named = {name: look for name, look in looks.items() if variants.FUSIONS[name].colour}
    assert len(set(looks.values())) == len(looks)
    assert len({colour for colour, _ in named.values()}) == len(named)  # the paper's differ by colour alone
    for colour, marker in looks.values():
        assert to_hex(colour) == colour
        assert marker in matplotlib.markers.MarkerStyle.filled_markers
    others = {f"new{i}": variants.Fusion(label=f"New {i}") for i in range(28 - len(looks) + len(named))}
    monkeypatch.setattr(variants, "FUSIONS", variants.FUSIONS | others)
    assert {name: variants.look(name) for name in looks} == looks
    assert len({variants.look(name) for name in variants.FUSIONS}) == len(looks) + len(others)
    monkeypatch.setattr(variants, "FUSIONS", others | variants.FUSIONS)
    assert {name: variants.look(name) for name in named} == named
    monkeypatch.setitem(variants.FUSIONS, "new3", variants.Fusion(label="3", colour="#123456", marker="H"))
    assert variants.look("new3") == ("#123456", "H")


def test_the_registry_needs_no_library_that_draws():
    code = "import sys, stages.common.variants; sys.exit('matplotlib' in sys.modules or 'seaborn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_recalls_by_hand():
    # Fold 1 tests a (1 of 2 right) and b (0 of 1), fold 2 a alone (2 of 2); nothing tests c.
    rows = [(1, "a", "a"), (1, "a", "b"), (1, "b", "c"), (2, "a", "a"), (2, "a", "a")]
    predictions = pd.DataFrame(rows, columns=["fold", "actual", "predicted"]).assign(variant="self_tv", seed=1)
    table = confusion.details(predictions, task.classes(["a", "b", "c"])).set_index("name")
    assert set(table["modalities"]) == {"tv"}
    assert set(table["fusion"]) == {"self"}
    assert table["runs"].to_dict() == {"a": 2, "b": 1, "c": 0}
    assert table["mean"].to_dict() == pytest.approx({"a": 0.75, "b": 0, "c": np.nan}, nan_ok=True)
    assert table["std"].to_dict() == pytest.approx({"a": 0.5 / np.sqrt(2), "b": np.nan, "c": np.nan}, nan_ok=True)


def test_a_recall_of_0_is_a_point_and_a_class_that_is_not_tested_is_said_to_be():
    predictions = made(["self_tv", "cross_tv", "self_t"], CLASSES, 2, 1, untested=("surprise",))
    predictions.loc[predictions["actual"] == "happy", "predicted"] = "sad"
    predictions.loc[predictions["actual"] == "angry", "predicted"] = "angry"
    figure = recall_figure(predictions)
    for axis in figure.axes:
        for positions in points(axis).values():
            assert positions[CLASSES.index("happy"), 0] == 0
            assert positions[CLASSES.index("angry"), 0] == 1
            assert np.isnan(positions[CLASSES.index("surprise"), 0])
        assert [(text.get_text(), text.get_position()[1]) for text in axis.texts] == [
            ("no test utterance", CLASSES.index("surprise"))
        ]


def test_every_variant_is_a_point_in_the_same_place_of_each_panel_and_no_line_is_cut():
    figure = recall_figure(made(DEFAULT, CLASSES, 3, 2))
    panels = {axis.get_title(): axis for axis in figure.axes if axis.get_visible()}
    assert list(panels) == ["T", "V", "A", "T+V", "T+A", "V+A", "T+V+A"]
    drawn = {title: points(axis) for title, axis in panels.items()}
    assert set(drawn["T+V+A"]) == {variants.look(variants.parse(name).fusion) for name in DEFAULT}
    assert {title: len(models) for title, models in drawn.items()} == {
        title: sum(variants.parse(name).label.endswith(f" {title}") for name in DEFAULT) for title in panels
    }
    for look in drawn["T+V+A"]:
        rows = [models[look][:, 1] for models in drawn.values() if look in models]
        assert all((row == rows[0]).all() for row in rows)
    for axis in panels.values():
        low, high = axis.get_xlim()
        for container in axis.containers:
            for x in np.concatenate(container[2][0].get_segments())[:, 0]:
                assert low < x < high


def test_panels_of_other_modalities_follow_the_order_of_their_letters():
    names = ["cross_zb", "self_zb", "self_b", "self_z"]
    figure = recall_figure(made(names, CLASSES, 2, 1), letters="zb")
    panels = {axis.get_title(): set(points(axis)) for axis in figure.axes if axis.get_visible()}
    own = {variants.look("self")}
    assert list(panels) == ["Z", "B", "Z+B"]
    assert panels == {"Z": own, "B": own, "Z+B": own | {variants.look("cross")}}


@pytest.mark.parametrize("classes", [["no", "yes"], CLASSES, LONG, ["x" * 60, "y" * 60]])
@pytest.mark.filterwarnings("error::UserWarning")
def test_the_text_of_a_confusion_matrix_can_be_read(classes, tmp_path):
    counts = np.diag(np.full(len(classes), 1234)) + 1
    counts[1] = 0
    figure = drawing.confusion({"Self": counts, "Cross": counts * 9}, classes, "a study")
    figures.save(figure, tmp_path / "figure.png")
    figure.set_layout_engine("none")  # as it was saved
    figure.draw_without_rendering()
    caption = next(text for text in figure.texts if text.get_text() == drawing.CELLS)
    for axis, times in zip(figure.axes[:2], (1, 9), strict=True):
        cell = axis.get_window_extent().width / len(classes)
        texts = dict(zip(np.ndindex(counts.shape), axis.texts, strict=True))
        assert all(texts[1, j].get_text() == "–" for j in range(len(classes)))
        assert re.fullmatch(rf"\d+ %\n{1235 * times}", texts[0, 0].get_text())
        for text in axis.texts:
            extent = text.get_window_extent()
            assert max(extent.width, extent.height) < cell
        labels = axis.get_xticklabels()
        assert [label.get_text() for label in labels] == classes
        extents = [label.get_window_extent() for label in labels]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(extents))
        assert axis.xaxis.label.get_window_extent().y0 > caption.get_window_extent().y1
    assert all(label.get_text().endswith(" %") for label in figure.axes[2].get_yticklabels())


def test_text_contrasts_with_every_colour_of_the_confusion_matrices():
    assert contrast(luminance("white"), luminance("black")) == pytest.approx(BLACK_ON_WHITE)
    # The lightest grey with 4.6 to 1 against white is #757575; against the next one black is better.
    assert (figures.text_colour("#757575"), figures.text_colour("#767676")) == ("white", "black")
    for background in [*drawing.COLOURS(np.linspace(0, 1, 256)), drawing.COLOURS(np.ma.masked)]:
        assert contrast(luminance(background), luminance(figures.text_colour(background))) >= 4.5


def test_colours_of_confusion_matrices_darken_with_the_share():
    shares = [luminance(colour) for colour in drawing.COLOURS(np.linspace(0, 1, 101))]
    assert (np.diff(shares) < 0).all()


@pytest.mark.parametrize("folds", [1, 2, 5, 10, 24])
def test_folds_are_told_apart_by_more_than_their_colour(folds):
    runs = scores.run_scores(made(["self_tv", "cross_tv"], CLASSES, folds, 1), task.classes(CLASSES))
    figure = ttest_drawing.runs(runs, ["self_tv", "cross_tv"], list(metrics.PAPERS), "made up")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *(f"fold {fold}" for fold in range(1, folds + 1)),
        "mean",
    ]
    shapes = [handle.get_paths()[0].vertices.tobytes() for handle in figure.legends[0].legend_handles[:-1]]
    colours = [to_hex(handle.get_facecolor()[0]) for handle in figure.legends[0].legend_handles[:-1]]
    assert len(set(colours)) == folds
    assert len(set(shapes)) == min(folds, 10)
    for axis, metric in zip(figure.axes, metrics.PAPERS, strict=True):
        *marks, means = axis.collections
        heights = [mark.get_offsets()[:, 1] for mark in marks]
        assert (np.diff(heights, axis=0) > 0).all()
        for row, name in enumerate(["self_tv", "cross_tv"]):
            own = runs[runs["variant"] == name]
            np.testing.assert_allclose([mark.get_offsets()[row, 0] for mark in marks], own[metric])
            assert means.get_segments()[row][:, 0] == pytest.approx([own[metric].mean()] * 2)


SHAPES = {
    "the default": (DEFAULT, CLASSES, 5, 3),
    "many": (DEFAULT, CLASSES, 24, 1),
    "long names": (["self_tv", "cross_tv", "self_t"], LONG, 2, 1),
    "one run": (["self_tva"], ["no", "yes"], 1, 1),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.filterwarnings("error::UserWarning")
def test_nothing_touches_the_edge_and_the_default_fits_a_page(shape, tmp_path):
    names, classes, folds, seeds = SHAPES[shape]
    predictions = made(names, classes, folds, seeds)
    runs = scores.run_scores(predictions, task.classes(classes))
    table, every = differences(variants.pairs(names)), differences(list(itertools.combinations(names, 2)))
    matrices = confusion.confusion_matrices(predictions, names[:2], classes)
    for figure in (
        recall_figure(predictions, classes),
        drawing.confusion(matrices, classes, "a study"),
        ttest_drawing.runs(runs, names, list(metrics.PAPERS), "made up"),
        ttest_drawing.differences(table, SETTINGS, "made up"),
        ttest_drawing.matrix(every, names, "accuracy", "made up"),
    ):
        image = pixels(figure, tmp_path / "figure.png")
        rows, columns, _ = np.nonzero(image < 1)
        margins = rows.min(), columns.min(), image.shape[0] - 1 - rows.max(), image.shape[1] - 1 - columns.max()
        assert min(margins) >= 10
        if shape == "the default":
            assert image.shape[0] <= 1100
            assert image.shape[1] <= 1200


def test_verdicts_look_like_no_model():
    figure = ttest_drawing.differences(differences(variants.pairs(DEFAULT)), SETTINGS, "made up")
    looks = [(line.get_color(), line.get_marker()) for line in figure.legends[0].legend_handles[:-1]]
    assert len(set(looks)) == len(looks) == 3
    assert not set(looks) & {variants.look(name) for name in variants.FUSIONS}
    marks = [line for line in figure.axes[0].lines if line.get_marker() in "osD"]
    assert [mark.get_marker() for mark in marks[:4]] == ["D", "o", "s", "o"]


def test_drawing_twice_gives_the_same_bytes(tmp_path):
    predictions = made(["self_tv", "cross_tv"], CLASSES, 2, 2)
    matrices = confusion.confusion_matrices(predictions, ["self_tv", "cross_tv"], CLASSES)
    runs = scores.run_scores(predictions, task.classes(CLASSES))
    for draw in (
        lambda: recall_figure(predictions),
        lambda: drawing.confusion(matrices, CLASSES, "a study"),
        lambda: ttest_drawing.runs(runs, ["self_tv", "cross_tv"], list(metrics.PAPERS), "made up"),
        lambda: ttest_drawing.differences(differences(variants.pairs(DEFAULT)), SETTINGS, "made up"),
        lambda: ttest_drawing.matrix(differences([("self_tv", "cross_tv")]), ["self_tv", "cross_tv"], "accuracy", "s"),
    ):
        for name in ("one.png", "other.png"):
            figures.save(draw(), tmp_path / name)
        assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
