"""The training protocol (paper, Section 3), for runs of one variant that make their steps together."""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from stages.common.features import Features
from stages.common.plan import Plan
from stages.common.records import RunId
from stages.train import model, objective, optimiser
from stages.train.data import Batch, Batches, scalers
from stages.train.device import deterministic, resolve_device
from stages.train.optimiser import State
from stages.train.run_state import Checkpoints, Epoch, Run, RunProgress, RunState
from stages.train.stack import Stack
from stages.train.stopwatch import Stopwatch


def train(
    plan: Plan,
    run_ids: Iterable[RunId],
    rows: dict[int, dict[str, np.ndarray]],
    features: Features,
    *,
    at_once: int = 1,
    report: Callable[[RunId, RunProgress], None] = lambda run, progress: None,
    stopwatch: Stopwatch | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_seconds: float = 0.0,
) -> Iterator[tuple[RunId, Run]]:
    """Train and test the models of `run_ids`, up to `at_once` of them at a time; yield each as it ends.

    A run is a pure function of plan, id and features, whatever runs are in the same batch: on the CPU to the last bit.
    Adam with the loss of the task (`objective.py`); the learning rate falls when the development loss stalls, training
    ends when the development value that the protocol selects by does, and the weights of its best epoch are tested.
    `rows`: fold → part → rows of `features`.
    `report`: is told how far a run is, at its start and after each epoch. `stopwatch`: is told of data, training and
    evaluation. `checkpoints`: where runs leave checkpoints, at least `checkpoint_seconds` apart, and resume from.

    Raises
    ------
    UserError
        If a loss is not finite, unless the plan says that this only ends a run, or a modality of tokens is to be
        standardised.
    """
    device = resolve_device(plan.device)
    with deterministic(device):
        runs, pending = Runs(plan, rows, features, device, stopwatch or Stopwatch(), checkpoints), iter(run_ids)
        saved = time.monotonic()
        while True:
            for started in runs.start(islice(pending, at_once - len(runs.running))):
                report(started.id, runs.progress(started))
            if not runs.running:
                return
            runs.train_epoch()
            for run in runs.running:
                report(run.id, runs.progress(run))
            yield from runs.take_ended()
            if checkpoints and time.monotonic() - saved >= checkpoint_seconds:
                runs.save()
                saved = time.monotonic()


class Runs:
    """Some runs of one variant that make their steps together."""

    def __init__(
        self,
        plan: Plan,
        rows: dict[int, dict[str, np.ndarray]],
        features: Features,
        device: torch.device,
        stopwatch: Stopwatch,
        checkpoints: Checkpoints | None,
    ):
        self.plan, self.rows, self.features, self.device = plan, rows, features, device
        self.stopwatch, self.checkpoints = stopwatch, checkpoints
        self.mixed = plan.precision == "bfloat16"
        self.dtype = torch.float32 if self.mixed else getattr(torch, plan.precision)
        self.objective = objective.of(plan.task, features)
        self.stack = Stack(self._fresh())
        self.batches = Batches(
            features,
            plan.names,
            self.objective.targets,
            size=plan.protocol.batch_size,
            padding_is_data=plan.model.padding == "attend",
            dtype=self.dtype,
            device=device,
        )
        self.running: list[RunState] = []
        self.state = optimiser.fresh(torch.empty(0, self.stack.size, dtype=self.dtype, device=device))

    def progress(self, run: RunState) -> RunProgress:
        """How far a run is."""
        return run.progress(patience=self.plan.protocol.patience, max_epochs=self.plan.protocol.max_epochs)

    def start(self, run_ids: Iterable[RunId]) -> list[RunState]:
        """Start the runs of `run_ids`, or resume them."""
        self.stopwatch.switch("data")  # of which the scalers are the most
        started = [self._start(run_id) for run_id in run_ids]
        if started:
            self.running += [run for run, _ in started]
            self.state = State.cat([self.state, *(state for _, state in started)])
        return [run for run, _ in started]

    def save(self) -> None:
        """Leave a checkpoint of each run."""
        self.stopwatch.switch("checkpoints")
        for run, state in zip(self.running, self.state, strict=True):
            self.checkpoints.write_checkpoint(run.id, run.checkpoint(state))

    def train_epoch(self) -> None:
        """Train all for an epoch and look at their development parts."""
        losses = self._train()
        outputs = self._predict(self.state.parameters, self.running, "dev")
        for run, loss, own, parameters in zip(self.running, losses, outputs, self.state.parameters, strict=True):
            epoch = Epoch(
                epoch=len(run.epochs) + 1,
                train_loss=loss,
                dev=self.objective.scores(own, run.rows["dev"]),
                learning_rate=run.schedule.rate,
            )
            if self.plan.may_diverge and not epoch.is_finite:
                run.diverged = True
                continue
            epoch.check_finite(run.id)
            run.note(epoch, parameters)

    def take_ended(self) -> Iterator[tuple[RunId, Run]]:
        """Test the runs that have ended, predict their development parts by the same weights, and let go of them."""
        last = [self.progress(run).has_ended for run in self.running]
        ended = [run for run, end in zip(self.running, last, strict=True) if end]
        if not ended:
            return
        going_on = [i for i, end in enumerate(last) if not end]
        self.running, self.state = [self.running[i] for i in going_on], self.state[going_on]
        best = torch.stack([run.best if run.epochs else self._initial(run.id) for run in ended])
        test, dev = (self._predict(best, ended, part) for part in ("test", "dev"))
        shares = self._shares(best, ended)
        for run, parameters, outputs, dev_outputs, own_shares in zip(ended, best, test, dev, shares, strict=True):
            outcome = Run(
                epochs=run.epochs,
                outputs=self.objective.predictions(outputs),
                dev_outputs=self.objective.predictions(dev_outputs),
                shares=own_shares,
                weights={name: value.cpu() for name, value in self.stack.named(parameters).items()},
            )
            yield run.id, outcome

    def _start(self, run_id: RunId) -> tuple[RunState, State]:
        """A run and its state: seeds for weights, for the order of the batches, the same for all variants, and
        for dropout; or what its checkpoint says."""
        _, order, dropout = _seeds(run_id)
        state = optimiser.fresh(self._initial(run_id))
        rows, protocol = self.rows[run_id.fold], self.plan.protocol
        run = RunState(
            id=run_id,
            rows=rows,
            scalers=scalers(self.features, self.plan.modalities, rows["train"]),
            shuffle=np.random.default_rng(order),
            generator=torch.Generator(self.device).manual_seed(dropout),
            schedule=optimiser.Plateau(
                protocol.learning_rate, factor=protocol.lr_factor, patience=protocol.lr_patience
            ),
            select=protocol.select,
        )
        checkpoint = self.checkpoints.checkpoint(run_id) if self.checkpoints else None
        if checkpoint and checkpoint.values["device"] == self.device.type:
            run.resume(checkpoint, state)
        return run, state

    def _initial(self, run_id: RunId) -> Tensor:
        """The parameters [P] with which a run starts; those of one that has no epoch with a finite loss."""
        torch.manual_seed(_seeds(run_id)[0])
        return self.stack.vector(self._fresh())

    def _fresh(self) -> model.Model:
        network = model.build(self.plan, shape(self.features, self.objective.size))
        return network.to(self.device, self.dtype)

    def _train(self) -> list[float]:
        """One pass over the training parts; their mean losses."""
        self.stopwatch.switch("training")
        self.stack.network.train()
        orders = [run.shuffle.permutation(run.rows["train"]) for run in self.running]
        totals, counted = torch.zeros(2, len(orders), dtype=torch.float64, device=self.device)
        for active, batch in self._batches(self.running, orders):
            runs = [self.running[i] for i in active]
            if self.plan.model.modality_dropout:
                batch = self.batches.without(batch, self._left_out(runs))
            state = self.state if len(runs) == len(self.running) else self.state[active]
            network = self.stack.use(state.parameters, tuple(run.generator for run in runs))
            loss = self.objective.loss(self._outputs(network, batch), batch.targets, batch.real)
            loss.minimised.sum().backward()
            totals[active] += loss.total
            counted[active] += loss.counted
            for run in runs:
                run.steps += 1
            steps, rates = [run.steps for run in runs], [run.schedule.rate for run in runs]
            optimiser.step(state, self.stack.gradient(), steps, rates)
            if state is not self.state:
                self.state[active] = state
        return [total / max(1.0, count) for total, count in zip(totals.tolist(), counted.tolist(), strict=True)]

    def _left_out(self, runs: list[RunState]) -> Tensor:
        """Draw which modalities of a batch's utterances are left out: [R, M, B].

        Each with probability p = `model.modality_dropout`, but the one of an utterance's M with the highest draw stays:
        so a modality is left out with probability p - p^M / M.
        """
        shape = len(self.plan.names), self.batches.padded
        draws = torch.stack([torch.rand(shape, generator=run.generator, device=self.device) for run in runs])
        return (draws < self.plan.model.modality_dropout) & (draws < draws.amax(1, keepdim=True))

    def _outputs(self, network: model.Model, batch: Batch) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
            return network(batch.sequences).to(self.dtype)

    def _predict(self, parameters: Tensor, runs: list[RunState], part: str) -> list[Tensor]:
        """Each run's outputs [N, C] of a part, without dropout, by `parameters` [R, P]."""
        return self._evaluate(parameters, runs, part, self._outputs)

    def _shares(self, parameters: Tensor, runs: list[RunState]) -> list[dict[str, np.ndarray]]:
        """Each run's shares of its fusion's gate [N] in the test part, by name; none where it has no gate."""
        names: list[str] = []

        def shares(network: model.Model, batch: Batch) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
                found = network.shares(batch.sequences)
            names[:] = found
            return torch.stack(list(found.values()), dim=2).to(self.dtype)  # (R, B, gates)

        if not hasattr(self.stack.network.fusion, "shares"):
            return [{} for _ in runs]
        values = self._evaluate(parameters, runs, "test", shares)
        return [dict(zip(names, own.T.cpu().numpy(), strict=True)) for own in values]

    def _evaluate(
        self, parameters: Tensor, runs: list[RunState], part: str, compute: Callable[[model.Model, Batch], Tensor]
    ) -> list[Tensor]:
        """What `compute` gives [R, B, ...] for a part of each run, [N, ...], without dropout, by `parameters`."""
        self.stopwatch.switch("evaluation")
        self.stack.network.eval()
        rows = [run.rows[part] for run in runs]
        outputs: list[list[Tensor]] = [[] for _ in runs]
        with torch.inference_mode():
            for active, batch in self._batches(runs, rows):
                network = self.stack.use(parameters if len(active) == len(runs) else parameters[active])
                for i, values, real in zip(active, compute(network, batch), batch.real, strict=True):
                    outputs[i].append(values[: int(real.sum())])
        return [torch.cat(values) for values in outputs]

    def _batches(self, runs: list[RunState], rows: list[np.ndarray]) -> Iterator[tuple[list[int], Batch]]:
        """Batches of the runs' `rows` in their order, with the runs that have any left."""
        size = self.plan.protocol.batch_size
        for start in range(0, max(map(len, rows)), size):
            active = [i for i, run_rows in enumerate(rows) if start < len(run_rows)]
            cut = [rows[i][start : start + size] for i in active]
            before = self.stopwatch.switch("data")
            batch = self.batches(cut, [runs[i].scalers for i in active])
            self.stopwatch.switch(before)
            yield active, batch


def _seeds(run_id: RunId) -> list[int]:
    """A run's seeds for weights, for the order of the batches and for dropout."""
    return [int(seed) for seed in np.random.SeedSequence(list(run_id)).generate_state(3)]


def shape(features: Features, outputs: int) -> model.Shape:
    """The sizes that a corpus and a task fix; `outputs`: classes, or dimensions."""
    return model.Shape(
        features={name: ragged.dimensions for name, ragged in features.sequences.items()},
        longest={name: ragged.longest for name, ragged in features.sequences.items()},
        outputs=outputs,
    )
