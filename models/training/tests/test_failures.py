"""The contact sheet shows what was wrong: false alarms and missed targets, one a video."""

import unittest

import numpy as np

from irst_edge_training.data import Sample
from irst_edge_training.failures import FALSE, TARGET, TILE, ZOOM, halved, mistakes, sheet, tile, worst


def sample(name="a:1", points=((40.0, 30.0),), size=(100, 140)):
    points = np.array(points, float).reshape(-1, 2)
    return Sample(name, np.full(size, 50, np.uint8), points, np.ones(len(points)))


class Mistakes(unittest.TestCase):
    def test_a_hit_is_none(self):
        self.assertEqual(mistakes(np.array([[41.0, 31.0, 0.9]]), sample().points, 0.5), ([], []))

    def test_far_or_faint(self):
        found = np.array([[80.0, 30.0, 0.9], [41.0, 31.0, 0.3]])
        false, missed = mistakes(found, sample().points, 0.5)
        np.testing.assert_allclose(false, [[80, 30, 0.9]])
        np.testing.assert_allclose(missed, [[40, 30, 0.3]])

    def test_nothing_found(self):
        false, missed = mistakes(np.zeros((0, 3)), sample().points, 0.5)
        self.assertEqual(false, [])
        np.testing.assert_allclose(missed, [[40, 30, 0]])

    def test_worst_of_each_video(self):
        rows = [(sample("a:1"), np.array([1, 1, 0.6])), (sample("a:2"), np.array([1, 1, 0.9])), (sample("b:1"), np.array([1, 1, 0.7]))]
        self.assertEqual([s.name for s, _ in worst(rows, 4, lambda m: m[2])], ["a:2", "b:1"])
        self.assertEqual([s.name for s, _ in worst(rows, 1, lambda m: m[2])], ["a:2"])


class Pictures(unittest.TestCase):
    def test_halving_keeps_where_a_target_is(self):
        big = sample(points=((41.5, 30.5),))
        big.image[30:32, 41:43] = 250
        small = halved(big)
        y, x = np.unravel_index(small.image.argmax(), small.image.shape)
        self.assertLessEqual(np.abs(small.points[0] - (x, y)).max(), 0.5)

    def test_rings_in_their_colours_at_any_border(self):
        for at in ((0.0, 0.0), (139.0, 99.0), (70.0, 50.0)):
            picture = tile(sample(points=(at,)), np.array([*at, 0.7]), TARGET)
            self.assertEqual(picture.shape, (TILE * ZOOM, TILE * ZOOM, 3))
            self.assertTrue((picture == TARGET).all(2).any())
            self.assertTrue((tile(sample(points=()), np.array([*at, 0.7]), FALSE) == FALSE).all(2).any())

    def test_sheet_of_unequal_rows(self):
        one = np.ones((TILE * ZOOM, TILE * ZOOM, 3), np.uint8)
        self.assertEqual(sheet([one, one], [one]).shape, (2 * TILE * ZOOM, 2 * TILE * ZOOM, 3))
        self.assertEqual(sheet([], []).sum(), 0)
