"""The models against a plain implementation, in float64, with a different prime for every dimension."""

import copy

import numpy as np
import pytest
import torch
from numba import njit

from stages.common import params, variants
from stages.train import layers, model
from stages.train.fusions import attention as fusion
from stages.train.kernels import exponential
from stages.train.kernels.gru import BidirectionalGRU
from stages.train.stack import Stack
from tests import oracle
from tests.oracle import PlainModel, project_names

VARIANTS = params.load().variants
RUNS, BATCH, CLASSES = 2, 3, 17
FEATURES = {"audio": 5, "video": 11, "text": 13}
LONGEST = {"audio": 19, "video": 23, "text": 29}
POSITIONS = {"audio": 7, "video": 2}
SHAPE = model.Shape(features=FEATURES, longest=LONGEST, classes=CLASSES)


def config(**changes) -> params.Model:
    sizes = {
        "hidden": 31 * 3,
        "heads": 3,
        "classifier": 37,
        "attention_dropout": 0.0,
        "text_dropout": 0.0,
        "positions": {"audio": 7 / 19, "video": 2 / 23},
        "padding": "attend",
    }
    return params.Model.model_validate(sizes | changes)


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
    return stacked(*(model.build(variant, SHAPE, config(**changes)).double() for _ in range(RUNS)))


@pytest.mark.parametrize("many", [model.MANY, 0], ids=["as small", "as large"])
@pytest.mark.parametrize("variant", [name for name in VARIANTS if variants.parse(name).fusion in oracle.FUSIONS])
def test_logits_and_gradients_equal_the_plain_models(variant, many, monkeypatch):
    monkeypatch.setattr(model, "MANY", many)
    torch.manual_seed(2)
    plain = [
        PlainModel(
            variant,
            features=FEATURES,
            longest=LONGEST,
            positions=POSITIONS,
            hidden=93,
            heads=3,
            classifier=37,
            classes=CLASSES,
        ).double()
        for _ in range(RUNS)
    ]
    networks = [model.build(variant, SHAPE, config()).double() for _ in plain]
    for one, network in zip(plain, networks, strict=True):
        network.load_state_dict(project_names(one.state_dict(), one, network))
    network = stacked(*networks)
    sequences = inputs()
    labels = torch.tensor([[2, 11, 5], [0, 13, 2]])
    actual = network(sequences)
    torch.nn.functional.cross_entropy(actual.flatten(0, 1), labels.flatten(), reduction="sum").backward()
    for run, one in enumerate(plain):
        expected = one({name: values[run].transpose(0, 1) for name, (values, _) in sequences.items()})
        torch.testing.assert_close(actual[run], expected, rtol=0, atol=1e-10)
        torch.nn.functional.cross_entropy(expected, labels[run], reduction="sum").backward()
        gradients = project_names({name: p.grad for name, p in one.named_parameters()}, one, network)
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(parameter.grad[run], gradients[name], rtol=0, atol=1e-10, msg=name)


def test_parameter_counts_at_the_papers_sizes():
    shape = model.Shape(
        features={"audio": 120, "video": 2048, "text": 300},
        longest={"audio": 1000, "video": 32, "text": 128},
        classes=7,
    )
    paper = params.load().model
    assert count(model.build("self_tva", shape, paper)) == 1_645_892
    assert count(model.build("cross_tva", shape, paper)) == 1_820_132


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
    encoder = model.Encoder(13, 5, mask=True).double()
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
    gru = stacked(*(BidirectionalGRU(2, 11).double() for _ in range(3)))  # 11 units are filled up to 16
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
    for average in (fusion.averaged_weights, fusion.compiled_weights):
        q.grad = k.grad = None
        pooled = average(q, k, 5, dropout(0.0), *lengths)
        (pooled * weight).sum().backward()
        results.append([pooled, q.grad, k.grad])
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=0, atol=1e-12)


def test_the_attentions_backward_pass_drops_what_the_forward_pass_dropped():
    q, k, _ = attention_inputs(None, None)

    def average(q, k):
        queries, keys = torch.tensor([[6, 3], [2, 6]]), torch.tensor([[41, 7], [5, 13]])
        return fusion.compiled_weights(q, k, 5, dropout(0.3), queries, keys)

    parts = [x[:, :2, :time].detach().requires_grad_() for x, time in ((q, 6), (k, 41))]
    assert torch.autograd.gradcheck(average, parts)


def test_a_runs_dropout_is_its_own():
    """What a run drops depends on its own generator, not on the runs beside it."""
    values, (q, k, _) = torch.randn(2, 7, 5), attention_inputs(None, None)
    both, second = dropout(0.5), dropout(0.5)
    second.generators = second.generators[1:]
    assert torch.equal(both(values)[1:], second(values[1:]))
    together = fusion.compiled_weights(q, k, 5, both, None, None)
    assert torch.equal(together[1:], fusion.compiled_weights(q[1:], k[1:], 5, second, None, None))
    assert not torch.equal(together[1:], fusion.compiled_weights(q[1:], k[1:], 5, second, None, None))


def test_a_share_of_the_weights_is_kept_and_their_mean_is_the_plain_ones():
    q, k = torch.zeros(1, 1, 5, 4), torch.zeros(1, 1, 1000, 4)  # all weights are .001
    module = dropout(0.1, runs=1)
    draws = torch.cat([fusion.compiled_weights(q, k, 2, module, None, None)[0] for _ in range(200)]).double()
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
    pooled = fusion.statistical_pooling(vectors)
    torch.testing.assert_close(pooled, torch.tensor([[[2.0, 5.0, 2**0.5, 0.0]]]))
    pooled.sum().backward()
    torch.testing.assert_close(vectors.grad[0, 0], torch.tensor([[0.5 - 0.5**0.5, 0.5], [0.5 + 0.5**0.5, 0.5]]))


def test_attention_dropout_keeps_the_mean():
    sizes = fusion.Sizes(width=6, heads=2, dropout=0.4)
    torch.manual_seed(0)
    attention = stacked(fusion.AveragedAttention(sizes).double())
    target, source = (torch.randn(1, 1, time, 6, dtype=torch.float64).expand(-1, 2000, -1, -1) for time in (3, 5))
    dropped = attention(target, source, None, None)[0]
    attention.eval()
    expected = attention(target[:, :1], source[:, :1], None, None)[0, 0]
    error = dropped.std(0) / 2000**0.5
    assert (dropped.std(0) > 0).all()
    assert ((dropped.mean(0) - expected).abs() < 4 * error).all()


class LastStates(torch.nn.Module):
    """A fusion in a few lines: the last position of each encoding, concatenated."""

    def __init__(self, modalities, sizes):
        super().__init__()
        self.modalities, self.size = modalities, len(modalities) * sizes.width

    def forward(self, encodings):
        return torch.cat([encodings[name][0][:, :, -1] for name in self.modalities], dim=2)


def test_a_new_fusion_is_a_function_and_an_entry(monkeypatch):
    monkeypatch.setattr(fusion, "last_states", LastStates, raising=False)
    monkeypatch.setitem(variants.FUSIONS, "last", variants.Fusion(builder="last_states", label="Last"))
    assert built("last_va")(inputs()).shape == (RUNS, BATCH, CLASSES)
    assert variants.parse("last_va").label == "Last V+A"


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
