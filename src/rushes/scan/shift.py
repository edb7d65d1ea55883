"""Finds whole-pixel shifts between neighbouring pictures by phase correlation, for many pairs at once.

The spectrum is computed by matrix products, and only for frequencies up to `BAND`, since the higher ones of a shrunk picture are noise and
aliasing. A picture of 64 x 36 takes about 10 microseconds, and its spectrum is used for the pair with the picture before and the pair with
the one after.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
C64 = npt.NDArray[np.complex64]

BAND = 0.2
"""Highest frequency used, in cycles a pixel (0.5 is Nyquist): above it swscale's FAST_BILINEAR leaves aliasing."""
REACH = 0.25
"""Longest shift searched, as a share of the width or height; beyond it too little of the picture lies in both Hann windows."""


class PhaseCorrelation:
    """Phase correlation (Kuglin and Hines 1975) of pictures of one size, Hann-windowed, band-limited.

    Args:
        width: picture width in pixels.
        height: picture height in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        kx = np.arange(0, int(BAND * width) + 1)
        ky = np.arange(-int(BAND * height), int(BAND * height) + 1)
        self._window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1]).astype(np.float32)
        self._window /= self._window.sum()
        waves = np.exp(-2j * np.pi * np.outer(np.arange(width), kx) / width).astype(np.complex64)
        self._x = waves.view(np.float32)  # real and imaginary parts in turn: pictures are real, and numpy would make them complex first
        self._y = np.exp(-2j * np.pi * np.outer(ky, np.arange(height)) / height).astype(np.complex64)
        self._shifts_x = np.arange(-int(REACH * width), int(REACH * width) + 1)
        self._shifts_y = np.arange(-int(REACH * height), int(REACH * height) + 1)
        self._back_x = np.exp(2j * np.pi * np.outer(kx, self._shifts_x) / width).astype(np.complex64)
        self._back_y = np.exp(2j * np.pi * np.outer(self._shifts_y, ky) / height).astype(np.complex64)

    def spectra(self, pictures: F32) -> C64:
        """Low part of the spectrum of each picture, (n, h, w) -> (n, frequencies in y, in x); the mean is taken out."""
        weighted = pictures * self._window
        mean = weighted.reshape(len(weighted), -1).sum(axis=1)  # not einsum: its order of adding depends on the number of pictures
        spectra: C64 = self._y @ ((weighted - mean[:, None, None] * self._window) @ self._x).view(np.complex64)
        return spectra

    def shifts(self, before: C64, after: C64) -> npt.NDArray[np.int64]:
        """How far the content moved from each picture `before` to `after`: (n, 2), x to the right and y down, whole pixels."""
        cross = after * before.conj()
        size = np.abs(cross)
        cross /= size + np.float32(1e-6) + size.reshape(len(size), -1).mean(axis=1)[:, None, None] * np.float32(1e-2)
        surface = (self._back_y @ cross @ self._back_x).real
        best = surface.reshape(len(surface), -1).argmax(axis=1)
        row, column = np.divmod(best, len(self._shifts_x))
        return np.stack((self._shifts_x[column], self._shifts_y[row]), axis=1)
