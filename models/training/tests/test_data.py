"""Labels land where the targets are."""

import json
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import cv2
import numpy as np

from irst_edge_training.data import CropSampler, Pool, Sample, estimate_sigma, hold_out, load_images, load_videos, pixel_gaussian, read_list, render_heat
from irst_edge_training.evaluate import match, peaks, score


def scene(points, sigma=1.0, size=200, seed=0):
    rng = np.random.default_rng(seed)
    image = 60 + rng.standard_normal((size, size))
    for x, y in points:
        image += 120 * pixel_gaussian(size, x, y, sigma, sigma)
    return Sample("scene", np.clip(image, 0, 255).astype(np.uint8), np.array(points, float), np.full(len(points), sigma))


class Labels(unittest.TestCase):
    def test_augmented_points_stay_on_the_bright_spots(self):
        sample = scene([(40.3, 61.7), (150.0, 20.25), (99.5, 180.1)])
        sampler = CropSampler([Pool("scene", [sample], 1.0)], 3)
        sampler.degrade = lambda z: z
        sampler.inject = lambda z, p, s, *_: (p, s)
        checked = 0
        for _ in range(80):
            z, heat, points, cells = sampler.crop(96)
            for x, y in points:
                if not (6 <= x < 90 and 6 <= y < 90):
                    continue
                window = z[int(y) - 4 : int(y) + 6, int(x) - 4 : int(x) + 6].astype(float)
                window = np.clip(window - np.median(z) - 3, 0, None)
                ys, xs = np.mgrid[int(y) - 4 : int(y) + 6, int(x) - 4 : int(x) + 6]
                self.assertGreater(window.sum(), 0)
                self.assertLess(abs((window * xs).sum() / window.sum() - x), 0.4)
                self.assertLess(abs((window * ys).sum() / window.sum() - y), 0.4)
                checked += 1
        self.assertGreater(checked, 60)

    def test_some_targets_come_into_sight_at_a_border(self):
        sample = scene([(100.0, 100.0)])
        sampler = CropSampler([Pool("scene", [sample], 1.0)], 3)
        for chance in (0.0, 1.0):
            with mock.patch.object(sampler, "inject", lambda z, p, s, *_: CropSampler.inject(sampler, z, p[:0], s[:0], chance) if chance else (p, s)):
                points = np.concatenate([sampler.crop(96)[2] for _ in range(400)])
            near = np.minimum(points, 95 - points).min(1)
            self.assertGreater(len(points), 200)
            self.assertGreaterEqual(near.min(), -1.0)
            share = float((near <= 4).mean())
            self.assertTrue(0.07 < share < 0.4, share)

    def test_mirrored_copies_are_labelled_however_far_the_crop_reaches(self):
        sample = scene([(20.0, 31.0)], size=48)
        sampler = CropSampler([Pool("scene", [sample], 1.0)], 5)
        z, points, _, _ = sampler.warp(sample, np.array([24.0, 24.0]), 1.0, 200)
        peaks_found = np.argwhere((z >= cv2.dilate(z, np.ones((9, 9)))) & (z > 40))
        self.assertGreater(len(peaks_found), 12)
        for y, x in peaks_found:
            self.assertLess(np.hypot(points[:, 0] - x, points[:, 1] - y).min(), 1.5)

    def test_heat_peaks_at_unrounded_centres(self):
        truth = np.array([[20.37, 31.81], [50.5, 12.0]])
        found = peaks(render_heat(truth, np.array([1.0, 1.8]), 96))
        self.assertEqual(len(found), 2)
        for t in truth:
            self.assertLess(np.hypot(*(found[:, :2] - t).T).min(), 0.02)

    def test_pixel_integration_keeps_the_flux(self):
        for s in (0.4, 1.0, 2.0):
            g = pixel_gaussian(41, 20.3, 19.6, s, s)
            self.assertAlmostEqual(float(g.sum()), 2 * np.pi * s * s, delta=1e-3 * s * s)

    def test_sigma_comes_from_the_image(self):
        for s in (1.0, 1.5, 2.5):
            got = estimate_sigma(scene([(100, 100)], s).image, 100, 100)
            self.assertLess(abs(got - s) / s, 0.3)

    def test_mask_area_is_ignored(self):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "images").mkdir()
            cv2.imwrite(str(root / "images" / "a.png"), scene([(30, 40)]).image)
            (root / "train.txt").write_text("a\n")
            found = []
            for area in (1, 999):
                (root / "points.json").write_text(json.dumps({"a.png": [[30.5, 40.25, area]]}))
                found.append(load_images(root, read_list(root / "train.txt"))[0])
            np.testing.assert_array_equal(found[0].points, [[30.5, 40.25]])
            np.testing.assert_array_equal(found[0].sigmas, found[1].sigmas)

    def test_an_image_without_an_entry_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "images").mkdir()
            cv2.imwrite(str(root / "images" / "a.png"), np.full((8, 8), 9, np.uint8))
            (root / "points.json").write_text("{}")
            with self.assertRaisesRegex(ValueError, "no entry 'a.png'"):
                load_images(root, ["a.png"])

    def test_gaps_in_the_labels_of_a_video_are_no_empty_frames(self):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "videos").mkdir()
            boxes = {f"v{i}": [[[30, 30, 8, 8]], [], [[32, 30, 8, 8]], []] for i in range(5)}
            for name in boxes:
                film = cv2.VideoWriter(str(root / "videos" / f"{name}.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 64))
                for _ in range(4):
                    film.write(np.full((64, 64, 3), 90, np.uint8))
                film.release()
            (root / "boxes.json").write_text(json.dumps(boxes))
            self.assertEqual([s.name for s in load_videos(root, 4, held=False)], [f"v{i}:{k}" for i in range(4) for k in (0, 2)])
            self.assertEqual([s.name for s in load_videos(root, 4, held=True)], ["v4:0", "v4:2"])
            boxes["v0"] = boxes["v0"] + [[[30, 30, 8, 8]]] * 6
            (root / "boxes.json").write_text(json.dumps(boxes))
            with self.assertRaisesRegex(ValueError, "v0.mp4: 4 of 10 frames"):
                load_videos(root, 10, held=False)

    def test_hold_out_is_seeded_and_disjoint(self):
        samples = [scene([(20, 20)], seed=i) for i in range(30)]
        a, b = hold_out(samples, 0.1, 5)
        c, d = hold_out(samples, 0.1, 5)
        self.assertEqual([id(s) for s in b], [id(s) for s in d])
        self.assertEqual((len(a), len(b)), (27, 3))
        self.assertFalse({id(s) for s in a} & {id(s) for s in b})


class Scoring(unittest.TestCase):
    def test_one_to_one(self):
        self.assertEqual(len(match(np.array([[0, 0, 1.0], [4, 0, 1.0]]), np.array([[3.0, 0], [8.5, 0]]), 5)), 2)
        self.assertEqual(len(match(np.array([[0, 0, 1.0], [1, 0, 1.0]]), np.array([[0.0, 0]]), 5)), 1)

    def test_totals(self):
        s = score([np.array([[30, 40, 0.9], [100, 100, 0.8], [5, 5, 0.1]])], [scene([(30, 40), (150, 150)])], 0.5)
        self.assertEqual((s.tp, s.fp, s.fn), (1, 1, 1))
        self.assertAlmostEqual(s.f1, 0.5)

    def test_written_lists_are_what_training_holds_out(self):
        from irst_edge_training.data import load_pools
        from irst_edge_training.lists import held_out_names

        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name in ("NUDT-SIRST", "SIRST", "IRSTD-1K", "target-free"):
                (root / name / "images").mkdir(parents=True)
                names = [f"{name}-{i}.png" for i in range(20)]
                for n in names:
                    cv2.imwrite(str(root / name / "images" / n), np.full((8, 8), 9, np.uint8))
                (root / name / "points.json").write_text(json.dumps({n: [] for n in names}))
                (root / name / ("list.txt" if name == "target-free" else "train.txt")).write_text("\n".join(names))
            (root / "drone-ir").mkdir()
            (root / "drone-ir" / "boxes.json").write_text(json.dumps({f"v{i}": [] for i in range(10)}))
            for name in ("NUDT-SIRST", "SIRST", "IRSTD-1K"):
                (root / name / "test.txt").write_text("poison: this image is nowhere\n")
            opened: list[str] = []
            with mock.patch("irst_edge_training.data.read_list", side_effect=lambda p: opened.append(p.name) or read_list(p)):
                _, held = load_pools(root, 7, videos=False)
            self.assertEqual(set(opened), {"train.txt", "list.txt"})
            names = held_out_names(root, 7)
            for pool in held:
                self.assertEqual([s.name for s in pool.samples], names[pool.name])
            self.assertEqual(names["drone-ir"], ["v4", "v9"])
            with mock.patch("irst_edge_training.data.load_videos", return_value=[]) as videos:
                pools, _ = load_pools(root, 7, video_frames=48, shares=(1, 2, 3, 4, 5))
            self.assertEqual([c.args[1:] for c in videos.call_args_list], [(48, False), (4, True)])
            self.assertEqual([p.weight for p in pools], [1, 2, 3, 4, 5])
            for shares in ((0,) * 5, (1, 1, 1, 1, -1)):
                with self.assertRaisesRegex(ValueError, "from 0 up"):
                    load_pools(root, 7, shares=shares)
