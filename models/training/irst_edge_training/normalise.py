"""Frame normalisation, the same arithmetic as ``src/detect/normalise.ts`` (a test holds the two together).

``z = clip((v - median) / scale, Z_MIN, Z_MAX)`` with ``scale = max(1.4826 MAD, STD_SHARE * std, 1 count)``. Median and MAD
(median absolute deviation) are robust to the target and to hot ground; the share of the standard deviation keeps a frame
that is mostly one flat value (clipped sky) from exploding; one count is the quantisation step.
"""

from __future__ import annotations

import numpy as np

MAD_TO_SIGMA = 1.4826
STD_SHARE = 0.25
MIN_SCALE = 1.0
Z_MIN, Z_MAX = -8.0, 24.0


def frame_statistics(frame: np.ndarray) -> tuple[float, float]:
    """(median, scale) in counts of an 8- or 16-bit frame. Medians are lower medians, taken on the histogram."""
    if frame.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"expected uint8 or uint16 counts, got {frame.dtype}")
    histogram = np.bincount(frame.ravel(), minlength=256).astype(np.int64)
    n = frame.size
    half = (n + 1) // 2
    median = int(np.searchsorted(np.cumsum(histogram), half))
    above = histogram[median:]
    below = histogram[median::-1]
    deviation = np.zeros(max(len(above), len(below)), np.int64)
    deviation[: len(above)] += above
    deviation[: len(below)] += below
    deviation[0] -= histogram[median]
    mad = int(np.searchsorted(np.cumsum(deviation), half))
    values = np.arange(len(histogram), dtype=np.float64)
    mean = float(histogram @ values) / n
    std = float(np.sqrt(max(0.0, float(histogram @ (values - mean) ** 2) / n)))
    return float(median), max(MAD_TO_SIGMA * mad, STD_SHARE * std, MIN_SCALE)


def normalise(frame: np.ndarray) -> np.ndarray:
    """float32 z-scores of a frame of counts, same shape."""
    median, scale = frame_statistics(frame)
    return np.clip((frame.astype(np.float32) - np.float32(median)) * np.float32(1.0 / scale), Z_MIN, Z_MAX)
