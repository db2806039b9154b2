"""The settings of the feature extractors: `modalities.<name>.features` in `params.yaml`.

Each class is one extractor, of the module of that name in `stages/features/`. Defaults are the paper's values where it
gives them (`longest`: positions that are kept of an utterance, counted from its beginning; null: all).
"""

from typing import Annotated, Literal

from pydantic import Field

from stages.common.plan import Count, Section, Size

RANDOM = "random"
"""In place of a weights file: random numbers, to try things out. All that comes of them is marked as not real."""

Weights = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A path, or `RANDOM`."""
Rate = Annotated[int, Field(ge=1000, le=192_000)]
"""Samples a second."""
FramesPerSecond = Annotated[float, Field(gt=0, le=120)]
Medium = Literal["text", "audio", "video"]
"""text: transcripts."""
Device = Literal["auto", "cpu", "cuda"]
Layer = Annotated[int, Field(ge=0, le=1000)]


class Arrays(Section):
    """The `.npy` arrays that a manifest names."""

    extractor: Literal["arrays"] = "arrays"


class Mfcc(Section):
    """Mel-frequency cepstral coefficients with Δ and ΔΔ: 3 × `coefficients` features a frame."""

    extractor: Literal["mfcc"]
    coefficients: Annotated[int, Field(ge=1, le=512)] = 40
    """Cepstra from c0 on; with `energy`, c0 gives way to the frame's log energy."""
    mel_bands: Annotated[int, Field(ge=1, le=512)] = 40
    energy: bool = False
    lifter: Annotated[int, Field(ge=0, le=1000)] = 0
    """L of HTK's liftering, 1 + L/2 · sin(πn/L); 0: none."""
    rate: Rate = 16_000
    longest: Size | None = 1000


class Prosody(Section):
    """Functionals of pitch, voicing, harmonicity and loudness: one vector of 35 an utterance."""

    extractor: Literal["prosody"]
    rate: Rate = 16_000


class Glove(Section):
    """Word ids, and the words' vectors from a text file such as `glove.840B.300d.txt`."""

    extractor: Literal["glove"]
    weights: Weights | None = None
    unknown: Literal["uniform", "zeros"] = "uniform"
    """A word that the file has not: drawn from uniform(-.25, .25), the same for the same word and seed, or zeros."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 1
    longest: Size | None = 128


class Resnet101(Section):
    """ResNet-101's pooled output, 2048 features a frame of video."""

    extractor: Literal["resnet101"]
    weights: Weights | None = None
    frames_per_second: FramesPerSecond = 3.0
    resize: Annotated[int, Field(ge=224, le=4096)] | None = None
    """Pixels of a frame's shorter side before its centre, 224 × 224, is cut out; null: no resizing, as for IEMOCAP."""
    device: Device = "auto"
    longest: Size | None = 32


class Pretrained(Section):
    """A pretrained encoder of audio, text or images that the user has downloaded, read by `transformers`."""

    extractor: Literal["pretrained"]
    of: Medium
    weights: Weights | None = None
    """The model's folder: config.json, model.safetensors, and of text a tokenizer; or `random`."""
    architecture: Annotated[str, Field(pattern="^[a-z0-9_-]+$")] | None = None
    """Of `weights: random` alone: a `model_type` of transformers, such as wav2vec2, in its default size."""
    layer: Literal["last"] | Layer | Annotated[list[Layer], Field(min_length=1)] = "last"
    """last; a hidden layer's number, 0 for what enters the first; or several, whose mean is taken."""
    pool: Literal["none", "utterance"] | Count = "none"
    """none: the encoder's own positions; a number: means over so many milliseconds each; utterance: one mean."""
    rate: Rate = 16_000
    """Of audio, the samples a second that the encoder was trained with."""
    frames_per_second: FramesPerSecond = 3.0
    """Of video."""
    device: Device = "auto"
    longest: Size | None = None


Settings = Annotated[Arrays | Mfcc | Prosody | Glove | Resnet101 | Pretrained, Field(discriminator="extractor")]

DEFAULTS = {
    "text": Glove(extractor="glove"),
    "audio": Mfcc(extractor="mfcc"),
    "video": Resnet101(extractor="resnet101"),
}
"""Of a corpus of media, the extractor of a modality of that name: the paper's."""


def medium(settings: Section) -> Medium | None:
    """What an extractor reads; None: arrays."""
    media = {"mfcc": "audio", "prosody": "audio", "glove": "text", "resnet101": "video"}
    return getattr(settings, "of", media.get(settings.extractor))


def is_random(settings: Section | None) -> bool:
    """Whether an extractor's weights are random numbers, so that all that comes of its features is not real."""
    return getattr(settings, "weights", None) == RANDOM


def kept_seconds(settings: Section) -> float | None:
    """What `longest` keeps of an utterance's beginning, in seconds; None: all, or it cannot be said."""
    longest = getattr(settings, "longest", None)
    if longest is None or (settings.extractor == "pretrained" and medium(settings) != "video"):
        return None
    return longest * 0.01 if settings.extractor == "mfcc" else longest / settings.frames_per_second
