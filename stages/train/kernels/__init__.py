"""The compiled loops, and the one switch that says where they compute and where torch's own operations do."""

from torch import Tensor


def are_for(x: Tensor) -> bool:
    """Whether the compiled loops compute what comes of x: on the CPU."""
    return x.device.type == "cpu"
