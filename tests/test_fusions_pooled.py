"""Fusions of modalities' vectors, gates and controls of capacity, against plain torch and cases worked by hand."""

import importlib
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from stages.common import params, variants
from stages.common.plan import Sizes
from stages.train import layers, model, plain_fusions
from stages.train.device import deterministic
from stages.train.fusions.attention import Encodings
from stages.train.stack import Stack
from tests.test_model import count, planned

CONFIG = params.load()
NAMES = {"t": "text", "v": "video", "a": "audio"}
LONGEST = {"text": 11, "video": 5, "audio": 7}
RUNS, BATCH, WIDTH, HEADS = 2, 3, 26, 13
VARIANTS = [
    *("concat_tv", "concat_tva", "gate_tv", "gate_tva", "mdre_ta", "mdre_tva", "mha_tv", "mha_ta", "amh_tva"),
    *("cfn_va_sr", "cfn_ta_sr", "dca_tv", "dca_tva", "self2_tv", "self2_tva", "cross_tv_half", "cross_tva_half"),
]


@pytest.fixture(autouse=True)
def one_thread():
    with deterministic(torch.device("cpu")):
        yield


def fusion_of(variant: str, width: int = WIDTH, **settings) -> nn.Module:
    """A variant's fusion as one model has it, its settings those of params.yaml but for the given ones."""
    module = importlib.import_module(f"stages.train.fusions.{variants.parse(variant).fusion}")
    return made_by(module.build, variant, width, **settings)


def made_by(build: Callable[..., nn.Module], variant: str, width: int = WIDTH, **settings) -> nn.Module:
    """What `build` makes of the variant's modalities, the width and the settings."""
    parsed = variants.parse(variant)
    defaults = CONFIG.settings(parsed.fusion)
    settings = {"heads": HEADS, "attention_dropout": 0.0} | settings
    own = defaults | {name: value for name, value in settings.items() if name in defaults}
    return build([NAMES[letter] for letter in parsed.modalities], width, **own)


def stacked(*networks: nn.Module) -> nn.Module:
    """The first network with the parameters of all."""
    if not list(networks[0].parameters()):
        return networks[0]
    stack = Stack(networks[0])
    return stack.use(torch.stack([stack.vector(network) for network in networks]))


def encodings_of(
    *, masked: bool, runs: int = RUNS, batch: int = BATCH, width: int = WIDTH, dtype: torch.dtype = torch.float64
) -> Encodings:
    """Random encodings, in their padding too; where masked, text and audio have lengths and video, as always, none."""
    generator = torch.Generator().manual_seed(3)
    found = {}
    for name, longest in LONGEST.items():
        values = torch.randn(runs, batch, longest, width, generator=generator, dtype=dtype)
        lengths = torch.randint(1, longest + 1, (runs, batch), generator=generator)
        lengths[:, 0] = 1
        found[name] = values.requires_grad_(), lengths if masked and name != "video" else None
    return found


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_and_gradients_equal_plain_torchs(variant, masked):
    torch.manual_seed(2)
    oracles, networks = [], []
    for _ in range(RUNS):
        oracle = made_by(plain_fusions.FUSIONS[variants.parse(variant).fusion], variant).double()
        network = fusion_of(variant).double()
        own = dict(network.named_parameters())
        assert own.keys() == dict(oracle.named_parameters()).keys()
        for name, parameter in oracle.named_parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)  # else biases of attention would be 0
            assert own[name].shape == parameter.shape
            own[name].data = parameter.detach().clone()
        oracles.append(oracle)
        networks.append(network)
    network, encodings = stacked(*networks), encodings_of(masked=masked)
    actual = network(encodings)
    assert actual.shape == (RUNS, BATCH, network.size)
    factor = torch.randn_like(actual)
    (actual * factor).sum().backward()
    gradients = {name: values.grad.clone() for name, (values, _) in encodings.items() if values.grad is not None}
    for values, _ in encodings.values():
        values.grad = None
    for run, oracle in enumerate(oracles):
        for b in range(BATCH):
            utterance = {
                name: values[run, b, None, : None if lengths is None else lengths[run, b]]
                for name, (values, lengths) in encodings.items()
            }
            expected = oracle.fused(utterance)[0]
            torch.testing.assert_close(actual[run, b], expected, rtol=0, atol=1e-10)
            (expected * factor[run, b]).sum().backward()
        for name, parameter in oracle.named_parameters():
            torch.testing.assert_close(
                dict(network.named_parameters())[name].grad[run], parameter.grad, rtol=0, atol=1e-10, msg=name
            )
    for name, gradient in gradients.items():  # 0 in the padding
        torch.testing.assert_close(gradient, encodings[name][0].grad, rtol=0, atol=1e-10)


class Scored(nn.Sequential):
    """A fusion and a classifier."""

    def __init__(self, fusion: nn.Module):
        super().__init__(fusion, model.Classifier(fusion.size, 7, 5))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_is_the_same_to_the_last_bit_whatever_is_beside_it(variant, masked):
    """Odd widths of odd halves."""
    torch.manual_seed(4)
    networks = [Scored(fusion_of(variant, 10, heads=2, attention_dropout=0.1)) for _ in range(3)]
    stack, encodings = (
        Stack(networks[0]),
        encodings_of(masked=masked, runs=3, batch=layers.ALIGNED, width=10, dtype=torch.float32),
    )
    vectors = torch.stack([stack.vector(network) for network in networks])

    def results(runs: slice) -> list[Tensor]:
        """Logits and gradients of some runs."""
        generators = tuple(torch.Generator().manual_seed(run) for run in range(3))[runs]
        some = {
            name: (values[runs].detach().clone().requires_grad_(), lengths if lengths is None else lengths[runs])
            for name, (values, lengths) in encodings.items()
        }
        logits = stack.use(vectors[runs], generators)(some)
        logits.square().sum().backward()
        own = [values.grad for values, _ in some.values() if values.grad is not None]
        return [logits, stack.gradient(), *own]

    together = results(slice(None))
    for run in range(3):
        for beside, alone in zip(together, results(slice(run, run + 1)), strict=True):
            assert torch.equal(beside[run], alone[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_mixed_precision_is_close_and_reaches_every_parameter(variant):
    torch.manual_seed(5)
    network = stacked(*(Scored(fusion_of(variant)) for _ in range(RUNS)))
    encodings = encodings_of(masked=True, dtype=torch.float32)
    expected = network(encodings)
    with torch.autocast("cpu", torch.bfloat16):
        actual = network(encodings).float()
    torch.testing.assert_close(actual, expected, rtol=0, atol=0.1)
    actual.square().sum().backward()
    for name, parameter in network.named_parameters():
        for gradient in parameter.grad:
            assert gradient.isfinite().all()
            assert gradient.abs().max() > 0, name


COUNTS = {
    "concat": {"tv": 905_632, "ta": 711_227, "va": 1_341_332, "tva": 1_478_852},
    "gate": {"tv": 898_914, "ta": 704_509, "va": 1_334_614, "tva": 1_465_535},
    "mdre": {"tv": 912_952, "ta": 718_547, "va": 1_348_652, "tva": 1_489_832},
    "mha": {"tv": 934_672, "ta": 740_267, "va": 1_370_372},
    "amh": {"tva": 1_681_292},
    "cfn_sr": {"va": 1_544_972},
    "dca": {"tv": 1_022_276, "ta": 827_871, "va": 1_457_976, "tva": 1_821_584},
    "self2": {"tva": 1_820_132},
    "cross_half": {"tva": 1_645_892},
}


@pytest.mark.parametrize(
    ("fusion", "letters", "parameters"), [(name, *item) for name, own in COUNTS.items() for item in own.items()]
)
def test_parameter_counts_at_the_papers_sizes(fusion, letters, parameters):
    shape = model.Shape(
        features={"audio": 120, "video": 2048, "text": 300},
        longest={"audio": 1000, "video": 32, "text": 128},
        outputs=7,
    )
    positions = {"text": {}, "video": {"positions": 25 / 32}, "audio": {"positions": 0.5}}
    plan = planned(fusion, {NAMES[letter]: positions[NAMES[letter]] for letter in letters}, heads=6)
    assert count(model.build(plan.model_copy(update={"model": Sizes()}), shape)) == parameters


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("mha_tva", "mha must have at most 2 modalities"),
        ("mha_t", "mha must have at least 2 modalities"),
        ("amh_tv", "amh must have at least 3 modalities"),
        ("amh_tvax", "amh must have at most 3 modalities"),
        ("cfn_tva_sr", "cfn_sr must have at most 2 modalities"),
    ],
)
def test_modalities_are_as_many_as_the_fusion_is_of(name, rule):
    with pytest.raises(ValueError, match=rule):
        variants.parse(name)


def test_each_is_tested_against_self_and_cross():
    names = ["self_tva", "cross_tva", "cross_tva_half", "self2_tva", "amh_tva"]
    expected = [(a, b) for a in names[2:] for b in ("self_tva", "cross_tva")]
    assert set(variants.pairs(names)) == {("self_tva", "cross_tva"), *expected}


def by_hand(variant: str, **settings) -> nn.Module:
    """The fusion of one run at width 2 with one head, all its parameters 0."""
    network = stacked(fusion_of(variant, 2, heads=1, **settings).double())
    for parameter in network.parameters():
        parameter.data.zero_()
    return network


def utterance(**steps: list[list[float]]) -> Encodings:
    """Modality → steps [1, 1, T, D], all of which count."""
    return {name: (torch.tensor(values, dtype=torch.float64)[None, None], None) for name, values in steps.items()}


TEXT, VIDEO, AUDIO = [[1, 2], [3, 6]], [[0, 0], [4, 1], [2, 5]], [[8, 0], [0, 4]]
"""Means [2, 4], [2, 2] and [4, 2]; last states [3, 2], [2, 0] and [0, 0]."""


def check(network: nn.Module, expected: list[float], **steps: list[list[float]]) -> None:
    actual = network(utterance(**steps))
    torch.testing.assert_close(actual[0, 0], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-10)


def test_mha_by_hand():
    network = by_hand("mha_tv")
    check(network, [2, 2, 2, 4], text=TEXT, video=VIDEO)  # video first; all steps count alike
    # The text is asked by 50 times the video's last state, [2, 0]: its second step is the larger one.
    # The video is asked by 50 times that step, [3, 6], turned: the step with the most of -3 x + 6 y.
    network.queries[0].weight.data[0] = 50 * torch.eye(2)
    network.queries[1].weight.data[0] = 50 * torch.tensor([[-1, 0], [0, 1]])
    check(network, [2, 5, 3, 6], text=TEXT, video=VIDEO)
    # One hop asks the text alone: the video keeps its last state.
    check(by_hand("mha_tv", hops=1), [2, 0, 2, 4], text=TEXT, video=VIDEO)
    # A third hop asks the text again, by a bias: for the least of both numbers.
    network = by_hand("mha_tv", hops=3)
    network.queries[2].bias.data[:] = -50
    check(network, [2, 2, 1, 2], text=TEXT, video=VIDEO)


def test_amh_by_hand():
    steps = {"text": TEXT, "video": VIDEO, "audio": AUDIO}
    check(by_hand("amh_tva"), [4, 2, 2, 4, 2, 2], **steps)  # audio, text, video; all steps count alike
    for hops, expected in enumerate(([0, 0, 3, 2, 2, 2], [4, 2, 3, 2, 2, 2], [4, 2, 2, 4, 2, 2]), start=1):
        check(by_hand("amh_tva", hops=hops), expected, **steps)  # video, then audio, then text is asked
    # A hop's query is of [v_x; v_y] in alphabetical order: [audio 0, 0; text 3, 2] asks for the video's most of -x,
    # then [text 3, 2; video 0, 0] for the audio's most of y, then [audio 0, 4; video 0, 0] for the text's most of -y.
    network = by_hand("amh_tva", hops=3)
    network.queries[0].weight.data[0] = 50 * torch.tensor([[0, 0, -1, 0], [0, 0, 0, 0]])
    network.queries[1].weight.data[0] = 50 * torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0]])
    network.queries[2].weight.data[0] = 50 * torch.tensor([[0, 0, 0, 0], [0, -1, 0, 0]])
    check(network, [0, 4, 1, 2, 0, 0], **steps)


def test_mdre_by_hand():
    network = by_hand("mdre_tva")
    for halve in network.maps:
        halve.weight.data[0] = torch.tensor([[10, 1]])
    network.maps[2].bias.data[:] = 7
    check(network, [32, 20, 7], text=TEXT, video=VIDEO, audio=AUDIO)


def test_gate_by_hand():
    steps = {"text": TEXT, "video": VIDEO, "audio": AUDIO}
    network = by_hand("gate_tva")
    check(network, [8 / 3, 8 / 3], **steps)  # the mean of the means
    network.scores.bias.data[0] = torch.tensor([0, math.log(2), 0], dtype=torch.float64)  # weights 1/4, 1/2, 1/4
    shares = network.shares(utterance(**steps))
    assert list(shares) == list(steps)
    torch.testing.assert_close(torch.cat(list(shares.values())), torch.tensor([[0.25], [0.5], [0.25]]).double())
    check(network, [2.5, 2.5], **steps)
    network.scores.weight.data[0, 0, 2:4] = 50  # the more there is of the video's mean, the more of text
    check(network, [2, 4], **steps)


def test_cfn_sr_by_hand():
    """All alike, α is 1 / T: so the video's mean grows by a third, or, where text's last of two is padding, by all."""
    network = by_hand("cfn_va_sr")
    check(network, [8 / 3, 8 / 3, 4, 2], video=VIDEO, audio=AUDIO)
    encodings = utterance(text=TEXT, audio=AUDIO)
    encodings["text"] = encodings["text"][0], torch.tensor([[1]])
    actual = by_hand("cfn_ta_sr")(encodings)[0, 0]
    torch.testing.assert_close(actual, torch.tensor([2, 4, 4, 2]).double())
    # Its tanh reads the video's second number, w is large: α is 1 where that is positive and large, the last step.
    network.of_video.weight.data[0, 0, 1] = 1
    network.score.weight.data[0, 0, 0] = 1e6
    check(network, [8 / 3, 11 / 3, 4, 2], video=VIDEO, audio=AUDIO)  # its [2, 5] counts twice


def test_cfn_srs_guide_is_of_the_last_step_that_holds_data():
    torch.manual_seed(6)
    network = stacked(fusion_of("cfn_va_sr").double())
    audio = torch.randn(1, 1, 7, WIDTH, dtype=torch.float64)
    guide = network.guide(audio, torch.tensor([[3]]))
    torch.testing.assert_close(guide, network.guide(audio[:, :, :3], None), rtol=0, atol=1e-12)
    assert not torch.allclose(guide, network.guide(audio, None))


def dca_by_hand(**settings) -> nn.Module:
    """Values and outputs of attention are as the source's steps are, and count alike: A is their mean."""
    network = by_hand("dca_tv", **settings)
    for attention in network.modules_by_pair:
        attention.in_proj_weight.data[0, 4:] = torch.eye(2)
        attention.out_proj.weight.data[0] = torch.eye(2)
    return network


def pooled(a: list[float], b: list[float]) -> list[float]:
    """Mean and standard deviation of two vectors."""
    return [(x + y) / 2 for x, y in zip(a, b, strict=True)] + [abs(x - y) / 2**0.5 for x, y in zip(a, b, strict=True)]


def test_dcas_gate_by_hand():
    # The text's mean is [2, 4], the video's [2, 2]; without weights, half of both.
    check(dca_by_hand(), pooled([2, 3], [2, 3]), text=TEXT, video=VIDEO)
    # At a low temperature the sign of the gate's score takes a side: of the text its own steps, of video attended ones.
    network = dca_by_hand(temperature=1e-6)
    network.gates_by_pair[0].bias.data[0] = torch.tensor([0.01, 0])
    network.gates_by_pair[1].bias.data[0] = torch.tensor([0, 0.01])
    gates = network.gates(utterance(text=TEXT, video=VIDEO))
    assert {pair: gate.tolist() for pair, gate in gates.items()} == {
        ("text", "video"): [[[0, 0]]],
        ("video", "text"): [[[1, 1, 1]]],
    }
    check(network, pooled([2, 4], [2, 4]), text=TEXT, video=VIDEO)
    # Its score is of A, here the video's mean, [2, 2], at τ = 1: g_1 is sigmoid(2 log 2), 4/5.
    network = dca_by_hand(temperature=1.0)
    network.gates_by_pair[0].weight.data[0, 1, 0] = math.log(2)
    gate = network.gates(utterance(text=TEXT, video=VIDEO))["text", "video"]
    torch.testing.assert_close(gate, torch.full((1, 1, 2), 0.8).double())
    check(network, pooled([2, 2.4], [2, 3]), text=TEXT, video=VIDEO)
    # Negative numbers are cut off at each step, before the mean.
    check(dca_by_hand(), pooled([1.5, 3], [1, 3]), text=[[-4, 2], [4, 6]], video=[[0, 0], [4, 1], [2, 5]])


@pytest.mark.parametrize("letters", ["tv", "tva"])
def test_dca_with_all_attended_is_cross_but_for_the_relu(letters, monkeypatch):
    torch.manual_seed(7)
    cross, dca = fusion_of(f"cross_{letters}"), fusion_of(f"dca_{letters}")
    dca.modules_by_pair.load_state_dict(cross.modules_by_pair.state_dict())
    for gate in dca.gates_by_pair:
        gate.bias.data = torch.tensor([-1e3, 1e3])
    cross, dca, encodings = stacked(cross.double()), stacked(dca.double()), encodings_of(masked=True, runs=1)
    assert all((gate == 1).all() for gate in dca.gates(encodings).values())
    assert not torch.allclose(dca(encodings), cross(encodings))
    monkeypatch.setattr(Tensor, "relu", lambda x: x)
    torch.testing.assert_close(dca(encodings), cross(encodings), rtol=0, atol=1e-12)


def test_the_controls_are_self_and_cross_where_weights_are_tied():
    torch.manual_seed(8)
    encodings = encodings_of(masked=True, runs=1)
    # The same vectors twice: their mean is self's, their deviation is over 5 of 6 rather than over 2 of 3.
    once, twice = fusion_of("self_tva"), fusion_of("self2_tva")
    for i, attention in enumerate(twice.modules_by_pair):
        attention.load_state_dict(once.modules_by_pair[i // 2].state_dict())
    expected, actual = stacked(once.double())(encodings), stacked(twice.double())(encodings)
    factor = torch.ones(2 * WIDTH, dtype=torch.float64)
    factor[WIDTH:] = (2 / 3 * 6 / 5) ** 0.5
    torch.testing.assert_close(actual, expected * factor, rtol=0, atol=1e-12)
    shared, cross = fusion_of("cross_tva_half"), fusion_of("cross_tva")
    for pair, attention in zip(cross.pairs, cross.modules_by_pair, strict=True):
        place = [set(own) for own in shared.pairs].index(set(pair))
        attention.load_state_dict(shared.modules_by_pair[place].state_dict())
    expected, actual = stacked(cross.double())(encodings), stacked(shared.double())(encodings)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)
