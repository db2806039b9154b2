"""Where an extractor's network runs."""

import os

import torch

from stages.common import extractors
from stages.common.errors import UserError


def resolve(name: extractors.Device, modality: str) -> torch.device:
    """`auto` → CUDA where there is one, else the CPU.

    Raises
    ------
    UserError
        If CUDA is asked for and there is none.
    """
    available = name != "cpu" and torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError(
            f"modalities.{modality}.features.device is cuda, but torch finds no CUDA device: use auto or cpu"
        )
    if available:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else its products differ from run to run
    return torch.device("cuda" if available else "cpu")
