"""Pitch, harmonicity and loudness of made sounds whose values are known, and the functionals against plain loops."""

from math import ceil, log
from statistics import fmean, pstdev

import numpy as np
import pytest

from stages.common import extractors
from stages.features.prosody import CONTOURS, FUNCTIONALS, NAMES, Prosody

RATE = 16_000
WINDOW = 923  # ⌊3 · 16000 / 52⌋
PITCHES = [52, 60, 100, 133.7, 217.3, 440, 611, 620]


def prosody(rate: int = RATE) -> Prosody:
    return Prosody(extractors.Prosody(extractor="prosody", rate=rate))


def features(samples: np.ndarray) -> dict[str, float]:
    values = prosody()(samples)
    assert values.shape == (1, 35)
    assert values.dtype == np.float32
    return dict(zip(NAMES, values[0].tolist(), strict=True))


def contours(samples: np.ndarray, rate: int = RATE) -> tuple[dict[str, np.ndarray], np.ndarray]:
    values, voiced = prosody(rate).contours(samples)
    return dict(zip(CONTOURS, values, strict=True)), voiced


def seconds(duration: float, rate: int = RATE) -> np.ndarray:
    return np.arange(round(duration * rate)) / rate


def sine(hertz: float, duration: float = 0.5, rate: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * seconds(duration, rate))


def pulses(hertz: float, duration: float = 0.5) -> np.ndarray:
    """A train of pulses without what lies over 7900 Hz."""
    harmonics = np.arange(1, int(7900 / hertz) + 1)
    return 0.9 * np.cos(2 * np.pi * hertz * np.outer(seconds(duration), harmonics)).mean(1)


def voice(hertz: float, duration: float) -> np.ndarray:
    """Ten harmonics falling by 6 dB an octave, with phases of their own."""
    h = np.arange(1, 11)
    return 0.1 * (np.cos(2 * np.pi * hertz * np.outer(seconds(duration), h) + h**2) / h).sum(1)


def chirp(start: float, end: float) -> np.ndarray:
    t = seconds(1)
    return 0.5 * np.sin(2 * np.pi * (start * t + (end - start) * t**2 / 2))


def white(duration: float, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).normal(size=round(duration * RATE))


@pytest.mark.parametrize("make", [sine, pulses])
@pytest.mark.parametrize("hertz", PITCHES)
def test_pitch_of_known_sounds(make, hertz):
    found, voiced = contours(make(hertz))
    assert voiced.all()
    np.testing.assert_allclose(found["f0"], hertz, rtol=1e-3)
    np.testing.assert_allclose(found["log_f0"], log(hertz), atol=1e-3)
    assert found["voicing"].min() > (0.99 if hertz >= 100 else 0.94)
    assert found["voicing"].max() <= 1


@pytest.mark.parametrize("rate", [8000, 11_025, 44_100])
def test_pitch_at_other_rates(rate):
    found, voiced = contours(sine(217.3, rate=rate), rate)
    assert voiced.all()
    np.testing.assert_allclose(found["f0"], 217.3, rtol=1e-3)


@pytest.mark.parametrize("hertz", [30, 45])
def test_lower_than_the_range(hertz):
    assert not contours(sine(hertz))[1].any()


def test_real_pulses():
    """One sample in 125 is 1: 128 Hz, whose autocorrelation at 125 samples is 1."""
    samples = np.zeros(8000)
    samples[::125] = 1
    found, voiced = contours(samples)
    assert voiced.all()
    np.testing.assert_allclose(found["f0"], 128, rtol=1e-3)
    assert found["hnr"].min() > 20


@pytest.mark.parametrize("hertz", [80, 120, 217.3, 400])
@pytest.mark.parametrize("decibels", [5, 10, 20])
def test_harmonics_to_noise_ratio(hertz, decibels):
    clean, noise = voice(hertz, 2), white(2)
    noise *= np.sqrt(np.mean(clean**2) / np.mean(noise**2) / 10 ** (decibels / 10))
    found, voiced = contours(clean + noise)
    assert voiced.mean() > 0.98
    assert np.mean(np.abs(found["f0"][voiced] / hertz - 1) < 0.05) > 0.98  # no pitch is halved
    assert found["hnr"][voiced].mean() == pytest.approx(decibels, abs=1)
    harmonic = 10 ** (decibels / 10)
    assert found["voicing"][voiced].mean() == pytest.approx(harmonic / (1 + harmonic), abs=0.03)


def test_clean_harmonics_are_at_the_limit():
    assert contours(sine(217.3))[0]["hnr"] == pytest.approx(40, abs=0.01)


def plain_correlation(frame: np.ndarray, lag: int) -> float:
    """Boersma's r at a lag, by sums."""
    window = [0.5 - 0.5 * np.cos(2 * np.pi * n / len(frame)) for n in range(len(frame))]
    x = (frame - frame.mean()) * window
    signal = sum(x[n] * x[n + lag] for n in range(len(x) - lag)) / sum(x * x)
    return signal / (sum(window[n] * window[n + lag] for n in range(len(x) - lag)) / np.dot(window, window))


def test_voicing_is_the_autocorrelation_at_the_period():
    """A period of 101 samples; the noise is smooth, so that the maximum is at a whole sample."""
    samples = voice(RATE / 101, 0.2) + np.convolve(white(0.2), np.hanning(41) / 20, "same")
    found, voiced = contours(samples)
    for t in (0, 3, 11):
        assert voiced[t]
        lag = round(RATE / found["f0"][t])
        near = max(plain_correlation(samples[160 * t : 160 * t + WINDOW], lag + d) for d in (-1, 0, 1))
        assert 0.5 < near < 0.98
        assert found["voicing"][t] == pytest.approx(near, abs=3e-3)
        assert found["hnr"][t] == pytest.approx(10 * np.log10(near / (1 - near)), abs=0.2)


@pytest.mark.parametrize(("start", "end"), [(100, 200), (400, 150)])
def test_slope_and_centroid_of_a_chirp(start, end):
    """The mean of u · f over that of f, with f = start + u (end − start), is (start + 2 end) / 3 (start + end)."""
    found = features(chirp(start, end))
    assert found["f0_slope"] == pytest.approx(end - start, rel=0.02)
    assert found["log_f0_slope"] == pytest.approx(
        np.polyfit(u := seconds(1), np.log(start + u * (end - start)), 1)[0], rel=0.05
    )
    assert found["f0_mean"] == pytest.approx((start + end) / 2, rel=0.01)
    assert found["f0_centroid"] == pytest.approx((start + 2 * end) / 3 / (start + end), abs=0.01)
    assert found["f0_percentile_range"] == pytest.approx(0.8 * abs(end - start), rel=0.1)


def test_loudness_by_hand():
    """A sine of amplitude .5 has an intensity of .125: (.125 / 10⁻⁶)^.3 = 33.8."""
    np.testing.assert_allclose(contours(sine(200))[0]["loudness"], 125_000**0.3, rtol=1e-3)


def test_amplitude_moves_loudness_alone():
    samples = np.concatenate([voice(150, 0.3), white(0.2) / 10])
    quiet, loud = features(samples / 10), features(samples)
    for name in NAMES:
        if name.startswith("loudness") and name != "loudness_centroid":
            assert loud[name] == pytest.approx(100**0.3 * quiet[name], rel=1e-4)
        else:
            assert loud[name] == pytest.approx(quiet[name], rel=1e-4)


@pytest.mark.parametrize("hertz", [620.5, 621, 51.9])
def test_at_the_ends_of_the_range(hertz):
    found, voiced = contours(sine(hertz))
    assert all(52 <= f0 <= 620 for f0 in found["f0"][voiced])


SILENT = {"zeros": np.zeros(5000), "constant": np.full(5000, 0.1, np.float32), "below one of 16 bits": sine(200) / 1e6}


@pytest.mark.parametrize("samples", SILENT.values(), ids=SILENT)
def test_silence(samples):
    found = features(samples)
    assert [found[name] for name in NAMES[:28]] == [0] * 28
    assert found["loudness_mean"] == pytest.approx(0, abs=0.01)


def test_white_noise_is_not_voiced():
    found = features(white(5))
    assert [found[name] for name in NAMES[:28]] == [0] * 28
    assert found["loudness_mean"] == pytest.approx((0.01 / 1e-6) ** 0.3, rel=0.02)


def test_alternating_pulses():
    """Every second pulse is weaker by 10 %: still 160 Hz; by 50 %: a period of two pulses.

    r at one pulse is 2ab/(a² + b²) = .994 or .8 of that at two, which an octave's cost of .05 turns round or not.
    """
    for weaker, hertz in ((0.9, 160), (0.5, 80)):
        samples = np.zeros(8000)
        samples[::200], samples[100::200] = 1, weaker
        np.testing.assert_allclose(contours(samples)[0]["f0"], hertz, rtol=1e-3)


def test_much_quieter_parts_are_not_voiced():
    """.002 of the peak: 2 − .002 · 1.45 / .03 is more than any autocorrelation; .5 of it is voiced."""
    assert contours(np.concatenate([sine(200), 0.5 * sine(150)]))[1].mean() > 0.9
    voiced = contours(np.concatenate([sine(200), 0.002 * sine(150)]))[1]
    assert voiced[:44].all()
    assert not voiced[51:].any()


def plain_functionals(contour: list[float], used: list[bool]) -> list[float]:
    frames = len(contour)
    times = [t for t in range(frames) if used[t]]
    values = [fmean(contour[s] for s in (t - 1, t, t + 1) if 0 <= s < frames and used[s]) for t in times]
    ranked = sorted(values)

    def percentile(q: float) -> float:
        rank = q * (len(ranked) - 1)
        low, high = ranked[int(rank)], ranked[ceil(rank)]
        return low + (rank - int(rank)) * (high - low)

    slope = np.polyfit([0.01 * t for t in times], values, 1)[0]
    centroid = sum((t + 0.5) / frames * abs(x) for t, x in zip(times, values, strict=True)) / sum(map(abs, values))
    low, high = percentile(0.1), percentile(0.9)
    return [fmean(values), pstdev(values), slope, centroid, low, high, high - low]


def test_centroid_of_negative_values():
    """A ratio below 0 dB counts by its size: a voice hardly louder than its noise."""
    samples = voice(97, 1) + 0.9 * white(1)
    found, voiced = contours(samples)
    assert voiced.mean() > 0.2
    expected = plain_functionals(found["hnr"].tolist(), voiced.tolist())
    assert expected[4] < 0
    assert features(samples)["hnr_centroid"] == pytest.approx(expected[3], rel=1e-5)


def test_functionals_equal_plain_ones():
    samples = np.concatenate([white(0.2), chirp(150, 300)[:5000], np.zeros(2000), voice(97, 0.37) + 0.5 * white(0.37)])
    found, voiced = contours(samples)
    assert 0.2 < voiced.mean() < 0.95
    assert len(voiced) == 1 + (len(samples) - WINDOW) // 160
    rows = [plain_functionals(found[name].tolist(), voiced.tolist()) for name in CONTOURS[:4]]
    rows.append(plain_functionals(found["loudness"].tolist(), [True] * len(voiced)))
    expected = dict(zip([f"{c}_{f}" for c in CONTOURS for f in FUNCTIONALS], np.ravel(rows), strict=True))
    assert features(samples) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("count", [0, 1, WINDOW - 1])
def test_shorter_than_a_window(count):
    values = prosody()(np.ones(count, np.float32))
    assert values.shape == (0, prosody().size) == (0, 35)
    assert values.dtype == np.float32


@pytest.mark.parametrize("count", [WINDOW, WINDOW + 159])
def test_one_frame(count):
    found = features(sine(100)[:count])
    assert found["f0_mean"] == found["f0_percentile_10"] == found["f0_percentile_90"] == pytest.approx(100, rel=1e-3)
    for contour in CONTOURS:
        assert found[f"{contour}_centroid"] == 0.5
        assert [found[f"{contour}_{name}"] for name in ("sd", "slope", "percentile_range")] == [0, 0, 0]


def test_two_frames():
    assert len(contours(sine(100)[: WINDOW + 160])[1]) == 2


def test_same_input_same_output():
    samples = (voice(97, 0.7) + white(0.7) / 3).astype(np.float32)
    once = prosody()(samples)
    np.testing.assert_array_equal(once, prosody()(samples))
    np.testing.assert_allclose(once, prosody()(samples.astype(float)), rtol=1e-6)


def test_frames_do_not_depend_on_their_block():
    """Frames 63, 64 and 65 alone: the pitch is steady, so that the utterance's peak is theirs, too."""
    samples = voice(160, 1)
    found, _ = contours(samples)
    for t in (63, 64, 65):
        alone, _ = contours(samples[160 * t : 160 * t + WINDOW])
        for name in CONTOURS:
            assert alone[name][0] == pytest.approx(found[name][t], rel=1e-6)
