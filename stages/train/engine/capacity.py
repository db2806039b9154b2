"""How many runs a process trains at once: no result depends on it."""

from typing import Literal

import torch

from stages.common.plan import Plan
from stages.train.device import resolve_device

MOST = 8
"""Runs trained together on a CPU at most: more gain nothing."""

ENOUGH = 2**20
"""Values of the encodings of a step's batches from which computing more at once gains nothing on a CPU."""

MOST_ON_CUDA, COPIES_ON_CUDA = 50, 6
"""Runs trained together on CUDA at most, and tensors the size of all attention weights that one is taken to need."""


def runs_per_process(plan: Plan, positions: int, together: int | Literal["auto"]) -> int:
    """How many runs of a variant to train at once: `train.together`, or as many as fill a processor or its memory.

    `positions`: of the longest sequences of all modalities (`Work.positions`).
    """
    if together != "auto":
        return together
    batch, device = plan.protocol.batch_size, resolve_device(plan.device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        settings = plan.fusion.settings
        heads = max((value for name, value in settings.items() if name in ("heads", "inner_heads")), default=1)
        weights = 4 * batch * heads * settings.get("layers", 1) * positions**2  # bytes
        return max(1, min(MOST_ON_CUDA, free // 2 // (COPIES_ON_CUDA * weights)))
    values = batch * positions * 2 * plan.model.hidden  # of a batch's encodings
    return max(1, min(MOST, ENOUGH // values))
