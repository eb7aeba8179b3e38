"""Names among held-out images and videos that show the scene of a training image.

Cameras on a mast and takes of one scene make images of which one knows the others: what was held out by name is not then
held out by scene. Thumbnails without their coarse structure (skies differ little in it) and clipped (a target or a lamp must not
decide) correlate at 0.9 and more for takes of one scene, and at 0.65 and less else.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from .data import VIDEO_TRIM

SAME_SCENE = 0.7
"""Correlation of two thumbnails from which they show one scene."""
SIDE = 96
COARSE = 4.0
"""Sigma of what is taken out, px of a thumbnail."""
CLIP = 4.0
"""In robust standard deviations."""


def thumbnail(grey: np.ndarray) -> np.ndarray:
    """Unit vector [SIDE * SIDE] of an image [h, w]; zeros where there is no structure."""
    small = cv2.resize(grey.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    fine = small - cv2.GaussianBlur(small, (0, 0), COARSE)
    limit = CLIP * 1.4826 * float(np.median(np.abs(fine - np.median(fine)))) + 1e-3
    fine = np.clip(fine, -limit, limit)
    fine -= fine.mean()
    norm = float(np.linalg.norm(fine))
    return (fine / norm if norm > 0 else fine).ravel()


def of_image(file: Path) -> np.ndarray:
    """[1, SIDE * SIDE]. Raises FileNotFoundError."""
    grey = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise FileNotFoundError(f"{file}: not a readable image")
    return thumbnail(grey)[None]


def of_video(file: Path) -> np.ndarray:
    """[n, SIDE * SIDE] of its first, middle and last frame. Raises FileNotFoundError."""
    capture = cv2.VideoCapture(str(file))
    wanted = {0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) // 2, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) - 1}
    found = []
    for i in range(max(wanted) + 1):
        ok, frame = capture.read()
        if not ok:
            break
        if i in wanted:
            found.append(thumbnail(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)[VIDEO_TRIM:-VIDEO_TRIM, VIDEO_TRIM:-VIDEO_TRIM]))
    capture.release()
    if not found:
        raise FileNotFoundError(f"{file}: not a readable video")
    return np.stack(found)


def without_training_scenes(held: dict[str, np.ndarray], training: dict[str, np.ndarray], same: float = SAME_SCENE) -> list[str]:
    """The names of ``held`` (thumbnails [n, k] a name) none of whose thumbnails is one of ``training``'s scenes."""
    if not training:
        return list(held)
    known = np.concatenate(list(training.values()))
    return [name for name, thumbnails in held.items() if float((thumbnails @ known.T).max()) < same]
