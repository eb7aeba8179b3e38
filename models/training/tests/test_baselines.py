"""The classical detectors find what they are meant to find, and nothing on a plain slope."""

import contextlib
import io
import json
import tempfile
import unittest
from pathlib import Path

import cv2
import numpy as np

from irst_edge_training import __main__ as command_line
from irst_edge_training.baselines import METHODS, choose, detect, measure
from irst_edge_training.data import Sample, pixel_gaussian

POINTS = [(40.0, 60.0), (121.0, 33.0), (100.0, 130.0)]


def scene(points, seed=0, sigma=1.3, size=160, amplitude=60.0, dtype=np.uint8, gain=1.0):
    """A slope with noise of 1.5 counts and Gaussian spots (``amplitude`` may be negative)."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[:size, :size]
    image = 70 + 0.2 * xs + 0.1 * ys + 1.5 * rng.standard_normal((size, size))
    for x, y in points:
        image = image + amplitude * pixel_gaussian(size, x, y, sigma, sigma)
    points = np.array(points, float).reshape(-1, 2)
    return Sample(f"scene-{seed}", np.clip(gain * image, 0, np.iinfo(dtype).max).astype(dtype), points, np.full(len(points), sigma))


class Saliency(unittest.TestCase):
    def test_the_strongest_peaks_are_the_targets(self):
        for name, method in METHODS.items():
            for sigma in (0.8, 1.3, 2.2):
                with self.subTest(f"{name} {sigma}"):
                    sample = scene(POINTS, sigma=sigma)
                    found = detect(method, [sample])[0][0]
                    self.assertGreaterEqual(len(found), 3)
                    for point in sample.points:
                        self.assertLess(np.hypot(*(found[:3, :2] - point).T).min(), 1.0)
                    if len(found) > 3:
                        self.assertGreater(found[2, 2], 1.5 * found[3, 2], "targets must stand out of the noise")

    def test_shape_kind_and_purity(self):
        for name, method in METHODS.items():
            for dtype in (np.uint8, np.uint16):
                with self.subTest(f"{name} {dtype.__name__}"):
                    image = scene(POINTS, dtype=dtype).image[:150]
                    before = image.copy()
                    a, b = method(image), method(image)
                    self.assertEqual((a.shape, a.dtype), (image.shape, np.float32))
                    np.testing.assert_array_equal(a, b)
                    np.testing.assert_array_equal(image, before)

    def test_gain_and_offset_of_the_camera_do_not_matter(self):
        # In 16 bits, so that the gain brings no new rounding.
        for name, method in METHODS.items():
            for robust in (False, True):
                with self.subTest(f"{name} {robust}"):
                    image = scene(POINTS, dtype=np.uint16, gain=20).image
                    a, b = method(image, robust=robust), method(3 * image + 500, robust=robust)
                    self.assertLess(np.abs(a - b).max(), 0.02 * np.abs(a).max())

    def test_dark_spots_are_no_targets(self):
        for name, method in METHODS.items():
            with self.subTest(name):
                image = scene(POINTS, amplitude=-60.0).image
                found = detect(method, [Sample("dark", image, np.zeros((0, 2)), np.zeros(0))])[0][0]
                strong = found[found[:, 2] > 6]
                for point in POINTS:
                    near = np.hypot(*(strong[:, :2] - point).T)
                    self.assertTrue(not len(near) or near.min() > 1.5)

    def test_flat_frame_is_silent(self):
        for name, method in METHODS.items():
            for robust in (False, True):
                with self.subTest(f"{name} {robust}"):
                    self.assertLess(np.abs(method(np.full((64, 80), 90, np.uint8), robust=robust)).max(), 0.1)


class Thresholds(unittest.TestCase):
    def test_threshold_separates_targets_from_noise(self):
        training = {"easy": [scene(POINTS, seed) for seed in range(4)]}
        rows = measure(training, {"easy/test.txt": [scene(POINTS, seed) for seed in range(10, 14)]}, list(METHODS))
        self.assertEqual([r["method"] for r in rows], list(METHODS))
        for r in rows:
            with self.subTest(r["method"]):
                self.assertGreater(r["f1"], 0.95)
                self.assertEqual(r["f1Own"], r["f1"])
                self.assertLess(r["rms"], 0.7)

    def test_common_threshold_is_not_each_sets_own(self):
        candidates = {"a": [np.array([[10, 10, 5.0], [50, 50, 4.0]])], "b": [np.array([[10, 10, 20.0], [50, 50, 12.0]])]}
        one = np.array([[10.0, 10.0]])
        samples = {k: [Sample(k, np.zeros((64, 64), np.uint8), one, np.ones(1))] for k in "ab"}
        common, own = choose(candidates, samples, 5.0)
        self.assertTrue(4 < own["a"] <= 5 and 12 < own["b"] <= 20)
        self.assertEqual(common, own["a"])


class CommandLine(unittest.TestCase):
    def test_table_and_json(self):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "SET"
            (root / "images").mkdir(parents=True)
            points = {}
            for i in range(4):
                cv2.imwrite(str(root / "images" / f"{i}.png"), scene(POINTS, i).image)
                points[f"{i}.png"] = [[x, y, 9] for x, y in POINTS]
            (root / "points.json").write_text(json.dumps(points))
            (root / "train.txt").write_text("0\n1\n")
            (root / "test.txt").write_text("2\n3\n")
            words = ["baselines", "--data", folder, "--lists", "SET/test.txt", "--methods", "top-hat", "log"]
            text = io.StringIO()
            with contextlib.redirect_stdout(text):
                command_line.main(words)
                command_line.main([*words, "--json"])
            plain, rest = text.getvalue().split("{", 1)
            self.assertIn("| log | SET/test.txt |", plain)
            data = json.loads("{" + rest)
            self.assertEqual(data["trainingImages"], {"SET": 2})
            self.assertEqual([r["method"] for r in data["rows"]], ["top-hat", "log"])
            self.assertTrue(all(r["f1"] > 0.9 for r in data["rows"]))
