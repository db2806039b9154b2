"""The optimiser and its schedule against torch's own."""

import pytest
import torch

from stages.train.optimiser import Adam, Plateau


def networks() -> list[torch.nn.Module]:
    torch.manual_seed(0)
    first = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Linear(5, 2)).double()
    second = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Linear(5, 2)).double()
    second.load_state_dict(first.state_dict())
    return [first, second]


def test_adam_is_torchs():
    ours, theirs = networks()
    optimiser, reference = Adam(ours, 0.01), torch.optim.Adam(theirs.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(1)
    for step in range(20):
        x = torch.randn(7, 3, generator=generator, dtype=torch.float64)
        if step == 10:
            optimiser.learning_rate = reference.param_groups[0]["lr"] = 0.001
        for network in (ours, theirs):
            network(x).square().sum().backward()
        optimiser.step()
        reference.step()
        reference.zero_grad()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
            assert a.grad is None


def test_weights_loaded_later_are_the_ones_trained():
    ours, theirs = networks()
    optimiser = Adam(ours, 0.01)
    ours.load_state_dict({name: value + 1 for name, value in theirs.state_dict().items()})
    torch.testing.assert_close(optimiser.vector[:15].view(5, 3), theirs[0].weight + 1)


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_the_schedule_is_torchs(patience):
    ours, theirs = networks()
    optimiser, reference = Adam(ours, 0.01), torch.optim.Adam(theirs.parameters(), lr=0.01)
    schedule = Plateau(optimiser, factor=0.1, patience=patience)
    expected = torch.optim.lr_scheduler.ReduceLROnPlateau(reference, factor=0.1, patience=patience)
    generator = torch.Generator().manual_seed(patience)
    losses = 1 / (1 + torch.arange(15.0)) ** 0.01 + 0.01 * torch.rand(15, generator=generator)
    for loss in [*losses.tolist(), *[2.0] * 40]:
        schedule.step(loss)
        expected.step(loss)
        assert optimiser.learning_rate == pytest.approx(reference.param_groups[0]["lr"], rel=1e-12)
    assert optimiser.learning_rate < 1e-7
