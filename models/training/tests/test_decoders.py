"""Ways to read a heat map, on ideal ones."""

import unittest

import numpy as np

from irst_edge_training.data import render_heat
from irst_edge_training.decoders import DECODERS, compare, table
from irst_edge_training.evaluate import peaks
from irst_edge_training.train import smoke_pools


def decode(heat: np.ndarray, name: str) -> np.ndarray:
    _, offset, suppress, relative = DECODERS[name]
    return peaks(heat, 0.3, suppress, offset=offset, relative=relative)


class Decoders(unittest.TestCase):
    def test_positions_of_one_target(self):
        rng = np.random.default_rng(1)
        errors = {name: [] for name in DECODERS}
        for _ in range(50):
            point = rng.uniform(20, 44, 2)
            heat = render_heat(point[None], np.array([1.2]), 64)
            for name in DECODERS:
                found = decode(heat, name)
                self.assertEqual(len(found), 1)
                errors[name].append(np.abs(found[0, :2] - point).max())
        worst = {name: max(e) for name, e in errors.items()}
        self.assertLess(worst["parabola"], 1e-3)
        self.assertLess(worst["centroid"], 0.1)
        self.assertLessEqual(worst["quarter"], 0.5 + 1e-6)
        self.assertLessEqual(worst["centre"], 1 + 1e-6)
        self.assertGreater(worst["centre"], 0.8)

    def test_two_targets(self):
        points = np.array([[20.0, 32.0], [28.0, 32.0], [50.0, 50.0]])
        heat = render_heat(points, np.array([1.0, 1.0, 1.0]), 64)
        heat[20:30, 20:30] *= 0.7
        count = {name: len(decode(heat, name)) for name in DECODERS}
        self.assertEqual((count["parabola"], count["wide suppression"], count["relative"]), (3, 2, 2))

    def test_a_peak_at_the_border(self):
        heat = np.zeros((8, 8), np.float32)
        heat[0, 7] = 0.9
        for name in DECODERS:
            self.assertEqual(len(decode(heat, name)), 1)

    def test_table(self):
        samples = smoke_pools(1)[1][0].samples[:3]
        maps = [render_heat(s.points, np.full(len(s.points), 1.2), 160) for s in samples]
        result = compare({"one": maps}, {"one": samples}, 0.3)
        self.assertEqual(result["parabola"]["one"]["f1"], 1.0)
        self.assertGreater(result["centre"]["one"]["rms"], result["quarter"]["one"]["rms"])
        self.assertEqual(len(table(result).splitlines()), 2 + len(DECODERS))


if __name__ == "__main__":
    unittest.main()
