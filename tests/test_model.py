"""The models against plain torch, in float64, with a different prime for every dimension."""

import copy
import sys
from itertools import product

import numpy as np
import pytest
import torch
from numba import njit
from torch.nn import functional as F

from stages.common import corpus, fusion_settings, params, variants
from stages.common.features import Features, Ragged
from stages.common.plan import Fusion, Modality, Plan, Protocol, Sizes
from stages.train import data, fusions, input_projection, layers, model, plain
from stages.train.device import deterministic
from stages.train.fusions import attention, pooling
from stages.train.kernels import exponential
from stages.train.kernels.gru import BidirectionalGRU
from stages.train.stack import Stack

CONFIG = params.load()
RUNS, BATCH, CLASSES = 2, 3, 17
FEATURES = {"text": 13, "video": 11, "audio": 5}
LONGEST = {"text": 29, "video": 23, "audio": 19}
MODALITIES = {"text": {}, "video": {"positions": 2 / 23}, "audio": {"positions": 7 / 19}}
SHAPE = model.Shape(features=FEATURES, longest=LONGEST, outputs=CLASSES)
INPUTS = list(product(("frames", "tokens"), (None, 0.6), (0.0, 0.3)))
"""Kind, positions and dropout of a modality: all that there are."""


@pytest.fixture(autouse=True)
def one_thread():
    """As training has it: with more, tests side by side wait for each other."""
    with deterministic(torch.device("cpu")):
        yield


EVERY_FUSION = [
    variants.named(name, "tva"[:count])
    for name, own in variants.FUSIONS.items()
    if own.trained
    for count in {own.at_least, own.at_most or 3}
]
VARIANTS = list(dict.fromkeys([*CONFIG.variants, *EVERY_FUSION]))


def planned(fusion: str, modalities: dict[str, dict], *, hidden: int = 93, padding: str = "attend", **settings) -> Plan:
    """A plan; the fusion has three heads and no dropout, if it has any, and the other `settings` of params.yaml."""
    defaults = CONFIG.settings(fusion)
    settings = {"heads": 3, "attention_dropout": 0.0} | settings
    return Plan(
        task="classes",
        modalities=[Modality(name=name, **own) for name, own in modalities.items()],
        fusion=Fusion(name=fusion, settings=defaults | {name: settings[name] for name in settings if name in defaults}),
        model=Sizes(hidden=hidden, classifier=37, padding=padding),
        protocol=Protocol(),
        precision="float64",
        device="cpu",
        save_weights=False,
        training_code={},
        output_code={},
    )


def variants_plan(variant: str, *, text_dropout: float = 0.0, **changes) -> Plan:
    """The plan of a variant of text, video and audio."""
    parsed, modalities = variants.parse(variant), MODALITIES | {"text": {"dropout": text_dropout}}
    return planned(
        parsed.fusion, {name: modalities[name] for name in FEATURES if name[0] in parsed.modalities}, **changes
    )


def inputs(lengths: dict | None = None) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Modality → random values [R, T, B, F], zero beyond the lengths, and lengths [R, B]."""
    generator = torch.Generator().manual_seed(0)
    sequences = {}
    for name, longest in LONGEST.items():
        length = torch.randint(1, longest + 1, (RUNS, BATCH), generator=generator)
        length[:, 0] = longest
        length = lengths[name] if lengths else length
        values = torch.randn(RUNS, longest, BATCH, FEATURES[name], generator=generator, dtype=torch.float64)
        sequences[name] = values * (torch.arange(longest)[:, None] < length[:, None])[..., None], length
    return sequences


def stacked(*networks: torch.nn.Module) -> torch.nn.Module:
    """The first network with the parameters of all, and a generator for each."""
    stack = Stack(networks[0])
    vectors = torch.stack([stack.vector(network) for network in networks])
    return stack.use(vectors, tuple(torch.Generator().manual_seed(run) for run in range(len(networks))))


def built(variant: str, **changes) -> model.Model:
    """Two runs' models."""
    torch.manual_seed(1)
    return stacked(*(model.build(variants_plan(variant, **changes), SHAPE).double() for _ in range(RUNS)))


def plain_and_stacked(plan: Plan, shape: model.Shape) -> tuple[list[plain.Model], model.Model]:
    """Two plain models whose parameters are all random, and the project's with the same ones."""
    torch.manual_seed(2)
    references = [plain.Model(plan, shape).double() for _ in range(RUNS)]
    networks = [model.build(plan, shape).double() for _ in range(RUNS)]
    for reference, network in zip(references, networks, strict=True):
        for parameter, own in parameter_pairs(reference, network):
            parameter.data += 0.1 * torch.randn_like(parameter)  # else biases of attention would be 0
            own.data = parameter.detach().view_as(own).clone()
    return references, stacked(*networks)


def parameter_pairs(reference: plain.Model, network: model.Model) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Both models' parameters by the same names."""
    expected, own = dict(reference.named_parameters()), dict(network.named_parameters())
    assert expected.keys() == own.keys()
    return [(expected[name], own[name]) for name in own]


def check_equal(
    network: model.Model,
    references: list[plain.Model],
    sequences: dict[str, tuple[torch.Tensor, torch.Tensor]],
    dense: list[dict[str, tuple[torch.Tensor, torch.Tensor]]],
) -> None:
    """Compare logits and the gradients of a loss; `dense`: each run's sequences as the plain model reads them."""
    labels = torch.tensor([[2, 11, 5], [0, 13, 2]])
    actual = network(sequences)[:, :BATCH]
    F.cross_entropy(actual.flatten(0, 1), labels.flatten(), reduction="sum").backward()
    for run, reference in enumerate(references):
        expected = reference(dense[run])
        torch.testing.assert_close(actual[run], expected, rtol=0, atol=1e-10)
        F.cross_entropy(expected, labels[run], reduction="sum").backward()
        for parameter, own in parameter_pairs(reference, network):
            torch.testing.assert_close(own.grad[run], parameter.grad.view_as(own[run]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("padding", ["attend", "mask"])
@pytest.mark.parametrize("many", [input_projection.MANY, 0], ids=["as small", "as large"])
@pytest.mark.parametrize("variant", [name for name in VARIANTS if variants.parse(name).fusion in plain.FUSIONS])
def test_logits_and_gradients_equal_the_plain_models(variant, many, padding, monkeypatch):
    monkeypatch.setattr(input_projection, "MANY", many)
    references, network = plain_and_stacked(variants_plan(variant, padding=padding), SHAPE)
    sequences = inputs()
    dense = [
        {name: (values[run].transpose(0, 1), lengths[run]) for name, (values, lengths) in sequences.items()}
        for run in range(RUNS)
    ]
    check_equal(network, references, sequences, dense)


def dropped(x: torch.Tensor, p: float) -> torch.Tensor:
    """Dropout by which a value's own digits decide about it: so any two ways to compute it drop the same."""
    return x * ((1e4 * x).floor().remainder(10) >= 10 * p) / (1 - p)


def made_up(kinds: dict[str, str], shape: model.Shape) -> Features:
    """Seven utterances; frames have values in their padding, tokens a vector of the padding token's own."""
    rng, sequences = np.random.default_rng(0), {}
    for name, kind in kinds.items():
        longest, size = shape.longest[name], shape.features[name]
        lengths = np.array([longest, 0, 1, *rng.integers(1, longest + 1, 4)])
        tokens = {"values": rng.integers(0, 31, lengths.sum()), "embedding": rng.standard_normal((31, size))}
        frames = {"values": rng.standard_normal((lengths.sum(), size)), "valid": (lengths + 1) // 2}
        sequences[name] = Ragged(
            **(tokens if kind == "tokens" else frames),
            offsets=np.cumsum(lengths) - lengths,
            lengths=lengths,
            longest=longest,
        )
    return Features(
        meta=corpus.Meta(corpus="made up", classes=[f"class {i}" for i in range(CLASSES)], modalities=list(kinds)),
        utterance_id=np.arange(7).astype(str),
        label=np.arange(7),
        sequences=sequences,
    )


def padded(own: Ragged, rows: np.ndarray, padding: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences [B, longest, F] and lengths [B] as the plain model reads them."""
    lengths = own.valid if padding == "mask" and own.valid is not None else own.lengths
    values = []
    for row in rows:
        sequence = np.pad(
            own[row][: lengths[row]], [(0, own.longest - lengths[row]), *[(0, 0)] * (own.values.ndim - 1)]
        )
        vectors = sequence if own.embedding is None else own.embedding[sequence]
        values.append(vectors * (np.arange(own.longest) < lengths[row])[:, None] if padding == "mask" else vectors)
    return torch.tensor(np.stack(values)), torch.tensor(lengths[rows])


@pytest.mark.parametrize("padding", ["attend", "mask"])
@pytest.mark.parametrize("many", [input_projection.MANY, 0], ids=["as small", "as large"])
@pytest.mark.parametrize(
    "chosen", [*([own] for own in INPUTS), INPUTS], ids=[*("-".join(map(str, own)) for own in INPUTS), "eight"]
)
def test_inputs_of_all_kinds_are_read_as_by_plain_torch(chosen, many, padding, monkeypatch):
    monkeypatch.setattr(input_projection, "MANY", many)
    monkeypatch.setattr(layers.Dropout, "of_run", lambda self, run, x: dropped(x, self.rate))
    names = [f"modality_{i}" for i in range(len(chosen))]
    shape = model.Shape(
        features=dict(zip(names, (5, 83, 7, 67, 11, 71, 13, 73), strict=False)),  # both orders of the linear maps
        longest=dict(zip(names, (19, 17, 23, 29, 31, 37, 41, 43), strict=False)),
        outputs=CLASSES,
    )
    modalities = {
        name: {"positions": positions, "dropout": dropout}
        for name, (_, positions, dropout) in zip(names, chosen, strict=True)
    }
    plan = planned("cross" if len(names) > 1 else "self", modalities, hidden=15, padding=padding)
    references, network = plain_and_stacked(plan, shape)
    for reference in references:
        for module in reference.modules():
            if isinstance(module, torch.nn.Dropout):
                module.forward = lambda x, p=module.p: dropped(x, p)
    features = made_up({name: kind for name, (kind, _, _) in zip(names, chosen, strict=True)}, shape)
    rows = [np.array([0, 1, 4]), np.array([2, 6, 0])]
    batches = data.Batches(
        features,
        names,
        features.label,
        size=BATCH,
        padding_is_data=padding == "attend",
        dtype=torch.float64,
        device=torch.device("cpu"),
    )
    dense = [{name: padded(own, some, padding) for name, own in features.sequences.items()} for some in rows]
    check_equal(network, references, batches(rows, [{}, {}]).sequences, dense)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if variants.parse(name).fusion in plain.FUSIONS])
def test_one_seed_gives_the_plain_models_parameters(variant):
    models = []
    for make in (plain.Model, model.build):
        torch.manual_seed(5)
        models.append(make(variants_plan(variant), SHAPE))
    for expected, actual in parameter_pairs(*models):
        assert torch.equal(actual, expected.view_as(actual))


def test_the_plain_model_is_of_the_papers_fusions():
    plan = variants_plan("self_tv")
    other = plan.model_copy(update={"fusion": Fusion(name="other", settings={})})
    with pytest.raises(ValueError, match=r"must be one of the paper's, cross, self, .*, but is 'other'$"):
        plain.Model(other, SHAPE)


@pytest.mark.parametrize(("fusion", "parameters"), [("self", 1_645_892), ("cross", 1_820_132)])
def test_parameter_counts_at_the_papers_sizes(fusion, parameters):
    shape = model.Shape(
        features={"audio": 120, "video": 2048, "text": 300},
        longest={"audio": 1000, "video": 32, "text": 128},
        outputs=7,
    )
    modalities = {name: own.model_dump(exclude={"letter", "features"}) for name, own in CONFIG.modalities.items()}
    plan = planned(fusion, modalities, heads=6)
    plan = plan.model_copy(update={"model": Sizes()})
    assert count(model.build(plan, shape)) == count(plain.Model(plan, shape)) == parameters


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_gets_a_gradient_and_a_seed_repeats(variant):
    network = built(variant, attention_dropout=0.1, text_dropout=0.25)
    first = network(inputs())
    second = network(inputs())
    for module in network.modules():
        if isinstance(module, layers.Dropout):
            for run, generator in enumerate(module.generators):
                generator.manual_seed(run)
    assert torch.equal(first, network(inputs()))
    assert not torch.equal(first, second)
    assert torch.equal(first, built(variant, attention_dropout=0.1, text_dropout=0.25)(inputs()))
    assert first.shape == (RUNS, BATCH, CLASSES)
    first.square().sum().backward()
    for name, parameter in network.named_parameters():
        for gradient in parameter.grad:
            if name.endswith("in_proj_bias"):  # softmax does not see a key bias: it shifts all scores of a query alike
                gradient = torch.cat([gradient.chunk(3)[0], gradient.chunk(3)[2]])
            assert gradient.abs().max() > 0, name


@pytest.mark.parametrize("variant", VARIANTS)
def test_masked_models_do_not_see_how_much_padding_there_is(variant):
    network = built(variant, padding="mask")
    lengths = {
        "audio": torch.tensor([[2, 11, 5], [7, 3, 2]]),
        "video": torch.tensor([[3, 1, 7], [1, 5, 2]]),
        "text": torch.tensor([[13, 2, 1], [3, 11, 5]]),
    }
    full = {name: values for name, (values, _) in inputs(lengths).items()}
    results = []
    for pad_to in (lambda name: LONGEST[name], lambda name: int(lengths[name].max())):
        sequences = {name: (values[:, : pad_to(name)], lengths[name]) for name, values in full.items()}
        network.zero_grad()
        logits = network(sequences)
        logits.square().sum().backward()
        results.append([logits, *(p.grad.clone() for p in network.parameters())])
    for longer, shorter in zip(*results, strict=True):
        torch.testing.assert_close(longer, shorter, rtol=0, atol=1e-10)
    # And each utterance alone gives what it gives beside longer ones.
    for i in range(BATCH):
        alone = network(
            {
                name: (values[:, : lengths[name][:, i].max(), i : i + 1], lengths[name][:, i : i + 1])
                for name, values in full.items()
            }
        )
        torch.testing.assert_close(alone[:, 0], results[0][0][:, i], rtol=0, atol=1e-10)


def test_a_masked_text_encoder_is_torchs_gru_on_the_words_alone():
    torch.manual_seed(3)
    encoder = model.Encoder(13, 5, time_map=None, dropout=0.0, mask=True).double()
    gru = copy.deepcopy(encoder.gru)
    encoder = stacked(encoder)
    x, lengths = torch.randn(1, 7, 3, 13, dtype=torch.float64), torch.tensor([[7, 3, 0]])
    encoding, valid = encoder(x, lengths)
    assert valid.tolist() == [[7, 3, 1]]
    for i, length in enumerate((7, 3, 1)):
        expected = torch.nn.GRU.forward(gru, x[0, :length, i])[0]
        torch.testing.assert_close(encoding[0, i, :length], expected, rtol=0, atol=1e-12)
        assert (encoding[0, i, length:] == 0).all()


@pytest.mark.parametrize("lengths", [None, torch.tensor([[5, 2], [1, 3], [4, 5]])])
def test_the_compiled_recurrence_is_torchs(lengths):
    gru = stacked(*(BidirectionalGRU(2, 11).double() for _ in range(3)))  # 11 units are padded to 16
    x = torch.randn(3, 5, 2, 2, dtype=torch.float64, requires_grad=True)
    results = []
    for forward in (gru, lambda x, lengths: gru.recur(layers.linear(x, *gru.projection()), lengths)):
        output = forward(x, lengths)
        gru.zero_grad()
        x.grad = None
        output.square().sum().backward()
        results.append([output, x.grad, *(parameter.grad for parameter in gru.parameters())])
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    with torch.no_grad():  # which keeps no steps for a backward pass
        torch.testing.assert_close(
            gru.recur(layers.linear(x, *gru.projection()), lengths), results[1][0], rtol=0, atol=0
        )


def dropout(p: float, runs: int = 2) -> layers.Dropout:
    """Dropout for some runs."""
    module = layers.Dropout(p)
    module.generators = tuple(torch.Generator().manual_seed(run) for run in range(runs))
    return module


def attention_inputs(*lengths: int | None) -> tuple[torch.Tensor, torch.Tensor, list]:
    """Two runs' queries [2, 3, 37, 10], keys [2, 3, 41, 10] and their lengths: the given ones for the second sample."""
    q, k = (torch.randn(2, 3, time, 10, dtype=torch.float64, requires_grad=True) for time in (37, 41))
    return (
        q,
        k,
        [
            length and torch.tensor([[x.shape[2], length, 1], [length, 3, x.shape[2]]])
            for x, length in zip((q, k), lengths, strict=True)
        ],
    )


@pytest.mark.parametrize("lengths", [(None, None), (5, 7), (None, 40)])
def test_the_compiled_attention_is_the_plain_one(lengths):
    q, k, lengths = attention_inputs(*lengths)
    weight = torch.randn(2, 3, 5, 41, dtype=torch.float64)
    results = []
    for average in (attention.averaged_weights, attention.compiled_weights):
        q.grad = k.grad = None
        pooled = average(q, k, 5, dropout(0.0), *lengths)
        (pooled * weight).sum().backward()
        results.append([pooled, q.grad, k.grad])
    for written_out, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, written_out, rtol=0, atol=1e-12)


def test_the_attentions_backward_pass_drops_what_the_forward_pass_dropped():
    q, k, _ = attention_inputs(None, None)

    def average(q, k):
        queries, keys = torch.tensor([[6, 3], [2, 6]]), torch.tensor([[41, 7], [5, 13]])
        return attention.compiled_weights(q, k, 5, dropout(0.3), queries, keys)

    parts = [x[:, :2, :time].detach().requires_grad_() for x, time in ((q, 6), (k, 41))]
    assert torch.autograd.gradcheck(average, parts)


@pytest.mark.parametrize(("width", "heads", "time"), [(10, 5, 11), (10, 2, 25), (26, 13, 7), (120, 6, 31)])
def test_attentions_gradients_are_the_same_to_the_last_bit_whatever_is_beside_a_run(width, heads, time):
    torch.manual_seed(3)
    modules = [attention.AveragedAttention(width, heads, 0.0) for _ in range(3)]
    target, source = torch.randn(2, 3, 16, time, width)

    def gradients(runs: slice) -> list[torch.Tensor]:
        module = stacked(*copy.deepcopy(modules[runs]))
        inputs = [own[runs].clone().requires_grad_() for own in (target, source)]
        module(*inputs, None, None).square().sum().backward()
        return [own.grad for own in (*inputs, *module.parameters())]

    together = gradients(slice(0, 3))
    for run in range(3):
        for beside, alone in zip(together, gradients(slice(run, run + 1)), strict=True):
            assert torch.equal(beside[run], alone[0])


def test_a_runs_dropout_is_its_own():
    """What a run drops depends on its own generator, not on the runs beside it."""
    values, (q, k, _) = torch.randn(2, 7, 5), attention_inputs(None, None)
    both, second = dropout(0.5), dropout(0.5)
    second.generators = second.generators[1:]
    assert torch.equal(both(values)[1:], second(values[1:]))
    together = attention.compiled_weights(q, k, 5, both, None, None)
    assert torch.equal(together[1:], attention.compiled_weights(q[1:], k[1:], 5, second, None, None))
    assert not torch.equal(together[1:], attention.compiled_weights(q[1:], k[1:], 5, second, None, None))


def test_a_share_of_the_weights_is_kept_and_their_mean_is_the_plain_ones():
    q, k = torch.zeros(1, 1, 5, 4), torch.zeros(1, 1, 1000, 4)  # all weights are .001
    module = dropout(0.1, runs=1)
    draws = torch.cat([attention.compiled_weights(q, k, 2, module, None, None)[0] for _ in range(200)]).double()
    kept = draws * 1000 * 5 * 0.9  # of five queries each
    torch.testing.assert_close(kept, kept.round(), rtol=0, atol=1e-3)
    assert kept.mean().item() / 5 == pytest.approx(0.9, abs=4 * (0.09 / kept.numel() / 5) ** 0.5)
    # Queries, heads, columns and draws drop independently of each other.
    assert kept.var().item() == pytest.approx(5 * 0.09, rel=0.02)
    assert kept.mean(dim=(0, 1)).var().item() == pytest.approx(5 * 0.09 / 400, rel=0.2)
    assert kept.mean(dim=(1, 2)).var().item() == pytest.approx(5 * 0.09 / 2000, rel=0.4)
    assert abs(torch.corrcoef(kept[:, 0, :2].T)[0, 1]) < 4 / 200**0.5


@njit
def exponentials(x):
    result = np.empty_like(x)
    for i in range(len(x)):
        result[i] = exponential.exp(x[i])
    return result


def test_exponentials_in_float32():
    x = np.linspace(-87, 88, 100_003, dtype=np.float32)
    np.testing.assert_allclose(exponentials(x), np.exp(x.astype(np.float64)), rtol=2e-7)
    assert exponentials(np.array([-1e30], np.float32))[0] < 1e-37
    np.testing.assert_array_equal(exponentials(np.array([-3.0, 0.5])), np.exp([-3.0, 0.5]))


def test_float32_is_close_to_float64():
    for variant in ("self_tva", "cross_tva"):
        double, single = built(variant), built(variant)
        for parameter in single.parameters():
            parameter.data = parameter.data.float()
        sequences = inputs()
        expected = double(sequences)
        actual = single({name: (values.float(), lengths) for name, (values, lengths) in sequences.items()})
        torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-5)
        for logits in (expected, actual):
            logits.square().sum().backward()
        for (name, ours), theirs in zip(single.named_parameters(), double.parameters(), strict=True):
            scale = theirs.grad.abs().max().item()
            torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=0, atol=1e-4 * scale + 1e-6, msg=name)


def test_statistical_pooling_by_hand_and_its_gradient_where_vectors_are_equal():
    vectors = torch.tensor([[[[1.0, 5.0], [3.0, 5.0]]]], requires_grad=True)
    pooled = pooling.statistical_pooling(vectors)
    torch.testing.assert_close(pooled, torch.tensor([[[2.0, 5.0, 2**0.5, 0.0]]]))
    pooled.sum().backward()
    torch.testing.assert_close(vectors.grad[0, 0], torch.tensor([[0.5 - 0.5**0.5, 0.5], [0.5 + 0.5**0.5, 0.5]]))


def test_attention_dropout_keeps_the_mean():
    torch.manual_seed(0)
    averaged = stacked(attention.AveragedAttention(width=6, heads=2, dropout=0.4).double())
    target, source = (torch.randn(1, 1, time, 6, dtype=torch.float64).expand(-1, 2000, -1, -1) for time in (3, 5))
    draws = averaged(target, source, None, None)[0]
    averaged.eval()
    expected = averaged(target[:, :1], source[:, :1], None, None)[0, 0]
    error = draws.std(0) / 2000**0.5
    assert (draws.std(0) > 0).all()
    assert ((draws.mean(0) - expected).abs() < 4 * error).all()


LAST_STATES = """
import torch

from stages.common.plan import Size


class LastStates(torch.nn.Module):
    def __init__(self, modalities, size, states):
        super().__init__()
        self.modalities, self.size, self.states = modalities, size, states

    def forward(self, encodings):
        return torch.cat([encodings[name][0][:, :, -self.states :].flatten(2) for name in self.modalities], dim=2)


def build(modalities, width, *, states: Size = 1):
    return LastStates(modalities, len(modalities) * states * width, states)
"""


def test_a_new_fusion_is_a_file_and_an_entry(monkeypatch, tmp_path):
    """The last positions of each encoding, joined."""
    (tmp_path / "last_states.py").write_text(LAST_STATES)
    monkeypatch.setattr(fusion_settings, "FOLDER", tmp_path)
    monkeypatch.setattr(fusions, "__path__", [*fusions.__path__, str(tmp_path)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setitem(variants.FUSIONS, "last_states", variants.Fusion(label="Last states"))
    assert variants.parse("last_va_states").label == "Last states V+A"
    for settings, states in (({}, 1), ({"states": 2}, 2)):
        network = built("last_va_states", **settings)
        assert network(inputs()).shape == (RUNS, BATCH, CLASSES)
        assert network.fusion.size == 2 * states * 186


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
