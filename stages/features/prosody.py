"""Functionals of pitch, voicing, harmonicity and loudness: one vector an utterance.

Pitch is found by autocorrelation: Boersma (1993), "Accurate short-term analysis of the fundamental frequency and the
harmonics-to-noise ratio of a sampled sound", Proceedings of the Institute of Phonetic Sciences 17, 97–110.
"""

import numpy as np
from scipy import fft, signal

from stages.common import extractors
from stages.features.mfcc import frame_blocks

CONTOURS = ("f0", "log_f0", "voicing", "hnr", "loudness")
FUNCTIONALS = ("mean", "sd", "slope", "centroid", "percentile_10", "percentile_90", "percentile_range")
NAMES = tuple(f"{contour}_{functional}" for contour in CONTOURS for functional in FUNCTIONALS)
"""The 35 features in their order."""

LOWEST, HIGHEST = 52, 620
"""Hz."""
VOICING_THRESHOLD, SILENCE_THRESHOLD = 0.45, 0.03
"""An autocorrelation; a part of the utterance's peak."""
OCTAVE_COST = 0.05
"""An autocorrelation an octave. With Boersma's .01, a third of all frames are an octave or more too low at a
harmonics-to-noise ratio of 5 dB, since no path is sought that would mend it; with .05 hardly any."""
SOFTEST = 2.0**-15
"""One step of 16 bits. In an utterance whose peak is less, the silence threshold is a part of this."""
OVERSAMPLING = 4
MOST_HARMONIC = 1 - 1e-4
"""Limits the harmonics-to-noise ratio to 40 dB; windows and interpolation aren't exact beyond."""
REFERENCE_INTENSITY, LOUDNESS_EXPONENT = 1e-6, 0.3


def make(settings: extractors.Prosody, modality: str) -> "Prosody":
    """The extractor of these settings, as `encoding.Encoder` asks for it."""
    return Prosody(settings)


class Prosody:
    """The mean, spread and course of five contours over an utterance.

    Frames are three periods of 52 Hz long (57.7 ms, Hann window), every 10 ms, without padding. In each, x less its
    mean is windowed; its autocorrelation, normalised, is divided by the window's own: r(τ). A candidate is a maximum of
    r with 1/620 s ≤ τ ≤ 1/52 s (from four points a sample, by a parabola); the best has the largest
    r − .05 log₂(52 τ). The frame is voiced if its r exceeds .45 + max(0, 2 − p (1 + .45)/.03), with p the frame's peak
    as a part of the utterance's. No path is sought through the frames. The contours:

    * f0: 1/τ in Hz, and log_f0: its natural logarithm;
    * voicing: r, or 1/r if r > 1; hnr: the harmonics-to-noise ratio 10 log₁₀(r/(1 − r)) in dB, at most 40;
    * loudness: (I/10⁻⁶)^.3 of the intensity I, the windowed frame's mean square over the window's.

    A contour is then smoothed: a frame takes the mean of itself and its two neighbours, those only that exist and, for
    all but loudness, are voiced. Each has seven functionals, of all but loudness over voiced frames alone:

    * mean, sd (of the population), 10th and 90th percentile (linear between ranks) and the range between them;
    * slope: of the least-squares line, a second; 0 with one frame;
    * centroid: Σ u |x| / Σ |x|, with u = 0…1 the place of the frame's middle in the utterance; 0 where all x are 0.

    If no frame is voiced, the 28 of the voiced contours are 0; loudness has its values all the same.

    Values of openSMILE differ and can't be mixed with these. Its pitch comes from subharmonics in the spectrum or from
    the cepstrum, and a path through the frames may be sought; its voicing is that pitch tracker's; its functionals drop
    unvoiced frames together with the time that they take; its loudness is of a Hamming window. As there: loudness's
    formula, absolute values in the centroid, and smoothing that leaves unvoiced frames out (its option `noZeroSma`).
    """

    size = len(NAMES)

    def __init__(self, settings: extractors.Prosody):
        self.rate = settings.rate
        self._hop = self.rate // 100
        self._window = signal.windows.hann(3 * self.rate // LOWEST, sym=False)
        first, last = OVERSAMPLING * self.rate // HIGHEST, -(-OVERSAMPLING * self.rate // LOWEST)
        self._lags = np.arange(first - 1, last + 2)  # a maximum has a neighbour on each side
        longest = len(self._window) + self._lags[-1] // OVERSAMPLING + 1
        self._points = fft.next_fast_len(longest, real=True)
        energy, correlation = self._autocorrelation(self._window[None])
        self._window_energy, self._window_correlation = energy[0], correlation[0]

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Features [1, 35] in float32 of mono samples [N] in −1…1; [0, 35] if N is less than a window."""
        if len(samples) < len(self._window):
            return np.empty((0, self.size), np.float32)
        contours, voiced = self.contours(samples)
        used = np.repeat([voiced, np.ones_like(voiced)], [4, 1], axis=0)
        rows = [_functionals(contour, use) for contour, use in zip(_smooth(contours, used), used, strict=True)]
        return np.concatenate(rows, dtype=np.float32)[None]

    def contours(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The five contours [5, T], not smoothed, and whether a frame is voiced [T]; all but loudness are 0 if not."""
        mean = np.mean(samples, dtype=np.float64)
        loudest = max(SOFTEST, samples.max() - mean, mean - samples.min())
        blocks = frame_blocks(samples, window=len(self._window), hop=self._hop, block=64)
        parts = [self._frames(frames, loudest) for frames in blocks]
        contours = np.concatenate(parts, axis=1)
        return contours, contours[0] > 0

    def _frames(self, frames: np.ndarray, loudest: float) -> np.ndarray:
        """The contours [5, n] of frames [n, window]."""
        frames = frames - frames.mean(1, keepdims=True)
        energy, correlation = self._autocorrelation(frames * self._window)
        frequency, r = self._best_candidate(correlation / self._window_correlation)
        part = np.abs(frames).max(1) / loudest
        silence = np.maximum(0, 2 - part * (1 + VOICING_THRESHOLD) / SILENCE_THRESHOLD)
        voiced = r > VOICING_THRESHOLD + silence
        f0, r = np.where(voiced, [frequency, r], 1)
        harmonic = np.minimum(r, MOST_HARMONIC)
        hnr = 10 * np.log10(harmonic / (1 - harmonic))
        loudness = (energy / self._window_energy / REFERENCE_INTENSITY) ** LOUDNESS_EXPONENT
        return np.stack([*(voiced * [f0, np.log(f0), r, hnr]), loudness])

    def _autocorrelation(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Σ x² [n] of windowed frames [n, window], and their normalised autocorrelation [n, lags]; 0 for zeros.

        A longer inverse transform interpolates between the samples, as Boersma's sum of sin(x)/x does.
        """
        spectrum = fft.rfft(frames, self._points)
        power = spectrum.real**2 + spectrum.imag**2
        correlation = OVERSAMPLING * fft.irfft(power, OVERSAMPLING * self._points)
        energy = correlation[:, 0]
        return energy, correlation[:, self._lags] / np.where(energy > 0, energy, 1)[:, None]

    def _best_candidate(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frequency and height, [n] each, of the best maximum of r [n, lags]; without one, height is −∞."""
        left, middle, right = r[:, :-2], r[:, 1:-1], r[:, 2:]
        maximum = (middle > left) & (middle >= right)
        curvature = np.where(maximum, left - 2 * middle + right, -1)
        shift = np.where(maximum, (left - right) / (2 * curvature), 0)
        frequency = OVERSAMPLING * self.rate / (self._lags[1:-1] + shift)
        height = np.where(maximum, middle - (left - right) * shift / 4, -np.inf)
        height = np.minimum(height, 1 / np.maximum(height, 1))  # Boersma's 1/r for r > 1
        best = (height + OCTAVE_COST * np.log2(frequency / LOWEST)).argmax(1)[:, None]
        frequency, height = (np.take_along_axis(x, best, 1)[:, 0] for x in (frequency, height))
        return np.clip(frequency, LOWEST, HIGHEST), height


def _smooth(contours: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Means over three frames of [C, T], of those in use [C, T]; 0 where a frame isn't."""
    padded, weights = (np.pad(x, ((0, 0), (1, 1))) for x in (contours * used, used.astype(float)))
    sums, counts = (x[:, :-2] + x[:, 1:-1] + x[:, 2:] for x in (padded, weights))
    return used * sums / np.maximum(counts, 1)


def _functionals(contour: np.ndarray, used: np.ndarray) -> np.ndarray:
    """The seven functionals of a contour [T] over the frames in use [T]; zeros if there are none."""
    times = np.flatnonzero(used)
    if not len(times):
        return np.zeros(len(FUNCTIONALS))
    x = contour[times]
    mean, weights = x.mean(), np.abs(x)
    seconds = (times - times.mean()) / 100
    slope = seconds @ (x - mean) / max(seconds @ seconds, np.finfo(float).tiny)
    centroid = (times + 0.5) / len(contour) @ weights / max(weights.sum(), np.finfo(float).tiny)
    low, high = np.percentile(x, [10, 90])
    return np.array([mean, x.std(), slope, centroid, low, high, high - low])
