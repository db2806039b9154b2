"""`data/plans/<variant>.json`: all that a variant's trainings depend on but the data, as `plan` writes it."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from stages.common.errors import restorable

FOLDER = Path("data/plans")

Size = Annotated[int, Field(ge=1, le=2**16)]
"""Of a tensor's dimension."""
Count = Annotated[int, Field(ge=1, le=10**9)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
TaskKind = Literal["classes", "dimensions"]
"""What models predict (`task.py`)."""
Select = Literal["accuracy", "balanced_accuracy", "loss", "ccc"]
"""A value of the development part by which epochs are compared."""


class Section(BaseModel):
    """A section of a plan or of `params.yaml`: no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Entry(Section):
    """How a modality's sequences enter the model."""

    positions: Share | None = None
    """Positions to which a linear map over time takes a sequence, as a share of the longest; null: no such map."""
    dropout: Probability = 0.0
    """Dropout on the features of each position."""
    standardise: bool = False
    """Remove the mean and scale to unit variance, both of the fold's training frames."""


class Modality(Entry):
    """One of a variant's modalities."""

    name: str


class Fusion(Section):
    """A variant's fusion mechanism: `stages/train/fusions/<name>.py`."""

    name: str
    settings: dict[str, int | float | bool | str | None]
    """The keyword arguments of its `build`."""


class Sizes(Section):
    """The model around the fusion."""

    hidden: Size = 60
    """GRU units in each direction; the model's width is twice that."""
    classifier: Size = 60
    """Neurons of the first fully connected layer."""
    padding: Literal["attend", "mask"] = "attend"
    """Whether recurrences and attention run over padding, as in the paper, or not."""
    modality_dropout: Probability = 0.0
    """Probability with which training leaves out a modality of an utterance, never all of its modalities."""


class Protocol(Section):
    """The training protocol (paper, Section 3)."""

    batch_size: Size = 32
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    lr_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The learning rate is multiplied by this when the development loss stalls."""
    lr_patience: Annotated[int, Field(ge=0, le=10**9)] = 10
    """Epochs without a better development loss before that."""
    select: Select = "accuracy"
    """The development value whose best epoch, the first of equals, gives the weights that are tested."""
    patience: Count = 10
    """Epochs without a better such value before training stops."""
    max_epochs: Count = 200


class Plan(Section):
    """What a variant's trainings depend on."""

    task: TaskKind

    modalities: list[Modality]
    """In the order of their letters in the variant's name."""
    fusion: Fusion
    model: Sizes
    protocol: Protocol
    precision: Literal["float32", "float64", "bfloat16"]
    device: Literal["auto", "cpu", "cuda"]
    save_weights: bool
    may_diverge: bool = False
    """Whether a run whose loss is not finite only ends there, as a draw's does; else that is an error."""
    training_code: dict[str, str]
    """Module → hash, of all that a training runs."""
    output_code: dict[str, str]
    """Module → hash, of what else decides how its predictions are written."""

    @property
    def names(self) -> list[str]:
        """The modalities' names."""
        return [modality.name for modality in self.modalities]

    def as_json(self) -> str:
        """The file's text, with sorted keys: a comparison of two says what differs."""
        return json.dumps(self.model_dump(), indent=1, sort_keys=True) + "\n"


def path(variant: str) -> Path:
    """Where a variant's plan lies."""
    return FOLDER / f"{variant}.json"


def read(variant: str) -> Plan:
    """A variant's plan.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    with restorable(path(variant)):
        return Plan.model_validate_json(path(variant).read_bytes())
