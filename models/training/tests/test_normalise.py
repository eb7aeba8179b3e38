"""The same numbers as src/detect/normalise.ts: both read test/fixtures/normalisation.json."""

import json
import unittest

import numpy as np

from irst_edge_training.evaluate import pad_to
from irst_edge_training.normalise import frame_statistics, normalise

from .common import NORMALISATION


class Normalise(unittest.TestCase):
    def test_fixture(self):
        for case in json.loads(NORMALISATION.read_text()):
            with self.subTest(case["name"]):
                frame = np.array(case["counts"], case["dtype"]).reshape(case["height"], case["width"])
                median, scale = frame_statistics(frame)
                self.assertEqual(median, case["median"])
                self.assertAlmostEqual(scale, case["scale"], places=9)
                np.testing.assert_allclose(normalise(frame).ravel(), case["z"], rtol=2e-6, atol=2e-6)
                if "padded" in case:
                    padded = case["padded"]
                    z = np.array(padded["z"]).reshape(padded["height"], padded["width"])
                    np.testing.assert_allclose(pad_to(normalise(frame)), z, rtol=2e-6, atol=2e-6)

    def test_refuses_what_is_no_count(self):
        with self.assertRaises(TypeError):
            frame_statistics(np.zeros((4, 4), np.float32))
