"""The cepstra against plain loops over the book's formulas, and numbers worked by hand."""

from math import cos, floor, log, pi, sin, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common import extractors
from stages.common.errors import UserError
from stages.features.mfcc import Mfcc, frame_blocks

PAPERS = {"coefficients": 13, "mel_bands": 26, "energy": True, "lifter": 22}
"""The 39 features of the paper's audio."""


def mfcc(**options) -> Mfcc:
    return Mfcc(extractors.Mfcc(extractor="mfcc", **options))


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, count)


def mel(hertz: float) -> float:
    return 1127 * log(1 + hertz / 700)


def plain_frame(samples, *, rate, coefficients, mel_bands, energy, lifter) -> list[float]:
    """One frame's cepstra by sums."""
    x = [float(sample) * 32768 for sample in samples]
    length = len(x)
    loud = log(max(1.0, sum(value * value for value in x)))
    y = [x[0] - 0.97 * x[0]] + [x[n] - 0.97 * x[n - 1] for n in range(1, length)]
    y = [value * (0.54 - 0.46 * cos(2 * pi * n / (length - 1))) for n, value in enumerate(y)]
    points = 1
    while points < length:
        points *= 2
    power = []
    for k in range(points // 2 + 1):
        real = sum(value * cos(2 * pi * k * n / points) for n, value in enumerate(y))
        imaginary = sum(value * sin(2 * pi * k * n / points) for n, value in enumerate(y))
        power.append(real**2 + imaginary**2)
    edges = [mel(rate / 2) * j / (mel_bands + 1) for j in range(mel_bands + 2)]
    bands = []
    for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
        total = 0.0
        for k, value in enumerate(power):
            m = mel(k * rate / points)
            if left < m <= centre:
                total += value * (m - left) / (centre - left)
            elif centre < m < right:
                total += value * (right - m) / (right - centre)
        bands.append(log(max(1.0, total)))
    cepstra = []
    for k in range(coefficients):
        c = sqrt(2 / mel_bands) * sum(m * cos(pi * k / mel_bands * (j - 0.5)) for j, m in enumerate(bands, 1))
        cepstra.append(c * (1 + lifter / 2 * sin(pi * k / lifter)) if lifter else c)
    return [loud, *cepstra[1:]] if energy else cepstra


def plain_delta(rows: list[list[float]]) -> list[list[float]]:
    last = len(rows) - 1
    deltas = []
    for t in range(len(rows)):
        one, two = ([b - a for a, b in zip(rows[max(t - d, 0)], rows[min(t + d, last)], strict=True)] for d in (1, 2))
        deltas.append([(a + 2 * b) / 10 for a, b in zip(one, two, strict=True)])
    return deltas


def plain(samples, **options) -> np.ndarray:
    window, hop = floor(0.025 * options["rate"]), floor(0.01 * options["rate"])
    starts = range(0, len(samples) - window + 1, hop)
    rows = [plain_frame(samples[start : start + window], **options) for start in starts]
    deltas = plain_delta(rows)
    return np.hstack([rows, deltas, plain_delta(deltas)])


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"rate": 2311, "coefficients": 5, "mel_bands": 11, "energy": False, "lifter": 0}, 317),
        ({"rate": 2311, "coefficients": 7, "mel_bands": 7, "energy": True, "lifter": 3}, 100),
        ({"rate": 1600, "coefficients": 13, "mel_bands": 17, "energy": False, "lifter": 22}, 200),
        ({"rate": 16_000, **PAPERS}, 400 + 2 * 160),
    ],
)
def test_equals_plain_loops(options, count):
    samples = noise(count)
    np.testing.assert_allclose(mfcc(**options)(samples), plain(samples, **options), rtol=1e-5, atol=1e-5)


def test_quiet_samples_meet_the_floors():
    options = {"rate": 1600, "coefficients": 5, "mel_bands": 11, "energy": True, "lifter": 0}
    samples = noise(133) * np.repeat([1, 1e-5, 0, 1e-3], [40, 31, 31, 31])
    np.testing.assert_allclose(mfcc(**options)(samples), plain(samples, **options), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_types(kind):
    extract = mfcc(**PAPERS)
    features = extract(noise(1000).astype(kind))
    assert features.dtype == np.float32
    assert features.shape == (4, extract.size) == (4, 39)
    assert extract.rate == 16_000
    np.testing.assert_array_equal(features, extract(noise(1000).astype(kind)))


EDGES = [(0, 0), (1, 0), (399, 0), (400, 1), (559, 1), (560, 2), (719, 2), (720, 3)]
IEMOCAP = [(9199, 55), (9200, 56), (9359, 56), (9360, 57), (546_159, 3411), (546_160, 3412), (546_319, 3412)]


@pytest.mark.parametrize(("count", "frames"), [*EDGES, *IEMOCAP])
def test_number_of_frames(count, frames):
    """56 and 3412 are the shortest and the longest utterance of IEMOCAP."""
    features = mfcc(**PAPERS)(np.zeros(count, np.float32))
    assert features.shape == (frames, 39)
    assert not features.any()  # digital silence is at both floors, ln 1


def test_paper_s_120_features_are_the_default():
    assert mfcc().size == 120
    assert mfcc()(noise(0)).shape == (0, 120)


@given(st.integers(0, 300), st.integers(1, 40), st.integers(1, 20), st.integers(1, 9))
@settings(max_examples=100)
def test_blocks_hold_every_frame_once(count, window, hop, block):
    samples = np.arange(count, dtype=np.float32)
    expected = [samples[start : start + window] for start in range(0, count - window + 1, hop)]
    blocks = list(frame_blocks(samples, window=window, hop=hop, block=block))
    assert all(len(frames) <= block and frames.dtype == np.float64 for frames in blocks)
    np.testing.assert_array_equal(np.concatenate([np.empty((0, window)), *blocks]), np.reshape(expected, (-1, window)))


def test_a_frame_is_the_same_in_a_long_signal():
    extract = mfcc(rate=1600, coefficients=5, mel_bands=11)
    samples = noise(16 * 1300)
    features = extract(samples)
    for t in (0, 510, 511, 512, 513, 1023, 1024, len(features) - 1):
        alone = extract(samples[16 * t : 16 * t + 40])
        np.testing.assert_allclose(features[t, :5], alone[0, :5], rtol=1e-5, atol=1e-5)


def test_one_frame_has_no_delta():
    features = mfcc(**PAPERS)(noise(500))
    assert features.shape == (1, 39)
    assert features[0, :13].all()
    assert not features[0, 13:].any()


def test_delta_of_a_ramp_is_its_slope():
    """Energy doubling from frame to frame: log energy rises by ln 2, so Δ is ln 2 and ΔΔ is 0 away from the edges.

    At the edges, with the first row repeated: Δ[0] = (1 · 1 + 2 · 2) / 10 = .5 and Δ[1] = (1 · 2 + 2 · 3) / 10 = .8 of
    the slope; ΔΔ[0] = (.3 + 2 · .5) / 10 = .13 of it.
    """
    frames, rate = 11, 1000
    growth = 2 ** (np.arange(10 * (frames - 1) + 25) / 20)  # an amplitude of √2 a hop
    features = mfcc(rate=rate, coefficients=1, mel_bands=3, energy=True)(growth / growth[-1])
    slope = log(2)
    energy, delta, acceleration = features.T.astype(float)
    np.testing.assert_allclose(np.diff(energy), slope, rtol=1e-5)
    np.testing.assert_allclose(delta, slope * np.r_[0.5, 0.8, np.ones(7), 0.8, 0.5], rtol=1e-5)
    np.testing.assert_allclose(acceleration[4:7], 0, atol=1e-6)
    np.testing.assert_allclose(acceleration[[0, -1]], [0.13 * slope, -0.13 * slope], rtol=1e-5)


def test_energy_by_hand():
    """400 samples of ±2⁻⁵, which is 2¹⁰ of 16 bits: ln(400 · 2²⁰)."""
    samples = np.where(np.arange(400) % 7 < 3, 1, -1) / 32
    with_energy, without = mfcc(energy=True)(samples)[0], mfcc()(samples)[0]
    assert with_energy[0] == pytest.approx(log(400) + 20 * log(2), rel=1e-6)
    assert without[0] != pytest.approx(with_energy[0], rel=0.1)
    np.testing.assert_array_equal(with_energy[1:], without[1:])


def test_lifter_by_hand():
    """L = 22: 1 at c0, 1 + 11 sin(π/2) = 12 at c11, 1 + 11 sin(π/22) at c1."""
    samples = noise(400)
    ratio = mfcc(lifter=22)(samples)[0, :40] / mfcc()(samples)[0, :40]
    assert ratio[[0, 11, 1]] == pytest.approx([1, 12, 1 + 11 * sin(pi / 22)], rel=1e-4)


def test_scale_moves_c0_alone():
    """Ten times the amplitude adds ln 100 to every band, so √(2 · bands) ln 100 to c0 and nothing to the others."""
    extract = mfcc(coefficients=7, mel_bands=13)
    quiet, loud = extract(noise(400) / 10)[0, :7], extract(noise(400))[0, :7]
    np.testing.assert_allclose(loud - quiet, [sqrt(26) * log(100), 0, 0, 0, 0, 0, 0], rtol=1e-5, atol=1e-4)


def test_more_coefficients_than_bands():
    assert mfcc(coefficients=26, mel_bands=26).size == 78
    with pytest.raises(UserError, match="coefficients must be at most mel_bands, 26, but is 27"):
        mfcc(coefficients=27, mel_bands=26)
