"""How many runs a process trains at once: no result depends on it."""

import torch

from stages.common.plan import Plan
from stages.train.device import resolve_device

MOST = 8
"""Runs trained together on a CPU at most: more gain nothing."""

ENOUGH = 2**20
"""Values of the encodings of a step's batches from which computing more at once gains nothing on a CPU."""

MOST_ON_CUDA, COPIES_ON_CUDA = 50, 6
"""Runs trained together on CUDA at most, and tensors the size of all attention weights that one is taken to need."""


def runs_per_process(plan: Plan, longest: dict[str, int]) -> int:
    """How many runs of a variant to train at once: as many as make small products large and fit into memory.

    `longest`: modality → positions to which its sequences are padded.
    """
    positions = sum(longest[name] for name in plan.names)
    batch, device = plan.protocol.batch_size, resolve_device(plan.device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        weights = 4 * batch * plan.fusion.settings.get("heads", 1) * positions**2  # bytes
        return max(1, min(MOST_ON_CUDA, free // 2 // (COPIES_ON_CUDA * weights)))
    values = batch * positions * 2 * plan.model.hidden  # of a batch's encodings
    return max(1, min(MOST, ENOUGH // values))
