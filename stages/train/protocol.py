"""The training protocol (paper, Section 3), for runs of one variant in lockstep."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.common import params, variants
from stages.common.errors import UserError
from stages.common.features import Features
from stages.train import model, optimiser
from stages.train.data import Batch, Batches, scaler
from stages.train.engine.work import WEIGHTS, Key, Record, Work
from stages.train.stack import Stack

MOST = 8
"""Runs trained together on a CPU at most: more gain nothing."""

ENOUGH = 2**20
"""Values of the encodings of a step's batches from which computing more at once gains nothing on a CPU."""

MOST_ON_CUDA, COPIES_ON_CUDA = 50, 6
"""Runs trained together on CUDA at most, and tensors the size of all attention weights that one is taken to need."""


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


class Standing(NamedTuple):
    """How far a run is: little enough for a pipe to pass on at once, or not at all if its process is killed."""

    epochs: int
    """So far."""
    end: int
    """The epoch with which it ends if none is better than its best so far."""
    accuracy: float | None
    """Of the development part, after its last epoch."""

    @property
    def has_ended(self) -> bool:
        """Whether its last epoch was its last."""
        return self.epochs == self.end


@dataclass(frozen=True, kw_only=True)
class Run:
    """The outcome of one training."""

    epochs: list[Epoch]
    probabilities: np.ndarray
    """[test utterances, classes]"""
    weights: dict[str, Tensor]
    """Of the epoch with the best development accuracy, the first of them."""

    def record(self, *, weights: bool) -> Record:
        """What is kept of it, with its weights or without."""
        kept = {f"{WEIGHTS}{name}": value.numpy() for name, value in self.weights.items()} if weights else {}
        return Record(
            values={"epochs": [asdict(epoch) for epoch in self.epochs]},
            arrays={"probabilities": self.probabilities} | kept,
        )


class Stopwatch:
    """Shares out the time that passes among activities, of which there is one at a time."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.activity, self._since = "", time.perf_counter()

    def switch(self, activity: str) -> str:
        """Begin an activity; the one that ends by that."""
        now, before = time.perf_counter(), self.activity
        if before:
            self.seconds[before] = self.seconds.get(before, 0.0) + now - self._since
        self.activity, self._since = activity, now
        return before


@dataclass(kw_only=True)
class _Training:
    """A run on its way."""

    key: Key
    rows: dict[str, np.ndarray]
    scaler: tuple[np.ndarray, np.ndarray] | None
    shuffle: np.random.Generator
    generator: torch.Generator
    """Of dropout."""
    schedule: optimiser.Plateau
    steps: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best: Tensor | None = None
    """Parameters of the best epoch."""

    def note(self, epoch: Epoch, parameters: Tensor) -> None:
        """Take note of an epoch and the parameters [P] after it."""
        self.schedule.step(epoch.dev_loss)
        if self.best is None or epoch.dev_accuracy > self.epochs[self.best_epoch - 1].dev_accuracy:
            self.best_epoch, self.best = epoch.epoch, parameters.clone()
        self.epochs.append(epoch)

    def standing(self, limits: params.Protocol) -> Standing:
        """How far it is."""
        accuracy = self.epochs[-1].dev_accuracy if self.epochs else None
        return Standing(len(self.epochs), min(self.best_epoch + limits.patience, limits.max_epochs), accuracy)

    def checkpoint(self, state: Tensor) -> Record:
        """All that it takes to go on from here with the state [3, P] as if nothing had been."""
        return Record(
            values={
                "device": state.device.type,
                "epochs": [asdict(epoch) for epoch in self.epochs],
                "best_epoch": self.best_epoch,
                "steps": self.steps,
                "schedule": vars(self.schedule),
                "shuffle": self.shuffle.bit_generator.state,
            },
            arrays={
                "state": state.cpu().numpy(),
                "best": self.best.cpu().numpy(),
                "generator": self.generator.get_state().numpy(),
            },
        )

    def resume(self, checkpoint: Record, state: Tensor) -> None:
        """Go on from a checkpoint; `state` [3, P] is overwritten by that of the checkpoint."""
        values, arrays = checkpoint.values, {name: torch.tensor(array) for name, array in checkpoint.arrays.items()}
        self.epochs = [Epoch(**epoch) for epoch in values["epochs"]]
        self.best_epoch, self.steps = values["best_epoch"], values["steps"]
        vars(self.schedule).update(values["schedule"])
        self.shuffle.bit_generator.state = values["shuffle"]
        self.generator.set_state(arrays["generator"])
        self.best = arrays["best"].to(state.device)
        state.copy_(arrays["state"])


def train(
    variant: str,
    keys: Iterable[Key],
    rows: dict[int, dict[str, np.ndarray]],
    features: Features,
    config: params.Params,
    *,
    together: int = 1,
    report: Callable[[Key, Standing], None] = lambda key, standing: None,
    stopwatch: Stopwatch | None = None,
    work: Work | None = None,
) -> Iterator[tuple[Key, Run]]:
    """Train and test the models of `keys`, up to `together` of them at once; yield each as it ends.

    A run is a pure function of variant, key, features and params, whatever is trained beside it: on the CPU to the last
    bit. Adam with cross-entropy; the learning rate falls when the development loss stalls, training ends when the
    development accuracy does, and the weights of its best epoch are tested. `rows`: fold → part → rows of `features`.
    `report`: is told where a run stands, at its start and after each epoch. `stopwatch`: is told of data, training and
    evaluation. `work`: where runs leave checkpoints and go on from.

    Raises
    ------
    UserError
        If a loss is not finite.
    """
    device = resolve_device(config.train.device)
    with _deterministic(device):
        lockstep, keys = _Lockstep(variant, rows, features, config, device, stopwatch or Stopwatch(), work), iter(keys)
        saved = time.monotonic()
        while True:
            for training in lockstep.fill(islice(keys, together - len(lockstep.trainings))):
                report(training.key, training.standing(config.train.protocol))
            if not lockstep.trainings:
                return
            lockstep.epoch()
            for training in lockstep.trainings:
                report(training.key, training.standing(config.train.protocol))
            yield from lockstep.ended()
            if work and time.monotonic() - saved >= config.train.checkpoint_seconds:
                lockstep.save()
                saved = time.monotonic()


class _Lockstep:
    """Some runs of one variant that make their steps together."""

    def __init__(self, variant, rows, features, config, device, stopwatch, work):
        self.stopwatch, self.work = stopwatch, work
        self.variant, self.rows, self.features, self.config, self.device = variant, rows, features, config, device
        self.protocol = config.train.protocol
        self.mixed = config.train.precision == "bfloat16"
        self.dtype = torch.float32 if self.mixed else getattr(torch, config.train.precision)
        modalities = [variants.MODALITIES[letter] for letter in variants.parse(variant).modalities]
        self.standardise = "audio" in modalities and config.features.audio.standardise
        self.stack = Stack(self._fresh())
        self.batches = Batches(
            features,
            modalities,
            size=self.protocol.batch_size,
            padding_is_data=config.model.padding == "attend",
            dtype=self.dtype,
            device=device,
        )
        self.trainings: list[_Training] = []
        self.states = torch.empty(0, 3, self.stack.size, dtype=self.dtype, device=device)

    def fill(self, keys: Iterable[Key]) -> list[_Training]:
        """Start the runs of `keys`, or go on with them."""
        self.stopwatch.switch("data")  # of which the scalers are the most
        started = [self._start(key) for key in keys]
        if started:
            self.trainings += [training for training, _ in started]
            self.states = torch.cat([self.states, *(state[None] for _, state in started)])
        return [training for training, _ in started]

    def save(self) -> None:
        """Leave a checkpoint of each run."""
        self.stopwatch.switch("checkpoints")
        for training, state in zip(self.trainings, self.states, strict=True):
            self.work.write_checkpoint(training.key, training.checkpoint(state))

    def epoch(self) -> None:
        """Train all for an epoch and look at their development parts."""
        losses = self._train()
        outputs = self._predict(self.states[:, 0], self.trainings, "dev")
        for training, loss, logits, state in zip(self.trainings, losses, outputs, self.states, strict=True):
            labels = torch.from_numpy(self.features.label[training.rows["dev"]]).to(self.device)
            epoch = Epoch(
                epoch=len(training.epochs) + 1,
                train_loss=loss,
                dev_loss=F.cross_entropy(logits, labels).item(),
                dev_accuracy=(logits.argmax(1) == labels).double().mean().item(),
                learning_rate=training.schedule.rate,
            )
            _check_finite(epoch, training.key)
            training.note(epoch, state[0])

    def ended(self) -> Iterator[tuple[Key, Run]]:
        """Test the runs that have ended, and let go of them."""
        last = [training.standing(self.protocol).has_ended for training in self.trainings]
        ended = [training for training, end in zip(self.trainings, last, strict=True) if end]
        if not ended:
            return
        going_on = [run for run, end in enumerate(last) if not end]
        self.trainings, self.states = [self.trainings[run] for run in going_on], self.states[going_on]
        outputs = self._predict(torch.stack([training.best for training in ended]), ended, "test")
        for training, logits in zip(ended, outputs, strict=True):
            yield (
                training.key,
                Run(
                    epochs=training.epochs,
                    probabilities=logits.softmax(1).cpu().numpy(),
                    weights={name: value.cpu() for name, value in self.stack.named(training.best).items()},
                ),
            )

    def _start(self, key: Key) -> tuple[_Training, Tensor]:
        """A run and its state [3, P]: seeds for weights, for the order of the batches, the same for all variants, and
        for dropout; or what its checkpoint says."""
        seed, fold = key
        weights, order, dropout = (int(s) for s in np.random.SeedSequence([seed, fold]).generate_state(3))
        torch.manual_seed(weights)
        parameters = self.stack.vector(self._fresh())
        rows = self.rows[fold]
        training = _Training(
            key=key,
            rows=rows,
            scaler=scaler(self.features.sequences["audio"], rows["train"]) if self.standardise else None,
            shuffle=np.random.default_rng(order),
            generator=torch.Generator(self.device).manual_seed(dropout),
            schedule=optimiser.Plateau(
                self.protocol.learning_rate, factor=self.protocol.lr_factor, patience=self.protocol.lr_patience
            ),
        )
        state = optimiser.fresh(parameters)
        checkpoint = self.work.checkpoint(key) if self.work else None
        if checkpoint and checkpoint.values["device"] == self.device.type:
            training.resume(checkpoint, state)
        return training, state

    def _fresh(self) -> model.Model:
        network = model.build(self.variant, shape(self.features), self.config.model)
        return network.to(self.device, self.dtype)

    def _train(self) -> list[float]:
        """One pass over the training parts; their mean losses."""
        self.stopwatch.switch("training")
        self.stack.network.train()
        orders = [training.shuffle.permutation(training.rows["train"]) for training in self.trainings]
        totals = torch.zeros(len(orders), dtype=torch.float64, device=self.device)
        for active, batch in self._batches(self.trainings, orders):
            runs = [self.trainings[i] for i in active]
            states = self.states if len(runs) == len(self.trainings) else self.states[active]
            network = self.stack.use(states[:, 0], tuple(training.generator for training in runs))
            losses = self._losses(network, batch)  # (R, B)
            (losses * (batch.real / batch.real.sum(1, keepdim=True))).sum().backward()
            totals[active] += losses.detach().double().sum(1)
            for training in runs:
                training.steps += 1
            optimiser.step(
                states,
                self.stack.gradient(),
                [training.steps for training in runs],
                [training.schedule.rate for training in runs],
            )
            if states is not self.states:
                self.states[active] = states
        return [total / len(order) for total, order in zip(totals.tolist(), orders, strict=True)]

    def _losses(self, network: model.Model, batch: Batch) -> Tensor:
        """Each utterance's cross-entropy [R, B], 0 for what is filled."""
        logits = self._logits(network, batch)
        losses = F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="none")
        return losses.view_as(batch.real) * batch.real

    def _logits(self, network: model.Model, batch: Batch) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
            return network(batch.sequences).to(self.dtype)

    def _predict(self, parameters: Tensor, trainings: list[_Training], part: str) -> list[Tensor]:
        """Each run's logits [N, C] of a part, without dropout, by `parameters` [R, P]."""
        self.stopwatch.switch("evaluation")
        self.stack.network.eval()
        rows = [training.rows[part] for training in trainings]
        outputs: list[list[Tensor]] = [[] for _ in trainings]
        with torch.inference_mode():
            for active, batch in self._batches(trainings, rows):
                network = self.stack.use(parameters if len(active) == len(trainings) else parameters[active])
                for run, logits, real in zip(active, self._logits(network, batch), batch.real, strict=True):
                    outputs[run].append(logits[: int(real.sum())])
        return [torch.cat(logits) for logits in outputs]

    def _batches(self, trainings: list[_Training], rows: list[np.ndarray]) -> Iterator[tuple[list[int], Batch]]:
        """Batches of the runs' `rows` in their order, with the runs that have any left."""
        size = self.protocol.batch_size
        for start in range(0, max(map(len, rows)), size):
            active = [run for run, run_rows in enumerate(rows) if start < len(run_rows)]
            cut = [rows[run][start : start + size] for run in active]
            before = self.stopwatch.switch("data")
            batch = self.batches(cut, [trainings[run].scaler for run in active])
            self.stopwatch.switch(before)
            yield active, batch


def shape(features: Features) -> model.Shape:
    """The sizes that a corpus fixes."""
    return model.Shape(
        features={name: features.dimensions(name) for name in features.sequences},
        longest={name: ragged.longest for name, ragged in features.sequences.items()},
        classes=len(features.meta.classes),
    )


def together(variant: str, longest: dict[str, int], config: params.Params) -> int:
    """How many runs of a variant to train at once: `train.together`, or as many as make small products large.

    `longest`: as in `features.Meta`.
    """
    if config.train.together != "auto":
        return config.train.together
    positions = sum(longest[variants.MODALITIES[m]] for m in variants.parse(variant).modalities)
    batch, device = config.train.protocol.batch_size, resolve_device(config.train.device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        weights = 4 * batch * config.model.heads * positions**2  # bytes
        return max(1, min(MOST_ON_CUDA, free // 2 // (COPIES_ON_CUDA * weights)))
    values = batch * positions * 2 * config.model.hidden  # of a batch's encodings
    return max(1, min(MOST, ENOUGH // values))


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


def _check_finite(epoch: Epoch, key: Key) -> None:
    if not np.isfinite([epoch.train_loss, epoch.dev_loss]).all():
        raise UserError(
            f"seed {key[0]}, fold {key[1]}, epoch {epoch.epoch}: the loss must be finite, but is {epoch.train_loss} on "
            f"the training part and {epoch.dev_loss} on the development part; a lower "
            f"train.protocol.learning_rate ({epoch.learning_rate} now) may help"
        )


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
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
