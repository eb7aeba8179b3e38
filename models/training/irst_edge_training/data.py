"""Training data: images, single points, and the augmentations.

The only label that enters is a point an image target (of the videos: a box centre, whose box sets scale and sigma) (``points.json``: x right, y down, 0-based, pixel centres at integers).
The third number of an entry (mask area) is ignored: the method learns from points. Test lists are never opened here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from .focus import Origin, PoolFocus
from .normalise import Z_MAX, Z_MIN, frame_statistics

cv2.setNumThreads(1)

T = TypeVar("T")

VIDEO_TRIM = 4
"""Border of the drone-ir videos that is cut off, px."""

SIGMA_CELLS = (1.0, 2.5)
"""Bounds of a label's Gaussian sigma, heat-map cells."""


@dataclass
class Sample:
    """One image of counts with its targets. ``points`` float64 [N, 2] (x, y) px; ``sigmas`` [N] px, estimated at each point."""

    name: str
    image: np.ndarray
    points: np.ndarray
    sigmas: np.ndarray
    median: float = 0.0
    scale: float = 1.0
    boxes: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.median, self.scale = frame_statistics(self.image)

    @cached_property
    def z(self) -> np.ndarray:
        """Normalised, not clipped; kept, since every crop needs it."""
        return (self.image.astype(np.float32) - np.float32(self.median)) * np.float32(1.0 / self.scale)


@dataclass
class Pool:
    """One source of crops. ``weight`` is its share of a batch; ``shrink`` a range of down-scaling factors."""

    name: str
    samples: list[Sample]
    weight: float
    shrink: tuple[float, float] = (0.7, 1.6)
    with_targets: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.with_targets = [i for i, s in enumerate(self.samples) if len(s.points)]

    @cached_property
    def frame(self) -> int:
        """Side of the square that stands for a whole image, px: 256, or 512 where most images are longer than 320."""
        return 256 if np.median([max(s.image.shape) for s in self.samples]) <= 320 else 512


def estimate_sigma(image: np.ndarray, x: float, y: float, reach: int = 15) -> float:
    """Second-moment radius (px) of the bright blob at a point, from the image alone (no mask).

    Background: median of the patch; blob: pixels above half of the local maximum, connected to it. For a Gaussian of sigma s
    the half-maximum disk has a second moment of (ln 2 / 2) s^2 per axis, which is undone here. Clipped to [0.5, 5] px.
    """
    h, w = image.shape
    xi, yi = int(round(x)), int(round(y))
    x0, x1, y0, y1 = max(0, xi - reach), min(w, xi + reach + 1), max(0, yi - reach), min(h, yi + reach + 1)
    patch = image[y0:y1, x0:x1].astype(np.float32)
    if patch.size < 9:
        return 1.0
    patch = patch - np.median(patch)
    cy, cx = yi - y0, xi - x0
    sub = patch[max(0, cy - 2) : cy + 3, max(0, cx - 2) : cx + 3]
    if sub.size == 0 or sub.max() <= 0:
        return 1.0
    dy, dx = np.unravel_index(int(sub.argmax()), sub.shape)
    py, px = dy + max(0, cy - 2), dx + max(0, cx - 2)
    count, labels = cv2.connectedComponents((patch > 0.5 * patch[py, px]).astype(np.uint8), connectivity=8)
    if count < 2 or labels[py, px] == 0:
        return 1.0
    ys, xs = np.nonzero(labels == labels[py, px])
    moment = 0.5 * (xs.var() + ys.var())
    return float(np.clip(np.sqrt(moment / (0.5 * np.log(2.0))), 0.5, 5.0))


def read_list(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def load_images(folder: Path, names: list[str]) -> list[Sample]:
    """Samples of ``folder/images`` with ``folder/points.json``; ``names`` may lack the ``.png``."""
    points = json.loads((folder / "points.json").read_text())
    samples = []
    for name in names:
        file = name if name.endswith(".png") else f"{name}.png"
        image = cv2.imread(str(folder / "images" / file), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise FileNotFoundError(f"{folder / 'images' / file}: not a readable image")
        if image.ndim == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        if file not in points:
            raise ValueError(f"{folder / 'points.json'}: no entry {file!r} (an image without a target has an empty one)")
        xy = np.array([p[:2] for p in points[file]], np.float64).reshape(-1, 2)
        samples.append(Sample(file, image, xy, np.array([estimate_sigma(image, x, y) for x, y in xy])))
    return samples


def hold_out(samples: list[T], share: float, seed: int) -> tuple[list[T], list[T]]:
    """(training, held out): a seeded random share of a list (of samples, or of their names: the same split)."""
    order = np.random.default_rng(seed).permutation(len(samples))
    held = set(order[: round(len(samples) * share)].tolist())
    return [s for i, s in enumerate(samples) if i not in held], [s for i, s in enumerate(samples) if i in held]


def load_videos(folder: Path, per_video: int, held: bool) -> list[Sample]:
    """Frames of ``drone-ir``: every fifth video (by name) is held out. Points are box centres; sigmas a sixth of the size.

    Raises ValueError where a video has fewer frames than boxes.
    """
    boxes = json.loads((folder / "boxes.json").read_text())
    samples = []
    for index, video in enumerate(sorted(boxes)):
        if (index % 5 == 4) != held:
            continue
        capture = cv2.VideoCapture(str(folder / "videos" / f"{video}.mp4"))
        wanted = set(np.linspace(0, len(boxes[video]) - 1, per_video).astype(int).tolist())
        for i in range(len(boxes[video])):
            ok, frame = capture.read()
            if not ok:
                raise ValueError(f"{folder / 'videos' / video}.mp4: {i} of {len(boxes[video])} frames can be read")
            # Every video has its target in sight; frames without a box are gaps in the labels, not empty skies.
            if i in wanted and boxes[video][i]:
                # The recordings have black border columns: cut, so that mirroring does not double them into lines.
                grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)[VIDEO_TRIM:-VIDEO_TRIM, VIDEO_TRIM:-VIDEO_TRIM]
                b = np.array(boxes[video][i], np.float64).reshape(-1, 4) - (VIDEO_TRIM, VIDEO_TRIM, 0, 0)
                samples.append(Sample(f"{video}:{i}", np.ascontiguousarray(grey), b[:, :2], b[:, 2:].mean(1) / 6, boxes=b))
        capture.release()
    return samples


SETS = ("NUDT-SIRST", "SIRST", "IRSTD-1K")
"""Those with a training list."""

SHARES = (0.30, 0.14, 0.36, 0.10, 0.12)
"""How often a crop is of each of ``SETS``, of target-free and of drone-ir, to each other."""


def load_pools(
    root: Path, seed: int, videos: bool = True, video_frames: int = 12, shares: Sequence[float] = SHARES
) -> tuple[list[Pool], list[Pool]]:
    """(training pools, held-out pools): a tenth of each training list and a fifth of the rest is held out.

    Of a video ``video_frames`` are for training, evenly spread over it. ``shares``: as ``SHARES``.
    Raises ValueError where those are no shares.
    """
    if min(shares) < 0 or sum(shares) <= 0:
        raise ValueError(f"shares {list(shares)}: five numbers from 0 up, not all 0")
    train, held = [], []
    for name, weight in zip(SETS, shares):
        samples = load_images(root / name, read_list(root / name / "train.txt"))
        a, b = hold_out(samples, 0.1, seed)
        train.append(Pool(name, a, weight))
        held.append(Pool(name, b, weight))
    names = read_list(root / "target-free" / "list.txt")
    cut = len(names) - len(names) // 5
    train.append(Pool("target-free", load_images(root / "target-free", names[:cut]), shares[3]))
    held.append(Pool("target-free", load_images(root / "target-free", names[cut:]), 0.06))
    if videos:
        train.append(Pool("drone-ir", load_videos(root / "drone-ir", video_frames, False), shares[4], shrink=(0.4, 1.0)))
        held.append(Pool("drone-ir", load_videos(root / "drone-ir", 4, True), 0.1, shrink=(0.25, 0.25)))
    return train, held


def centre_share(s: float) -> float:
    """What integration over a pixel leaves of the peak of a Gaussian centred on it, one axis."""
    return 2 * s * math.sqrt(math.pi / 2) * math.erf(0.5 / (math.sqrt(2) * s))


def pixel_gaussian(size: int, x: float, y: float, sx: float, sy: float) -> np.ndarray:
    """Gaussian of unit peak density integrated over pixels, [size, size], centre (x, y), sigma (sx, sy) px."""
    from scipy.special import erf

    edges = np.arange(size + 1) - 0.5
    gx = np.diff(erf((edges - x) / (np.sqrt(2) * sx))) * sx * np.sqrt(np.pi / 2)
    gy = np.diff(erf((edges - y) / (np.sqrt(2) * sy))) * sy * np.sqrt(np.pi / 2)
    return (gy[:, None] * gx[None, :]).astype(np.float32)


def label_sigma(sigma_px: np.ndarray) -> np.ndarray:
    """Heat-map sigma (cells) of a target of the given image sigma (px): half of it, widened by a 1.5 px localisation floor."""
    return np.clip(0.5 * np.sqrt(np.asarray(sigma_px, np.float64) ** 2 + 1.5**2), *SIGMA_CELLS)


def render_heat(points: np.ndarray, sigmas: np.ndarray, size: int) -> np.ndarray:
    """Maximum of Gaussians at unrounded centres, [size/2, size/2]; ``points`` in crop px, ``sigmas`` in cells."""
    cells = size // 2
    heat = np.zeros((cells, cells), np.float32)
    axis = np.arange(cells, dtype=np.float32)
    for (x, y), s in zip((points + 0.5) / 2 - 0.5, sigmas):
        gx = np.exp(-((axis - x) ** 2) / (2 * s * s))
        gy = np.exp(-((axis - y) ** 2) / (2 * s * s))
        np.maximum(heat, gy[:, None] * gx[None, :], out=heat)
    return heat


def mirrored(p: float, size: int) -> set[float]:
    """Where a coordinate comes back when a line of ``size`` pixels is mirrored without end (``BORDER_REFLECT_101``), near by."""
    return {q + 2 * k * (size - 1) for k in range(-3, 4) for q in (p, -p)}


class CropSampler:
    """Random augmented crops from weighted pools. One generator, so a seed makes the sequence of crops."""

    def __init__(self, pools: list[Pool], seed: int, rounded_labels: bool = False) -> None:
        self.pools = pools
        self.rng = np.random.default_rng(seed)
        weights = np.array([p.weight for p in pools])
        self.weights = weights / weights.sum()
        self.rounded = rounded_labels
        self.focus = [PoolFocus([(i, j) for i in p.with_targets for j in range(len(p.samples[i].points))]) for p in pools]
        self.first_target = [{i: k for k, (i, j) in reversed(list(enumerate(f.targets))) if j == 0} for f in self.focus]
        self.focused = 0.0
        """Share of the crops that go where the network was wrong (see ``focus.py``)."""
        self.distorted = 1.0
        """Share of the crops that are distorted as another camera would (``degrade``)."""
        self.calm = False
        """True: few distortions, few aimed crops and few injected targets, so that the last steps see images as they are, and
        targets as rare as they are: scores then mean the same in a large frame as in a small one."""
        self.whole = False
        """True: whole frames at their own scale in the place of crops."""
        self.origin: Origin | None = None
        """Where the last crop came from."""

    def draw_pool(self) -> int:
        return int(self.rng.choice(len(self.pools), p=self.weights))

    def crop(self, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(z [size, size], heat [size/2, size/2], points [N, 2] in crop px, sigmas [N] in cells)."""
        rng = self.rng
        which = self.draw_pool()
        pool, focus = self.pools[which], self.focus[which]
        aim = bool(pool.with_targets) and rng.random() < (0.5 if self.calm else 0.75)
        aimed, clutter = -1, None
        if aim and rng.random() < self.focused:
            index, aimed = focus.draw_target(rng)
        else:
            clutter = focus.draw_clutter(rng) if not aim and rng.random() < self.focused else None
            index = clutter[0] if clutter else int(rng.choice(pool.with_targets) if aim else rng.integers(len(pool.samples)))
        sample = pool.samples[index]
        if aim and aimed < 0:
            aimed = int(rng.integers(len(sample.points)))
        # Most crops keep the image's own pixels: interpolation blurs what is one pixel wide.
        s = 1.0 if sample.boxes is None and rng.random() < 0.6 else float(np.exp(rng.uniform(np.log(pool.shrink[0]), np.log(pool.shrink[1]))))
        if sample.boxes is not None and len(sample.boxes):
            # Never show a large object as a small target.
            s = min(s, 16.0 / float(sample.boxes[:, 2:].max()))
        h, w = sample.image.shape
        if aimed >= 0 or clutter:
            if sample.boxes is not None and aimed >= 0:
                # A video target becomes a small one. Boxes are about three times as wide as what they hold, and a box under
                # 5 px holds nothing that can be seen.
                s = float(np.clip(rng.uniform(5, 16) / sample.boxes[aimed, 2:].max(), 0.25, 1.0))
            # Clutter stays in the middle, where ``focus.report`` looks for it.
            offset = self.maybe_to_border(rng.uniform(0.12, 0.88, 2) * size, size) if aimed >= 0 else (size - 1) / 2 + rng.uniform(-1, 1, 2)
            centre = (sample.points[aimed] if aimed >= 0 else np.array(clutter[1:])) + ((size - 1) / 2 - offset) / s
        else:
            centre = rng.uniform((0, 0), (w - 1, h - 1))
        return self.cut(which, index, s, centre, size)

    def maybe_to_border(self, place: np.ndarray, size: int) -> np.ndarray:
        """A place [2] in a square of ``size`` px; one in seven within 4 px of a border, where targets come into sight."""
        rng = self.rng
        if rng.random() < 1 / 7:
            away = float(rng.uniform(0, 4))
            place[rng.integers(2)] = away if rng.random() < 0.5 else size - 1 - away
        return place

    def frame(self, which: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """A whole image of a pool, as ``crop`` gives it: mirrored where it is smaller than ``size``, cut where it is larger.

        A cut of an image that was drawn for something shows it.
        """
        rng = self.rng
        pool, focus = self.pools[which], self.focus[which]
        index = int(rng.integers(len(pool.samples)))
        shown: np.ndarray | None = None
        if rng.random() < self.focused:
            clutter = focus.draw_clutter(rng)
            if clutter and (rng.random() < 0.5 or not pool.with_targets):
                index, shown = clutter[0], np.array(clutter[1:])
            elif pool.with_targets:
                index, target = focus.draw_target(rng)
                shown = pool.samples[index].points[target]
        sample = pool.samples[index]
        s = 1.0
        if sample.boxes is not None:
            s = float(np.exp(rng.uniform(np.log(pool.shrink[0]), np.log(pool.shrink[1]))))
            if len(sample.boxes):
                s = max(0.25, min(s, 16.0 / float(sample.boxes[:, 2:].max())))
        h, w = sample.image.shape
        middle = (np.array((w, h)) - 1) / 2
        slack = np.maximum(0, middle - (size - 1) / 2 / s)
        low, high = -slack, slack
        if shown is not None:
            reach = (0.44 * size) / s
            low, high = (np.clip(shown - middle + d, -slack, slack) for d in (-reach, reach))
        centre = middle + rng.uniform(low, high)
        made = self.cut(which, index, s, centre, size, whole=True)
        self.origin.whole = not slack.any()
        return made

    def cut(
        self, which: int, index: int, s: float, centre: np.ndarray, size: int, whole: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The square of ``size`` px about ``centre`` of a sample, scaled by ``s``, turned, distorted, with targets injected as into a
        crop or a ``whole`` frame."""
        rng = self.rng
        pool = self.pools[which]
        z, points, sigmas, own = self.warp(pool.samples[index], centre, s, size)
        first = self.first_target[which].get(index, 0)
        self.origin.pool, self.origin.sample = which, index
        self.origin.targets = [(first + k, *p) for k, p in own]
        if rng.random() < (min(0.3, self.distorted) if self.calm else self.distorted):
            z = self.degrade(z)
        else:
            z = z.copy()
        chance, most = 0.2 if pool.name == "drone-ir" else 0.4, 3
        if whole:
            # Seven in ten are as they are; the others have more of them than a crop, by their side.
            chance, most = 0.3, 3 * size // 128
        elif self.calm:
            chance /= 2
        points, sigmas = self.inject(z, points, sigmas, chance, most)
        cells = label_sigma(sigmas)
        if self.rounded:
            points = np.round((points + 0.5) / 2 - 0.5) * 2 + 0.5
        return np.clip(z, Z_MIN, Z_MAX), render_heat(points, cells, size), points, cells

    def warp(
        self, sample: Sample, centre: np.ndarray, s: float, size: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[tuple[int, np.ndarray]]]:
        """Scale, dihedral flip and crop in one interpolation (none at scale 1); mirrored at the borders, and so are the points.

        Returns (z, points, sigmas, [(index of the sample's point, where it is in the crop)] of those not mirrored).
        """
        rng = self.rng
        h, w = sample.image.shape
        turn = rng.integers(8)
        linear = np.array([[1, 0], [0, 1]], np.float64)
        if turn & 1:
            linear = linear @ np.diag([-1.0, 1.0])
        if turn & 2:
            linear = linear @ np.diag([1.0, -1.0])
        if turn & 4:
            linear = linear[:, ::-1]
        # Anti-aliasing by over-sampling n times and averaging n x n pixels.
        n = 1 if s > 0.8 else int(np.ceil(1 / s)) if s < 0.5 else 2
        big = size * n
        forward = linear * (s * n)
        shift = (big - 1) / 2 - forward @ centre
        if s == 1.0:
            shift = np.round(shift)
        z = cv2.warpAffine(
            sample.z,
            np.hstack([forward, shift[:, None]]),
            (big, big),
            flags=cv2.INTER_NEAREST if s == 1.0 else cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        if n > 1:
            z = cv2.resize(z, (size, size), interpolation=cv2.INTER_AREA)
        back = np.linalg.inv(forward)
        self.origin = Origin(0, 0, np.hstack([back * n, (back @ ((n - 1) / 2 - shift))[:, None]]), [])
        points, sigmas, own = [], [], []
        for k, ((px, py), sigma) in enumerate(zip(sample.points, sample.sigmas)):
            for mx in mirrored(px, w):
                for my in mirrored(py, h):
                    q = ((forward @ (mx, my) + shift) + 0.5) / n - 0.5
                    if -1 <= q[0] < size + 1 and -1 <= q[1] < size + 1:
                        points.append(q)
                        sigmas.append(np.hypot(sigma * s, 0.3))
                        if mx == px and my == py:
                            own.append((k, q))
        return z, np.array(points).reshape(-1, 2), np.array(sigmas), own

    def degrade(self, z: np.ndarray) -> np.ndarray:
        """Gain, offset, blur, white noise, column and row fixed-pattern noise: cameras that are not in the sets."""
        rng = self.rng
        z = z * np.float32(np.exp(rng.uniform(-0.35, 0.35))) + np.float32(rng.normal(0, 0.15))
        if rng.random() < 0.2:
            z = cv2.GaussianBlur(z, (0, 0), float(rng.uniform(0.3, 0.8)))
        if rng.random() < 0.35:
            z = z + rng.standard_normal(z.shape, np.float32) * np.float32(10 ** rng.uniform(-2, -0.5))
        if rng.random() < 0.15:
            stripes = rng.standard_normal(z.shape[1], np.float32) * np.float32(10 ** rng.uniform(-2, -0.7))
            z = z + (stripes[None, :] if rng.random() < 0.7 else stripes[: z.shape[0], None])
        return np.ascontiguousarray(z, np.float32)

    def inject(self, z: np.ndarray, points: np.ndarray, sigmas: np.ndarray, chance: float, most: int = 3) -> tuple[np.ndarray, np.ndarray]:
        """Add one to ``most`` targets of exactly known centre, 1 to 15 px across; contrast is a multiple of the local deviation.

        Small ones are pixel-integrated Gaussians; large ones may have a flat top. One in five has a neighbour 5 to 9 px away.
        """
        rng = self.rng
        size = z.shape[0]
        if rng.random() >= chance:
            return points, sigmas
        points, sigmas = list(points), list(sigmas)

        def add(x: float, y: float, s: float, amplitude: float, apart: float) -> None:
            if not (0 <= x <= size - 1 and 0 <= y <= size - 1) or any(np.hypot(x - px, y - py) < apart for px, py in points):
                return
            stretch = float(np.exp(rng.uniform(-0.35, 0.35))) if rng.random() < 0.5 else 1.0
            blob = pixel_gaussian(size, x, y, s * stretch, s / stretch) / (centre_share(s * stretch) * centre_share(s / stretch))
            if s > 1.5 and rng.random() < 0.5:
                # A resolved body: the Gaussian clipped at part of its height has a flat top and the same centre.
                level = float(rng.uniform(0.4, 0.8))
                blob = np.minimum(blob, level) / level
            # A giant peak is not a small target.
            z[:] += np.float32(min(amplitude, 20.0)) * blob
            points.append(np.array([x, y]))
            sigmas.append(s)

        for _ in range(rng.integers(1, most + 1)):
            x, y = self.maybe_to_border(rng.uniform(0, size - 1, 2), size)
            # Three in ten are little more than one pixel.
            smallest, largest = (0.2, 0.6) if rng.random() < 0.3 else (0.35, 3.5)
            s = float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
            local = z[max(0, int(y) - 10) : int(y) + 11, max(0, int(x) - 10) : int(x) + 11]
            snr = float(np.exp(rng.uniform(np.log(3.0), np.log(25.0))))
            # A faint peak on a smooth slope still needs to be brighter than quantisation.
            amplitude = snr * max(float(local.std()), 0.03)
            add(x, y, s, amplitude, 8.0)
            if rng.random() < 0.2:
                angle, gap = rng.uniform(0, 2 * np.pi), rng.uniform(5, 9)
                add(x + gap * np.cos(angle), y + gap * np.sin(angle), min(s, 1.3), amplitude * float(np.exp(rng.uniform(-0.7, 0.7))), 4.9)
        return np.array(points).reshape(-1, 2), np.array(sigmas)

    def batch(self, count: int, size: int, max_points: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Origin]]:
        """(z [B,1,S,S], heat [B,1,S/2,S/2], targets [B, max_points, 4] = x, y, sigma in cells, valid; where each came from).

        Of whole frames a batch is from one pool and of the same number of pixels: one of 512x512 is four of 256x256.
        """
        origins = []
        draw = self.crop
        if self.whole:
            which = self.draw_pool()
            draw = partial(self.frame, which)
            pixels, size = count * size * size, self.pools[which].frame
            count = max(1, pixels // (size * size))
        z = np.empty((count, 1, size, size), np.float32)
        heat = np.empty((count, 1, size // 2, size // 2), np.float32)
        targets = np.zeros((count, max_points, 4), np.float32)
        for i in range(count):
            z[i, 0], heat[i, 0], points, cells = draw(size)
            origins.append(self.origin)
            for j, ((x, y), s) in enumerate(zip(points[:max_points], cells[:max_points])):
                targets[i, j] = ((x + 0.5) / 2 - 0.5, (y + 0.5) / 2 - 0.5, s, 1)
        return z, heat, targets, origins
