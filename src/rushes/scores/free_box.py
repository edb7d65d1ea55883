"""The largest box of a picture that holds nothing marked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def largest_free(marked: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom (the last two exclusive) of the largest box without a marked pixel; of several the topmost, leftmost.

    Row by row, the unmarked runs that end there are the bars of a histogram, whose largest rectangle is found with a stack: h x w steps.

    Args:
        marked: (h, w).
    """
    height, width = marked.shape
    best, box = 0, (0, 0, 0, 0)
    runs = np.zeros(width, np.intp)
    changed = np.any(marked[1:] != marked[:-1], axis=1) if height > 1 else np.zeros(0, bool)
    for row in range(height):
        runs = np.where(marked[row], 0, runs + 1)
        if row + 1 < height and not changed[row]:
            continue  # the same columns are free in the next row, where each box is one row higher
        stack: list[tuple[int, int]] = []  # (start, height), heights rising
        for at, run in enumerate([*runs.tolist(), 0]):
            start = at
            while stack and stack[-1][1] >= run:
                start, high = stack.pop()
                if high * (at - start) > best:
                    best, box = high * (at - start), (start, row + 1 - high, at, row + 1)
            stack.append((start, run))
    return box
