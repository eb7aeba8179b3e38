"""Heat map to points, one-to-one matching and F1, for validation while training (the product's own is in TypeScript)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from .data import Sample
from .model import STRIDE, P2PLite
from .normalise import normalise


def pad_to(z: np.ndarray, multiple: int = 8, block: int = 8) -> np.ndarray:
    """Pad right and bottom to a multiple, by medians of the ground at the border, as ``pad`` of ``src/detect/normalise.ts`` does it.

    What was there does not move.
    """
    h, w = z.shape
    out = np.pad(z, ((0, -h % multiple), (0, -w % multiple)))

    def median(part: np.ndarray) -> np.float32:
        return np.sort(part, axis=None)[part.size // 2]

    if out.shape[1] > w:
        for top in range(0, h, block):
            out[top : min(h, top + block), w:] = median(out[max(0, top - block) : min(h, top + 2 * block), max(0, w - block) : w])
    if out.shape[0] > h:
        for left in range(0, out.shape[1], block):
            out[h:, left : left + block] = median(out[max(0, h - block) : h, max(0, left - block) : left + 2 * block])
    return out


def heat_map(model: P2PLite, image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        logit, _ = model(torch.from_numpy(pad_to(normalise(image)))[None, None].to(model.head.weight.device))
    return logit[0, 0].sigmoid().cpu().numpy()


Offset = Callable[[np.ndarray, int, int], tuple[float, float]]
"""(dx, dy) in cells of the target within the cell (y, x) of a heat map, which is not at its border."""


def parabola(heat: np.ndarray, y: int, x: int) -> tuple[float, float]:
    """The vertex of the parabola through the logarithms of three cells, along each axis."""
    row = np.log(np.maximum(heat[y, x - 1 : x + 2], 1e-6))
    col = np.log(np.maximum(heat[y - 1 : y + 2, x], 1e-6))
    cx, cy = row[0] - 2 * row[1] + row[2], col[0] - 2 * col[1] + col[2]
    dx = float(np.clip(0.5 * (row[0] - row[2]) / cx, -0.5, 0.5)) if cx < 0 else 0.0
    dy = float(np.clip(0.5 * (col[0] - col[2]) / cy, -0.5, 0.5)) if cy < 0 else 0.0
    return dx, dy


def peaks(
    heat: np.ndarray, low: float = 0.05, suppress: float = 2.0, stride: int = STRIDE, offset: Offset = parabola, relative: float = 0.0
) -> np.ndarray:
    """[N, 3] = x, y (image px), score of the local maxima of 3x3 cells; by descending score.

    ``suppress``: cells around a kept peak that hold no other. ``stride``: image pixels a cell of ``heat``. ``relative``: least
    share of the highest peak.
    """
    top = cv2.dilate(heat, np.ones((3, 3), np.uint8))
    ys, xs = np.nonzero((heat >= top) & (heat >= low))
    order = np.argsort(-heat[ys, xs], kind="stable")
    kept: list[tuple[float, float, float]] = []
    h, w = heat.shape
    for k in order[:256]:
        y, x = int(ys[k]), int(xs[k])
        if kept and heat[y, x] < relative * kept[0][2]:
            break
        if any((x - a) ** 2 + (y - b) ** 2 < suppress**2 for a, b, _ in kept):
            continue
        dx, dy = offset(heat, y, x) if 0 < x < w - 1 and 0 < y < h - 1 else (0.0, 0.0)
        kept.append((x + dx, y + dy, float(heat[y, x])))
    return np.array([(stride * (x + 0.5) - 0.5, stride * (y + 0.5) - 0.5, s) for x, y, s in kept]).reshape(-1, 3)


@dataclass
class Score:
    threshold: float
    tp: int = 0
    fp: int = 0
    fn: int = 0
    squared: float = 0.0

    @property
    def f1(self) -> float:
        return 2 * self.tp / max(1, 2 * self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float:
        return self.tp / max(1, self.tp + self.fp)

    @property
    def recall(self) -> float:
        return self.tp / max(1, self.tp + self.fn)

    @property
    def rms(self) -> float:
        return float(np.sqrt(self.squared / max(1, self.tp)))


def assigned(found: np.ndarray, truth: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of ``found`` and of ``truth``, and how far they are apart (px): the one-to-one assignment with the most hits within ``radius``
    px (then the least distance)."""
    d = np.hypot(found[:, None, 0] - truth[None, :, 0], found[:, None, 1] - truth[None, :, 1])
    rows, cols = linear_sum_assignment(np.where(d <= radius, d, 1e6))
    hit = d[rows, cols] <= radius
    return rows[hit], cols[hit], d[rows, cols][hit]


def match(found: np.ndarray, truth: np.ndarray, radius: float) -> np.ndarray:
    """How far the hits of ``assigned`` are apart, px."""
    return assigned(found, truth, radius)[2]


def score(found: list[np.ndarray], samples: list[Sample], threshold: float, radius: float = 5.0) -> Score:
    total = Score(threshold)
    for f, s in zip(found, samples):
        f = f[f[:, 2] >= threshold]
        hits = match(f, s.points, radius)
        total.tp += len(hits)
        total.fp += len(f) - len(hits)
        total.fn += len(s.points) - len(hits)
        total.squared += float((hits**2).sum())
    return total


THRESHOLDS = np.round(np.arange(0.1, 0.91, 0.02), 2)


def inside(found: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The peaks that lie on the image, not in its padding."""
    height, width = image.shape
    return found[(found[:, 0] <= width - 0.5) & (found[:, 1] <= height - 0.5)]


def find_all(model: P2PLite, samples: list[Sample]) -> list[np.ndarray]:
    return [inside(peaks(heat_map(model, s.image)), s.image) for s in samples]
