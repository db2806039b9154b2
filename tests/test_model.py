"""The models against a plain implementation, in float64, with a different prime for every dimension."""

import pytest
import torch

from stages import params
from stages.train import model
from tests.oracle import PlainModel, project_names

VARIANTS = params.load().variants
BATCH, CLASSES = 3, 17
FEATURES = {"audio": 5, "video": 11, "text": 13}
LONGEST = {"audio": 19, "video": 23, "text": 29}
POSITIONS = {"audio": 7, "video": 2}
SHAPE = model.Shape(features=FEATURES, longest=LONGEST, classes=CLASSES)


def config(**changes) -> params.Model:
    sizes = {"hidden": 31 * 3, "heads": 3, "classifier": 37, "attention_dropout": 0.0, "text_dropout": 0.0,
             "positions": {"audio": 7 / 19, "video": 2 / 23}, "padding": "attend"}
    return params.Model.model_validate(sizes | changes)


def inputs(seed: int = 0, lengths: dict | None = None) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Modality → random values, zero beyond the lengths, and lengths."""
    generator = torch.Generator().manual_seed(seed)
    sequences = {}
    for name, longest in LONGEST.items():
        length = torch.randint(1, longest + 1, (BATCH,), generator=generator)
        length[0] = longest
        values = torch.randn(BATCH, longest, FEATURES[name], generator=generator, dtype=torch.float64)
        sequences[name] = values * (torch.arange(longest) < length[:, None])[..., None], length
    return sequences


def built(variant: str, **changes) -> model.Model:
    torch.manual_seed(1)
    return model.build(variant, SHAPE, config(**changes)).double()


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_gradients_equal_the_plain_models(variant):
    torch.manual_seed(2)
    plain = PlainModel(variant, features=FEATURES, longest=LONGEST, positions=POSITIONS, hidden=93, heads=3,
                       classifier=37, classes=CLASSES).double()
    network = built(variant)
    network.load_state_dict(project_names(plain.state_dict(), plain, network))
    sequences = inputs()
    labels = torch.tensor([2, 11, 5])
    expected, actual = plain({name: values for name, (values, _) in sequences.items()}), network(sequences)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)
    for logits in (expected, actual):
        torch.nn.functional.cross_entropy(logits, labels).backward()
    gradients = project_names({name: p.grad for name, p in plain.named_parameters()}, plain, network)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=0, atol=1e-10, msg=name)
