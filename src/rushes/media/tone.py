"""Maps HDR pictures (PQ and HLG, ITU-R BT.2100) to SDR, for JPEGs that models and people look at. Nothing that is measured passes here.

The steps, for each pixel, with R'G'B' the picture's values from 0 to 1:

1. Light, in cd/m2, of each of R, G, B. PQ: the EOTF of BT.2100, table 4. HLG: the inverse OETF of BT.2100, table 5, then the OOTF of a
   display of 1,000 cd/m2, 1000 x Y^0.2 x E, where E is each of the three and Y = 0.2627 R + 0.6780 G + 0.0593 B.
2. The EETF of Report ITU-R BT.2390, 5.4.1, on each of R, G, B, from a display of 1,000 cd/m2 to one of 203 cd/m2, both with black at 0.
   203 cd/m2 is what Report ITU-R BT.2408 gives to white paper in HDR; it becomes the white of SDR. Light up to 87 cd/m2 stays as it is,
   what is above is compressed, and from 1,000 cd/m2 on all is white.
3. Division by 203, and the matrix of BT.2020 to BT.709 primaries (Report ITU-R BT.2407, 2.2); a picture whose tag says BT.709
   primaries is left as it is. What lies outside 0 to 1 is clipped.
4. The curve of sRGB (IEC 61966-2-1), to 8 bits.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

PEAK, WHITE = 1000.0, 203.0
"""Brightest light of the HDR display, and white of the SDR display, cd/m2."""
M1, M2, C1, C2, C3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
"""Constants of PQ (SMPTE ST 2084; BT.2100, table 4)."""
A, B, C = 0.17883277, 0.28466892, 0.55991073
"""Constants of HLG (BT.2100, table 5)."""
LUMA = (0.2627, 0.6780, 0.0593)
"""Light of white in BT.2020 primaries, for R, G and B."""
TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)
"""Linear R, G, B of BT.2020 primaries to those of BT.709 (Report ITU-R BT.2407, 2.2)."""
STEPS = 4096
"""Entries of the table that step 2 is read from for HLG, evenly spaced in the fourth root of light, where it has no steep part."""


def to_sdr(rgb: npt.NDArray[np.uint16], transfer: str, *, bt709_primaries: bool) -> npt.NDArray[np.uint8]:
    """An HDR picture as SDR.

    Args:
        rgb: (h, w, 3) R'G'B' of PQ or HLG, 0 to 65535.
        transfer: "smpte2084" (PQ) or "arib-std-b67" (HLG).
        bt709_primaries: the picture has BT.709 primaries, not those of BT.2020.

    Returns:
        (h, w, 3) uint8 B'G'R' of sRGB, as OpenCV orders them.
    """
    light = _from_pq()[rgb] if transfer == "smpte2084" else _from_hlg(rgb)
    if not bt709_primaries:
        light = cv2.transform(light, TO_BT709)  # type: ignore[assignment]
    codes = np.clip(light * np.float32(65535.0) + np.float32(0.5), 0.0, 65535.0).astype(np.uint16)
    return np.ascontiguousarray(_srgb()[codes[:, :, ::-1]])


def _from_hlg(rgb: npt.NDArray[np.uint16]) -> F32:
    scene = _hlg_scene()[rgb]
    bright = cv2.transform(scene, np.array([LUMA], np.float32))
    root = cv2.sqrt(cv2.sqrt(scene * cv2.pow(bright, 0.2)[:, :, None]))
    steps: npt.NDArray[np.uint16] = np.clip(root * np.float32(STEPS - 1) + np.float32(0.5), 0, STEPS - 1).astype(np.uint16)
    return _tone_by_root()[steps]


@cache
def _from_pq() -> F32:
    """Steps 1 and 2 for each 16-bit code of PQ, as a share of SDR's white."""
    return (eetf(pq_light(np.arange(65536) / 65535)) / WHITE).astype(np.float32)


@cache
def _hlg_scene() -> F32:
    """The inverse OETF of HLG for each 16-bit code, 0..1."""
    e = np.arange(65536) / 65535
    return np.where(e <= 0.5, e**2 / 3, (np.exp((e - C) / A) + B) / 12).astype(np.float32)


@cache
def _tone_by_root() -> F32:
    """Step 2 for the light of a display of `PEAK`, by the fourth root of its share of the peak, as a share of SDR's white."""
    return (eetf(np.linspace(0, 1, STEPS) ** 4 * PEAK) / WHITE).astype(np.float32)


@cache
def _srgb() -> npt.NDArray[np.uint8]:
    """The curve of sRGB for light in 65,536 steps."""
    light = np.arange(65536) / 65535
    return np.round(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)).astype(np.uint8)


def pq_light(code: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The EOTF of PQ: codes 0..1 to light, cd/m2."""
    p = np.asarray(code, np.float64) ** (1 / M2)
    return 10_000 * (np.maximum(p - C1, 0) / (C2 - C3 * p)) ** (1 / M1)


def pq_code(light: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The inverse of `pq_light`: light, cd/m2, to codes 0..1."""
    y = (np.asarray(light, np.float64) / 10_000) ** M1
    return ((C1 + C2 * y) / (1 + C3 * y)) ** M2


def eetf(light: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Light of a display of `PEAK` as shown by one of `WHITE`, both cd/m2 (Report ITU-R BT.2390, 5.4.1, with black at 0 on both)."""
    peak = float(pq_code(np.array(PEAK)))
    top = float(pq_code(np.array(WHITE))) / peak
    knee = 1.5 * top - 0.5
    e = np.clip(pq_code(light) / peak, 0, 1)
    t = np.clip((e - knee) / (1 - knee), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * top
    return pq_light(np.where(e < knee, e, spline) * peak)
