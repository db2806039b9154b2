"""Mel-frequency cepstral coefficients as HTK and openSMILE compute them, with Δ and ΔΔ.

Young et al., "The HTK Book" (version 3.4), chapter 5: frames of 25 ms every 10 ms, pre-emphasis, Hamming window, power
spectrum, mel filters, logarithm, cosine transform, lifter, regression over ±2 frames.
"""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft, ndimage, signal

from stages.common import extractors
from stages.common.errors import UserError

PRE_EMPHASIS = 0.97
FULL_SCALE = 2.0**15
"""HTK reads samples of 16 bits; at that scale both floors below are 1."""
REGRESSION = np.arange(-2, 3) / 10
"""Σ θ (c[t + θ] − c[t − θ]) / 2 Σ θ² for θ = 1, 2."""


def make(settings: extractors.Mfcc, modality: str) -> "Mfcc":
    """The extractor of these settings, as `encoding.Encoder` asks for it."""
    return Mfcc(settings)


class Mfcc:
    """Cepstra, Δ and ΔΔ of each frame.

    Window and hop are rate/40 and rate/100 samples, rounded down. There are 1 + ⌊(N − window)/hop⌋ frames: nothing is
    padded, and samples after the last whole frame are left out. Of each frame, with x its samples times 2¹⁵:

    * log energy: ln Σ x², before pre-emphasis and window, and at least 0;
    * pre-emphasis within the frame: x[n] − .97 x[n − 1], and .03 x[0] for the first sample, as HTK and openSMILE do;
    * Hamming window, zeros up to the next power of two, power spectrum;
    * `mel_bands` triangles, equally wide and half overlapping in mel = 1127 ln(1 + f/700), from 0 to rate/2, with
      weights linear in mel; natural logarithm of at least 1. A band may be so narrow that no bin of the spectrum falls
      into it; then it is 0 throughout;
    * cepstrum c[k] = √(2/bands) Σ m[j] cos(πk(j + ½)/bands), c0 too (an orthonormal transform's c0 is c0/√2);
    * c[k] times 1 + L/2 · sin(πk/L) with `lifter` L. With `energy`, c0 is then replaced by the log energy.

    Δ is the regression over ±2 frames, the first and the last frame being repeated; ΔΔ is Δ of Δ.

    Raises
    ------
    UserError
        If there are more coefficients than mel bands.
    """

    def __init__(self, settings: extractors.Mfcc):
        if settings.coefficients > settings.mel_bands:
            raise UserError(
                f"mfcc: coefficients must be at most mel_bands, {settings.mel_bands}, but is {settings.coefficients}"
            )
        self.rate = settings.rate
        self.size = 3 * settings.coefficients
        self._energy = settings.energy
        self._window = signal.windows.hamming(self.rate // 40)
        self._hop = self.rate // 100
        self._points = 1 << (len(self._window) - 1).bit_length()
        self._filters = _mel_filters(self.rate, self._points, settings.mel_bands)
        self._cosines = _cosines(settings.mel_bands, settings.coefficients) * _lifter(settings)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Features [T, 3 · coefficients] in float32 of mono samples [N] in −1…1: cepstra, then Δ, then ΔΔ.

        Memory is a small multiple of the features' own: the frames themselves are held 512 at a time.
        """
        blocks = frame_blocks(samples, window=len(self._window), hop=self._hop)
        cepstra = np.concatenate([np.empty((0, self.size // 3)), *map(self._cepstra, blocks)])
        delta = _regression(cepstra)
        return np.concatenate([cepstra, delta, _regression(delta)], axis=1, dtype=np.float32)

    def _cepstra(self, frames: np.ndarray) -> np.ndarray:
        """[T, coefficients] of frames [T, window]."""
        frames = frames * FULL_SCALE
        emphasised = frames.copy()
        emphasised[:, 1:] -= PRE_EMPHASIS * frames[:, :-1]
        emphasised[:, 0] *= 1 - PRE_EMPHASIS
        spectrum = fft.rfft(emphasised * self._window, self._points)
        bands = (spectrum.real**2 + spectrum.imag**2) @ self._filters
        cepstra = np.log(np.maximum(bands, 1)) @ self._cosines
        if self._energy:
            cepstra[:, 0] = np.log(np.maximum((frames**2).sum(1), 1))
        return cepstra


def frame_blocks(samples: np.ndarray, *, window: int, hop: int, block: int = 512) -> Iterator[np.ndarray]:
    """Cut samples [N] into frames, and yield them in float64 as views [at most `block`, window].

    Frame t begins at sample t · hop; there are 1 + ⌊(N − window)/hop⌋, none if N < window.
    """
    count = max(0, 1 + (len(samples) - window) // hop)
    for first in range(0, count, block):
        last = min(first + block, count) - 1
        part = np.asarray(samples[first * hop : last * hop + window], np.float64)
        yield sliding_window_view(part, window)[::hop]


def _mel_filters(rate: int, points: int, bands: int) -> np.ndarray:
    """Weights [points/2 + 1, bands] of the bins of a spectrum."""
    mel = 1127 * np.log1p(np.arange(points // 2 + 1) * rate / points / 700)
    position = mel / mel[-1] * (bands + 1)  # of a bin; band j's triangle is 1 at j + 1 and 0 at j and j + 2
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(1, bands + 1)))


def _cosines(bands: int, coefficients: int) -> np.ndarray:
    """The cosine transform [bands, coefficients]."""
    angles = np.pi * np.outer(np.arange(bands) + 0.5, np.arange(coefficients)) / bands
    return np.sqrt(2 / bands) * np.cos(angles)


def _lifter(settings: extractors.Mfcc) -> np.ndarray:
    """Weights [coefficients] of the cepstra."""
    if not settings.lifter:
        return np.ones(settings.coefficients)
    angles = np.pi * np.arange(settings.coefficients) / settings.lifter
    return 1 + settings.lifter / 2 * np.sin(angles)


def _regression(values: np.ndarray) -> np.ndarray:
    """Δ [T, C] of [T, C]."""
    return ndimage.correlate1d(values, REGRESSION, axis=0, mode="nearest")
