"""The training protocol (paper, Section 3): one run of one variant on one fold."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages import params, variants
from stages.cli import UserError
from stages.features import Features
from stages.train import model
from stages.train.data import Batches, scaler
from stages.train.optimiser import Adam, Plateau


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one epoch left behind."""

    epoch: int
    train_loss: float
    """Mean over the epoch's utterances, dropout on."""
    dev_loss: float
    dev_accuracy: float
    learning_rate: float
    """With which the epoch was trained."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """The outcome of one training."""

    epochs: list[Epoch]
    probabilities: np.ndarray
    """[test utterances, classes]"""
    weights: dict[str, Tensor]
    """Of the epoch with the best development accuracy, the first of them."""


def train(
    variant: str,
    seed: int,
    fold: int,
    rows: dict[str, np.ndarray],
    features: Features,
    config: params.Params,
    report: Callable[[Epoch], None] = lambda epoch: None,
) -> Run:
    """Train and test one model: a pure function of its arguments, whatever runs beside it.

    Adam with cross-entropy; the learning rate falls when the development loss stalls, training ends when the
    development accuracy does, and the weights of its best epoch are tested. `rows`: part → rows of `features`.

    Raises
    ------
    UserError
        If a loss is not finite.
    """
    protocol, device = config.train.protocol, resolve_device(config.train.device)
    dtype = getattr(torch, config.train.precision)
    modalities = [variants.MODALITIES[letter] for letter in variants.parse(variant).modalities]
    with _deterministic(device):
        # One seed for weights and dropout, one for the order of the batches, the same for all variants.
        torch_seed, shuffle_seed = (int(s) for s in np.random.SeedSequence([seed, fold]).generate_state(2))
        torch.manual_seed(torch_seed)
        shuffle = np.random.default_rng(shuffle_seed)
        network = model.build(variant, shape(features), config.model).to(device, dtype)
        batches = Batches(
            features,
            modalities,
            pad_text=config.model.padding == "attend",
            dtype=dtype,
            device=device,
            scaler=scaler(features.sequences["audio"], rows["train"])
            if "audio" in modalities and config.features.audio.standardise
            else None,
        )
        optimiser = Adam(network, protocol.learning_rate)
        schedule = Plateau(optimiser, factor=protocol.lr_factor, patience=protocol.lr_patience)
        epochs, best = [], -1.0
        for number in range(1, protocol.max_epochs + 1):
            rate = optimiser.learning_rate
            train_loss = _epoch(network, optimiser, batches(shuffle.permutation(rows["train"]), protocol.batch_size))
            logits, labels = predict(network, batches(rows["dev"], protocol.batch_size))
            epochs.append(
                Epoch(
                    epoch=number,
                    train_loss=train_loss,
                    dev_loss=F.cross_entropy(logits, labels).item(),
                    dev_accuracy=(logits.argmax(1) == labels).double().mean().item(),
                    learning_rate=rate,
                )
            )
            _check_finite(epochs[-1], fold)
            report(epochs[-1])
            schedule.step(epochs[-1].dev_loss)
            if epochs[-1].dev_accuracy > best:
                best, best_epoch = epochs[-1].dev_accuracy, number
                weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
            if number - best_epoch >= protocol.patience:
                break
        network.load_state_dict(weights)
        logits, _ = predict(network, batches(rows["test"], protocol.batch_size))
    return Run(
        epochs=epochs,
        probabilities=logits.softmax(1).cpu().numpy(),
        weights={name: value.cpu() for name, value in weights.items()},
    )


def shape(features: Features) -> model.Shape:
    """The sizes that a corpus fixes."""
    return model.Shape(
        features={name: features.dimensions(name) for name in features.sequences},
        longest={name: ragged.longest for name, ragged in features.sequences.items()},
        classes=len(features.meta.classes),
    )


def predict(network: nn.Module, batches: Iterator) -> tuple[Tensor, Tensor]:
    """Logits [N, classes] and labels [N] of all batches, without dropout."""
    network.eval()
    with torch.inference_mode():
        outputs = [(network(sequences), labels) for sequences, labels in batches]
    logits, labels = (torch.cat(tensors) for tensors in zip(*outputs, strict=True))
    return logits, labels


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


def _epoch(network: nn.Module, optimiser: Adam, batches: Iterator) -> float:
    """One pass over the training part; the mean loss."""
    network.train()
    total, count = 0.0, 0
    for sequences, labels in batches:
        loss = F.cross_entropy(network(sequences), labels)
        loss.backward()
        optimiser.step()
        total += loss.item() * len(labels)
        count += len(labels)
    return total / count


def _check_finite(epoch: Epoch, fold: int) -> None:
    if not np.isfinite([epoch.train_loss, epoch.dev_loss]).all():
        raise UserError(
            f"fold {fold}, epoch {epoch.epoch}: the loss must be finite, but is {epoch.train_loss} on the "
            f"training part and {epoch.dev_loss} on the development part; a lower "
            f"train.protocol.learning_rate ({epoch.learning_rate} now) may help"
        )


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Algorithms that give the same bytes each time; torch's settings are restored.

    On the CPU one thread's are such already, and to ask for them imports torch's compiler, a second or two.
    """
    if device.type == "cpu":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing reads it, and filling takes time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.utils.deterministic.fill_uninitialized_memory = before[1]
