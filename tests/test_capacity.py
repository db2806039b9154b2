"""How many runs are trained at once."""

import pytest
import torch

from stages.common import params
from stages.plan.__main__ import make
from stages.train.engine import capacity

CONFIG = params.load()


@pytest.mark.parametrize(
    ("variant", "settings", "heads_and_layers"),
    [
        ("cross_tva", {}, 6),
        ("concat_tva", {}, 1),
        ("mult_tva", {}, 10),
        ("mult_tva", {"layers": 4}, 40),
        ("bottleneck_tva", {}, 12),
    ],
)
def test_on_cuda_by_hand(variant, settings, heads_and_layers, monkeypatch):
    """Half of the free memory, by six times a run's attention weights: here 32 · (7 + 6)² numbers of 4 bytes a head."""
    weights = 6 * 4 * 32 * 13**2 * heads_and_layers
    fusion = variant.partition("_")[0]
    config = CONFIG.model_copy(update={"fusions": {fusion: settings}} if settings else {})
    monkeypatch.setattr(capacity, "resolve_device", lambda device: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * 7 * weights + 1, 0))
    assert capacity.runs_per_process(make(variant, config), 13, "auto") == 7
    assert capacity.runs_per_process(make(variant, config), 10**6, "auto") == 1
    assert capacity.runs_per_process(make(variant, config), 1, "auto") == capacity.MOST_ON_CUDA
    assert capacity.runs_per_process(make(variant, config), 1, 3) == 3


@pytest.mark.parametrize(("positions", "expected"), [(1, 8), (2**20 // (32 * 120 * 5), 5), (10**6, 1)])
def test_on_a_cpu_by_hand(positions, expected):
    """As many as it takes for 2^20 values of encodings, of 32 utterances and 120 features a position; at most 8."""
    assert capacity.runs_per_process(make("self_tva", CONFIG), positions, "auto") == expected
