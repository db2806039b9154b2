"""A trained run's model, from the weights that it left: its logits for changed inputs, on one thread of the CPU."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stages.common import predictions
from stages.common.errors import UserError
from stages.common.features import Features
from stages.common.plan import Plan
from stages.common.records import RunId
from stages.train import model, objective, protocol
from stages.train.data import Batch, Batches, scalers
from stages.train.stack import Stack

Change = Callable[[Batch, np.ndarray], Batch]
"""What is done to a batch of some rows of the corpus before the model reads it."""

VALUES = 2**23
"""Of the largest modality's encodings, about how many are combined at a time."""


def weights_path(variant: str, run: RunId) -> Path:
    """Where a run's weights lie."""
    return predictions.folder(variant, run.seed) / f"fold{run.fold}.safetensors"


class TrainedRun:
    """One run's model on its fold."""

    def __init__(self, plan: Plan, features: Features, rows: dict[str, np.ndarray], weights: Path):
        """`rows`: part of the fold → rows of `features`; `weights`: the file of the model's parameters.

        Raises
        ------
        UserError
            If the weights are missing or damaged, or of another model.
        """
        self.plan, self.features, self.rows = plan, features, rows
        self.mixed = plan.precision == "bfloat16"
        dtype = torch.float32 if self.mixed else getattr(torch, plan.precision)
        aim = objective.of(plan.task, features)
        network = model.build(plan, protocol.shape(features, aim.size)).to(dtype)
        _load(network, weights)
        stack = Stack(network)
        self.network = stack.use(stack.vector(network)[None]).eval()
        self.scalers = scalers(features, plan.modalities, rows["train"])
        self.batches = Batches(
            features,
            plan.names,
            aim.targets,
            size=plan.protocol.batch_size,
            padding_is_data=plan.model.padding == "attend",
            dtype=dtype,
            device=torch.device("cpu"),
        )

    def logits(self, change: Change | None = None) -> np.ndarray:
        """Logits [N, C] of the test part, in float64; `change`: of its batches."""
        found = []
        with torch.inference_mode():
            for rows, batch in self._batches():
                with self._precision():
                    own = self.network(change(batch, rows).sequences if change else batch.sequences)
                found.append(own[0, : len(rows)].double())
        return torch.cat(found).numpy()

    def combined(self) -> Callable[[np.ndarray], np.ndarray]:
        """A function that combines parts of different utterances of the test part, whose encodings are computed here.

        It takes [n, M], of which utterance each modality is, from 0, and returns logits [n, C] in float64.
        """
        encodings = self._encodings()
        largest = max(encoding[0, 0].numel() for encoding, _ in encodings.values())
        size = max(1, VALUES // largest)

        def compute(rows: np.ndarray) -> np.ndarray:
            found = []
            with torch.inference_mode(), self._precision():
                for start in range(0, len(rows), size):
                    index = torch.from_numpy(rows[start : start + size])
                    own = {
                        name: (x[:, index[:, m]], None if lengths is None else lengths[:, index[:, m]])
                        for m, (name, (x, lengths)) in enumerate(encodings.items())
                    }
                    found.append(self.network.classifier(self.network.fusion(own))[0].double())
            return torch.cat(found).numpy()

        return compute

    def _encodings(self) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Those of the test part: modality → [1, N, T, D] and how many positions hold data [1, N], None: all."""
        found: dict[str, list[tuple[Tensor, Tensor | None]]] = {name: [] for name in self.plan.names}
        with torch.inference_mode():
            for rows, batch in self._batches():
                with self._precision():
                    encodings = self.network.encodings(batch.sequences)
                for name, (x, lengths) in encodings.items():
                    found[name].append((x[:, : len(rows)], None if lengths is None else lengths[:, : len(rows)]))
        joined = {}
        for name, parts in found.items():
            x, lengths = zip(*parts, strict=True)
            joined[name] = torch.cat(x, dim=1), None if lengths[0] is None else torch.cat(lengths, dim=1)
        return joined

    def _batches(self) -> Iterator[tuple[np.ndarray, Batch]]:
        """The test part's rows of the corpus and batches of them, as in training."""
        rows, size = self.rows["test"], self.plan.protocol.batch_size
        for start in range(0, len(rows), size):
            cut = rows[start : start + size]
            yield cut, self.batches([cut], [self.scalers])

    def _precision(self) -> AbstractContextManager:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.mixed)


def _load(network: model.Model, weights: Path) -> None:
    """Give a network the parameters in a file."""
    again = f"remove {weights.parent}, then run dvc repro"
    try:
        network.load_state_dict(load_file(weights))
    except FileNotFoundError:
        raise UserError(
            f"{weights} is missing: evaluate.emap and evaluate.missing need the weights of all runs, which "
            "train.save_weights: true keeps; then run dvc repro"
        ) from None
    except SafetensorError:
        raise UserError(f"{weights} must hold a model's weights, but is damaged: {again}") from None
    except RuntimeError as error:  # what torch has for other names or shapes
        reason = str(error).partition("\n")[2].strip().partition("\n")[0]
        raise UserError(f"{weights} must hold the weights of the variant's model, but {reason}: {again}") from None
