"""Which of a fold's draws is its outcome: that with the best development value, the first of equals.

It sees the development part of the fold that it chooses for, and nothing else: the test part is only predicted.
"""

from pathlib import Path

import pandas as pd

from stages.common import costs, predictions, tuning
from stages.common.errors import UserError
from stages.common.features import Features, fold_rows
from stages.common.plan import Select
from stages.common.records import OUTPUTS, Record

Results = dict[int, Record]
"""Of a draw: fold → the record of its run."""


WORST: dict[Select, float] = {"accuracy": 0.0, "balanced_accuracy": 0.0, "loss": float("inf"), "ccc": -1.0}
"""The worst development value there is."""


def development(result: Record, select: Select) -> float:
    """The development value of a run's best epoch, by which it was chosen; of a loss the least.

    Of a run that diverged, the best before it did; the worst that there is, if it had no epoch with a finite loss.
    """
    values = [epoch[f"dev_{select}"] for epoch in result.values["epochs"]] or [WORST[select]]
    return min(values) if select == "loss" else max(values)


def choose(draws: list[Results], select: Select) -> dict[int, int]:
    """Fold → the place in `draws` of the one with the best development value in that fold, the first of equals.

    Raises
    ------
    UserError
        If all draws of a fold diverged before their first epoch's end.
    """
    for fold in draws[0]:
        if not any(results[fold].values["epochs"] for results in draws):
            raise UserError(
                f"fold {fold}: a draw must have an epoch with a finite loss, but of {len(draws)} none has; lower "
                "values of train.protocol.learning_rate in tune.ranges may help"
            )
    sign = -1 if select == "loss" else 1
    return {
        fold: max(range(len(draws)), key=lambda place: (sign * development(draws[place][fold], select), -place))
        for fold in draws[0]
    }


def write(
    folder: Path,
    features: Features,
    folds: pd.DataFrame,
    plan: tuning.Tuned,
    draws: list[Results],
    chosen: dict[int, int],
) -> int:
    """Add to a seed's outputs, which are those of the draws `chosen`, what all draws gave; the epochs of all draws.

    `draws`: of each draw of `plan`; those of the same settings have the same records. `chosen`: as `choose` gives it.
    """
    rows, predicted, epochs = [], [], {}
    for fold, place in chosen.items():
        tested = fold_rows(features, folds, fold)["test"]
        for i, (draw, results) in enumerate(zip(plan.draws, draws, strict=True)):
            result = results[fold]
            found = {
                "parameters": result.values["parameters"],
                "epochs": len(result.values["epochs"]),
                "development": development(result, plan.protocol.select),
                "chosen": i == place,
            }
            rows.append({"fold": fold, "draw": i + 1} | draw.settings | found)
            own = predictions.table(features, fold, tested, result.arrays[f"{OUTPUTS}test"], plan.task)
            own.insert(1, "draw", i + 1)
            predicted.append(own)
        different = {id(results[fold]): len(results[fold].values["epochs"]) for results in draws}
        epochs[fold] = sum(different.values())
    tuning.write_runs(folder, pd.DataFrame(rows), pd.concat(predicted, ignore_index=True))
    largest = max(draws[place][fold].values["parameters"] for fold, place in chosen.items())
    costs.write(folder, costs.Cost(largest, epochs))
    return sum(epochs.values())
