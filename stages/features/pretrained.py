"""Hidden states of a pretrained encoder of audio, text or images, read by `transformers` from a folder on this machine.

Audio: A. Baevski et al.: wav2vec 2.0, NeurIPS 2020, and its kin (HuBERT, WavLM, data2vec). Text: J. Devlin et al.:
BERT, NAACL 2019, and its kin. Images: A. Radford et al.: CLIP, ICML 2021, its vision tower; A. Dosovitskiy et al.: ViT,
ICLR 2021, and its kin.

A folder is data: no code of it runs, no pickle of it is loaded, and nothing is fetched.
"""

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from stages.common import extractors
from stages.common.errors import UserError, short
from stages.corpus.contents import unusable
from stages.features import device

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

BATCH = 16
"""Frames that are evaluated at once, at most: memory does not grow with their number."""
LONGEST_TEXT = 2**16
"""Tokens of a text that are kept, at most, if neither the model nor its tokenizer has a limit."""
SEED = 1
"""Of random weights."""
INPUTS = {"audio": "input_values", "text": "input_ids", "video": "pixel_values"}
"""What an encoder of a medium reads, as transformers calls it."""
TOWERS = {"text": "text_config", "video": "vision_config"}
"""Where the config of a model of several media, such as CLIP, has that of its encoder of one."""
UNUSED = re.compile(r"(^|\.)(pooler\..*|masked_spec_embed|mask_token)$")
"""Weights that no hidden state depends on: of poolers, and of what stands for masked positions in training."""
INTERPOLATIONS = {2: cv2.INTER_LINEAR, 3: cv2.INTER_CUBIC}
"""Pillow's number of a method → OpenCV's, which does not smooth before it makes a picture smaller, as Pillow's does."""
HOW_TO_GET = (
    "`hf download NAME --local-dir FOLDER` makes one on a machine with a network; NAME is for audio "
    "facebook/wav2vec2-base (380 MB, Apache-2.0) or microsoft/wavlm-base-plus (380 MB, MIT), for text "
    "google-bert/bert-base-uncased (440 MB, Apache-2.0), for video openai/clip-vit-base-patch32 (600 MB, MIT)"
)


def make(settings: extractors.Pretrained, modality: str) -> "Pretrained":
    """The extractor of these settings, as `encoding.Encoder` asks for it."""
    return Pretrained(settings, modality)


class Pretrained:
    """Features of one modality: the encoder's hidden states at the layer that the settings name.

    Weights are float32. The same call gives the same bytes: on the CPU it runs in one thread.

    Attributes
    ----------
    medium : str
        text, audio or video: which of the methods `text`, `audio` and `images` serves.
    rate : int
        Of audio, the samples a second that `audio` takes.
    size : int
        F, the features a position.
    real : bool
        False if the weights are random.

    Raises
    ------
    UserError
        If transformers is not installed, the folder is missing or not one of such an encoder, weights are missing or
        of another shape, a layer is out of range, or the device is `cuda` and there is none.
    """

    def __init__(self, settings: extractors.Pretrained, modality: str):
        place = f"modalities.{modality}.features"
        _check(settings, place)
        transformers = _import_transformers(place)
        self.medium, self.rate = settings.of, settings.rate
        self.real = settings.weights != extractors.RANDOM
        self._layer, self._pool = settings.layer, settings.pool
        self._device = device.resolve(settings.device, modality)
        folder = Path(settings.weights) if self.real else None
        with _quiet(transformers), _own_generator():
            model = _load(transformers, folder, settings.of) if folder else _random(transformers, settings, place)
            self._tokenizer = _load_tokenizer(transformers, folder) if settings.of == "text" else None
        _check_model(model, settings, place)
        self._model = model.eval().to(self._device)
        self.size = model.config.hidden_size
        if settings.of == "audio":
            self._normalise = _read_normalise(folder, settings.rate, place) if folder else True
            self._field = receptive_field(model.config.conv_kernel, model.config.conv_stride)
        elif settings.of == "text":
            self._longest = _longest_text(model, self._tokenizer)
            self._vocabulary = model.get_input_embeddings().num_embeddings
        else:
            self._side = model.config.image_size
            self._method, self._mean, self._sd = _read_pictures(folder) if folder else (cv2.INTER_LINEAR, 0.5, 0.5)

    def __call__(self, content: np.ndarray | str) -> np.ndarray:
        """What the method of the medium returns."""
        return {"audio": self.audio, "text": self.text, "video": self.images}[self.medium](content)

    def audio(self, samples: np.ndarray) -> np.ndarray:
        """One utterance, float32 [N] at `rate` → float32 [T, F]; T is 0 if N is less than the encoder needs for one.

        Samples are standardised (zero mean, unit variance) if preprocessor_config.json says `do_normalize`.
        """
        if len(samples) < self._field:
            return self._nothing()
        values = samples.astype(np.float64)
        if self._normalise:
            values = (values - values.mean()) / np.sqrt(values.var() + 1e-7)  # Wav2Vec2FeatureExtractor's 1e-7
        return self._hidden(torch.from_numpy(values.astype(np.float32))[None])[0].cpu().numpy()

    def text(self, transcription: str) -> np.ndarray:
        """One utterance → float32 [T, F], a position a token; T is 0 if it has none.

        The model sees its special tokens, such as BERT's [CLS] and [SEP], but their positions are left out. Tokens
        beyond the positions that the model has are cut off.

        Raises
        ------
        UserError
            If the tokenizer gives a token that the model has no vector for.
        """
        tokens = self._tokenizer(
            transcription, truncation=True, max_length=self._longest, return_special_tokens_mask=True
        )
        ids = np.array(tokens["input_ids"], np.int64)
        words = ~np.array(tokens["special_tokens_mask"], bool)
        if not words.any():
            return self._nothing()
        if ids.max() >= self._vocabulary:
            raise UserError(
                f"{self._tokenizer.name_or_path}: tokens must be below {self._vocabulary}, the model's vocabulary, but "
                f"{short(transcription)} has {ids.max()}; is tokenizer.json another model's?"
            )
        return self._hidden(torch.from_numpy(ids)[None])[0].cpu().numpy()[words]

    def images(self, frames: np.ndarray) -> np.ndarray:
        """Frames, uint8 [n, H, W, 3], red first → float32 [n, F], each the hidden state of its class token.

        Of `layer: last` that is the model's last hidden state: ViT's after its last layer normalisation; of CLIP, whose
        last normalisation belongs to its pooler, before.
        """
        features = np.empty((len(frames), self.size), np.float32)
        for start in range(0, len(frames), BATCH):
            batch = slice(start, start + BATCH)
            pictures = np.stack([prepare(frame, self._side, self._method) for frame in frames[batch]])
            pictures = ((pictures / np.float32(255) - self._mean) / self._sd).astype(np.float32)
            features[batch] = self._hidden(torch.from_numpy(pictures).permute(0, 3, 1, 2))[:, 0].cpu().numpy()
        return features

    def pool(self, values: np.ndarray, seconds: float) -> np.ndarray:
        """Means over positions, as the settings say: float32 [T, F] of an utterance of so many seconds → [T', F].

        utterance: one mean, and none of no positions. Of a number of milliseconds, means over such windows, one after
        the other from the utterance's beginning; the T positions stand in the middles of T equal parts of the
        utterance, and a window without one is left out.
        """
        if self._pool == "none" or not len(values):
            return values
        if self._pool == "utterance":
            return values.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
        milliseconds = (np.arange(len(values)) + 0.5) * (1000 * seconds / len(values))
        _, starts, counts = np.unique(milliseconds // self._pool, return_index=True, return_counts=True)
        return (np.add.reduceat(values.astype(np.float64), starts) / counts[:, None]).astype(np.float32)

    @torch.inference_mode()
    def _hidden(self, inputs: Tensor) -> Tensor:
        """The chosen hidden states of a batch: [n, …] → [n, T, F]."""
        last = self._layer == "last"
        with _repeatable(self._device):
            output = self._model(
                **{self._model.main_input_name: inputs.to(self._device)},
                output_hidden_states=not last,
                return_dict=True,
            )
            if last:
                return output.last_hidden_state
            layers = [self._layer] if isinstance(self._layer, int) else self._layer
            return torch.stack([output.hidden_states[layer] for layer in layers]).mean(dim=0)

    def _nothing(self) -> np.ndarray:
        return np.empty((0, self.size), np.float32)


def receptive_field(kernels: list[int], strides: list[int]) -> int:
    """Samples that one position of a stack of convolutions sees, first layer first: the fewest that give one."""
    field = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        field = (field - 1) * stride + kernel
    return field


def prepare(frame: np.ndarray, side: int, interpolation: int) -> np.ndarray:
    """The centre of a frame after its shorter side was brought to `side`: uint8 [H, W, 3] → [side, side, 3].

    The longer side keeps the ratio, rounded down, as CLIP's own preparation does. `interpolation` enlarges; to shrink,
    areas are averaged, which is nearest to Pillow's filters: OpenCV's own others skip pixels.
    """
    shorter = min(frame.shape[:2])
    height, width = (length * side // shorter for length in frame.shape[:2])
    if shorter != side:
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if shorter > side else interpolation)
    top, left = (height - side) // 2, (width - side) // 2
    return frame[top : top + side, left : left + side]


def _check(settings: extractors.Pretrained, place: str) -> None:
    """Refuse settings that cannot go together, and a folder that is not there or not to be trusted."""
    if settings.of == "text" and isinstance(settings.pool, int):
        raise UserError(f"{place}.pool must be none or utterance for text, whose tokens have no times, but is a number")
    if settings.weights == extractors.RANDOM:
        if settings.architecture is None:
            raise UserError(f"{place}.architecture must be set with `weights: random`: a model_type, such as wav2vec2")
        if settings.of == "text":
            raise UserError(f"{place}.weights must not be random for text: there would be no tokenizer")
        return
    if settings.architecture is not None:
        raise UserError(f"{place}.architecture must be null unless `weights: random`: the folder's config.json has it")
    if settings.weights is None:
        raise UserError(f"{place}.weights must be the folder of a model for {settings.of}, but is null: {HOW_TO_GET}")
    folder = Path(settings.weights)
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"{folder}: {place}.weights must be the folder of a model, but {state}: {HOW_TO_GET}")
    _check_folder(folder)


def _check_folder(folder: Path) -> None:
    """Refuse a folder with code of its own, or without weights that can be read safely."""
    for name in ("config.json", "tokenizer_config.json"):
        if (name == "config.json" or (folder / name).exists()) and "auto_map" in _read_json(folder / name):
            raise UserError(
                f"{folder / name}: must not have auto_map: the model's own code would run, which never does"
            )
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").exists() or not index.exists():
        shards = ["model.safetensors"]
    else:
        shards = _read_json(index).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
            raise UserError(f"{index}: weight_map must say which file holds which weight")
        shards = sorted(set(shards.values()))
    for shard in shards:
        if not shard.endswith(".safetensors") or Path(shard).name != shard:
            raise UserError(f"{index}: files of weights must be .safetensors in this folder, but one is {short(shard)}")
        if why := unusable(folder / shard):
            raise UserError(
                f"{folder}: must hold {shard}, but it {why}; .bin files are pickles, which are never loaded (a model "
                "may have its safetensors in another revision: `hf download NAME --revision REVISION`)"
            )


def _read_json(path: Path) -> dict:
    """A file of the model's folder that must hold a JSON object."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"{path}: must be a file of the model's folder, but cannot be read ({error.strerror})"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: must be JSON, but is not ({short(error)})") from None
    if not isinstance(document, dict):
        raise UserError(f"{path}: must be a JSON object, but is {short(document)}")
    return document


def _import_transformers(place: str) -> ModuleType:
    try:
        import transformers
    except ImportError:
        raise UserError(f"{place}: pretrained encoders need transformers: `make pretrained` installs it") from None
    return transformers


@contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """No warnings and no progress bars of transformers: what matters of them is an error here."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


@contextmanager
def _own_generator() -> Iterator[None]:
    """Torch's random numbers begin at `SEED`, and afterwards go on as if none had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        yield


@contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """The same bytes each time; settings are restored. On the CPU, the number of threads changes the order of sums."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(threads)


def _attention(transformers: ModuleType, config: "PreTrainedConfig") -> str:
    """`sdpa` where the model has it: it keeps no T × T weights. Always named: a config could name code from the hub."""
    found = transformers.MODEL_MAPPING.get(type(config), None)
    return "sdpa" if getattr(found, "_supports_sdpa", False) else "eager"


def _load(transformers: ModuleType, folder: Path, medium: extractors.Medium) -> "PreTrainedModel":
    """The folder's encoder of a medium, in float32, with all weights that its hidden states depend on."""
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **local)
        config = getattr(config, TOWERS.get(medium, ""), config)
        model, found = transformers.AutoModel.from_pretrained(
            folder,
            config=config,
            attn_implementation=_attention(transformers, config),
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are in `found`
            output_loading_info=True,
            **local,
        )
    except Exception as error:  # whatever a damaged config or file of weights makes transformers raise
        raise UserError(f"{folder}: must be a model that transformers can read, but is not ({short(error)})") from error
    for name, stored, expected in sorted(found["mismatched_keys"]):
        raise UserError(
            f"{folder}: {name} must have the shape {list(expected)}, by config.json, but has {list(stored)}"
        )
    for name in sorted(found["missing_keys"]):
        if not UNUSED.search(name):
            raise UserError(f"{folder}: must hold the encoder's weights, but {name} is missing")
    return model


def _random(transformers: ModuleType, settings: extractors.Pretrained, place: str) -> "PreTrainedModel":
    """An encoder with random weights, of the default size of its architecture."""
    try:
        config = transformers.AutoConfig.for_model(settings.architecture)
        config = getattr(config, TOWERS.get(settings.of, ""), config)
        return transformers.AutoModel.from_config(
            config, attn_implementation=_attention(transformers, config), dtype=torch.float32
        )
    except Exception as error:  # of a name that is none, and of models that have no default
        raise UserError(
            f"{place}.architecture must be a model_type of transformers that has a default size, such as wav2vec2 or "
            f"vit, but is {settings.architecture} ({short(error)})"
        ) from error


def _load_tokenizer(transformers: ModuleType, folder: Path) -> "PreTrainedTokenizerBase":
    """The folder's tokenizer."""
    _read_json(folder / "tokenizer.json")
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever a damaged tokenizer makes transformers raise
        raise UserError(f"{folder}: must have a tokenizer that transformers can read ({short(error)})") from error


def _check_model(model: "PreTrainedModel", settings: extractors.Pretrained, place: str) -> None:
    """Refuse a model that is no encoder of the medium, and layers that it does not have."""
    config, kind = model.config, model.config.model_type
    if model.main_input_name != INPUTS[settings.of] or getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"{place}: of {settings.of}, the model must be an encoder that reads {INPUTS[settings.of]}, but {kind} "
            f"{'also decodes' if model.main_input_name == INPUTS[settings.of] else f'reads {model.main_input_name}'}"
        )
    if settings.of == "audio" and not (hasattr(config, "conv_kernel") and hasattr(config, "conv_stride")):
        raise UserError(f"{place}: the model must read samples by convolutions, as wav2vec2 does, but {kind} does not")
    if getattr(config, "add_adapter", False) or hasattr(config, "squeeze_factor"):
        raise UserError(f"{place}: the model must have positions of one length in all layers, but {kind} changes it")
    if settings.of == "video":
        tokens = [name for name, _ in model.named_parameters() if name.endswith((".cls_token", ".class_embedding"))]
        if not tokens or not isinstance(config.image_size, int):
            raise UserError(f"{place}: the model must have a class token and square images, as ViT, but {kind} has not")
    layers = settings.layer if isinstance(settings.layer, list) else [settings.layer]
    for layer in layers:
        if layer != "last" and layer > config.num_hidden_layers:
            raise UserError(
                f"{place}.layer must be last or in 0 … {config.num_hidden_layers}, the layers of this {kind}, but one "
                f"is {layer}"
            )


def _longest_text(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> int:
    """Tokens that the model has positions for, special ones included."""
    positions = getattr(model.config, "max_position_embeddings", LONGEST_TEXT)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            positions -= module.padding_idx + 1  # RoBERTa counts positions from there
    return min(limit for limit in (positions, tokenizer.model_max_length, LONGEST_TEXT) if limit > 0)


def _read_normalise(folder: Path, rate: int, place: str) -> bool:
    """Whether samples are to be standardised, by preprocessor_config.json."""
    path = folder / "preprocessor_config.json"
    document = _read_json(path)
    trained = document.get("sampling_rate", rate)
    if trained != rate:
        raise UserError(f"{place}.rate must be {short(trained)}, the sampling_rate of {path}, but is {rate}")
    normalise = document.get("do_normalize", True)  # Wav2Vec2FeatureExtractor's default
    if not isinstance(normalise, bool):
        raise UserError(f"{path}: do_normalize must be true or false, but is {short(normalise)}")
    return normalise


def _read_pictures(folder: Path) -> tuple[int, np.ndarray, np.ndarray]:
    """How pictures are resized, and the mean and standard deviation of red, green and blue, as parts of 255."""
    path = folder / "preprocessor_config.json"
    document = _read_json(path)
    resample = document.get("resample")
    if not isinstance(resample, int) or resample not in INTERPOLATIONS:
        raise UserError(f"{path}: resample must be 2 (bilinear) or 3 (bicubic), but is {short(resample)}")
    values = []
    for name in ("image_mean", "image_std"):
        value = document.get(name)
        if not isinstance(value, list) or [type(number) in (int, float) for number in value] != [True] * 3:
            raise UserError(f"{path}: {name} must be three numbers, but is {short(value)}")
        values.append(np.array(value, np.float32))
    if not (values[1] > 0).all():
        raise UserError(f"{path}: image_std must be above 0, but is {short(document['image_std'])}")
    return INTERPOLATIONS[resample], *values
