"""The sampler goes back to what the network gets wrong, and finds it again."""

import unittest

import cv2
import numpy as np

from irst_edge_training.data import CropSampler, Pool, Sample
from irst_edge_training.focus import CLUTTER_KEPT, Origin, PoolFocus, report


def scene(points, size=200) -> Sample:
    image = np.full((size, size), 60, np.uint8)
    image[::7] += 1
    for x, y in points:
        image[int(y), int(x)] = 250
    return Sample("scene", image, np.array(points, float).reshape(-1, 2), np.ones(len(points)))


class Focus(unittest.TestCase):
    def test_hard_targets_are_drawn_more_often(self):
        focus = PoolFocus([(0, 0), (1, 0)])
        for _ in range(20):
            focus.saw_target(0, 0.95)
            focus.saw_target(1, 0.1)
        rng = np.random.default_rng(1)
        hard = sum(focus.draw_target(rng) == (1, 0) for _ in range(1000))
        self.assertGreater(hard, 850)
        self.assertLess(hard, 999)

    def test_clutter_is_remembered_once(self):
        focus = PoolFocus([])
        focus.saw_clutter(3, 50.0, 60.0, 0.6)
        focus.saw_clutter(3, 52.0, 61.0, 0.7)
        focus.saw_clutter(4, 50.0, 60.0, 0.5)
        self.assertEqual([c[0] for c in focus.clutter], [3, 4])
        self.assertEqual(focus.clutter[0][1:], (52.0, 61.0, 0.7))

    def test_memory_is_bounded_and_keeps_the_worst(self):
        focus = PoolFocus([])
        for i in range(CLUTTER_KEPT + 50):
            focus.saw_clutter(i, 10.0, 10.0, 0.3 + 0.6 * i / (CLUTTER_KEPT + 50))
        self.assertEqual(len(focus.clutter), CLUTTER_KEPT)
        self.assertEqual(focus.clutter[0][0], 50)

    def test_report_maps_cells_back_to_the_image(self):
        pool = PoolFocus([(7, 0)])
        turned = np.array([[0.0, 2.0, 100.0], [2.0, 0.0, 40.0]])
        prob, label = np.zeros((1, 32, 32)), np.zeros((1, 32, 32))
        label[0, 10, 12] = 1.0
        prob[0, 10, 12], prob[0, 20, 5] = 0.9, 0.8
        report([pool], [Origin(0, 7, turned, [(0, 24.5, 20.5)])], prob, label)
        self.assertAlmostEqual(pool.difficulty[0], 0.5 + 0.4 * (0.1 - 0.5))
        self.assertEqual(pool.clutter, [(7, 100.0 + 2 * 40.5, 40.0 + 2 * 10.5, 0.8)])

    def test_origin_of_a_crop_leads_to_the_target(self):
        sampler = CropSampler([Pool("scene", [scene([(70, 90), (150, 40)])], 1.0)], 2)
        seen = set()
        for _ in range(80):
            sampler.crop(64)
            for index, x, y in sampler.origin.targets:
                where = sampler.origin.to_image(x, y)
                np.testing.assert_allclose(where, [(70, 90), (150, 40)][index], atol=1e-6)
                seen.add(index)
        self.assertEqual(seen, {0, 1})

    def test_focused_crops_show_the_hard_target_and_the_clutter(self):
        sampler = CropSampler([Pool("scene", [scene([(70, 90), (150, 40)])], 1.0)], 3)
        sampler.focused = 1.0
        focus = sampler.focus[0]
        for _ in range(30):
            focus.saw_target(0, 1.0)
            focus.saw_target(1, 0.0)
        focus.saw_clutter(0, 20.0, 170.0, 0.9)
        hard, clutter = 0, 0
        for _ in range(200):
            sampler.crop(64)
            middle = sampler.origin.to_image(31.5, 31.5)
            clutter += bool(np.hypot(*(middle - (20, 170))) < 3)
            hard += any(i == 1 for i, _, _ in sampler.origin.targets)
        self.assertGreater(clutter, 30)
        self.assertGreater(hard, 120)

    def test_most_crops_keep_the_pixels_of_the_image(self):
        sample = scene([(70, 90)])
        sampler = CropSampler([Pool("scene", [sample], 1.0)], 4)
        sampler.calm = True
        levels = np.unique(sample.z.clip(-8, 24))
        exact = sum(bool(np.isin(sampler.crop(32)[0], levels).all()) for _ in range(100))
        self.assertGreater(exact, 20)

    def test_whole_frames_show_all_of_an_image_and_every_target(self):
        small, large = scene([(70, 90), (150, 40)], 200), scene([(30, 500)], 512)
        sampler = CropSampler([Pool("small", [small], 0.5), Pool("large", [large], 0.5)], 5)
        sampler.whole = sampler.calm = True
        seen = set()
        for _ in range(20):
            z, heat, targets, origins = sampler.batch(16, 128)
            self.assertEqual(z.shape[0] * z.shape[2] * z.shape[3], 512 * 512)
            self.assertEqual(heat.shape[2:], (z.shape[2] // 2, z.shape[3] // 2))
            for origin in origins:
                seen.add(origin.pool)
                self.assertEqual(z.shape[2], (256, 512)[origin.pool])
                self.assertEqual([i for i, _, _ in origin.targets], [[0, 1], [0]][origin.pool])
                for index, x, y in origin.targets:
                    where = [[(70, 90), (150, 40)], [(30, 500)]][origin.pool][index]
                    np.testing.assert_allclose(origin.to_image(x, y), where, atol=1e-6)
        self.assertEqual(seen, {0, 1})

    def test_a_cut_of_a_frame_shows_what_it_was_drawn_for_and_forgets_nothing_else(self):
        points = [(5.0, 30.0), (395.0, 30.0)]
        sampler = CropSampler([Pool("wide", [scene([(100, 100)], 200), scene([(100, 100)], 200), scene(points, 400)], 1.0)], 7)
        self.assertEqual(sampler.pools[0].frame, 256)
        sampler.whole, sampler.focused = True, 1.0
        focus = sampler.focus[0]
        focus.difficulty[:] = [0, 0, 0, 1]
        focus.saw_clutter(2, 10.0, 390.0, 0.9)
        targets = clutter = 0
        for _ in range(120):
            sampler.frame(0, 256)
            origin = sampler.origin
            self.assertEqual(origin.whole, origin.sample != 2)
            if origin.sample == 2:
                back = cv2.invertAffineTransform(origin.inverse)
                x, y = back[:, :2] @ (10.0, 390.0) + back[:, 2]
                sees_clutter = 0 <= x < 256 and 0 <= y < 256
                sees_target = any(i >= 2 for i, _, _ in origin.targets)
                self.assertTrue(sees_clutter or sees_target)
                clutter, targets = clutter + sees_clutter, targets + sees_target
        self.assertGreater(clutter, 30)
        self.assertGreater(targets, 25)

    def test_three_in_ten_whole_frames_have_injected_targets_more_than_a_crop_has(self):
        sampler = CropSampler([Pool("empty", [scene([], 512)], 1.0)], 6)
        sampler.whole = True
        counts = np.array([int(sampler.batch(16, 128)[2][0, :, 3].sum()) for _ in range(60)])
        self.assertTrue(0.15 < (counts > 0).mean() < 0.45, counts)
        self.assertGreater(counts.max(), 6)

    def test_a_part_of_a_frame_forgets_what_it_shows_to_be_gone_and_nothing_else(self):
        pool = PoolFocus([(0, 0)])
        # In the part, still high there; in it, gone; outside of it; another image's.
        pool.clutter = [(7, 120.0, 50.0, 0.9), (7, 140.0, 60.0, 0.9), (7, 20.0, 30.0, 0.9), (8, 140.0, 60.0, 0.9)]
        part = np.array([[1.0, 0, 100.0], [0, 1.0, 30.0]])
        prob, label = np.zeros((1, 32, 32)), np.zeros((1, 32, 32))
        prob[0, 10, 10], prob[0, 25, 5] = 0.6, 0.8
        report([pool], [Origin(0, 7, part, [])], prob, label)
        self.assertEqual(pool.clutter, [(7, 120.0, 50.0, 0.9), (7, 20.0, 30.0, 0.9), (8, 140.0, 60.0, 0.9), (7, 110.5, 80.5, 0.8)])

    def test_a_whole_frame_forgets_the_clutter_that_is_no_more(self):
        pool = PoolFocus([(0, 0)])
        pool.clutter = [(7, 20.0, 30.0, 0.9), (8, 20.0, 30.0, 0.9)]
        flat = np.array([[1.0, 0, 0], [0, 1.0, 0]])
        prob, label = np.zeros((1, 32, 32)), np.zeros((1, 32, 32))
        report([pool], [Origin(0, 7, flat, [], whole=True)], prob, label)
        self.assertEqual([c[0] for c in pool.clutter], [8])


if __name__ == "__main__":
    unittest.main()
