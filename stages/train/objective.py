"""What a training minimises, and what its outputs mean: for classes and for dimensions.

Shapes: R runs, B batch (utterances, then padding), N utterances, C classes, K dimensions.
"""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.common.features import Features
from stages.common.plan import TaskKind

EPSILON = 1e-8
"""In the denominator of the CCC, as in `stages/common/scores.py`."""


class Loss(NamedTuple):
    """Of each run's batch."""

    minimised: Tensor
    """[R], whose gradient is taken."""
    total: Tensor
    """[R], float64: what it adds to the sum over the epoch's utterances."""
    counted: Tensor
    """[R]: how many utterances that is the sum of."""


class Objective(Protocol):
    """Of one task on one corpus."""

    targets: np.ndarray
    """[utterances, ...]: what is true of each."""
    size: int
    """Outputs of a model, an utterance."""

    def loss(self, outputs: Tensor, targets: Tensor, real: Tensor) -> Loss:
        """Of outputs [R, B, size] and targets [R, B, ...]; `real` [R, B]: 1 for utterances, 0 for padding."""

    def scores(self, outputs: Tensor, rows: np.ndarray) -> dict[str, float]:
        """loss, and the scores that epochs may be chosen by, of outputs [N, size] for utterances of the corpus."""

    def predictions(self, outputs: Tensor) -> np.ndarray:
        """What is kept of outputs [N, size]: [N, size]."""


class Classes:
    """Cross-entropy; outputs are logits [..., C], and what is kept are probabilities."""

    def __init__(self, features: Features):
        self.targets, self.size = features.label, len(features.meta.classes)

    def loss(self, outputs: Tensor, targets: Tensor, real: Tensor) -> Loss:
        """As `Objective.loss`."""
        losses = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none").view_as(real) * real
        count = real.sum(1)
        return Loss((losses * (real / count[:, None])).sum(1), losses.detach().double().sum(1), count.detach())

    def scores(self, outputs: Tensor, rows: np.ndarray) -> dict[str, float]:
        """As `Objective.scores`."""
        actual = self.targets[rows]
        labels = torch.from_numpy(actual).to(outputs.device)
        right = outputs.argmax(1) == labels
        return {
            "loss": F.cross_entropy(outputs, labels).item(),
            "accuracy": right.double().mean().item(),
            "balanced_accuracy": mean_recall(actual, right.cpu().numpy()),
        }

    def predictions(self, outputs: Tensor) -> np.ndarray:
        """As `Objective.predictions`."""
        return outputs.softmax(1).cpu().numpy()


class Dimensions:
    """1 - CCC, the mean over the dimensions; outputs are values [..., K] between -1 and 1 on the corpus's scale.

    The CCC is that of the batch, so a batch of one utterance counts nothing. Of a whole part it is the score's
    (`scores.concordance`).
    """

    def __init__(self, features: Features):
        self.targets, self.size = features.values, features.values.shape[1]

    def loss(self, outputs: Tensor, targets: Tensor, real: Tensor) -> Loss:
        """As `Objective.loss`."""
        count = real.sum(1)
        several = count > 1
        loss = (1 - concordance(targets, outputs, real).mean(1)) * several
        counted = count * several
        return Loss(loss, loss.detach().double() * counted, counted.detach())

    def scores(self, outputs: Tensor, rows: np.ndarray) -> dict[str, float]:
        """As `Objective.scores`."""
        actual = torch.from_numpy(self.targets[rows]).to(outputs.device)
        values = outputs.double()[None]
        ccc = concordance(actual.double()[None], values, torch.ones_like(values[..., 0])).mean().item()
        return {"loss": 1 - ccc, "ccc": ccc}

    def predictions(self, outputs: Tensor) -> np.ndarray:
        """As `Objective.predictions`."""
        return outputs.cpu().numpy()


def of(kind: TaskKind, features: Features) -> Objective:
    """The objective of a kind of task on a corpus."""
    return {"classes": Classes, "dimensions": Dimensions}[kind](features)


def concordance(actual: Tensor, predicted: Tensor, real: Tensor) -> Tensor:
    """CCC [R, K] of values [R, B, K] with predicted ones: 2 s_xy / (s_x² + s_y² + (x̄ - ȳ)² + 1e-8), moments over N.

    `real` [R, B]: 1 for utterances, 0 for padding.
    """
    weights = (real / real.sum(1, keepdim=True))[:, None]  # (R, 1, B)
    # Sums are over the last dimension, which is aligned: so a run's do not depend on the other runs.
    x, y = (values.transpose(1, 2).contiguous() for values in (actual, predicted))  # (R, K, B)
    mean_x, mean_y = ((weights * values).sum(2, keepdim=True) for values in (x, y))
    x, y = x - mean_x, y - mean_y
    variances = (weights * x * x).sum(2) + (weights * y * y).sum(2)
    return 2 * (weights * x * y).sum(2) / (variances + ((mean_x - mean_y) ** 2)[..., 0] + EPSILON)


def mean_recall(labels: np.ndarray, right: np.ndarray) -> float:
    """Balanced accuracy: the mean recall over the classes among `labels` [N]; `right` [N]: which are predicted."""
    tested = np.bincount(labels)
    present = tested > 0
    return float((np.bincount(labels, right)[present] / tested[present]).mean())
