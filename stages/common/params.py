"""The typed, validated view of `params.yaml`."""

import copy
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from stages.common import draws, extractors, fusion_settings, plan, variants, yaml_file
from stages.common.errors import UserError, short
from stages.common.metrics import DEFAULTS, METRICS, PAPERS
from stages.common.plan import Count, Protocol, Section, Size

PATH = Path("params.yaml")

LARGEST_SEED = 2**32 - 1
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
"""What numpy, torch and scikit-learn all take."""

MOST_MODALITIES = 8

RELEASES = ("iemocap", "ravdess", "crema_d", "meld")
"""Sources that are corpora as they are released: media and labels."""


RATED = ("synthetic", "manifest", "iemocap")
"""Sources that may know values of dimensions."""

SELECTED: dict[plan.TaskKind, plan.Select] = {"classes": "accuracy", "dimensions": "ccc"}
"""Task → what `train.protocol.select: auto` means."""


class Audio(Section):
    """The audio of the synthetic corpus."""

    features: Size = 16
    """Features a frame."""
    longest: Annotated[Size, Field(ge=2)] = 4
    """Frames of the longest utterance."""


class Video(Audio):
    """The video of the synthetic corpus."""

    longest: Annotated[Size, Field(ge=2)] = 4


class Words(Section):
    """The text of the synthetic corpus."""

    features: Size = 48
    """Dimensions of a word vector."""
    longest: Annotated[Size, Field(ge=8)] = 8
    """Words of the longest utterance."""
    vocabulary: Annotated[Size, Field(ge=8)] = 210
    """Distinct words, the padding token not counted."""


class Synthetic(Section):
    """The corpus that `stages/corpus/synthetic.py` generates; its docstring explains the two knobs."""

    seed: Seed = 2022
    utterances: Annotated[int, Field(ge=150, le=10**6)] = 350
    signal: Annotated[float, Field(ge=0, le=100)] = 7.0
    """How strongly classes differ: 0 not at all, more is easier. A modality alone has signal · (1 - interaction) of it,
    and is about as hard as IEMOCAP's at 1."""
    interaction: Annotated[float, Field(ge=0, le=1)] = 0.85
    """Share of the class information that lies in the relation of text and vision, not in either alone."""
    audio: Audio = Audio()
    video: Video = Video()
    text: Words = Words()


class Ravdess(Section):
    """Which of RAVDESS's takes are read."""

    channel: Literal["speech", "song", "both"] = "speech"


class Corpus(Section):
    """Where the utterances come from."""

    source: Literal["synthetic", "published_folds", "manifest", "iemocap", "ravdess", "crema_d", "meld"] = "synthetic"
    root: str | None = None
    """Folder of a corpus on disk; of a manifest also the manifest itself."""
    scale: Annotated[list[float], Field(min_length=2, max_length=2)] = Field(default_factory=lambda: [1.0, 5.0])
    """The lowest and the highest value of its dimensions: valence, activation, dominance."""
    classes: Literal["seven", "four"] | list[str] | None = None
    """Names of the classes, in the order of labels 0, 1, … where these are numbers; null: what the corpus says. Of
    IEMOCAP also seven, the paper's and what null means, or four, with happy and excited as one."""
    labels: dict[str, str | None] | None = None
    """The corpus's own label → class, null to leave its utterances out; a label that is not here means what it does
    without."""
    columns: dict[str, str | None] | None = None
    """Of a manifest: its own name of a column → the name that docs/your-own-corpus.md gives it, null: not read."""
    on_error: Literal["auto", "skip", "stop"] = "auto"
    """What follows when a file is missing or broken: skip leaves its utterances without that modality, with a warning;
    stop is an error. auto: stop for a manifest, whose rows are one's own, skip for releases, which have known faults.
    """
    ravdess: Ravdess = Ravdess()
    strict: bool = True
    """Whether folders of the published arrays that contradict each other are an error, or a warning with counts."""
    allow_outside: bool = False
    """Whether a manifest may name files outside its folder."""
    synthetic: Synthetic = Synthetic()

    @property
    def skips(self) -> bool:
        """Whether what is missing or broken is left out rather than an error."""
        return self.on_error == "skip" or (self.on_error == "auto" and self.source in RELEASES)

    @field_validator("classes")
    @classmethod
    def _names(cls, names: str | list[str] | None) -> str | list[str] | None:
        if isinstance(names, list) and (len(names) < 2 or len(set(names)) < len(names) or not all(map(_plain, names))):
            raise ValueError("must be at least two different names of printable characters")
        return names

    @field_validator("scale")
    @classmethod
    def _rises(cls, scale: list[float]) -> list[float]:
        if not scale[0] < scale[1]:
            raise ValueError(f"must be the lowest and the highest value, but is {short(scale)}")
        return scale

    @field_validator("root")
    @classmethod
    def _path(cls, root: str | None) -> str | None:
        if root is not None and not (root and root.isprintable()):
            raise ValueError("must be a folder's path of printable characters")
        return root

    @field_validator("labels", "columns")
    @classmethod
    def _mapping(cls, names: dict[str, str | None] | None) -> dict[str, str | None] | None:
        for old, new in (names or {}).items():
            if not _plain(old) or not (new is None or (_plain(new) and new == new.strip())):
                raise ValueError(f"must map names of printable characters, but one is {short(old)}: {short(new)}")
        return names

    @model_validator(mode="after")
    def _source_has_them(self) -> "Corpus":
        if isinstance(self.classes, str) and self.source != "iemocap":
            raise ValueError(f"classes must be a list or null when source is {self.source}, but is {self.classes}")
        for key, sources in (("columns", ("manifest",)), ("labels", (*RELEASES, "manifest"))):
            if getattr(self, key) is not None and self.source not in sources:
                raise ValueError(f"{key} must be null when source is {self.source}, but is {short(getattr(self, key))}")
        return self

    @model_validator(mode="after")
    def _root(self) -> "Corpus":
        if self.source != "synthetic" and self.root is None:
            raise ValueError(f"root must name a folder when source is {self.source}, but is null")
        return self


class Split(Section):
    """How utterances are divided into folds and parts."""

    scheme: Literal["auto", "published", "random", "leave_session_out", "leave_speaker_out"] = "auto"
    folds: Annotated[int, Field(ge=2, le=1000)] = 5
    """Folds of the random scheme; of others they are the corpus's, its sessions or its speakers."""
    repeats: Annotated[int, Field(ge=1, le=100)] = 1
    """How many such partitions the random scheme draws; the folds' numbers go on counting from one to the next."""
    group: Literal["dialogue", "speaker"] | None = None
    """What the random scheme keeps in one part of a fold as a whole; null: nothing but the utterance."""
    dev_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Development share of each held-out fold of the random scheme."""
    seed: Seed = 1
    incomplete: Literal["keep", "drop"] = "keep"
    """What becomes of an utterance that lacks a modality of the study: drop leaves it out of all folds, after they were
    drawn, as the paper did with utterances without video."""

    @model_validator(mode="after")
    def _scheme_has_them(self) -> "Split":
        if self.scheme != "auto" and self.unfit(self.scheme):
            raise ValueError(self.unfit(self.scheme))
        return self

    def unfit(self, scheme: str) -> str | None:
        """The rule that a key of the random scheme breaks under the scheme `scheme`; None if it breaks none."""
        for key, value, without in (("repeats", self.repeats, 1), ("group", self.group, None)):
            if scheme != "random" and value != without:
                left_out = "null" if without is None else without
                return f"{key} must be {left_out} where the scheme is {scheme}, not random, but is {value}"
        return None


class Modality(plan.Entry):
    """A modality: its letter in the variants' names, and how its sequences enter the model."""

    letter: str
    features: extractors.Settings | None = None
    """How its features are made from media; null: as the corpus has them, or by the paper's extractor of a modality of
    that name (`Params.extractor`)."""

    @field_validator("letter")
    @classmethod
    def _one_letter(cls, letter: str) -> str:
        if not re.fullmatch("[a-z]", letter):
            raise ValueError("must be one lower-case letter, a to z")
        return letter


class ModelParams(plan.Sizes):
    """Sizes of the models; those that only fusions use go to the plans of fusions that name them."""

    heads: Size = 6
    """Attention heads."""
    attention_dropout: plan.Probability = 0.1
    """Dropout on attention weights."""


class WorkLimits(Section):
    """What may stay in `.work/` of trainings that are not under way."""

    days: Annotated[float, Field(gt=0)] = 30
    """Since they were last used."""
    gib: Annotated[float, Field(gt=0)] = 20
    """The least recently used go first."""


class Ray(Section):
    """How a stage's runs become tasks of a Ray cluster (docs/cluster.md)."""

    cpus: Annotated[float, Field(gt=0)] = 1
    """Of a node, that a task takes."""
    gpus: Annotated[float, Field(ge=0)] = 0
    """Likewise; less than 1 for tasks that share one."""
    retries: Annotated[int, Field(ge=0, le=10**6)] = 5
    """How often a task whose node or process is lost is begun again, from its last checkpoints."""
    features: Literal["ship", "shared"] = "ship"
    """ship: to each node once, by Ray's object store; shared: all nodes see this folder under the same path."""


class Train(Section):
    """How trainings run."""

    protocol: Protocol = Protocol()
    precision: Literal["float32", "float64", "bfloat16"] = "float32"
    """bfloat16: mixed, products in bfloat16 and all else in float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Literal["auto"] | Count = "auto"
    """Worker processes a stage; changes nothing but the time."""
    together: Literal["auto"] | Count = "auto"
    """Runs that a worker trains at once; changes nothing but the time, on a CPU to the last bit."""
    save_weights: bool = False
    """Keep each run's best weights as safetensors beside its predictions."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 20
    """Least time between a process's checkpoints, which it makes at ends of epochs; 0: at each."""
    work: WorkLimits = WorkLimits()
    engine: Literal["local", "ray"] = "local"
    """Processes of this machine, or tasks of a Ray cluster; changes nothing but the time."""
    ray: Ray = Ray()


class Headline(Section):
    """The variant, one that is trained, that `dvc metrics diff` compares."""

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

    fold: Count = 1
    """The one fold that is drawn beside all folds together (the paper's Figure 3 shows one)."""


class Compare(Section):
    """The tests between models (`docs/statistics.md`)."""

    pairs: Literal["auto"] | list[Annotated[list[str], Field(min_length=2, max_length=2)]] = "auto"
    """The family of comparisons, [a, b] each; auto: those that stages/common/variants.py names."""
    metrics: Annotated[list[str], Field(min_length=1, default_factory=lambda: list(PAPERS))]
    """The scores that are compared, of `METRICS` in `metrics.py`; each is a family of its own. auto: `DEFAULTS` of the
    task."""
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Differences smaller than this are of no interest: .01 is one point, or .01 nat."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Level of the tests; intervals hold 1 - alpha."""

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in METRICS:
                raise ValueError(f"must each be one of {', '.join(METRICS)}, but one is {short(name)}")
        _distinct(names)
        return names


class Evaluate(Section):
    """How trained variants are scored under changed inputs, from their weights (`docs/evaluations.md`)."""

    emap: bool = False
    """Whether to score each variant without interactions between its modalities: EMAP."""
    partners: Annotated[int, Field(ge=2, le=10**4)] = 50
    """Of the other modalities, how many an utterance's modality is combined with; where there are fewer, with all."""
    missing: bool = False
    """Whether to score each variant with each modality left out, and with noise."""
    noise: list[Annotated[float, Field(gt=0, le=10**6)]] = Field(default_factory=lambda: [0.5, 1.0, 2.0])
    """Sizes of the noise, in standard deviations of a feature in the fold's training part."""

    @field_validator("noise")
    @classmethod
    def _rising(cls, sizes: list[float]) -> list[float]:
        if sizes != sorted(set(sizes)):
            raise ValueError(f"must rise, but is {short(sizes)}")
        return sizes


class Report(Section):
    """What is drawn of single utterances, from the runs' weights (`docs/attention.md`)."""

    attention: bool = False
    """Whether to draw which positions attend to which, and how much attention falls on padding."""
    utterances: Literal["auto"] | Annotated[list[str], Field(min_length=1, max_length=1000)] = "auto"
    """Whose maps are drawn: names of utterances; auto: of each class the most and the least certain one."""

    @field_validator("utterances")
    @classmethod
    def _distinct_utterances(cls, names: str | list[str]) -> str | list[str]:
        if names != "auto":
            _distinct(names)
        return names


class Params(Section):
    """All of `params.yaml`; defaults are the paper's values."""

    task: plan.TaskKind = "classes"
    """What models predict: a class, or the values of the dimensions that the corpus knows."""
    variants: Annotated[list[str], Field(min_length=1, max_length=1000)]
    references: Annotated[list[str], Field(default_factory=list, max_length=1000)]
    """Models that are compared with them but not trained: late_…, majority_… and prior_… (`stages/references`)."""
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=1000)]
    modalities: dict[str, Modality]
    """By name; their order is that of their letters in the variants' names."""
    corpus: Corpus
    split: Split
    model: ModelParams = ModelParams()
    fusions: dict[str, dict] = Field(default_factory=dict)
    """Settings of single fusions (`fusion_settings.py`): those of `stages/train/fusions/<name>.py`."""
    train: Train = Train()
    tune: draws.Tune = draws.Tune()
    headline: Headline
    compare: Compare = Compare()
    confusion: Confusion
    evaluate: Evaluate = Evaluate()
    report: Report = Report()

    @model_validator(mode="before")
    @classmethod
    def _of_the_task(cls, document: object) -> object:
        """What is `auto`, or not there, means another thing for each task."""
        task = document.get("task", "classes") if isinstance(document, dict) else None
        if task not in DEFAULTS:
            return document
        meant = {"compare.metrics": list(DEFAULTS[task]), "train.protocol.select": SELECTED[task]}
        for key, value in meant.items():
            document = _with_default(document, key.split("."), value)
        return document

    @model_validator(mode="after")
    def _task_fits(self) -> "Params":
        for name in self.compare.metrics:
            if METRICS[name].task != self.task:
                own = [metric for metric in METRICS if METRICS[metric].task == self.task]
                raise ValueError(
                    f"compare.metrics must be auto or of {', '.join(own)} where task is {self.task}, but one is {name}"
                )
        select = self.train.protocol.select
        if (select == "ccc") != (self.task == "dimensions"):
            fitting = "ccc" if self.task == "dimensions" else "accuracy, balanced_accuracy or loss"
            raise ValueError(
                f"train.protocol.select must be auto or {fitting} where task is {self.task}, but is {select}"
            )
        untold = [name for name in self.references if self.task == "dimensions" and name.startswith("majority")]
        if untold:
            raise ValueError(f"references must be late_… or prior_… where task is dimensions, but one is {untold[0]}")
        if self.task == "dimensions" and self.report.attention:
            raise ValueError("report.attention must be false where task is dimensions, but is true")
        if self.task == "dimensions" and self.corpus.source not in RATED:
            raise ValueError(
                f"task must be classes for corpus.source {self.corpus.source}, but is {self.task}, which only "
                f"{', '.join(RATED)} have"
            )
        return self

    @field_validator("modalities")
    @classmethod
    def _names_and_letters(cls, modalities: dict[str, Modality]) -> dict[str, Modality]:
        if not 1 <= len(modalities) <= MOST_MODALITIES:
            raise ValueError(f"must be 1 to {MOST_MODALITIES}, but are {len(modalities)}")
        named: dict[str, str] = {}
        for name, modality in modalities.items():
            if not re.fullmatch("[a-z][a-z0-9_]{0,39}", name):
                raise ValueError(
                    "a name must be up to 40 lower-case letters, digits and _, the first a letter, "
                    f"but is {short(name)}"
                )
            other = named.setdefault(modality.letter, name)
            if other != name:
                raise ValueError(f"letters must differ, but {modality.letter!r} is that of {other} and {name}")
        return modalities

    @field_validator("fusions")
    @classmethod
    def _known_fusions(cls, sections: dict[str, dict]) -> dict[str, dict]:
        for fusion in sections:
            trained = [name for name, own in variants.FUSIONS.items() if own.trained]
            if fusion not in trained:
                raise ValueError(f"keys must be fusions, {', '.join(trained)}, but one is {short(fusion)}")
        return sections

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, seeds: list[int]) -> list[int]:
        _distinct(seeds)
        return seeds

    @field_validator("variants", "references")
    @classmethod
    def _known_models(cls, names: list[str], info: ValidationInfo) -> list[str]:
        for name in names:
            own = variants.parse(name)
            if own.trained and info.field_name == "references":
                raise ValueError(f"{name!r} must be a reference, but {own.fusion} is trained: it belongs in variants")
            if not own.trained and info.field_name == "variants":
                raise ValueError(f"{name!r} must be trained, but {own.fusion} is a reference: it belongs in references")
        _distinct(names)
        return names

    @model_validator(mode="after")
    def _modalities_known(self) -> "Params":
        for name in self.models:
            own = variants.parse(name).modalities
            if own != "".join(letter for letter in self.letters if letter in own):
                raise ValueError(
                    f"{'variants' if name in self.variants else 'references'}: {name!r} must name modalities by the "
                    f"letters of `modalities`, in their order {self.letters!r}, but has {own!r}"
                )
        return self

    @model_validator(mode="after")
    def _parts_trained(self) -> "Params":
        for name in self.references:
            parts = variants.parse(name).parts
            missing = [part for part in parts if part not in self.variants]
            if missing:
                raise ValueError(
                    f"references: {name!r} must have {', '.join(parts)} among variants, but {', '.join(missing)} "
                    f"{'is' if len(missing) == 1 else 'are'} missing"
                )
        return self

    @model_validator(mode="after")
    def _settings_hold(self) -> "Params":
        trained = [variants.parse(name).fusion for name in self.variants]
        for fusion in dict.fromkeys([*self.fusions, *trained]):
            try:
                settings = self.settings(fusion)
            except ValidationError as error:
                wrong = error.errors()[0]
                raise ValueError(explain(wrong, *self._section(fusion, wrong["loc"][0]))) from None
            heads, width = settings.get("heads"), 2 * self.model.hidden
            if isinstance(heads, int) and (heads < 1 or width % heads):
                place = ".".join(self._section(fusion, "heads"))
                raise ValueError(f"{place}.heads must divide the model width 2 × hidden = {width}, but is {heads}")
        return self

    def _section(self, fusion: str, setting: str) -> tuple[str, ...]:
        """The section that a fusion's setting is from, or belongs in."""
        shared = setting in fusion_settings.required(fusion) and hasattr(self.model, setting)
        return ("model",) if shared and setting not in self.fusions.get(fusion, {}) else ("fusions", fusion)

    @model_validator(mode="after")
    def _headline_trained(self) -> "Params":
        if self.headline.variant not in self.variants:
            raise ValueError(
                "headline.attention and headline.modalities must name one of the study's variants, "
                f"but {self.headline.variant!r} is not among {', '.join(self.variants)}"
            )
        return self

    @model_validator(mode="after")
    def _fold_drawn(self) -> "Params":
        scheme = self.split.scheme
        if scheme == "auto" and self.corpus.source == "synthetic":
            scheme = "random"
        folds = self.split.folds * self.split.repeats
        if scheme == "random" and self.confusion.fold > folds:  # of other schemes `split` checks it
            raise ValueError(f"confusion.fold must be one of the folds 1 … {folds}, but is {self.confusion.fold}")
        return self

    @model_validator(mode="after")
    def _pairs_trained(self) -> "Params":
        seen = set()
        for pair in self.pairs:
            for name in pair:
                if name not in self.models:
                    raise ValueError(
                        f"compare.pairs must name two of the study's models each, but {short(name)} is not among "
                        f"{', '.join(self.models)}"
                    )
            if frozenset(pair) in seen or pair[0] == pair[1]:
                raise ValueError(
                    f"compare.pairs must name each pair of two different models once, but has [{', '.join(pair)}]"
                    + (" twice" if pair[0] != pair[1] else "")
                )
            seen.add(frozenset(pair))
        return self

    @model_validator(mode="after")
    def _weights_kept(self) -> "Params":
        asked = [f"evaluate.{name}" for name in ("emap", "missing") if getattr(self.evaluate, name)]
        asked += ["report.attention"] if self.report.attention else []
        if asked and not self.train.save_weights:
            raise ValueError(f"train.save_weights must be true when {asked[0]} is true, but is false")
        return self

    @model_validator(mode="after")
    def _features_made(self) -> "Params":
        for name in self.modalities:
            self.extractor(name)
        return self

    def extractor(self, modality: str) -> extractors.Settings | None:
        """How a modality's features are made; None where the source itself has them.

        Raises
        ------
        ValueError
            If the source has no media, or has nothing but media and the modality names no extractor.
        """
        source, own = self.corpus.source, self.modalities[modality].features
        if source in ("synthetic", "published_folds"):
            if own:
                raise ValueError(
                    f"modalities.{modality}.features must be null when corpus.source is {source}, which has features, "
                    f"but names {own.extractor}"
                )
            return None
        own = own or (extractors.DEFAULTS.get(modality) if source in RELEASES else extractors.Arrays())
        if own is None or (source in RELEASES and own.extractor == "arrays"):
            raise ValueError(
                f"modalities.{modality}.features must name an extractor, such as {{extractor: mfcc}}, when "
                f"corpus.source is {source}, but {'names arrays' if own else 'is null'}"
            )
        return own

    @property
    def models(self) -> list[str]:
        """All that is scored, tested and drawn: the variants, then the references."""
        return self.variants + self.references

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs (a, b) of models to test."""
        return variants.pairs(self.models) if self.compare.pairs == "auto" else [(a, b) for a, b in self.compare.pairs]

    @property
    def letters(self) -> str:
        """The modalities' letters, in order."""
        return "".join(modality.letter for modality in self.modalities.values())

    def settings(self, fusion: str) -> dict[str, int | float | bool | str | None]:
        """A fusion's settings: those in `fusions`, else their defaults, else those of `model` by the same name."""
        model, sizes = fusion_settings.model(fusion), self.model.model_dump()
        shared = {name: sizes[name] for name in sizes if name in fusion_settings.required(fusion)}
        return model.model_validate(shared | self.fusions.get(fusion, {})).model_dump()

    def drawn(self) -> list["Params"]:
        """For each draw of `tune` these params with the draw's values, which keep all rules; none if nothing is tuned.

        Raises
        ------
        UserError
            If a draw breaks a rule; names the draw, its values and the rule.
        """
        document, found = self.model_dump(exclude_unset=True, exclude={"tune"}), []
        for number in range(1, self.tune.draws + 1):
            values = draws.values(self.tune, number)
            try:
                found.append(Params.model_validate(with_values(document, values)))
            except ValidationError as error:
                said = ", ".join(f"{key}: {value}" for key, value in values.items())
                raise UserError(
                    f"{PATH}: tune.ranges: draw {number} ({said}) breaks a rule: {explain(error.errors()[0])}"
                ) from None
        return found


def with_values(document: dict, values: dict[str, object]) -> dict:
    """A copy of a document of params with some keys, written with dots, set; sections that are missing are made.

    Raises
    ------
    UserError
        If a key goes through a value that has no keys.
    """
    document = copy.deepcopy(document)
    for key, value in values.items():
        *sections, last = key.split(".")
        section = document
        for depth, name in enumerate(sections, start=1):
            if section.get(name) is None:
                section[name] = {}
            section = section[name]
            if not isinstance(section, dict):
                raise UserError(
                    f"{key}: must be a key of params.yaml, but {'.'.join(sections[:depth])} has no keys: "
                    f"it is {short(section)}"
                )
        section[last] = copy.deepcopy(value)
    return document


def _with_default(document: dict, key: list[str], value: object) -> dict:
    """The document with a key set where it is `auto` or not there, unless a section is no mapping."""
    name, *rest = key
    own = document.get(name, {} if rest else "auto")
    if rest:
        return document | {name: _with_default(own, rest, value)} if isinstance(own, dict) else document
    return document | {name: value} if own == "auto" else document


def load(path: Path = PATH) -> Params:
    """Read and validate `path`.

    Raises
    ------
    UserError
        If the file is missing, is not YAML or breaks a rule; the message names every key, its rule and its value.
    """
    document = yaml_file.read(path)
    if not isinstance(document, dict):
        raise UserError(f"{path}: must hold sections such as `model:`, but is {short(document)}")
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        raise UserError("\n       ".join(f"{path}: {explain(e)}" for e in error.errors())) from None


def explain(error: dict, *sections: str) -> str:
    """One of pydantic's errors, about a key of `sections`, as `key: rule, but is value`."""
    # Branches of a union ("int", "literal['auto']") are no keys of the file.
    parts = [*sections, *error["loc"]]
    key = ".".join(str(part) for part in parts if str(part).isidentifier() or isinstance(part, int))
    message = error["msg"].removeprefix("Value error, ").replace("Input should", "must")
    message = re.sub("valid dictionary( or instance of [A-Za-z]+)?$", "mapping of keys to values", message)
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key (its value is {short(error['input'])})"
    if error["type"] == "missing":
        return f"{key}: this key is missing"
    if not (error["type"] == "value_error" and ("but " in message or not parts)):  # ours say what is wrong
        message = f"{message}, but is {short(error['input'])}"
    return f"{key}: {message}" if key else message


def _distinct(values: list) -> None:
    repeated = sorted(value for value, count in Counter(values).items() if count > 1)
    if repeated:
        raise ValueError(f"must name each once, but repeats {', '.join(map(str, repeated))}")


def _plain(name: str) -> bool:
    return bool(name) and name.isprintable()
