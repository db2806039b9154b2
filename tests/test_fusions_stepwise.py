"""Fusions of other systems that keep or weigh single steps, against plain torch: one run and one utterance at a time.

Shapes: R runs, B batch, T steps, D width, each another prime or a product of other ones.
"""

import importlib
import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from stages.common import params
from stages.train import model, plain_fusions
from stages.train.fusions import bottleneck, intermediate, lmf, mcsan, steps, transformer, transformer_layers
from stages.train.stack import Stack
from tests.test_model import one_thread, planned, stacked  # noqa: F401 (a fixture)

CONFIG = params.load()
RUNS, BATCH, WIDTH, HEADS = 2, 3, 21, 3
STEPS = {"text": 7, "video": 5, "audio": 11}
LENGTHS = {"text": torch.tensor([[7, 2, 1], [3, 7, 5]]), "video": None, "audio": torch.tensor([[1, 11, 4], [9, 2, 11]])}
NONE = dict.fromkeys(STEPS)
SETTINGS = {
    "mcsan": {"heads": HEADS, "attention_dropout": 0.0},
    "mult": {"inner_heads": 2, "head_width": 3, "attention_dropout": 0.0},
    "transformer": {"heads": HEADS, "attention_dropout": 0.0},
    "lmf": {},
    "intermediate": {"heads": HEADS, "attention_dropout": 0.0},
    "bottleneck": {"heads": HEADS, "attention_dropout": 0.0},
}


def sinusoids(time: int, width: int) -> Tensor:
    codes = torch.zeros(time, width, dtype=torch.float64)
    for t, column in product(range(time), range(width)):
        angle = t / 10_000 ** (column // 2 * 2 / width)
        codes[t, column] = math.cos(angle) if column % 2 else math.sin(angle)
    return codes


def build(fusion: str, names: list[str], width: int = WIDTH, **changes) -> nn.Module:
    module = importlib.import_module(f"stages.train.fusions.{fusion}")
    return module.build(names, width, **SETTINGS[fusion] | changes)


def randomised(network: nn.Module) -> nn.Module:
    network = network.double()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def encodings(lengths: dict[str, Tensor | None]) -> dict[str, tuple[Tensor, Tensor | None]]:
    """With large values where no data are."""
    made = {}
    for name, time in STEPS.items():
        x = torch.randn(RUNS, BATCH, time, WIDTH, dtype=torch.float64)
        if lengths[name] is not None:
            x[torch.arange(time) >= lengths[name][..., None]] = 1e3
        made[name] = x.requires_grad_(), lengths[name]
    return made


CASES = [
    *((fusion, names, {}) for fusion in SETTINGS for names in (["text", "video", "audio"], ["video", "audio"])),
    ("mult", ["text", "video", "audio"], {"layers": 2}),
    ("lmf", ["text", "audio"], {"rank": 1}),
    ("bottleneck", ["text", "audio"], {"layers": 3, "latents": 5}),
    ("bottleneck", ["text", "audio"], {"layers": 1}),
]


@pytest.mark.parametrize("lengths", [NONE, LENGTHS], ids=["all", "lengths"])
@pytest.mark.parametrize(("fusion", "names", "changes"), CASES)
def test_outputs_and_gradients_are_those_of_plain_torch_on_each_utterance_alone(fusion, names, changes, lengths):
    torch.manual_seed(0)
    networks = [randomised(build(fusion, names, **changes)) for _ in range(RUNS)]
    references = []
    for own in networks:
        reference = plain_fusions.FUSIONS[fusion](names, WIDTH, **CONFIG.settings(fusion) | SETTINGS[fusion] | changes)
        reference.double()
        reference.load_state_dict(own.state_dict())
        references.append(reference)
    network, inputs = stacked(*networks), encodings(lengths)
    output = network({name: inputs[name] for name in names})
    expected = []
    for run, reference in enumerate(references):
        for i in range(BATCH):
            alone = {}
            for name in names:
                x, length = inputs[name]
                alone[name] = x[run, i, None, : None if length is None else length[run, i]]
            expected.append(reference.fused(alone)[0])
    expected = torch.stack(expected).unflatten(0, (RUNS, BATCH))
    assert output.shape == (RUNS, BATCH, network.size)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-10)

    weights, sources = torch.randn_like(output), [inputs[name][0] for name in names]
    ours = torch.autograd.grad((output * weights).sum(), [*sources, *network.parameters()])
    own = [parameter for reference in references for parameter in reference.parameters()]
    theirs = torch.autograd.grad((expected * weights).sum(), [*sources, *own])
    of_sources, of_runs = theirs[: len(names)], theirs[len(names) :]
    count = len(of_runs) // RUNS
    of_parameters = [torch.stack(of_runs[i::count]) for i in range(count)]
    for actual, wanted in zip(ours, [*of_sources, *of_parameters], strict=True):
        torch.testing.assert_close(actual, wanted, rtol=0, atol=1e-10)


PAPERS_SHAPE = model.Shape(
    features={"audio": 120, "video": 2048, "text": 300}, longest={"audio": 1000, "video": 32, "text": 128}, outputs=7
)
COUNTS = {
    "mcsan": {"tv": 1_617_472, "ta": 1_423_067, "va": 2_053_172, "tva": 3_091_292},
    "mult": {"tv": 997_792, "ta": 803_387, "va": 1_433_492, "tva": 1_954_532},
    "transformer": {"tv": 1_073_272, "ta": 878_867, "va": 1_508_972, "tva": 1_639_412},
    # Those of `concat` (905,632 of T+V, 1,478,852 of T+V+A), whose classifier reads M · 120 values, and:
    "lmf": {"tv": 905_632 - 60 * 120 + 2 * 480 * 121, "tva": 1_478_852 - 60 * 240 + 3 * 480 * 121},
    "intermediate": {"tv": 905_632 + 2 * 2 * 120**2, "tva": 1_478_852 + 6 * 2 * 120**2},
    "bottleneck": {
        "tv": 905_632 - 60 * 120 + 4 * 120 + 240 + 4 * 174_360,
        "tva": 1_478_852 - 60 * 240 + 4 * 120 + 240 + 6 * 174_360,
    },
}


@pytest.mark.parametrize(("fusion", "letters"), [(fusion, own) for fusion in COUNTS for own in COUNTS[fusion]])
def test_parameter_counts_at_the_papers_sizes(fusion, letters):
    modalities = {"text": {}, "video": {"positions": 0.78125}, "audio": {"positions": 0.5}}
    chosen = {name: own for name, own in modalities.items() if name[0] in letters}
    plan = planned(fusion, chosen, hidden=60, heads=6)
    plan = plan.model_copy(update={"model": plan.model.model_copy(update={"classifier": 60})})
    network = model.build(plan, PAPERS_SHAPE)
    assert sum(parameter.numel() for parameter in network.parameters()) == COUNTS[fusion][letters]


@pytest.mark.parametrize("padding", ["all", "lengths"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fusion", SETTINGS)
def test_a_run_is_the_same_to_the_last_bit_whatever_is_beside_it(fusion, dtype, padding):
    torch.manual_seed(0)
    width, names = 10, list(STEPS)
    changes = {"heads": 2, "attention_dropout": 0.1}
    changes = {name: value for name, value in changes.items() if name in SETTINGS[fusion]}
    network = build(fusion, names, width, **changes).to(dtype)
    stack = Stack(network)
    vectors = torch.stack([stack.vector(build(fusion, names, width, **changes).to(dtype)) for _ in range(3)])
    inputs = {}
    for name, time in STEPS.items():
        lengths = torch.randint(1, time + 1, (3, 16)) if padding == "lengths" else None
        inputs[name] = torch.randn(3, 16, time, width, dtype=dtype), lengths

    def trained(runs: slice) -> tuple[Tensor, Tensor]:
        generators = tuple(torch.Generator().manual_seed(run) for run in range(3))[runs]
        own = {name: (x[runs], None if n is None else n[runs]) for name, (x, n) in inputs.items()}
        output = stack.use(vectors[runs].clone(), generators)(own)
        output.square().sum().backward()
        return output.detach(), stack.gradient()

    together = trained(slice(0, 3))
    for run in range(3):
        for expected, actual in zip(trained(slice(run, run + 1)), together, strict=True):
            assert torch.equal(actual[run], expected[0])


@pytest.mark.parametrize("fusion", SETTINGS)
def test_mixed_precision(fusion):
    torch.manual_seed(0)
    network = stacked(build(fusion, list(STEPS)), build(fusion, list(STEPS)))
    inputs = {name: (x.detach().float(), lengths) for name, (x, lengths) in encodings(LENGTHS).items()}
    expected = network(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        output = network(inputs)
    output.float().square().sum().backward()
    torch.testing.assert_close(output.float(), expected, rtol=0.1, atol=0.1)
    for parameter in network.parameters():
        assert parameter.grad.isfinite().all()


# What the fusions are made of.


@pytest.mark.parametrize("lengths", [None, torch.tensor([[11, 1, 4], [3, 11, 2]])])
def test_attention_at_every_position_is_torchs(lengths):
    torch.manual_seed(0)
    own = [randomised(transformer_layers.PositionwiseAttention(10, 5, 0.0)) for _ in range(RUNS)]
    references = [nn.MultiheadAttention(10, 5, batch_first=True).double() for _ in range(RUNS)]
    for reference, attention in zip(references, own, strict=True):
        reference.load_state_dict(attention.state_dict())
    target, source = (torch.randn(RUNS, BATCH, time, 10, dtype=torch.float64) for time in (7, 11))
    actual = stacked(*own)(target, source, lengths)
    for run, reference in enumerate(references):
        padding = None if lengths is None else torch.arange(11) >= lengths[run][:, None]
        expected, _ = reference(target[run], source[run], source[run], key_padding_mask=padding)
        torch.testing.assert_close(actual[run], expected, rtol=0, atol=1e-12)


def test_attention_begins_as_torchs():
    parameters = []
    for module in (transformer_layers.PositionwiseAttention, nn.MultiheadAttention):
        torch.manual_seed(3)
        parameters.append(dict(module(10, 5, dropout=0.0).named_parameters()))
    assert parameters[0].keys() == parameters[1].keys()
    for name, values in parameters[0].items():
        assert torch.equal(values, parameters[1][name])


def test_attention_weights_are_dropped_in_training_only():
    torch.manual_seed(0)
    attention = stacked(transformer_layers.PositionwiseAttention(6, 2, 0.4).double())
    target, source = (torch.randn(1, 1, time, 6, dtype=torch.float64).expand(-1, 2000, -1, -1) for time in (3, 5))
    draws = attention(target, source, None)[0]
    attention.eval()
    expected = attention(target[:, :1], source[:, :1], None)[0, 0]
    assert ((draws.mean(0) - expected).abs() < 4 * draws.std(0) / 2000**0.5).all()
    assert (draws.std(0) > 0).all()


@pytest.mark.parametrize("shape", [(BATCH, 13), (BATCH, 5, 13)])
def test_layer_norm_is_torchs(shape):
    torch.manual_seed(0)
    own = [randomised(transformer_layers.LayerNorm(13)) for _ in range(RUNS)]
    references = [nn.LayerNorm(13).double() for _ in range(RUNS)]
    for reference, norm in zip(references, own, strict=True):
        reference.load_state_dict(norm.state_dict())
    x = 3 * torch.randn(RUNS, *shape, dtype=torch.float64) + 1
    expected = torch.stack([reference(values) for reference, values in zip(references, x, strict=True)])
    torch.testing.assert_close(stacked(*own)(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "plain"),
    [
        (transformer_layers.PreNormLayer, plain_fusions.PreNormLayer),
        (transformer_layers.PostNormLayer, plain_fusions.PostNormLayer),
    ],
)
def test_layers_of_two_runs_are_each_the_plain_one(layer, plain):
    torch.manual_seed(0)
    own = [randomised(layer(10, 5, 0.0)) for _ in range(RUNS)]
    references = [plain(10, 5, 0.0).double() for _ in range(RUNS)]
    for reference, module in zip(references, own, strict=True):
        reference.load_state_dict(module.state_dict())
    target, source = (torch.randn(RUNS, BATCH, time, 10, dtype=torch.float64) for time in (7, 11))
    lengths = torch.tensor([[11, 1, 4], [3, 11, 2]])
    actual = stacked(*own)(target, source, lengths)
    for run, i in product(range(RUNS), range(BATCH)):
        expected = references[run](target[run, i, None], source[run, i, None, : lengths[run, i]])[0]
        torch.testing.assert_close(actual[run, i], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("width", [1, 2, 7, 10])
def test_position_codes_are_sinusoids(width):
    x = torch.empty(RUNS, BATCH, 503, width, dtype=torch.float64)
    torch.testing.assert_close(transformer_layers.position_codes(x), sinusoids(503, width), rtol=0, atol=1e-12)
    assert transformer_layers.position_codes(x.float()).dtype == torch.float32


def test_last_states_and_last_steps_by_hand():
    encoding = torch.arange(12.0).view(1, 1, 3, 4)  # forward halves 0 1, 4 5, 8 9; backward halves 2 3, 6 7, 10 11
    two = torch.tensor([[2]])
    assert steps.last(encoding, None).tolist() == [[[8, 9, 2, 3]]]
    assert steps.last(encoding, two).tolist() == [[[4, 5, 2, 3]]]
    assert steps.last_step(encoding, None).tolist() == [[[[8, 9, 10, 11]]]]
    assert steps.last_step(encoding, two).tolist() == [[[[4, 5, 6, 7]]]]
    many = torch.arange(120.0).view(2, 3, 5, 4)
    lengths = torch.tensor([[1, 5, 2], [3, 4, 1]])
    for run, i in product(range(2), range(3)):
        end = many[run, i, lengths[run, i] - 1]
        assert torch.equal(steps.last_step(many, lengths)[run, i, 0], end)
        assert torch.equal(steps.last(many, lengths)[run, i], torch.cat([end[:2], many[run, i, 0, 2:]]))


def test_shares_and_attention_by_one_query_by_hand():
    scores = torch.tensor([[[0.0, math.log(3), math.log(4)]]], dtype=torch.float64)
    expected = torch.tensor([[[1 / 8, 3 / 8, 4 / 8]]], dtype=torch.float64)
    torch.testing.assert_close(steps.shares(scores, None), expected)
    expected = torch.tensor([[[1 / 4, 3 / 4, 0]]], dtype=torch.float64)
    torch.testing.assert_close(steps.shares(scores, torch.tensor([[2]])), expected)
    # Scores 0, log 3, log 4 of the query (1, 0): each step's first value.
    encoding = torch.stack([scores, torch.tensor([[[8.0, 16, 24]]], dtype=torch.float64)], dim=3)
    query = torch.tensor([[[1.0, 0]]], dtype=torch.float64)
    actual = steps.attend(query, encoding, None)
    expected = [3 / 8 * math.log(3) + math.log(4) / 2, 1 + 6 + 12]
    torch.testing.assert_close(actual[0, 0], torch.tensor(expected, dtype=torch.float64))
    actual = steps.attend(query, encoding, torch.tensor([[2]]))
    torch.testing.assert_close(actual[0, 0], torch.tensor([3 / 4 * math.log(3), 14], dtype=torch.float64))


# Single fusions by hand.


def test_the_maximum_over_time_is_of_the_steps_that_hold_data():
    x = torch.tensor([[[[1.0, -5], [3, -7], [9, 9]]]])
    assert mcsan.maximum_over_time(x, None).tolist() == [[[9, 9]]]
    assert mcsan.maximum_over_time(x, torch.tensor([[2]])).tolist() == [[[3, -5]]]


def test_mult_of_last_steps_that_are_zero_is_what_its_two_layers_add():
    network = build("mult", ["text", "audio"]).double()
    for name, parameter in network.named_parameters():
        if "norm" in name:
            parameter.data.zero_()
    network.residual[2].bias.data.fill_(3)
    output = stacked(network)({name: (x[:1], None) for name, (x, _) in encodings(NONE).items()})
    hidden = network.residual[0].bias.relu()
    assert output.shape == (1, BATCH, 12)
    torch.testing.assert_close(output[0, 0], (hidden @ network.residual[2].weight[0].T)[0] + 3)


def test_one_sequence_has_all_that_holds_data_in_front_by_hand():
    first, second = torch.tensor([1.0, 2, 3]).view(1, 1, 3, 1), torch.tensor([4.0, 5]).view(1, 1, 2, 1)
    x, lengths = transformer.one_sequence([(first, None), (second, None)])
    assert (x.flatten().tolist(), lengths) == ([1, 2, 3, 4, 5], None)
    x, lengths = transformer.one_sequence([(first, torch.tensor([[1]])), (second, None)])
    assert (x.flatten().tolist(), lengths.tolist()) == ([1, 4, 5, 2, 3], [[3]])
    x, lengths = transformer.one_sequence([(first, torch.tensor([[2]])), (second, torch.tensor([[1]]))])
    assert (x.flatten().tolist(), lengths.tolist()) == ([1, 2, 4, 3, 5], [[3]])


@pytest.mark.parametrize("rank", [1, 2])
def test_lmf_is_the_outer_product_through_a_tensor_of_low_rank(rank):
    torch.manual_seed(0)
    sizes = {"text": 5, "video": 3, "audio": 2}
    network = randomised(lmf.build(list(sizes), 7, rank=rank))
    factors = [torch.cat([own.weight, own.bias[:, None]], dim=1).view(rank, 7, 8) for own in network.factors]
    tensor = torch.einsum("roi,roj,rok->oijk", *factors).detach()  # (7, 8, 8, 8)
    inputs = {name: (torch.randn(1, 1, time, 7, dtype=torch.float64), None) for name, time in sizes.items()}
    ones = torch.ones(1, dtype=torch.float64)
    z = [torch.cat([x[0, 0].mean(dim=0), ones]) for x, _ in inputs.values()]
    expected = torch.einsum("oijk,ijk->o", tensor, torch.einsum("i,j,k->ijk", *z))
    torch.testing.assert_close(stacked(network)(inputs)[0, 0], expected, rtol=0, atol=1e-12)


def test_lmf_by_hand():
    """(2 · 3 + 1)(−1 · 5 + 4) of means 3 and 5."""
    network = lmf.build(["text", "audio"], 1, rank=1)
    for factor, weight, bias in zip(network.factors, (2.0, -1.0), (1.0, 4.0), strict=True):
        factor.weight.data.fill_(weight)
        factor.bias.data.fill_(bias)
    text, audio = torch.tensor([1.0, 5]).view(1, 1, 2, 1), torch.tensor([5.0, 7, 3, 100]).view(1, 1, 4, 1)
    output = stacked(network)({"text": (text, None), "audio": (audio, torch.tensor([[3]]))})
    assert output.tolist() == [[[-7]]]


def test_intermediate_attention_by_hand():
    """Of steps that are one value each, by which their scores are products."""
    network = intermediate.build(["text", "audio"], 1, heads=1, attention_dropout=0.0).double()
    for parameter in network.parameters():
        parameter.data.fill_(1)
    text = torch.tensor([1.0, 0], dtype=torch.float64).view(1, 1, 2, 1)
    audio = torch.tensor([0, math.log(3), 50], dtype=torch.float64).view(1, 1, 3, 1)
    output = stacked(network)({"text": (text, None), "audio": (audio, torch.tensor([[2]]))})
    # Audio's 0 weighs text's 1 and 0 by 1/2 and 1/2, its log 3 by 3/4 and 1/4;
    # text's 1 weighs audio's 0 and log 3 by 1/4 and 3/4, its 0 by 1/2 and 1/2.
    expected = torch.tensor([[[(1 / 2 + 3 / 4) / 2, (3 / 4 + 1 / 2) / 2 * math.log(3)]]], dtype=torch.float64)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("depth", "exchanged"), [(1, False), (2, True)])
def test_modalities_exchange_through_the_latents_from_the_second_layer_on(depth, exchanged):
    """Without exchange the output is a sum of what each modality gives."""
    torch.manual_seed(0)
    network = stacked(
        randomised(bottleneck.build(["text", "audio"], WIDTH, latents=2, layers=depth, heads=3, attention_dropout=0.0))
    )
    texts, audios = (
        [(torch.randn(1, 1, time, WIDTH, dtype=torch.float64), None) for _ in range(2)] for time in (7, 11)
    )
    outputs = [[network({"text": text, "audio": audio}) for audio in audios] for text in texts]
    difference = (outputs[0][0] - outputs[0][1] - outputs[1][0] + outputs[1][1]).abs().max()
    assert (difference > 1e-6) if exchanged else (difference < 1e-12)
