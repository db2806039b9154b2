"""ResNet-101's features against a plain forward pass in float64, its pictures' geometry, what it refuses to load."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from stages.common import extractors
from stages.common.errors import UserError
from stages.features import resnet101

MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORM = ("weight", "bias", "running_mean", "running_var")


def convolutions() -> list[tuple[str, str, tuple[int, int, int, int]]]:
    """Names of all convolutions and of the norms behind them, and shapes, from Table 1 of the article."""
    found = [("conv1", "bn1", (64, 3, 7, 7))]
    table = [("layer1", 3, 64, 256), ("layer2", 4, 128, 512), ("layer3", 23, 256, 1024), ("layer4", 3, 512, 2048)]
    before = 64
    for layer, blocks, narrow, wide in table:
        for block in (f"{layer}.{number}" for number in range(blocks)):
            found.append((f"{block}.conv1", f"{block}.bn1", (narrow, before, 1, 1)))
            found.append((f"{block}.conv2", f"{block}.bn2", (narrow, narrow, 3, 3)))
            found.append((f"{block}.conv3", f"{block}.bn3", (wide, narrow, 1, 1)))
            if before != wide:
                found.append((f"{block}.downsample.0", f"{block}.downsample.1", (wide, before, 1, 1)))
            before = wide
    return found


def shapes() -> dict[str, tuple[int, ...]]:
    """Keys that a file must have."""
    found = {}
    for convolution, norm, shape in convolutions():
        found[f"{convolution}.weight"] = shape
        found |= {f"{norm}.{name}": shape[:1] for name in NORM}
    return found


def drawn() -> dict[str, torch.Tensor]:
    """Random weights under which no part of the network is without effect."""
    generator = torch.Generator().manual_seed(7)
    state = {}
    for key, shape in shapes().items():
        if len(shape) == 4:
            state[key] = torch.randn(shape, generator=generator) * (2 / np.prod(shape[1:])) ** 0.5
        elif key.endswith(("bias", "mean")):
            state[key] = torch.randn(shape, generator=generator) * 0.3
        else:
            state[key] = torch.rand(shape, generator=generator) + 0.5
        if key.endswith("bn3.weight"):
            state[key] *= 0.25  # as much as keeps 33 blocks' sum of the size of its terms
    return state


def thin() -> dict[str, torch.Tensor]:
    """Zeros in a file of a few kilobytes, since each tensor is one number, repeated."""
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes().items()}


def features_in_float64(state: dict[str, torch.Tensor], pictures: np.ndarray) -> np.ndarray:
    """[B, 224, 224, 3] → [B, 2048] by matrix products over unfolded patches."""

    def convolve(x: torch.Tensor, name: str, norm: str, stride: int) -> torch.Tensor:
        kernel = state[f"{name}.weight"].double()
        side, size = (x.shape[-1] + stride - 1) // stride, kernel.shape[-1]
        patches = F.unfold(x, size, padding=size // 2, stride=stride) if size > 1 else x[..., ::stride, ::stride]
        y = kernel.flatten(1) @ patches.flatten(2)
        scale, shift, mean, variance = (state[f"{norm}.{part}"].double()[:, None] for part in NORM)
        return ((y - mean) / (variance + 1e-5).sqrt() * scale + shift).unflatten(2, (side, side))

    x = convolve(torch.from_numpy(pictures).double().movedim(-1, 1), "conv1", "bn1", 2).clamp(min=0)
    padded = torch.zeros(len(x), 64, 114, 114).double()  # 0 is the least that there is
    padded[:, :, 1:113, 1:113] = x
    x = torch.stack([padded[:, :, i : i + 112 : 2, j : j + 112 : 2] for i in range(3) for j in range(3)]).amax(0)
    for layer, blocks in (("layer1", 3), ("layer2", 4), ("layer3", 23), ("layer4", 3)):
        for number in range(blocks):
            block, stride = f"{layer}.{number}", 2 if number == 0 and layer != "layer1" else 1
            y = convolve(x, f"{block}.conv1", f"{block}.bn1", 1).clamp(min=0)
            y = convolve(y, f"{block}.conv2", f"{block}.bn2", stride).clamp(min=0)
            y = convolve(y, f"{block}.conv3", f"{block}.bn3", 1)
            if number == 0:
                x = convolve(x, f"{block}.downsample.0", f"{block}.downsample.1", stride)
            x = (x + y).clamp(min=0)
    return x.flatten(2).mean(2).numpy()


def build(weights: object, **changes) -> resnet101.Resnet101:
    weights = str(weights) if isinstance(weights, Path) else weights
    settings = extractors.Resnet101(extractor="resnet101", weights=weights, device="cpu", **changes)
    return resnet101.Resnet101(settings, "face")


def noise(n: int, height: int = 227, width: int = 233) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def assert_same_numbers(one: resnet101.Resnet101, other: resnet101.Resnet101) -> None:
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return drawn()


@pytest.fixture(scope="module")
def extractor(state, tmp_path_factory) -> resnet101.Resnet101:
    """From a file as torchvision's later ones are: with counts of batches, and the classifier."""
    more = {f"{norm}.num_batches_tracked": torch.tensor(11) for _, norm, _ in convolutions()}
    more |= {"fc.weight": torch.ones(1000, 2048), "fc.bias": torch.ones(1000)}
    path = tmp_path_factory.mktemp("weights") / "resnet101.pth"
    torch.save(state | more, path)
    return build(path)


def test_parameters_are_torchvisions():
    network = resnet101.Network()
    assert sum(parameter.numel() for parameter in network.parameters()) == 42_500_160
    counts = {f"{norm}.num_batches_tracked": () for _, norm, _ in convolutions()}
    assert {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()} == shapes() | counts
    assert len(convolutions()) == 104
    assert "layer3.22.bn3.running_var" in shapes()


def test_features_are_those_of_a_plain_forward_pass(extractor, state, monkeypatch):
    monkeypatch.setattr(resnet101, "BATCH", 1)
    frames = noise(2)
    frames[1] //= 3
    features = extractor(frames)
    assert features.dtype == np.float32
    assert features.shape == (2, extractor.size) == (2, 2048)
    assert extractor.real
    pictures = (frames[:, 1:225, 4:228] / 255 - MEAN) / SD
    expected = features_in_float64(state, pictures)
    assert (expected[0] != expected[1]).any()
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5 * expected.max())


def test_same_call_same_bytes_and_frames_do_not_meet(extractor):
    frames = noise(2)
    together = extractor(list(frames))
    assert together.tobytes() == extractor(frames).tobytes()
    np.testing.assert_allclose(together[1], extractor(frames[1:])[0], rtol=1e-5, atol=1e-5 * together.max())


@pytest.mark.parametrize("resize", [None, 227])
def test_views_are_read_as_they_are(resize):
    half = noise(1, 224, 480)[:, :, 240:, ::-1]
    prepared = resnet101.prepare(half, resize)
    np.testing.assert_array_equal(prepared, resnet101.prepare(half.copy(), resize))
    torch.from_numpy(prepared)


def test_at_most_16_frames_are_evaluated_at_once(extractor, monkeypatch):
    sizes = []

    def brightness(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return x.mean((1, 2, 3))[:, None].expand(-1, 2048)

    monkeypatch.setattr(resnet101.Network, "forward", brightness)
    features = extractor([np.full((224, 224, 3), value, np.uint8) for value in range(37)])
    assert sizes == [16, 16, 5]
    assert (np.diff(features[:, 1999]) > 0).all()


def test_safetensors_hold_the_same(extractor, state, tmp_path):
    save_file(state, tmp_path / "w.safetensors")
    assert_same_numbers(build(tmp_path / "w.safetensors"), extractor)


def test_half_precision_is_read(tmp_path):
    torch.save({key: tensor.half() for key, tensor in thin().items()}, tmp_path / "w.pt")
    assert {tensor.dtype for tensor in build(tmp_path / "w.pt").network.parameters()} == {torch.float32}


def test_random_weights_are_the_same_each_time():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, two = build("random"), build("random")
    assert torch.equal(torch.get_rng_state(), before)
    assert not one.real
    assert_same_numbers(one, two)
    features = one(noise(2))
    assert np.isfinite(features).all()
    assert 0.1 < features.std() < 10
    assert (features[0] != features[1]).mean() > 0.5
    weight = one.network.layer3[5].conv2.weight  # He et al.: sd √(2 / inputs)
    assert weight.shape == (256, 256, 3, 3)
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
    assert weight.mean().item() == pytest.approx(0, abs=2e-4)


def places(height: int, width: int) -> np.ndarray:
    """A frame whose pixels say where they are: row and column modulo 256, and how often 256 went into each."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows % 256, columns % 256, rows // 256 * 16 + columns // 256], -1).astype(np.uint8)


def pixels(prepared: np.ndarray) -> np.ndarray:
    """Undo the standardisation."""
    assert prepared.dtype == np.float32
    return (prepared * np.float64(SD) + MEAN) * 255


@pytest.mark.parametrize(
    ("height", "width", "top", "left"), [(480, 360, 128, 68), (331, 277, 53, 26), (224, 225, 0, 0), (227, 719, 1, 247)]
)
def test_the_centre_is_cut_out(height, width, top, left):
    frame = places(height, width)
    prepared = resnet101.prepare([frame, frame // 2], None)
    assert prepared.shape == (2, 224, 224, 3)
    for picture, whole in zip(pixels(prepared), (frame, frame // 2), strict=True):
        np.testing.assert_allclose(picture, whole[top : top + 224, left : left + 224], atol=1e-4)


def test_values_are_standardised_by_imagenets_colours():
    frame = np.broadcast_to(np.array([255, 0, 51], np.uint8), (224, 224, 3))
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225]
    np.testing.assert_allclose(resnet101.prepare([frame], None)[0, 17, 19], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "resize", "top", "left", "resized"),
    [
        (480, 360, 240, 48, 8, (320, 240)),
        (113, 181, 227, 1, 70, (227, 364)),  # 181 · 227/113 = 363.6
        (181, 113, 227, 70, 1, (364, 227)),
        (224, 230, 224, 0, 3, (224, 230)),
    ],
)
def test_the_shorter_side_is_resized(height, width, resize, top, left, resized):
    rows, columns = np.mgrid[:height, :width]
    frame = np.stack([rows / 2, columns / 2, 0 * rows], -1).round().astype(np.uint8)
    picture = pixels(resnet101.prepare([frame], resize))[0]
    rows = (np.arange(224) + top + 0.5) * height / resized[0] - 0.5  # where centres of pixels come from
    columns = (np.arange(224) + left + 0.5) * width / resized[1] - 0.5
    inside = slice(1, -1)  # the edge has no neighbour to mix with
    np.testing.assert_allclose(picture[inside, 5, 0], rows[inside] / 2, atol=1.01)
    np.testing.assert_allclose(picture[7, inside, 1], columns[inside] / 2, atol=1.01)
    assert (np.ptp(picture[..., 0], axis=1) < 1.01).all()
    assert (np.ptp(picture[..., 1], axis=0) < 1.01).all()


def test_shrinking_takes_means_over_areas():
    frame = np.zeros((224 * 4, 226 * 4, 3), np.uint8)
    frame[:, ::4] = 240  # each fourth column: a mean of 60, but two neighbours in the middle of four are 0
    np.testing.assert_allclose(pixels(resnet101.prepare([frame], 224)), 60, atol=1e-4)


def test_enlarging_is_linear():
    frame = np.zeros((112, 113, 3), np.uint8)
    frame[:, 56:] = 200
    picture = pixels(resnet101.prepare([frame], 224))[0]  # 226 columns, of which one is cut off on either side
    np.testing.assert_allclose(picture[31, 108:114, 1], [0, 0, 50, 150, 200, 200], atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(223, 300), (300, 223)])
def test_small_frames_need_resizing(height, width):
    with pytest.raises(UserError, match=rf"{width} wide and {height} high; features\.resize: 224"):
        resnet101.prepare(noise(1, height, width), None)
    assert resnet101.prepare(noise(1, height, width), 224).shape == (1, 224, 224, 3)


def without(key: str) -> dict:
    return {other: tensor for other, tensor in thin().items() if other != key}


def damaged(key: str, value: float, shape: tuple[int, ...]) -> torch.Tensor:
    tensor = torch.zeros(shape)
    tensor.view(-1)[-1] = value
    return thin() | {key: tensor}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (without("layer3.22.bn3.running_var"), r"must have the key layer3\.22\.bn3\.running_var"),
        ({"state_dict": {}}, r"must have the key conv1\.weight"),
        (thin() | {"layer3.23.bn1.bias": torch.zeros(256)}, r"but has 'layer3\.23\.bn1\.bias'"),
        (thin() | {5: torch.zeros(2)}, "but has '5'"),
        (thin() | {"bn1.bias": torch.zeros(65)}, r"bn1\.bias must have the shape \[64\], but has \[65\]"),
        (thin() | {"bn1.bias": torch.zeros(64).int()}, r"bn1\.bias must be a dense tensor"),
        (thin() | {"bn1.bias": torch.zeros(64).to_sparse()}, r"bn1\.bias must be a dense tensor"),
        (thin() | {"bn1.bias": torch.zeros(64, device="meta")}, r"bn1\.bias must be a dense tensor"),
        (thin() | {"bn1.bias": [0.0]}, r"bn1\.bias must be a tensor, but is a list"),
        (damaged("layer4.2.bn3.bias", np.nan, (2048,)), r"layer4\.2\.bn3\.bias must be finite"),
        (damaged("layer1.0.conv2.weight", -np.inf, (64, 64, 3, 3)), r"layer1\.0\.conv2\.weight must be finite"),
        (damaged("bn1.running_var", -1, (64,)), r"bn1\.running_var must be variances"),
        ([torch.zeros(3)], "must hold a dictionary of tensors, but holds a list"),
    ],
)
def test_other_tensors_are_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=message) as caught:
        build(tmp_path / "w.pth")
    assert str(caught.value).startswith(str(tmp_path / "w.pth"))


class Command:
    """What runs a command when it is unpickled."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [False, True])
def test_no_code_of_a_file_is_run(zipped, tmp_path):
    path, trace = tmp_path / "w.pth", tmp_path / "trace"
    content = thin() | {"conv1.weight": Command(f"touch '{trace}'")}
    if zipped:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(Command(f"touch '{trace}'"), 2) + bytes(2000))
    with pytest.raises(UserError, match="must be a file of tensors alone") as caught:
        build(path)
    assert not trace.exists()
    assert "weights_only" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt"])
def test_truncated_files_are_refused(name, tmp_path):
    content = {"conv1.weight": torch.ones(64, 3, 7, 7)}
    (save_file if name == "w.safetensors" else torch.save)(content, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for length in (5, 1031, len(whole) // 2, len(whole) - 3):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(UserError, match=f"{name}: must be a file of tensors alone"):
            build(tmp_path / name)


@pytest.mark.parametrize(
    ("weights", "reason"),
    [(None, "but is null"), ("none.pth", "none.pth is missing"), ("folder.pth", "is no file"), ("lfs.pth", "git lfs")],
)
def test_missing_weights_say_which_are_meant(weights, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder.pth").mkdir()
    Path("lfs.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 171\n")
    with pytest.raises(UserError, match=rf"modalities\.face\.features\.weights .*63fe2227\.pth.* random .*{reason}"):
        build(weights)


def test_other_endings_are_refused(tmp_path):
    (tmp_path / "w.npz").write_bytes(bytes(2000))
    with pytest.raises(UserError, match=r"w\.npz: a file of weights must end with"):
        build(tmp_path / "w.npz")


def test_cuda_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = extractors.Resnet101(extractor="resnet101", weights="random", device="cuda")
    with pytest.raises(UserError, match=r"modalities\.face\.features\.device is cuda"):
        resnet101.Resnet101(settings, "face")
