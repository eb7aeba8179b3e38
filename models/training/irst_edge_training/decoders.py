"""``python -m irst_edge_training decoders``: ways to read the same heat maps, on held-out images.

What each part of the decoder is worth: the position within a cell, the suppression around a peak, and the relative rule of
P2P-HDNet (TGRS 2025), which drops every peak below four fifths of the brightest one of its image. The product's own decoder is
in TypeScript (``src/decode``): it fits 5x5 cells and refines in the image.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from .compare import load_lists
from .data import Sample
from .evaluate import heat_map, inside, score
from .export import load_checkpoint
from .model import STRIDE

Offset = Callable[[np.ndarray, int, int], tuple[float, float]]
"""(dx, dy) in cells of the target within the cell (y, x) of a heat map."""


def centre(heat: np.ndarray, y: int, x: int) -> tuple[float, float]:
    return 0.0, 0.0


def neighbours(heat: np.ndarray, y: int, x: int) -> tuple[np.ndarray, np.ndarray]:
    padded = np.pad(heat[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2], [(int(y == 0), int(y == heat.shape[0] - 1)), (int(x == 0), int(x == heat.shape[1] - 1))])
    return padded[1], padded[:, 1]


def quarter(heat: np.ndarray, y: int, x: int) -> tuple[float, float]:
    """A quarter of a cell towards the higher neighbour, as P2P-HDNet and many pose estimators do."""
    row, col = neighbours(heat, y, x)
    return 0.25 * float(np.sign(row[2] - row[0])), 0.25 * float(np.sign(col[2] - col[0]))


def parabola(heat: np.ndarray, y: int, x: int) -> tuple[float, float]:
    """The vertex of the parabola through the logarithms of three cells, along each axis."""

    def vertex(line: np.ndarray) -> float:
        a, b, c = np.log(np.maximum(line, 1e-6))
        bend = a - 2 * b + c
        return float(np.clip(0.5 * (a - c) / bend, -0.5, 0.5)) if bend < 0 else 0.0

    row, col = neighbours(heat, y, x)
    return vertex(row), vertex(col)


def centroid(heat: np.ndarray, y: int, x: int) -> tuple[float, float]:
    """The centre of mass of 5x5 squared cells."""
    y0, x0 = max(0, y - 2), max(0, x - 2)
    w = heat[y0 : y + 3, x0 : x + 3].astype(np.float64) ** 2
    ys, xs = np.mgrid[y0 : y0 + w.shape[0], x0 : x0 + w.shape[1]]
    return float((w * xs).sum() / w.sum() - x), float((w * ys).sum() / w.sum() - y)


def decode(heat: np.ndarray, threshold: float, offset: Offset, suppress: float, relative: float) -> np.ndarray:
    """[N, 3] = x, y (image px), score of the local maxima of 3x3 cells, strongest first.

    ``suppress``: cells around a kept peak that hold no other; ``relative``: least share of the image's highest peak.
    """
    top = cv2.dilate(heat, np.ones((3, 3), np.uint8))
    ys, xs = np.nonzero((heat >= top) & (heat >= threshold))
    kept: list[tuple[float, float, float]] = []
    for k in np.argsort(-heat[ys, xs], kind="stable")[:256]:
        y, x = int(ys[k]), int(xs[k])
        if kept and heat[y, x] < relative * kept[0][2]:
            break
        if any((x - a) ** 2 + (y - b) ** 2 < suppress**2 for a, b, _ in kept):
            continue
        dx, dy = offset(heat, y, x)
        kept.append((x + dx, y + dy, float(heat[y, x])))
    return np.array([(STRIDE * (x + 0.5) - 0.5, STRIDE * (y + 0.5) - 0.5, s) for x, y, s in kept]).reshape(-1, 3)


DECODERS: dict[str, tuple[str, Offset, float, float]] = {
    "parabola": ("three cells an axis, suppression 2 cells", parabola, 2.0, 0.0),
    "centroid": ("5x5 squared cells", centroid, 2.0, 0.0),
    "quarter": ("a quarter of a cell towards the higher neighbour", quarter, 2.0, 0.0),
    "centre": ("the centre of the cell", centre, 2.0, 0.0),
    "no suppression": ("every local maximum", parabola, 0.0, 0.0),
    "wide suppression": ("5 cells", parabola, 5.0, 0.0),
    "relative": ("P2P-HDNet: quarter of a cell, and nothing below 0.8 of the brightest", quarter, 2.0, 0.8),
}


def compare(maps: dict[str, list[np.ndarray]], pools: dict[str, list[Sample]], threshold: float) -> dict:
    """By decoder and pool: F1 within 5 and 3 px, rms position error of the hits within 5 px."""
    result: dict = {}
    for name, (_, *how) in DECODERS.items():
        sets = {}
        for pool, samples in pools.items():
            found = [inside(decode(h, threshold, *how), s.image) for h, s in zip(maps[pool], samples)]
            five, three = (score(found, samples, threshold, radius) for radius in (5.0, 3.0))
            sets[pool] = {"f1": five.f1, "f1Near": three.f1, "rms": five.rms}
        result[name] = sets
    return result


def table(result: dict) -> str:
    pools = list(next(iter(result.values())))
    head = ["decoder", "what", *(f"{p}: F1@5 / F1@3 / rms px" for p in pools)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, sets in result.items():
        cells = [f"{100 * s['f1']:.1f} / {100 * s['f1Near']:.1f} / {s['rms']:.2f}" for s in sets.values()]
        lines.append("| " + " | ".join([name, DECODERS[name][0], *cells]) + " |")
    return "\n".join(lines)


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--checkpoint", type=Path, required=True)
    p.add_argument("--data", type=Path, required=True, help="folder with NUDT-SIRST, SIRST, IRSTD-1K")
    p.add_argument("--held-out", nargs="+", default=["NUDT-SIRST", "SIRST", "IRSTD-1K"], metavar="SET")
    p.add_argument("--threshold", type=float, help="score threshold (default: the checkpoint's)")
    p.add_argument("--json", action="store_true", help="print JSON instead of a table")


def main(args: argparse.Namespace) -> None:
    model, state = load_checkpoint(args.checkpoint)
    pools = load_lists(args.data, [], args.held_out, state.get("seed", 1))
    threshold = args.threshold if args.threshold is not None else state.get("validation", {}).get("threshold", 0.5)
    maps = {name: [heat_map(model, s.image) for s in samples] for name, samples in pools.items()}
    result = compare(maps, pools, threshold)
    print(json.dumps(result, indent=2) if args.json else table(result))
