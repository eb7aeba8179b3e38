"""Variants beside each other, on a small random network and synthetic scenes."""

import unittest

import numpy as np
import onnx

from irst_edge_training.compare import Options, compare, fit, graph_macs, table
from irst_edge_training.evaluate import pad_to
from irst_edge_training.model import NetConfig
from irst_edge_training.normalise import normalise
from irst_edge_training.onnx_blocked import cpu_block
from irst_edge_training.onnx_graph import Exporter
from irst_edge_training.quantise import quantise
from irst_edge_training.train import smoke_pools

from .test_export import random_net, run

SMALL = NetConfig(channels=(32, 32, 32), depth=((1,), (1, 1), (1, 1, 1)))


class Compare(unittest.TestCase):
    def setUp(self):
        self.samples = smoke_pools(1)[1][0].samples[:3]
        self.frames = [pad_to(normalise(s.image)) for s in self.samples]
        self.model = random_net(SMALL, self.frames[0])

    def test_a_row_a_variant(self):
        options = Options(int8=True, size=(64, 96), threads=1, repeats=3)
        result = compare(self.model, self.frames, {"one": self.samples[:2], "two": self.samples[2:]}, 0.5, options)
        rows = result["variants"]
        self.assertEqual(list(rows), ["folded", "static-sum", "frozen", "int8"])
        self.assertEqual((rows["folded"]["ratio"], rows["folded"]["heatMax"]), (1.0, 0.0))
        self.assertLessEqual(rows["static-sum"]["heatMax"], 1e-4)
        self.assertGreater(rows["frozen"]["heatMax"], rows["static-sum"]["heatMax"])
        self.assertGreater(rows["int8"]["heatMax"], rows["frozen"]["heatMax"])
        self.assertEqual(rows["folded"]["f1"], rows["static-sum"]["f1"])
        self.assertTrue(all(r["ms"] > 0 and r["ratio"] > 0 for r in rows.values()))
        self.assertEqual(len(table(result).splitlines()), 2 + 4)

    @unittest.skipIf(cpu_block() is None, "this CPU has no blocks")
    def test_blocked_is_folded(self):
        result = compare(self.model, self.frames, {"one": self.samples}, 0.5, Options(("folded", "blocked"), size=(64, 96), threads=1, repeats=3))
        self.assertLessEqual(result["variants"]["blocked"]["heatMax"], 1e-4)

    def test_multiply_accumulates(self):
        graphs = {v: Exporter(self.model, variant=v, frames=self.frames).build(64, 96) for v in ("folded", "static-sum", "frozen")}
        macs = {v: graph_macs(g) for v, g in graphs.items()}
        # Dynamic layers: 1 at 1/2 in each of three stages, 1 at 1/4 in two, 1 at 1/8, of 16 channels each.
        pixels = 3 * 32 * 48 + 2 * 16 * 24 + 8 * 12
        heads = sum(16 * 8 + 8 * (2 * 16 + 9 + 3) for _ in range(6))
        self.assertEqual(macs["static-sum"] - macs["frozen"] - heads - 6 * (3 * 15 + 9 * 15), pixels * (6 * 16 * 16 + 24 * 16))
        self.assertEqual(macs["folded"] - macs["frozen"] - heads, 6 * (3 * 135 + 15 * 9 * 16 * 16))

    def test_eight_bit_graph_keeps_stem_and_heads_and_follows_the_frozen_one(self):
        frozen = Exporter(self.model, variant="frozen", frames=self.frames).build(160, 160)
        int8 = quantise(frozen, self.frames)
        onnx.checker.check_model(int8)
        kinds = [n.op_type for n in int8.graph.node]
        self.assertGreater(kinds.count("QuantizeLinear"), 10)
        floats = {i.name for i in int8.graph.initializer if i.data_type == onnx.TensorProto.FLOAT and len(i.dims) == 4}
        self.assertEqual(sum(n.op_type == "Conv" and n.input[1] in floats for n in int8.graph.node), 3)
        # As written: what the optimiser makes of it saturates in 16 bits on processors without VNNI.
        a, b = (run(m.SerializeToString(), self.frames[0], as_written=True)[0] for m in (frozen, int8))
        self.assertGreater(np.corrcoef(a.ravel(), b.ravel())[0, 1], 0.9)

    def test_fit_cuts_and_mirrors(self):
        z = np.arange(12, dtype=np.float32).reshape(3, 4)
        np.testing.assert_array_equal(fit(z, (2, 3)), z[:2, :3])
        np.testing.assert_array_equal(fit(z, (4, 6)), np.pad(z, ((0, 1), (0, 2)), mode="symmetric"))
