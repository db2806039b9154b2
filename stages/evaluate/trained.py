"""A trained run's model, from the weights that it left: its logits for changed inputs, on one thread of the CPU."""

from collections.abc import Callable, Iterable, Iterator
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
from stages.train.data import Batch, Batches, Scaler, scalers
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

    def __init__(
        self,
        plan: Plan,
        features: Features,
        rows: dict[str, np.ndarray],
        weights: Path,
        *,
        known_scalers: dict[str, Scaler] | None = None,
    ):
        """`rows`: part of the fold → rows of `features`; `weights`: the file of the model's parameters.

        `known_scalers`: those of the fold; None: they are computed here, which reads all of its training part.

        Raises
        ------
        UserError
            If the weights are missing or damaged, or of another model.
        """
        self.plan, self.features, self.rows = plan, features, rows
        self.mixed = plan.precision == "bfloat16"
        self.dtype = torch.float32 if self.mixed else getattr(torch, plan.precision)
        network = model.build(plan, protocol.shape(features, objective.of(plan.task, features).size)).to(self.dtype)
        _load(network, weights)
        stack = Stack(network)
        self.network = stack.use(stack.vector(network)[None]).eval()
        self.scalers = known_scalers or scalers(features, plan.modalities, rows["train"])
        self.batches = self._reader(features)

    def logits(self, change: Change | None = None) -> np.ndarray:
        """Logits [N, C] of the test part, in float64; `change`: of its batches."""
        return self._logits(self.cut(self.rows["test"]), change)

    def logits_of(self, others: Features) -> np.ndarray:
        """Logits [N, C] of other utterances in float64, read as the corpus's, whose `longest` they must have."""
        own = self._reader(others)
        rows = np.arange(len(others.utterance_id))
        return self._logits((cut, own([cut], [self.scalers])) for cut in self._cuts(rows))

    def _logits(self, batches: Iterable[tuple[np.ndarray, Batch]], change: Change | None = None) -> np.ndarray:
        found = []
        with torch.inference_mode():
            for rows, batch in batches:
                with self.precision():
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
            with torch.inference_mode(), self.precision():
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
            for rows, batch in self.cut(self.rows["test"]):
                with self.precision():
                    encodings = self.network.encodings(batch.sequences)
                for name, (x, lengths) in encodings.items():
                    found[name].append((x[:, : len(rows)], None if lengths is None else lengths[:, : len(rows)]))
        joined = {}
        for name, parts in found.items():
            x, lengths = zip(*parts, strict=True)
            joined[name] = torch.cat(x, dim=1), None if lengths[0] is None else torch.cat(lengths, dim=1)
        return joined

    def cut(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Batch]]:
        """Some rows of the corpus and batches of them, as in training."""
        for cut in self._cuts(rows):
            yield cut, self.batches([cut], [self.scalers])

    def _cuts(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        size = self.plan.protocol.batch_size
        return (rows[start : start + size] for start in range(0, len(rows), size))

    def _reader(self, features: Features) -> Batches:
        return Batches(
            features,
            self.plan.names,
            objective.of(self.plan.task, features).targets,
            size=self.plan.protocol.batch_size,
            padding_is_data=self.plan.model.padding == "attend",
            dtype=self.dtype,
            device=torch.device("cpu"),
        )

    def precision(self) -> AbstractContextManager:
        """The context in which the network computes."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.mixed)


def _load(network: model.Model, weights: Path) -> None:
    """Give a network the parameters in a file."""
    again = f"remove {weights.parent}, then run dvc repro"
    try:
        network.load_state_dict(load_file(weights))
    except FileNotFoundError:
        raise UserError(
            f"{weights} is missing: set train.save_weights: true in params.yaml, then run dvc repro, which trains all "
            "runs that have no weights again and keeps them"
        ) from None
    except SafetensorError:
        raise UserError(f"{weights} must hold a model's weights, but is damaged: {again}") from None
    except RuntimeError as error:  # what torch has for other names or shapes
        reason = str(error).partition("\n")[2].strip().partition("\n")[0]
        raise UserError(f"{weights} must hold the weights of the variant's model, but {reason}: {again}") from None
