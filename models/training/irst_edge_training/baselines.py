"""``python -m irst_edge_training baselines``: what a user would try first, in the harness of the network.

Every method is a pure function image [H, W] -> saliency [H, W] in units of its spread over the frame (``in_noise``); bright targets only.
Peaks (``evaluate.peaks``) and one-to-one matching are those of the network's validation. One threshold a method is chosen on
training images (mean F1 over the sets), beside it one for each set, which is what tuning a method to a known camera gives.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from .data import Sample, load_images, read_list
from .evaluate import peaks, score
from .normalise import MAD_TO_SIGMA, MIN_SCALE, STD_SHARE

LOG_SCALES = (1.0, 1.4, 2.0, 2.8, 4.0)
"""Gaussian sigmas, px: targets of about 2 to 12 px across."""
DOG_RATIO = 1.6
"""Ratio of the two sigmas at which a difference of Gaussians is nearest to the Laplacian (Marr and Hildreth 1980)."""
MPCM_SCALES = (3, 5, 7, 9)
"""Patch widths, px, of Wei et al."""
LOW = 1.5
"""Peaks below this saliency are not kept as candidates."""
THRESHOLDS = np.geomspace(LOW, 200.0, 100)
SUPPRESS = 8.0
"""Radius, px, around a kept peak: these maps are rugged on extended targets. On training images better than the network's 4."""


def in_noise(response: np.ndarray, robust: bool) -> np.ndarray:
    """float32 response in units of its own spread over the frame (never less than a count).

    ``(r - mean) / std`` is the adaptive threshold ``mean + k std`` of the papers on these methods. ``robust``: median and
    1.4826 MAD (or a quarter of the deviation, as ``normalise.py``), which measures worse, as the spread of clutter, not of
    sensor noise, is what a threshold has to clear.
    """
    response = np.asarray(response, np.float32)
    centre, spread = float(response.mean()), float(response.std())
    if robust:
        centre = float(np.median(response))
        spread = max(MAD_TO_SIGMA * float(np.median(np.abs(response - centre))), STD_SHARE * spread)
    return ((response - np.float32(centre)) * np.float32(1 / max(spread, MIN_SCALE))).astype(np.float32)


def top_hat(image: np.ndarray, size: int = 9, robust: bool = False) -> np.ndarray:
    """White top-hat: image minus its opening by a ``size`` x ``size`` square, so what is narrower than the square stays."""
    return in_noise(cv2.morphologyEx(image.astype(np.float32), cv2.MORPH_TOPHAT, np.ones((size, size), np.uint8)), robust)


def log(image: np.ndarray, scales: tuple[float, ...] = LOG_SCALES, robust: bool = False) -> np.ndarray:
    """Multi-scale Laplacian of Gaussian, ``max_s -2 s^2 lap(G_s * image)``: the peak of a Gaussian spot of sigma s is its
    amplitude (Lindeberg 1998 for the s^2)."""
    f = image.astype(np.float32)
    best = None
    for s in scales:
        # The 4-neighbour Laplacian of the smoothed image.
        response = cv2.Laplacian(blur(f, s), cv2.CV_32F, ksize=1, scale=-2 * s * s, borderType=cv2.BORDER_REFLECT_101)
        best = response if best is None else np.maximum(best, response)
    return in_noise(best, robust)


def dog(image: np.ndarray, scales: tuple[float, ...] = LOG_SCALES, ratio: float = DOG_RATIO, robust: bool = False) -> np.ndarray:
    """Multi-scale difference of Gaussians, ``max_s (G_s - G_(ratio s)) * image``, scaled as ``log`` is."""
    f = image.astype(np.float32)
    # A Gaussian spot of sigma s and amplitude A leaves A / 2 - A / (1 + ratio^2) at its centre.
    gain = np.float32(1 / (0.5 - 1 / (1 + ratio * ratio)))
    best = None
    for s in scales:
        response = gain * (blur(f, s) - blur(f, ratio * s))
        best = response if best is None else np.maximum(best, response)
    return in_noise(best, robust)


def blur(f: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(f, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)


def mpcm(image: np.ndarray, scales: tuple[int, ...] = MPCM_SCALES, robust: bool = False) -> np.ndarray:
    """Multiscale patch-based contrast measure (Wei, You and Li, Pattern Recognition 58, 2016).

    For patch width n: differences d_i of the mean of the central patch and of its 8 neighbours at distance n; the measure is
    the least product ``d_i d_(i+4)`` of the 4 opposite pairs, the saliency its maximum over n. Two changes: products of two
    negative differences (dark targets) count as negative, and the signed root is taken, so the unit is counts.
    """
    f = image.astype(np.float32)
    best = None
    for n in scales:
        mean = cv2.blur(f, (n, n), borderType=cv2.BORDER_REFLECT_101)
        wide = cv2.copyMakeBorder(mean, n, n, n, n, cv2.BORDER_REFLECT_101)
        h, w = f.shape

        def away(dy: int, dx: int) -> np.ndarray:
            return mean - wide[n + dy * n : n + dy * n + h, n + dx * n : n + dx * n + w]

        least = None
        for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, 1)):
            a, b = away(dy, dx), away(-dy, -dx)
            # sign(min) sqrt|a b|: positive only where the patch is brighter than both.
            contrast = np.copysign(np.sqrt(np.abs(a * b)), np.minimum(a, b))
            least = contrast if least is None else np.minimum(least, contrast)
        best = least if best is None else np.maximum(best, least)
    return in_noise(best, robust)


METHODS: dict[str, Callable[..., np.ndarray]] = {"top-hat": top_hat, "log": log, "dog": dog, "mpcm": mpcm}


def detect(method: Callable[..., np.ndarray], samples: list[Sample], robust: bool = False) -> tuple[list[np.ndarray], list[float]]:
    """(candidates [N, 3] = x, y px, saliency of each sample; milliseconds of each saliency map)."""
    found, times = [], []
    for s in samples:
        start = time.perf_counter()
        saliency = method(s.image, robust=robust)
        times.append(1e3 * (time.perf_counter() - start))
        found.append(peaks(saliency, LOW, SUPPRESS, stride=1))
    return found, times


def choose(found: dict[str, list[np.ndarray]], samples: dict[str, list[Sample]], radius: float) -> tuple[float, dict[str, float]]:
    """(threshold of the highest mean F1 over the sets, threshold of each set's own highest F1)."""
    f1 = {name: np.array([score(found[name], samples[name], float(t), radius).f1 for t in THRESHOLDS]) for name in samples}
    return best_threshold(np.mean(list(f1.values()), 0)), {name: best_threshold(v) for name, v in f1.items()}


def best_threshold(f1: np.ndarray) -> float:
    """The threshold in the middle of the highest run of ``f1`` (one value a threshold): its ends are the least certain."""
    first = last = int(f1.argmax())
    while last + 1 < len(f1) and f1[last + 1] == f1[first]:
        last += 1
    return float(THRESHOLDS[(first + last) // 2])


def measure(
    training: dict[str, list[Sample]], lists: dict[str, list[Sample]], methods: list[str], radius: float = 5.0, robust: bool = False
) -> list[dict]:
    """A row for each method and list. ``training``: samples by set; ``lists``: samples by ``SET/file.txt``."""
    rows = []
    for method in methods:
        candidates = {name: detect(METHODS[method], s, robust)[0] for name, s in training.items()}
        common, own = choose(candidates, training, radius)
        for name, samples in lists.items():
            found, times = detect(METHODS[method], samples, robust)
            s = score(found, samples, common, radius)
            tuned = own.get(str(Path(name).parent))
            rows.append(
                {
                    "method": method,
                    "list": name,
                    "threshold": common,
                    "f1": s.f1,
                    "precision": s.precision,
                    "recall": s.recall,
                    "falseAlarmsPerImage": s.fp / max(1, len(samples)),
                    "rms": s.rms,
                    "ms": float(np.median(times)),
                    "thresholdOwn": tuned,
                    "f1Own": None if tuned is None else score(found, samples, tuned, radius).f1,
                }
            )
    return rows


def table(rows: list[dict]) -> str:
    head = ("method", "list", "threshold", "F1@5", "precision", "recall", "false alarms/image", "rms px", "ms", "F1@5 at the set's own threshold")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in rows:
        own = "-" if r["f1Own"] is None else f"{100 * r['f1Own']:.1f} ({r['thresholdOwn']:.1f})"
        rates = " | ".join(f"{100 * r[k]:.1f}" for k in ("f1", "precision", "recall"))
        lines.append(
            f"| {r['method']} | {r['list']} | {r['threshold']:.1f} | {rates} | {r['falseAlarmsPerImage']:.2f} | {r['rms']:.2f} | {r['ms']:.1f} | {own} |"
        )
    return "\n".join(lines)


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--data", type=Path, required=True, help="folder with NUDT-SIRST, SIRST, IRSTD-1K")
    p.add_argument("--lists", nargs="+", required=True, metavar="SET/FILE", help="lists under --data to measure on")
    p.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    p.add_argument("--training", nargs="+", metavar="SET", help="sets whose train.txt chooses the threshold (default: those of --lists)")
    p.add_argument("--training-images", type=int, default=150, help="images of each training list, drawn by --seed (0: all)")
    p.add_argument("--robust", action="store_true", help="thresholds in robust noise (MAD) instead of standard deviations")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--json", action="store_true", help="print JSON instead of a table")


def main(args: argparse.Namespace) -> None:
    cv2.setNumThreads(1)
    training = {}
    for name in args.training or sorted({str(Path(n).parent) for n in args.lists}):
        names = read_list(args.data / name / "train.txt")
        order = np.random.default_rng(args.seed).permutation(len(names))[: args.training_images or None]
        training[name] = load_images(args.data / name, [names[k] for k in sorted(order)])
    lists = {name: load_images(args.data / Path(name).parent, read_list(args.data / name)) for name in args.lists}
    rows = measure(training, lists, args.methods, robust=args.robust)
    chosen = {name: len(samples) for name, samples in training.items()}
    if args.json:
        print(json.dumps({"trainingImages": chosen, "seed": args.seed, "robust": args.robust, "rows": rows}, indent=2))
    else:
        print("thresholds from training images:", ", ".join(f"{name} {n}" for name, n in chosen.items()), f"(seed {args.seed})")
        print(table(rows))
