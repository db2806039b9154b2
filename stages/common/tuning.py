"""The plan of a variant that is tuned, and what its runs leave: `tuning.csv` and `draws.parquet`.

A tuned variant's `data/plans/<variant>.json` holds its draws beside the plan; that of others is the plan alone.
"""

import json
from pathlib import Path

import pandas as pd
from pydantic import Field

from stages.common import draws, files, plan, predictions
from stages.common.errors import UserError, restorable

FILE = "tuning.csv"
"""Of a run folder, the columns fold, draw, the settings' keys, parameters, epochs, development, chosen: a row a draw of
each fold. development: the value by which draws are chosen, of the draw's best epoch."""
PREDICTIONS = "draws.parquet"
"""Of a run folder, all draws' predictions of the test parts: `predictions.table` with a column draw. What is chosen
depends on none of them."""
BEFORE, AFTER = ["fold", "draw"], ["parameters", "epochs", "development", "chosen"]
"""The columns of `FILE` before and after the settings."""


class Draw(plan.Section):
    """What a draw makes of a variant's plan."""

    settings: dict[str, draws.Value]
    """Key → value, of those that the variant has."""
    modalities: list[plan.Modality]
    fusion: plan.Fusion
    model: plan.Sizes
    protocol: plan.Protocol


class Tuned(plan.Plan):
    """A plan with its draws, if it is tuned."""

    draws: list[Draw] = Field(default_factory=list)

    def plans(self) -> list[plan.Plan]:
        """The plan of each draw; the one plan where nothing is tuned."""
        own = plan.Plan(**{name: getattr(self, name) for name in plan.Plan.model_fields})
        drawn = [{name: getattr(draw, name) for name in Draw.model_fields if name != "settings"} for draw in self.draws]
        return [own.model_copy(update=sections | {"may_diverge": True}) for sections in drawn] or [own]

    def as_json(self) -> str:
        """The file's text: byte for byte a plan's where nothing is tuned."""
        content = self.model_dump(exclude=None if self.draws else {"draws"})
        return json.dumps(content, indent=1, sort_keys=True) + "\n"


def read(variant: str) -> Tuned:
    """A variant's plan.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    with restorable(plan.path(variant)):
        return Tuned.model_validate_json(plan.path(variant).read_bytes())


def write_runs(run_folder: Path, table: pd.DataFrame, predicted: pd.DataFrame) -> None:
    """Write the table of a seed's draws and their predictions into its folder."""
    files.write_csv(run_folder / FILE, table)
    predictions.write_table(run_folder / PREDICTIONS, predicted)


def read_runs(variant: str, seed: int) -> pd.DataFrame | None:
    """The table of a seed's draws; None if the variant was not tuned.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    path = predictions.folder(variant, seed) / FILE
    if not path.exists():
        return None
    with restorable(path):
        table = pd.read_csv(path)
        missing = [name for name in (*BEFORE, *AFTER) if name not in table]
        if missing:
            raise UserError(f"{path}: must have the columns {', '.join(missing)}")
        return table


def read_predictions(variant: str, seed: int) -> pd.DataFrame:
    """The predictions of the test parts by all of a seed's draws.

    Raises
    ------
    UserError
        As `predictions.read_table`.
    """
    return predictions.read_table(predictions.folder(variant, seed) / PREDICTIONS)


def with_parameters(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs' scores, with the parameters of what was chosen in each fold where a variant was tuned.

    `runs` has the columns variant, fold, seed and parameters.
    """
    runs = runs.copy()
    for (variant, seed), own in runs.groupby(["variant", "seed"], sort=False):
        table = read_runs(variant, seed)
        if table is not None:
            chosen = table[table["chosen"]].set_index("fold")["parameters"]
            runs.loc[own.index, "parameters"] = chosen.loc[own["fold"]].to_numpy()
    return runs
