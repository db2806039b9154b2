"""Frames of video by ResNet-101: what its last block gives, averaged over the picture, 2048 features a frame.

K. He, X. Zhang, S. Ren, J. Sun: Deep residual learning for image recognition, CVPR 2016, Table 1; with the stride in a
block's 3 × 3 convolution, as torchvision has it, whose names of parameters are kept, so that its files of weights fit.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stages.common import extractors
from stages.common.errors import UserError, short
from stages.corpus.contents import unusable
from stages.features import device

BATCH = 16
"""Frames that are evaluated at once, at most: memory does not grow with their number."""
SIDE = 224
"""Pixels of a side of the picture that the network sees."""
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
SD = np.array([0.229, 0.224, 0.225], np.float32)
"""ImageNet's mean and standard deviation of red, green and blue, as parts of 255."""
BLOCKS = (3, 4, 23, 3)
"""Of each of the four layers."""
HEAD = {"fc.weight", "fc.bias"}
"""ImageNet's classifier, which a file may hold, and which is not used."""


def make(settings: extractors.Resnet101, modality: str) -> "Resnet101":
    """The extractor of these settings, as `encoding.Encoder` asks for it."""
    return Resnet101(settings, modality)


class Resnet101:
    """Features of frames of one modality.

    Attributes
    ----------
    size : int
        Features a frame.
    network : Network
        Its batch norms are part of its convolutions (`_fold`).
    real : bool
        False if the weights are random.

    Raises
    ------
    UserError
        If there are no weights, the file cannot be read or is not one of ResNet-101's weights, or the device is `cuda`
        and there is none.
    """

    size = 2048

    def __init__(self, settings: extractors.Resnet101, modality: str):
        self.real = settings.weights != extractors.RANDOM
        self._resize = settings.resize
        self._device = device.resolve(settings.device, modality)
        self.network = _load(settings.weights, modality).to(self._device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, frames: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Frames of one size, uint8 [n, H, W, 3], red first → float32 [n, 2048].

        The same call gives the same bytes. A frame's features depend on the other frames of the call by rounding alone:
        how many are evaluated at once may change the order of sums.

        Raises
        ------
        UserError
            If a frame is too small (`prepare`).
        """
        features = np.empty((len(frames), self.size), np.float32)
        # TF32 would round the factors of products to 10 bits
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            for start in range(0, len(frames), BATCH):
                batch = slice(start, start + BATCH)
                pictures = torch.from_numpy(prepare(frames[batch], self._resize)).to(self._device)
                features[batch] = self.network(pictures.permute(0, 3, 1, 2)).cpu().numpy()
        return features


def prepare(frames: Sequence[np.ndarray] | np.ndarray, resize: int | None) -> np.ndarray:
    """The centres of frames, standardised: uint8 [n, H, W, 3] → float32 [n, 224, 224, 3].

    `resize`: pixels of the shorter side before the centre is cut out; None: as it is. The longer side keeps the ratio,
    rounded to a pixel.

    Raises
    ------
    UserError
        If a side has less than 224 pixels and there is no `resize`.
    """
    pictures = np.stack([_centre(frame if resize is None else _resized(frame, resize)) for frame in frames])
    return (pictures / np.float32(255) - MEAN) / SD


def _resized(frame: np.ndarray, shorter: int) -> np.ndarray:
    """A frame [H, W, 3] whose shorter side has so many pixels."""
    now = min(frame.shape[:2])
    height, width = (round(side * shorter / now) for side in frame.shape[:2])
    method = cv2.INTER_AREA if shorter < now else cv2.INTER_LINEAR
    return cv2.resize(frame, (width, height), interpolation=method)


def _centre(frame: np.ndarray) -> np.ndarray:
    """The 224 × 224 pixels in the middle of a frame [H, W, 3]."""
    height, width = frame.shape[:2]
    if min(height, width) < SIDE:
        raise UserError(
            f"a frame must have {SIDE} pixels or more a side, but is {width} wide and {height} high; "
            f"features.resize: {SIDE} enlarges it"
        )
    top, left = (height - SIDE) // 2, (width - SIDE) // 2
    return frame[top : top + SIDE, left : left + SIDE]


class Network(nn.Module):
    """ResNet-101 without its classifier: pictures [B, 3, 224, 224] → [B, 2048]."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1, self.layer2, self.layer3, self.layer4 = _layers()

    def forward(self, x: Tensor) -> Tensor:
        """Features of standardised pictures."""
        x = self.bn1(self.conv1(x)).relu_()  # (B, 64, 112, 112)
        x = F.max_pool2d(x, 3, stride=2, padding=1)  # (B, 64, 56, 56)
        x = self.layer2(self.layer1(x))  # (B, 512, 28, 28)
        x = self.layer4(self.layer3(x))  # (B, 2048, 7, 7)
        return x.mean((2, 3))


class Bottleneck(nn.Module):
    """x [B, I, H, W] → relu(f(x) + x), [B, 4 · `width`, H / `stride`, W / `stride`]; x is projected to that shape."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()
        if inputs != outputs:
            self.downsample.append(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False))
            self.downsample.append(nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        y = self.bn1(self.conv1(x)).relu_()
        y = self.bn2(self.conv2(y)).relu_()
        return self.bn3(self.conv3(y)).add_(self.downsample(x)).relu_()


def _layers() -> Iterator[nn.Sequential]:
    """The four layers, each of half the side and twice the channels of the one before; the first keeps the side."""
    inputs = 64
    for number, blocks in enumerate(BLOCKS):
        width, stride = 64 * 2**number, 1 if number == 0 else 2
        layer = nn.Sequential()
        for block in range(blocks):
            layer.append(Bottleneck(inputs, width, stride if block == 0 else 1))
            inputs = 4 * width
        yield layer


def _load(weights: str | None, modality: str) -> Network:
    """The network with its weights, ready to evaluate pictures."""
    with torch.device("meta"):  # neither memory nor random numbers for values that are replaced
        network = Network().eval().requires_grad_(False)
    if weights == extractors.RANDOM:
        state = _random(network.state_dict())
    else:
        path = _find(weights, modality)
        state = _checked(_read(path), network.state_dict(), path)
    network.load_state_dict(state, strict=False, assign=True)
    _fold(network)
    return network


def _fold(network: Network) -> None:
    """Put each batch norm, which is linear, too, into the convolution before it: that saves a pass over the picture."""
    for module in list(network.modules()):
        for (name, convolution), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                setattr(module, norm_name, nn.Identity())


def _random(expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """He's initialisation, the same each time; torch's global generator is left as it is.

    A block adds to its input 1/√33 of what it would: else variances would double in each of 33 blocks.
    """
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, tensor in expected.items():
        if tensor.dim() == 4:
            deviation = math.sqrt(2 / tensor[0].numel())
            state[key] = torch.empty(tensor.shape).normal_(0, deviation, generator=generator)
        elif key.endswith("bn3.weight"):
            state[key] = torch.full(tensor.shape, sum(BLOCKS) ** -0.5)
        else:
            state[key] = torch.full(tensor.shape, float(key.endswith(("weight", "running_var"))))
    return state


def _find(weights: str | None, modality: str) -> Path:
    """The file of weights."""
    reason = "is null" if weights is None else unusable(Path(weights))
    if reason:
        raise UserError(
            f"modalities.{modality}.features.weights must be the path of ResNet-101's weights with torchvision's key "
            "names (resnet101-63fe2227.pth, IMAGENET1K_V1, 171 MB, from download.pytorch.org/models; its code has the "
            "licence BSD-3-Clause, the weights are under ImageNet's terms), or random to try things out, but "
            + (reason if weights is None else f"{weights} {reason}")
        )
    return Path(weights)


def _read(path: Path) -> Mapping[str, Tensor]:
    """What a file of weights holds, unchecked. No code in it is run."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix in (".pth", ".pt"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of any type; torch's message would advise to run the file's code
        raise UserError(
            f"{path}: must be a file of tensors alone, but cannot be read as one ({type(error).__name__}): it is "
            "damaged, or holds other objects"
        ) from None
    raise UserError(f"{path}: a file of weights must end with .safetensors, .pth or .pt")


def _checked(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The network's own tensors of a file's, float32.

    Counts of batches, which only training asks for, may be missing.
    """
    if not isinstance(state, dict):
        raise UserError(f"{path}: must hold a dictionary of tensors, but holds a {type(state).__name__}")
    needed = [key for key in expected if not key.endswith("num_batches_tracked")]
    missing = [key for key in needed if key not in state]
    if missing:
        raise UserError(f"{path}: must have the key {missing[0]}, as torchvision's ResNet-101, but has not")
    unknown = sorted(map(str, state.keys() - expected.keys() - HEAD))
    if unknown:
        raise UserError(f"{path}: must have no keys but those of torchvision's ResNet-101, but has {short(unknown[0])}")
    return {key: _values(state[key], expected[key].shape, f"{path}: {key}") for key in needed}


def _values(tensor: object, shape: torch.Size, place: str) -> Tensor:
    """A tensor that must have this shape, as float32."""
    if not isinstance(tensor, Tensor):
        raise UserError(f"{place} must be a tensor, but is a {type(tensor).__name__}")
    if tensor.is_nested or tensor.is_meta or tensor.layout != torch.strided or not tensor.is_floating_point():
        raise UserError(f"{place} must be a dense tensor of floating-point numbers, but is another kind of tensor")
    if tensor.shape != shape:
        raise UserError(f"{place} must have the shape {list(shape)}, but has {list(tensor.shape)}")
    values = tensor.detach().float()
    if not values.isfinite().all():
        raise UserError(f"{place} must be finite numbers, but is not")
    if place.endswith("running_var") and (values < 0).any():
        raise UserError(f"{place} must be variances of 0 or more, but is not")
    return values
