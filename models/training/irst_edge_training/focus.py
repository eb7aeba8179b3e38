"""What the network still gets wrong, by place: the sampler goes back there more often.

Most crops of a small set are learnt early; the errors that decide F1 are a few faint targets and a few pieces of clutter. Every
training step reports how high each target and the worst background cell of its crops scored; targets that score low and
background that scores high are drawn again sooner (hard-example mining with a memory).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CLUTTER_KEPT = 1500
"""Places a pool remembers."""

NEAR = 4.0
"""Two places of one image closer than this are one, px."""

FALSE_PEAK = 0.25
"""Background that scores more than this is worth coming back to."""


@dataclass
class Origin:
    """Where a crop came from. ``inverse`` maps crop px to the image's px; ``targets`` are (index in the pool's list, x, y in the crop)."""

    pool: int
    sample: int
    inverse: np.ndarray
    targets: list[tuple[int, float, float]]
    whole: bool = False
    """It shows all of the image, so what is no false peak in it is none any more."""

    def to_image(self, x: float, y: float) -> np.ndarray:
        return self.inverse[:, :2] @ (x, y) + self.inverse[:, 2]

    def to_crop(self, x: float, y: float) -> np.ndarray:
        return np.linalg.solve(self.inverse[:, :2], np.array((x, y)) - self.inverse[:, 2])


class PoolFocus:
    """Of one pool: ``difficulty`` [T] of its targets, 1 - score, averaged; ``clutter``, rows of (sample, x, y, score)."""

    def __init__(self, targets: list[tuple[int, int]]) -> None:
        self.targets = targets
        self.difficulty = np.full(len(targets), 0.5)
        self.clutter: list[tuple[int, float, float, float]] = []

    def draw_target(self, rng: np.random.Generator) -> tuple[int, int]:
        weight = 0.05 + self.difficulty
        return self.targets[int(rng.choice(len(weight), p=weight / weight.sum()))]

    def draw_clutter(self, rng: np.random.Generator) -> tuple[int, float, float] | None:
        known = list(self.clutter)
        if not known:
            return None
        weight = np.array([c[3] for c in known])
        return known[int(rng.choice(len(known), p=weight / weight.sum()))][:3]

    def saw_target(self, index: int, score: float) -> None:
        self.difficulty[index] += 0.4 * (1 - score - self.difficulty[index])

    def forget(self, sample: int, gone: Callable[[float, float], bool]) -> None:
        """Drops the places of a sample where, as ``gone`` says of their (x, y), nothing is any more."""
        self.clutter = [c for c in self.clutter if c[0] != sample or not gone(c[1], c[2])]

    def saw_clutter(self, sample: int, x: float, y: float, score: float) -> None:
        """A false peak; where there was one already it takes its place."""
        kept = [c for c in self.clutter if c[0] != sample or np.hypot(c[1] - x, c[2] - y) > NEAR]
        kept.append((sample, x, y, score))
        if len(kept) > CLUTTER_KEPT:
            kept.remove(min(kept, key=lambda c: c[3]))
        self.clutter = kept


def report(focus: list[PoolFocus], origins: list[Origin], prob: np.ndarray, label: np.ndarray) -> None:
    """Tell the pools how a batch scored. ``prob`` and ``label`` [B, h, w] heat maps; cells are 2 px."""
    h, w = label.shape[1:]
    background = np.where(label < 0.01, prob, 0.0)
    for i, origin in enumerate(origins):
        pool = focus[origin.pool]
        for index, x, y in origin.targets:
            u, v = round((x + 0.5) / 2 - 0.5), round((y + 0.5) / 2 - 0.5)
            if 2 <= u < w - 2 and 2 <= v < h - 2:
                pool.saw_target(index, float(prob[i, v - 1 : v + 2, u - 1 : u + 2].max()))
        v, u = np.unravel_index(int(background[i].argmax()), (h, w))
        peak = float(background[i, v, u])

        def gone(x: float, y: float) -> bool:
            if origin.whole:
                return True
            p, q = np.round((origin.to_crop(x, y) + 0.5) / 2 - 0.5).astype(int)
            if not (2 <= p < w - 2 and 2 <= q < h - 2):
                return False
            return bool(background[i, q - 2 : q + 3, p - 2 : p + 3].max() <= FALSE_PEAK)

        pool.forget(origin.sample, gone)
        if peak > FALSE_PEAK:
            pool.saw_clutter(origin.sample, *origin.to_image(2 * u + 0.5, 2 * v + 0.5), peak)
