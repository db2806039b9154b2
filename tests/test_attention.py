"""Attention: weights against the fusions' own outputs, shares on padding, what axes say, and the stage's outputs."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from stages.attention import __main__ as stage
from stages.attention import axes, chosen, drawing, found
from stages.attention.axes import Axis
from stages.attention.found import Map, Shown
from stages.attention.weights import Attention, attend
from stages.common import corpus, features, predictions, task, tuning, variants
from stages.common.errors import UserError
from stages.common.records import RunId
from stages.evaluate.trained import TrainedRun, weights_path
from stages.train import model, protocol
from stages.train.fusions.attention import AveragedAttention
from stages.train.fusions.transformer_layers import PositionwiseAttention
from tests.conftest import HEARD, changed
from tests.test_evaluate import ROWS, simple_corpus, simple_plan

OWN, OTHER = [("text", "text"), ("audio", "audio")], [("text", "audio"), ("audio", "text")]
PAIRS = {"self": OWN, "self_nosp": OWN, "cross": OTHER, "cross_nosp": OTHER, "cross_half": OTHER, "dca": OTHER}
PAIRS |= {"crossself": OTHER + OWN, "self2": [OWN[0]] * 2 + [OWN[1]] * 2}
"""Fusion → the (target, source) pairs of its attention; of the others there is none between encodings."""


def untrained(folder: Path, fusion: str, **changes) -> TrainedRun:
    """A run of text and audio with the weights of a fresh model, whose biases are not 0."""
    plan, known = simple_plan(variants.named(fusion, "ta"), train__precision="float32", **changes), simple_corpus()
    torch.manual_seed(1)
    network = model.build(plan, protocol.shape(known, len(known.meta.classes)))
    for name, parameter in network.named_parameters():
        if "bias" in name:
            nn.init.normal_(parameter)
    save_file(network.state_dict(), folder / "fold1.safetensors")
    return TrainedRun(plan, known, ROWS, folder / "fold1.safetensors")


def first_batch(run: TrainedRun):
    _, batch = next(run.cut(run.rows["test"]))
    return attend(run, batch)


def output(own: Attention) -> torch.Tensor:
    """The module's output at every position [B, T, D]: weights applied to values, then the output projection."""
    weight, bias = own.module.in_proj_weight[0].chunk(3)[2], own.module.in_proj_bias[0].chunk(3)[2]
    values, weights, parts = own.keys @ weight.T + bias, own.weights().float(), []
    for head, columns in enumerate(torch.arange(values.shape[2]).chunk(own.module.heads)):
        parts.append(torch.einsum("bts,bsd->btd", weights[:, head], values[:, :, columns]))
    return torch.cat(parts, dim=2) @ own.module.out_proj.weight[0].T + own.module.out_proj.bias[0]


def mean(steps: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """[B, T, D] → [B, D], of the positions that count."""
    counts = [steps.shape[1]] * len(steps) if lengths is None else lengths.tolist()
    return torch.stack([own[:count].mean(dim=0) for own, count in zip(steps, counts, strict=True)])


@pytest.mark.parametrize("padding", ["attend", "mask"])
@pytest.mark.parametrize("fusion", PAIRS)
@torch.inference_mode()
def test_the_weights_are_those_that_the_fusion_uses(fusion, padding, tmp_path):
    run = untrained(tmp_path, fusion, model__padding=padding)
    attention, _ = first_batch(run)
    assert [(own.target, own.source) for own in attention] == PAIRS[fusion]
    assert (attention[0].source_lengths is None) == (padding == "attend")
    for own in attention:
        weights = own.weights()
        torch.testing.assert_close(weights.sum(dim=3), torch.ones(weights.shape[:3], dtype=torch.float64))
        if padding == "mask":
            for row, length in zip(weights, own.source_lengths.tolist(), strict=True):
                assert not row[:, :, length:].any()
        given = [own.queries[None], own.keys[None]]
        lengths = [None if some is None else some[None] for some in (own.target_lengths, own.source_lengths)]
        if isinstance(own.module, PositionwiseAttention):
            torch.testing.assert_close(output(own), own.module(*given, lengths[1])[0], rtol=0, atol=1e-5)
        else:
            expected = own.module(*given, *lengths)[0]
            torch.testing.assert_close(mean(output(own), own.target_lengths), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("fusion", ["self", "cross"])
@torch.inference_mode()
def test_logits_follow_from_the_weights(fusion, tmp_path):
    """Mean and deviation of the vectors that the weights give, classified, are what the model says."""
    run = untrained(tmp_path, fusion)
    attention, logits = first_batch(run)
    vectors = torch.stack([mean(output(own), own.target_lengths) for own in attention])
    fused = torch.cat([vectors.mean(dim=0), vectors.std(dim=0)], dim=1)
    np.testing.assert_allclose(run.network.classifier(fused[None])[0].numpy(), logits, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(logits, run.logits()[: len(logits)])


@pytest.mark.parametrize(
    "fusion", [name for name, own in variants.FUSIONS.items() if own.trained and own.at_least <= 2]
)
def test_fusions_without_attention_between_encodings_are_told_by_it(fusion, tmp_path):
    attention, _ = first_batch(untrained(tmp_path, fusion, model__heads=1))
    assert bool(attention) == (fusion in PAIRS)


def small_attention(scores: list[list[float]], lengths: list[int] | None = None) -> Attention:
    """One head of width 1 whose scores are queries times keys: [B, T, 1] of ones and [B, S, 1]."""
    module = AveragedAttention(1, 1, 0.0).double()
    for parameter in module.parameters():
        parameter.data = torch.zeros(1, *parameter.shape, dtype=torch.float64)
    module.in_proj_weight.data[0] = 1
    keys = torch.tensor(scores, dtype=torch.float64)[..., None]
    return Attention(
        target="a",
        source="b",
        module=module,
        queries=torch.ones(len(keys), 3, 1, dtype=torch.float64),
        keys=keys,
        target_lengths=None,
        source_lengths=None if lengths is None else torch.tensor(lengths),
    )


def test_weights_worked_by_hand():
    """exp(log 1), exp(log 2), exp(log 5) by their sum; what does not count gets nothing."""
    logs = np.log([[1.0, 2.0, 5.0], [3.0, 1.0, 7.0]]).tolist()
    weights = small_attention(logs).weights()[:, 0, 2]
    np.testing.assert_allclose(weights, [[1 / 8, 2 / 8, 5 / 8], [3 / 11, 1 / 11, 7 / 11]])
    weights = small_attention(logs, [3, 2]).weights()[1, 0, 2]
    np.testing.assert_allclose(weights, [3 / 4, 1 / 4, 0])


def test_shares_on_padding_worked_by_hand():
    logs = np.log([[1.0, 2.0, 5.0], [3.0, 1.0, 7.0], [1.0, 1.0, 1.0]]).tolist()
    held = torch.tensor([1, 2])  # the third utterance is none
    share, uniform = found.padding_shares(small_attention(logs), held)
    np.testing.assert_allclose(share, [7 / 8, 7 / 11])
    np.testing.assert_allclose(uniform, [2 / 3, 1 / 3])
    share, uniform = found.padding_shares(small_attention(logs, [1, 2, 3]), held)
    np.testing.assert_allclose([share, uniform], np.zeros((2, 2)))
    share, uniform = found.padding_shares(small_attention(logs, [1, 2, 3]), torch.tensor([0]))
    assert (share, uniform) == ([1.0], [1.0])  # an empty sequence is one position of padding


def test_shares_do_not_depend_on_how_many_are_computed_at_a_time(tmp_path, monkeypatch):
    run = untrained(tmp_path, "cross", model__padding="mask")
    own = first_batch(run)[0][1]
    held = torch.arange(1, 8) % 3
    whole = found.padding_shares(own, held)
    weights = own.weights()
    for row, share in enumerate(whole[0]):
        at = weights[row, :, : int(own.target_lengths[row])].mean(dim=(0, 1))
        assert share == pytest.approx(float(at[int(held[row]) :].sum()))
    monkeypatch.setattr(found, "VALUES", 1)
    np.testing.assert_allclose(found.padding_shares(own, held), whole)


# What is drawn


def some_axis(own: int = 3, padding: int = 2, **changes) -> Axis:
    return Axis(modality="text", label="text: words", own=own, padding=padding, **changes)


def test_padding_is_drawn_as_one_position_of_its_mean():
    weights = np.arange(20.0).reshape(1, 4, 5)
    target, source = some_axis(own=3, padding=1), some_axis(own=3, padding=2)
    np.testing.assert_array_equal(
        axes.condense(weights, target, source)[0],
        [[0, 1, 2, 3.5], [5, 6, 7, 8.5], [10, 11, 12, 13.5], [15, 16, 17, 18.5]],
    )
    np.testing.assert_array_equal(axes.condense(weights, some_axis(4, 0), some_axis(5, 0)), weights)
    assert axes.condense(weights, some_axis(4, 0), some_axis(0, 5)).tolist() == [[[2.0], [7.0], [12.0], [17.0]]]


@pytest.mark.parametrize(
    ("made", "seconds"),
    [
        ({"extractor": "mfcc", "rate": 16000}, 0.01),
        ({"extractor": "mfcc", "rate": 22050}, 220 / 22050),
        ({"extractor": "resnet101", "frames_per_second": 4.0}, 0.25),
        ({"extractor": "pretrained", "of": "video", "pool": "none", "frames_per_second": 2.0}, 0.5),
        ({"extractor": "pretrained", "of": "video", "pool": 100, "frames_per_second": 2.0}, None),
        ({"extractor": "pretrained", "of": "audio", "pool": "none"}, None),
        ({"source": "synthetic"}, None),
    ],
)
def test_seconds_are_known_where_the_features_say_them(made, seconds):
    assert axes.seconds_apart(made) == (seconds if seconds is None else pytest.approx(seconds))


def test_ticks():
    words = tuple(f"w{i}" for i in range(81))
    places, names = drawing._ticks(some_axis(81, 7, names=words))
    assert (places[:3], names[:3], names[-1], places[-1]) == ([0, 3, 6], ["w0", "w3", "w6"], "7 × padding", 81)
    places, names = drawing._ticks(some_axis(200, 0, period=0.01))
    assert dict(zip(names, places, strict=True))["1"] == pytest.approx(99.5)  # where the hundredth frame begins
    assert drawing._ticks(some_axis(1, 0)) == ([0], ["1"])
    assert drawing._ticks(some_axis(0, 5)) == ([0], ["5 × padding"])


def shown_of(variant: str, pairs: list[tuple[str, str]], sizes: dict[str, Axis], heads: int = 2) -> Shown:
    maps = []
    for a, b in pairs:
        size = heads, sizes[a].own + sizes[a].padding, sizes[b].own + sizes[b].padding
        maps.append(Map(target=a, source=b, weights=np.full(size, 1 / size[2])))
    return Shown(variant=variant, utterance_id="u", maps=maps, axes=sizes, says="calm", probability=0.5)


def test_a_figure_has_a_panel_for_each_target_and_source():
    sizes = {"text": some_axis(3, 5, names=("a", "b", "c")), "audio": some_axis(4, 0, period=0.5)}
    both = [shown_of("self_ta", OWN, sizes), shown_of("cross_ta", OTHER, sizes)]
    titles = [axis.get_title() for axis in drawing.maps(both, "title").axes if axis.get_title()]
    assert titles == [
        "Self T+A\ntext attends to text\n62% of it on padding",
        "Cross T+A\ntext attends to audio",
        "Self T+A\naudio attends to audio",
        "Cross T+A\naudio attends to text\n62% of it on padding",
    ]
    single = [axis.get_title() for axis in drawing.heads(both, "title").axes if axis.get_title()]
    assert single == ["head 1", "head 2"] * 4


def test_the_most_and_the_least_certain_of_each_class():
    """Of the mean of an utterance's runs; the first of equals; of a single one there is no second."""
    rows = [
        ("a", "x", 0.9, 0.1),
        ("b", "x", 0.6, 0.4),
        ("c", "x", 0.1, 0.9),
        ("d", "y", 0.3, 0.7),
        ("e", "x", 0.6, 0.4),
    ]
    columns = ["utterance_id", "actual", "probability_x", "probability_y"]
    predicted = pd.DataFrame(rows, columns=columns)
    assert chosen.extremes(predicted.assign(probability_z=0.0), ["x", "y", "z"]) == {
        "a": "the most certain x",
        "b": "the least certain x",
        "d": "the most certain y",
    }
    again = predicted.assign(probability_x=[0.2, 0.9, 0.1, 0.3, 0.9], probability_y=[0.8, 0.1, 0.9, 0.7, 0.1])
    means = chosen.extremes(pd.concat([predicted, again]), ["x", "y"])
    assert means == {"c": "the most certain x", "a": "the least certain x", "d": "the most certain y"}


# Through the stage


@pytest.fixture(scope="module")
def made(heard, tmp_path_factory) -> Path:
    """The study with its attention drawn, of one utterance."""
    folder = shutil.copytree(heard, tmp_path_factory.mktemp("attention") / "study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        change_params(report__attention=True, report__utterances=["u7"])
        stage.main()
    return folder


@pytest.fixture
def study(made, tmp_path, monkeypatch) -> Path:
    folder = shutil.copytree(made, tmp_path / "study")
    monkeypatch.chdir(folder)
    return folder


def change_params(**changes) -> None:
    document = changed(yaml.safe_load(Path("params.yaml").read_text()), changes)
    Path("params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def written() -> dict[str, str]:
    """File → hash of all that the stage writes."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(stage.FOLDER.iterdir())}


def test_all_is_written_and_again_the_same_bytes(study):
    before = written()
    assert set(before) == {"01_u7.png", "01_u7_heads.png", "padding.png", "padding.csv", "index.csv", "README.md"}
    index = pd.read_csv(stage.FOLDER / "index.csv", keep_default_na=False)
    assert index[["file", "utterance_id"]].values.tolist() == [
        ["01_u7.png", "u7"],
        ["01_u7_heads.png", "u7"],
        ["padding.png", ""],
    ]
    assert "Left out: Concat T+A, whose fusion has no attention" in (stage.FOLDER / "README.md").read_text()
    change_params(train__workers=1)
    stage.main()
    assert written() == before


def test_paddings_table(study):
    """Text and audio are padded, video is mapped over time; uniform attention falls on what is left of the longest."""
    folds, known = corpus.read_folds(), features.read(["text", "audio"])
    table = pd.read_csv(stage.FOLDER / "padding.csv")
    assert list(table) == found.COLUMNS
    assert list(dict.fromkeys(table["variant"])) == HEARD[:2]
    pairs = {"self_tva": ["text text", "audio audio"], "cross_tva": ["text audio", "audio text"]}
    pairs["cross_tva"] += ["video text", "video audio"]
    for variant, own in table.groupby("variant"):
        assert sorted({f"{row.target} {row.source}" for row in own.itertuples()}) == sorted(pairs[variant])
        assert not own.duplicated(["target", "source", "fold", "seed"]).any()
        assert len(own) == 4 * len(pairs[variant])
    for row in table.itertuples():
        tested = features.fold_rows(known, folds, row.fold)["test"]
        sequences = known.sequences[row.source]
        assert row.uniform == pytest.approx(1 - sequences.lengths[tested].mean() / sequences.longest)
        assert 0 < row.share < 1
        assert row.share != row.uniform


def test_an_utterances_maps(study):
    """Words are its transcript's, shortened where they are long; frames of sound have seconds; video has no times."""
    known, folds = features.read(["text", "video", "audio"]), corpus.read_folds()
    transcripts = corpus.read_utterances().set_index("utterance_id")["transcription"]
    name = next(name for name, text in transcripts.items() if "anti" in text and (folds["part"] == "test").any())
    (own,) = chosen.locate({name: "named"}, known, folds)
    (shown,) = found.find("cross_tva", 2, [own]).shown
    text, video, audio = (shown.axes[name] for name in ("text", "video", "audio"))
    assert text.names == tuple(
        word.replace("antidisestablishmentarianism", "antidisestablis…") for word in transcripts[name].split()
    )
    assert (text.own + text.padding, audio.own + audio.padding) == tuple(
        known.sequences[name].longest for name in ("text", "audio")
    )
    assert (audio.period, audio.own) == (0.01, known.sequences["audio"].lengths[own.row])
    assert (video.own, video.padding) == (round(0.6 * known.sequences["video"].longest), 0)
    assert video.label == "video: after the map over time\n(each is of all frames)"
    for one in shown.maps:
        axis = shown.axes[one.target], shown.axes[one.source]
        assert one.weights.shape == (2, *(each.own + each.padding for each in axis))
        np.testing.assert_allclose(one.weights.sum(axis=2), 1)
    if own.part == "test":
        answered = predictions.read("cross_tva", 2, task.classes(known.meta.classes))
        answer = answered[(answered["utterance_id"] == name) & (answered["fold"] == own.fold)].iloc[0]
        assert shown.says == answer["predicted"]
        assert shown.probability == pytest.approx(answer[f"probability_{shown.says}"], abs=1e-6)


def test_an_utterance_is_drawn_by_the_fold_that_tests_it(study):
    known = features.read([])
    folds = pd.DataFrame(
        [(1, "u3", "train"), (2, "u3", "test"), (3, "u3", "test"), (1, "u4", "train"), (2, "u4", "dev")],
        columns=["fold", "utterance_id", "part"],
    )
    located = chosen.locate({"u3": "named", "u4": "named"}, known, folds)
    assert [(own.row, own.fold, own.part, own.label) for own in located] == [
        (3, 2, "test", "angry"),
        (4, 2, "dev", "calm"),
    ]
    with pytest.raises(UserError, match=r"report\.utterances: must be utterances of the corpus, but 'nobody' is none"):
        chosen.locate({"nobody": "named"}, known, folds)
    with pytest.raises(UserError, match=r"report\.utterances: must be utterances of the folds, but 'u5' is in none"):
        chosen.locate({"u5": "named"}, known, folds)


def test_auto_takes_each_classs_extremes_by_the_pair(study):
    config = stage.params.load()
    assert chosen.drawn_variants(config) == ["self_tva", "cross_tva"]
    classes = corpus.read_meta().classes
    auto = config.model_copy(update={"report": config.report.model_copy(update={"utterances": "auto"})})
    wanted = stage._wanted(auto, ["self_tva", "cross_tva"], classes)
    assert sorted(wanted.values()) == sorted(
        f"the {which} certain {name}" for which in ("most", "least") for name in classes
    )
    own = predictions.read_study(["self_tva", "cross_tva"], [1, 2], task.classes(classes))
    means = own.groupby("utterance_id")[[f"probability_{name}" for name in classes]].mean().max(axis=1)
    calm = means[own.drop_duplicates("utterance_id").set_index("utterance_id")["actual"] == "calm"]
    assert wanted[calm.idxmax()] == "the most certain calm"
    assert wanted[calm.idxmin()] == "the least certain calm"


def test_off_it_needs_no_weights_and_leaves_what_dvc_expects(study):
    for path in Path("runs").rglob("*.safetensors"):
        path.unlink()
    with pytest.raises(
        UserError, match=r"^runs/self_tva/seed1/fold1\.safetensors is missing: set train.save_weights: true"
    ):
        stage.main()
    change_params(report__attention=False, train__save_weights=False)
    stage.main()
    assert set(written()) == {"README.md"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__save_weights": False}, "train.save_weights must be true when report.attention is true, but is false"),
        ({"task": "dimensions"}, r"report\.attention must be false where task is dimensions, but is true"),
        ({"report__utterances": []}, r"report.utterances: .* at least 1 item"),
        ({"report__utterances": ["u1", "u1"]}, "report.utterances: must name each once, but repeats u1"),
    ],
)
def test_params_that_break_a_rule(study, changes, message):
    change_params(**changes)
    with pytest.raises(UserError, match=message):
        stage.params.load()


def test_a_tuned_run_is_read_by_the_draw_that_its_fold_chose(study):
    """As `evaluate` does, by the same function: of the wrong draw the weights would not fit."""
    own = tuning.read("self_tva")
    right = {name: getattr(own, name) for name in tuning.Draw.model_fields if name != "settings"}
    wrong = right | {"model": own.model.model_copy(update={"hidden": 5})}
    drawn = [tuning.Draw(settings={"model.hidden": size}, **each) for size, each in ((5, wrong), (3, right))]
    before = found.find("self_tva", 1, []).padding
    Path("data/plans/self_tva.json").write_text(own.model_copy(update={"draws": drawn}).as_json())
    rows = [(fold, draw, 10, 2, 0.5, draw == 2) for fold in (1, 2) for draw in (1, 2)]
    table = pd.DataFrame(rows, columns=[*tuning.BEFORE, *tuning.AFTER])
    table.to_csv(weights_path("self_tva", RunId(1, 1)).parent / tuning.FILE, index=False)
    pd.testing.assert_frame_equal(found.find("self_tva", 1, []).padding, before)
