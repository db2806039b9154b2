"""The typed, validated view of `params.yaml`; `python -m stages.common.params` checks the file."""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from stages.common import cli, variants, yaml_file
from stages.common.errors import UserError

PATH = Path("params.yaml")

Size = Annotated[int, Field(ge=1, le=2**16)]
"""Of a tensor's dimension."""
Count = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What numpy, torch and scikit-learn all take."""
Probability = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A section of `params.yaml`: no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Frames(Section):
    """A modality of the synthetic corpus made of feature vectors."""

    features: Size
    """Features a frame."""
    longest: Annotated[Size, Field(ge=2)]
    """Frames of the longest utterance."""


class Words(Section):
    """The text of the synthetic corpus."""

    features: Size
    """Dimensions of a word vector."""
    longest: Annotated[Size, Field(ge=8)]
    """Words of the longest utterance."""
    vocabulary: Annotated[Size, Field(ge=8)]
    """Distinct words, the padding token not counted."""


class Synthetic(Section):
    """The corpus that `stages/corpus/synthetic.py` generates; its docstring explains the two knobs."""

    seed: Seed
    utterances: Annotated[int, Field(ge=150, le=10**6)]
    signal: Annotated[float, Field(ge=0, le=100)]
    """How strongly classes differ: 0 not at all, 1 about as hard as IEMOCAP, more is easier."""
    interaction: Annotated[float, Field(ge=0, le=1)]
    """Share of the class information that lies in the relation of text and vision, not in either alone."""
    audio: Frames
    video: Frames
    text: Words


class Corpus(Section):
    """Where the utterances come from."""

    source: Literal["synthetic", "published_folds"]
    root: str | None
    """Folder of a corpus on disk."""
    classes: list[str] | None
    """Names of the classes in the order of the labels 0, 1, …; null: what the corpus says."""
    strict: bool = True
    """Whether folders of the published arrays that contradict each other are an error, or a warning with counts."""
    synthetic: Synthetic

    @field_validator("classes")
    @classmethod
    def _names(cls, names: list[str] | None) -> list[str] | None:
        if names is not None and (len(names) < 2 or len(set(names)) < len(names) or not all(map(_plain, names))):
            raise ValueError("must be at least two different names of letters, digits, '_' and '-'")
        return names

    @field_validator("root")
    @classmethod
    def _path(cls, root: str | None) -> str | None:
        if root is not None and not (root and root.isprintable()):
            raise ValueError("must be a folder's path of printable characters")
        return root

    @model_validator(mode="after")
    def _root(self) -> "Corpus":
        if self.source != "synthetic" and self.root is None:
            raise ValueError(f"root must name a folder when source is {self.source}, but is null")
        return self


class Split(Section):
    """How utterances are divided into folds and parts."""

    scheme: Literal["auto", "published", "random", "leave_session_out", "leave_speaker_out"]
    folds: Annotated[int, Field(ge=2, le=1000)]
    """Folds of the random scheme."""
    dev_share: Annotated[float, Field(gt=0, lt=1)]
    """Development share of each held-out fold of the random scheme."""
    seed: Seed


class Audio(Section):
    """How audio features enter the model."""

    standardise: bool
    """Remove the mean and scale to unit variance, both of the fold's training frames."""


class Features(Section):
    """How features enter the model."""

    audio: Audio


class TimeMap(Section):
    """Output positions of the linear maps over time, as a share of the corpus's longest sequence."""

    audio: Share
    video: Share


class Model(Section):
    """Sizes of the models."""

    hidden: Size
    """GRU units in each direction; the model's width is twice that."""
    heads: Size
    """Attention heads."""
    classifier: Size
    """Neurons of the first fully connected layer."""
    attention_dropout: Probability
    """Dropout on attention weights."""
    text_dropout: Probability
    """Dropout on word vectors."""
    positions: TimeMap
    padding: Literal["attend", "mask"]
    """Whether recurrences and attention run over padding, as in the paper, or not."""

    @model_validator(mode="after")
    def _heads(self) -> "Model":
        if 2 * self.hidden % self.heads:
            raise ValueError(f"heads must divide the model width 2 × hidden = {2 * self.hidden}, but is {self.heads}")
        return self


class Protocol(Section):
    """The training protocol (paper, Section 3)."""

    batch_size: Size
    learning_rate: Annotated[float, Field(gt=0)]
    lr_factor: Annotated[float, Field(gt=0, lt=1)]
    """The learning rate is multiplied by this when the development loss stalls."""
    lr_patience: Annotated[int, Field(ge=0, le=10**9)]
    """Epochs without a better development loss before that."""
    patience: Count
    """Epochs without a better development accuracy before training stops."""
    max_epochs: Count


class WorkLimits(Section):
    """What may stay in `.work/` of trainings that are not under way."""

    days: Annotated[float, Field(gt=0)]
    """Since they were last used."""
    gib: Annotated[float, Field(gt=0)]
    """The least recently used go first."""


class Ray(Section):
    """How a stage's runs become tasks of a Ray cluster (docs/cluster.md)."""

    cpus: Annotated[float, Field(gt=0)]
    """Of a node, that a task takes."""
    gpus: Annotated[float, Field(ge=0)]
    """Likewise; less than 1 for tasks that share one."""
    retries: Annotated[int, Field(ge=0, le=10**6)]
    """How often a task whose node or process is lost is begun again, from its last checkpoints."""
    features: Literal["ship", "shared"]
    """ship: to each node once, by Ray's object store; shared: all nodes see this folder under the same path."""


class Train(Section):
    """How trainings run."""

    protocol: Protocol
    precision: Literal["float32", "float64", "bfloat16"]
    """bfloat16: mixed, products in bfloat16 and all else in float32."""
    device: Literal["auto", "cpu", "cuda"]
    workers: Literal["auto"] | Count
    """Worker processes a stage; changes nothing but the time."""
    together: Literal["auto"] | Count
    """Runs that a worker trains at once, in lockstep; changes nothing but the time, on a CPU to the last bit."""
    save_weights: bool
    """Keep each run's best weights as safetensors beside its predictions."""
    checkpoint_seconds: Annotated[float, Field(ge=0)]
    """Least time between a process's checkpoints, which it makes at ends of epochs; 0: at each."""
    work: WorkLimits
    engine: Literal["local", "ray"]
    """Processes of this machine, or tasks of a Ray cluster; changes nothing but the time."""
    ray: Ray


class Headline(Section):
    """The variant that `dvc metrics diff` compares."""

    attention: str
    modalities: str

    @model_validator(mode="after")
    def _variant(self) -> "Headline":
        variants.parse(self.variant)
        return self

    @property
    def variant(self) -> str:
        """The variant's name."""
        return f"{self.attention}_{self.modalities}"


class Confusion(Section):
    """What the confusion matrices show."""

    fold: Count
    """The one fold that is drawn beside all folds together (the paper's Figure 3 shows one)."""


class Compare(Section):
    """The tests between variants (`docs/statistics.md`)."""

    pairs: Literal["auto"] | list[Annotated[list[str], Field(min_length=2, max_length=2)]]
    """The family of comparisons, [a, b] each; auto: those that stages/common/variants.py names."""
    margin: Annotated[float, Field(gt=0, lt=1)]
    """Differences smaller than this are of no interest: .01 is one point."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)]
    """Level of the tests; intervals hold 1 - alpha."""


class Params(Section):
    """All of `params.yaml`."""

    variants: Annotated[list[str], Field(min_length=1, max_length=1000)]
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=1000)]
    corpus: Corpus
    split: Split
    features: Features
    model: Model
    train: Train
    headline: Headline
    compare: Compare
    confusion: Confusion

    @field_validator("variants")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        _distinct(names)
        for name in names:
            variants.parse(name)
        return names

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, seeds: list[int]) -> list[int]:
        _distinct(seeds)
        return seeds

    @model_validator(mode="after")
    def _headline_trained(self) -> "Params":
        if self.headline.variant not in self.variants:
            raise ValueError(
                f"headline.attention and headline.modalities must name one of the study's variants, "
                f"but {self.headline.variant!r} is not among {', '.join(self.variants)}"
            )
        return self

    @model_validator(mode="after")
    def _fold_drawn(self) -> "Params":
        scheme = self.split.scheme
        if scheme == "auto" and self.corpus.source == "synthetic":
            scheme = "random"
        if scheme == "random" and self.confusion.fold > self.split.folds:  # of other schemes `split` checks it
            raise ValueError(
                f"confusion.fold must be one of the folds 1 … {self.split.folds}, but is {self.confusion.fold}"
            )
        return self

    @model_validator(mode="after")
    def _pairs_trained(self) -> "Params":
        seen = set()
        for pair in self.pairs:
            for name in pair:
                if name not in self.variants:
                    raise ValueError(
                        f"compare.pairs must name two of the study's variants each, but {name!r} of "
                        f"[{', '.join(pair)}] is not among {', '.join(self.variants)}"
                    )
            if frozenset(pair) in seen or pair[0] == pair[1]:
                raise ValueError(
                    f"compare.pairs must name each pair of two different variants once, but has [{', '.join(pair)}]"
                    + (" twice" if pair[0] != pair[1] else "")
                )
            seen.add(frozenset(pair))
        return self

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs (a, b) of variants to test."""
        return (
            variants.pairs(self.variants) if self.compare.pairs == "auto" else [(a, b) for a, b in self.compare.pairs]
        )

    def training(self, variant: str) -> dict:
        """What a variant's trainings depend on, but for code, data, seed and fold."""
        train = {"protocol", "precision", "device", "save_weights"}
        return {
            "variant": variant,
            "features": self.features.model_dump(),
            "model": self.model.model_dump(),
            "train": self.train.model_dump(include=train),
        }


def load(path: Path = PATH) -> Params:
    """Read and validate `path`.

    Raises
    ------
    UserError
        If the file is missing, is not YAML or breaks a rule; the message names every key, its rule and its value.
    """
    document = yaml_file.read(path)
    if not isinstance(document, dict):
        raise UserError(f"{path}: must hold sections such as `model:`, but is {_short(document)}")
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        raise UserError("\n       ".join(f"{path}: {_explain(e)}" for e in error.errors())) from None


def main() -> None:
    """Check `params.yaml` and the registry of fusions; warn where the values are those of a killed experiment."""
    from tools import repair_lock as mend  # which no stage needs

    load()
    variants.check()
    warning = mend.killed_experiment()
    if warning:
        print(warning, file=sys.stderr)


def _explain(error: dict) -> str:
    """One of pydantic's errors as `key: rule, but is value`."""
    # Branches of a union ("int", "literal['auto']") are no keys of the file.
    key = ".".join(str(part) for part in error["loc"] if str(part).isidentifier() or isinstance(part, int))
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key (its value is {_short(error['input'])})"
    if error["type"] == "missing":
        return f"{key}: this key is missing"
    if not (error["type"] == "value_error" and "but " in message):  # ours say what is wrong
        message = f"{message}, but is {_short(error['input'])}"
    return f"{key}: {message}" if key else message


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _distinct(values: list) -> None:
    repeated = sorted(value for value, count in Counter(values).items() if count > 1)
    if repeated:
        raise ValueError(f"must name each once, but repeats {', '.join(map(str, repeated))}")


def _plain(name: str) -> bool:
    return name.replace("_", "").replace("-", "").isalnum()


if __name__ == "__main__":
    cli.run(main)
