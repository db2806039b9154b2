"""Where to train, and how that gives the same bytes each time."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stages.common.errors import UserError


def resolve_device(name: str) -> torch.device:
    """`auto` → CUDA where there is one, else the CPU.

    Raises
    ------
    UserError
        If `cuda` is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError("train.device is cuda, but torch finds no CUDA device: use auto or cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Algorithms that give the same bytes each time; settings are restored.

    On the CPU one thread's do; to ask torch for such would import its compiler, a second or two. More threads are
    rarely faster on operations so small.
    """
    if device.type == "cpu":
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing reads it, and filling takes time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.utils.deterministic.fill_uninitialized_memory = before[1]
