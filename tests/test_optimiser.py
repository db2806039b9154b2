"""The optimiser, its schedule and the stack of runs against torch's own."""

import pytest
import torch
from torch import nn

from stages.train import kernels, optimiser
from stages.train.layers import ALIGNED, Linear
from stages.train.stack import Stack

RUNS = 3


def networks() -> list[nn.Module]:
    return [nn.Sequential(Linear(3, 5), Linear(5, 2)).double() for _ in range(RUNS)]


@pytest.mark.parametrize("kind", ["compiled", "plain"])
def test_a_stack_with_adam_is_torchs_models_one_by_one(kind, monkeypatch):
    torch.manual_seed(0)
    separate = [nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)).double() for _ in range(RUNS)]
    stack = Stack(networks()[0])
    state = optimiser.fresh(torch.stack([stack.vector(network) for network in separate]))
    references = [torch.optim.Adam(network.parameters(), lr=0.01 * (run + 1)) for run, network in enumerate(separate)]
    if kind == "plain":
        monkeypatch.setattr(kernels, "are_for", lambda values: False)
    for step in range(1, 21):
        x = torch.randn(RUNS, 7, 3, dtype=torch.float64)
        active = [0, 2] if step == 13 else [0, 1, 2]  # the second run makes a step less
        part = state[active]
        stack.use(part.parameters)(x[active]).square().sum().backward()
        steps = [step - (run == 1 and step > 13) for run in active]
        optimiser.step(part, stack.gradient(), steps, [0.01 * (run + 1) for run in active])
        state[active] = part
        for run in active:
            separate[run](x[run]).square().sum().backward()
            references[run].step()
            references[run].zero_grad()
    for run, network in enumerate(separate):
        for (name, expected), actual in zip(
            network.named_parameters(), stack.named(state[run].parameters).items(), strict=True
        ):
            assert actual[0] == name
            torch.testing.assert_close(actual[1], expected.detach(), rtol=1e-11, atol=1e-13)
    assert all(parameter.grad is None for parameter in stack.parameters)


def test_a_state_names_selects_and_joins_its_runs():
    state = optimiser.State(torch.arange(RUNS * 3 * 2).view(RUNS, 3, 2))
    assert state.parameters.tolist() == [[0, 1], [6, 7], [12, 13]]
    assert (state[1].mean.tolist(), state[1].square.tolist()) == ([8, 9], [10, 11])
    some = state[[0, 2]]
    some.parameters[:] = -1
    assert state.parameters.tolist() == [[0, 1], [6, 7], [12, 13]]  # `some` is a copy
    state[[0, 2]] = some
    assert state.parameters.tolist() == [[-1, -1], [6, 7], [-1, -1]]
    state[1].mean[:] = -2  # one run is a view
    joined = optimiser.State.cat([state[[2, 1]], state[0], state[[]]])
    assert (len(state), len(joined)) == (3, 3)
    assert torch.equal(joined.values, state.values.flip(0))
    assert joined.mean[1].tolist() == [-2, -2]


def test_a_fresh_state_has_seen_no_gradient():
    for parameters in (torch.tensor([5.0, 7.0]), torch.tensor([[5.0, 7.0], [2.0, 3.0]])):
        state = optimiser.fresh(parameters)
        assert torch.equal(state.parameters, parameters)
        assert torch.equal(state.mean, torch.zeros_like(parameters))
        assert torch.equal(state.square, torch.zeros_like(parameters))


def test_a_graph_that_is_still_referenced_does_not_break_the_next_step():
    """Of another number of runs: a loss may outlive its step, in an exception's traceback for one."""
    torch.manual_seed(0)
    separate = networks()
    stack, alive = Stack(networks()[0]), []
    vectors = torch.stack([stack.vector(network) for network in separate])
    for runs in (3, 2, 3):
        x = torch.randn(runs, 7, 3, dtype=torch.float64)
        network = stack.use(vectors[:runs].clone())
        alive.append(network(x).sum())  # never sent back
        loss = network(x).square().sum()
        loss.backward()
        alive.append(loss)
        gradients = stack.gradient()
        assert gradients.shape == (runs, stack.size)
        for run in range(runs):
            expected = [parameter.detach()[None].requires_grad_() for parameter in separate[run].parameters()]
            hidden = x[run] @ expected[0][0].T + expected[1]
            (hidden @ expected[2][0].T + expected[3]).square().sum().backward()
            for actual, parameter in zip(stack.named(gradients[run]).values(), expected, strict=True):
                torch.testing.assert_close(actual, parameter.grad[0], rtol=1e-11, atol=1e-13)


def test_parameters_shared_by_two_modules_stay_shared():
    torch.manual_seed(0)
    shared, reference = (nn.Sequential(kind(5, 5), kind(5, 5)).double() for kind in (Linear, nn.Linear))
    for network in (shared, reference):
        network[1].weight = network[0].weight
    stack = Stack(shared)
    assert stack.names == ("0.weight", "0.bias", "1.bias")
    vector = stack.vector(reference)
    for runs in (3, 2):
        x = torch.randn(runs, 7, 5, dtype=torch.float64)
        network = stack.use(vector.repeat(runs, 1))
        assert network[1].weight is network[0].weight
        network(x).square().sum().backward()
        gradients = stack.gradient()
        for run in range(runs):
            reference.zero_grad()
            reference(x[run]).square().sum().backward()
            for name, parameter in reference.named_parameters():
                actual = stack.named(gradients[run])[name]
                torch.testing.assert_close(actual, parameter.grad, rtol=1e-11, atol=1e-13)


def test_parameters_lie_aligned_in_a_runs_vector():
    stack = Stack(networks()[0])
    assert stack.starts == [0, ALIGNED, 2 * ALIGNED, 3 * ALIGNED]
    vectors = torch.arange(RUNS * stack.size, dtype=torch.float64).view(RUNS, -1)
    network = stack.use(vectors)
    assert network[1].bias.tolist() == [[run * stack.size + 3 * ALIGNED + i for i in range(2)] for run in range(RUNS)]


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_the_schedule_is_torchs(patience):
    schedule = optimiser.Plateau(0.01, factor=0.1, patience=patience)
    reference = torch.optim.Adam(nn.Linear(3, 5).parameters(), lr=0.01)
    expected = torch.optim.lr_scheduler.ReduceLROnPlateau(reference, factor=0.1, patience=patience)
    generator = torch.Generator().manual_seed(patience)
    losses = 1 / (1 + torch.arange(15.0)) ** 0.01 + 0.01 * torch.rand(15, generator=generator)
    for loss in [*losses.tolist(), *[2.0] * 40]:
        schedule.step(loss)
        expected.step(loss)
        assert schedule.rate == pytest.approx(reference.param_groups[0]["lr"], rel=1e-12)
    assert schedule.rate < 1e-7
