"""Blockiness: how much more often neighbouring blocks meet in a visible step at the codec's block borders than half a block away from them.

The step between two blocks is looked at along a line across their border, the mean of the rows (or columns) in the middle of both. What a
codec leaves there differs from what a scene holds in two ways. Shading goes on inside the blocks, a step does not. And an edge of the scene
lies anywhere near the border, so that the two pixels that meet there are on one side of it; a step lies on the border itself, also where
an in-loop filter has spread it over some pixels.
"""

from __future__ import annotations

import numpy as np

from rushes.scan.levels import F32

SIDE = 8
"""Side of a block, pixels: transforms of JPEG, MPEG and H.264 are 8 px wide, macroblocks and those of VP8/9, HEVC and AV1 multiples of it.
Steps on a lattice of 16 px told nothing more: of clips that were encoded badly and well they put 65 % in the right order, these 99 %."""
EDGE = 2
"""Pixels left out at each side of a block, where in-loop filters smooth the step (H.264: 2, at strong borders 3)."""
STEP_LOW, STEP_HIGH = 7.0, 60.0
"""Lowest and highest step that counts, grey levels. Smaller ones are not seen: every codec leaves steps of a few codes in slow shading, at
any rate, so that old codecs at a good rate would be called blocky. A larger step is an edge of the scene."""
RAMP = 2.5
"""A step counts when it is at least so many times what the shading inside either block comes to over the distance of their middles. Else
steep shading makes steps on the lattice and off it, and which of them count is chance, of which a codec's small steps decide."""
MIDDLE = 0.1
"""Largest distance of the two pixels at the border, on the mean, from halfway between both blocks, as a share of the step. An edge a pixel
beside the border is 0.5 away."""


def _lines(crops: F32, shift: int) -> tuple[F32, F32]:
    """The lines across the blocks of a lattice that is moved by `shift` px both ways: of each block the mean of the rows in its middle, and
    that of the columns. Both are (8, blocks in a line, ...).
    """
    rows, columns = ((length - shift) // SIDE for length in (crops.shape[0], crops.shape[2]))
    own = crops[shift : shift + rows * SIDE, :, shift : shift + columns * SIDE]
    middle = range(EDGE, SIDE - EDGE)
    along = sum(own[at::SIDE] for at in middle) / np.float32(len(middle))
    down = sum(own[..., at::SIDE] for at in middle) / np.float32(len(middle))
    return along.reshape(rows, -1, columns, SIDE).transpose(3, 2, 0, 1), down.reshape(rows, SIDE, -1, columns).transpose(1, 0, 2, 3)


def _steps(line: F32) -> tuple[int, int]:
    """Pairs of neighbours in lines of blocks, (8, blocks in a line, ...), that meet in a step, and all pairs."""
    inside = line[EDGE:-EDGE]
    level = inside.mean(axis=0)
    shading = np.abs(inside[-1] - inside[0]) * np.float32(SIDE / (len(inside) - 1))
    step = np.abs(level[1:] - level[:-1])
    off = np.abs(line[-1, :-1] + line[0, 1:] - level[:-1] - level[1:]) / 2
    least = np.maximum(np.float32(RAMP) * np.maximum(shading[:-1], shading[1:]), np.float32(STEP_LOW))
    return int(np.count_nonzero((step >= least) & (step < STEP_HIGH) & (off <= np.float32(MIDDLE) * step))), step.size


def blockiness(crops: F32) -> float:
    """Share of pairs of neighbouring blocks that meet in a visible step on the codec's grid, less that share half a block off it.

    Args:
        crops: (h, n, w) float32 grey levels at native resolution, see `crops.py`; each origin lies on a multiple of 16 px.

    In [-1, 1]. It is about 0 without block structure, since shading and real edges lie on the grid as often as off it. The constants were
    chosen on clips that were encoded badly and well by seven codecs: docs/calibration.md.
    """
    shares = []
    for shift in (0, SIDE // 2):
        steps, pairs = np.sum([_steps(line) for line in _lines(crops, shift)], axis=0)
        shares.append(steps / pairs if pairs else 0.0)
    return float(shares[0] - shares[1])
