"""ONNX against PyTorch, FP16 against FP32, and what the graph may hold."""

import argparse
import hashlib
import json
import tempfile
import unittest
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import torch

from irst_edge_training.evaluate import pad_to, peaks
from irst_edge_training.export import export, giga_flops, load_checkpoint, parse_size, write_graphs
from irst_edge_training.frozen import freeze
from irst_edge_training.model import NetConfig, P2PLite, count_parameters
from irst_edge_training.normalise import normalise
from irst_edge_training.onnx_blocked import BLOCKS, BlockedExporter, cpu_block
from irst_edge_training.onnx_graph import OPERATORS, Exporter

from .common import CHECKPOINT, CLIP, MODELS


def run(data: bytes, z: np.ndarray, as_written: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """``as_written``: node by node, without the optimiser's kernels."""
    options = ort.SessionOptions()
    if as_written:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    heat, logsig = session.run(["heat", "logsig"], {"image": z[None, None]})
    return heat[0, 0], logsig[0, 0]


def random_net(config: NetConfig, z: np.ndarray) -> P2PLite:
    """Untrained, but with every batch norm and attention away from its neutral start, and a head that spreads over ``z``."""
    torch.manual_seed(4)
    model = P2PLite(config).eval()
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(m.weight, 0.5, 1.5)
            torch.nn.init.normal_(m.bias, 0, 0.2)
            torch.nn.init.normal_(m.running_mean, 0, 0.2)
            torch.nn.init.uniform_(m.running_var, 0.5, 2)
        if isinstance(m, torch.nn.Linear):
            torch.nn.init.normal_(m.weight, 0, 0.5)
    torch.nn.init.normal_(model.head.weight)
    with torch.no_grad():
        out = model.head(model.features(torch.from_numpy(z)[None, None]))[0].flatten(1)
        model.head.bias.copy_(-out.mean(1) / out.std(1) + model.head.bias / out.std(1))
        model.head.weight.div_(out.std(1).view(2, 1, 1, 1))
    return model


class Graph(unittest.TestCase):
    def compare(self, model: P2PLite, z: np.ndarray, data: bytes, tolerance: float) -> None:
        with torch.no_grad():
            logit, logsig = model(torch.from_numpy(z)[None, None])
        heat, sig = run(data, z)
        self.assertLessEqual(np.abs(heat - logit.sigmoid().numpy()[0, 0]).max(), tolerance)
        self.assertLessEqual(np.abs(sig - logsig.clamp(-1, 2).numpy()[0, 0]).max(), tolerance)

    def test_random_weights_every_variant(self):
        z = np.random.default_rng(1).standard_normal((64, 96), np.float32) * 2
        for config in (NetConfig(), NetConfig(dynamic=False), NetConfig(fusion=False), NetConfig(gate=False)):
            with self.subTest(config):
                model = random_net(config, z)
                data = Exporter(model).build(64, 96).SerializeToString()
                heat, _ = run(data, z)
                self.assertGreater(heat.max() - heat.min(), 0.1, "the map must vary, or the comparison says nothing")
                self.compare(model, z, data, 1e-4)

    def test_shipped_weights_on_a_real_frame(self):
        """Every shipped file, on the clip's frame cut or mirrored to its size."""
        model, _ = load_checkpoint(CHECKPOINT)
        manifest = json.loads((MODELS / "manifest.json").read_text())
        frame = normalise(cv2.imread(str(CLIP / "020.png"), cv2.IMREAD_UNCHANGED))
        for f in manifest["files"]:
            with self.subTest(f["file"]):
                height, width = f["height"] or 256, f["width"] or 320
                z = cv2.copyMakeBorder(frame, 0, max(0, height - 256), 0, max(0, width - 320), cv2.BORDER_REFLECT_101)
                z = np.ascontiguousarray(z[:height, :width])
                data = (MODELS / f["file"]).read_bytes()
                self.assertEqual(hashlib.sha256(data).hexdigest(), f["sha256"])
                self.compare(model, z, data, 1e-4 if f["precision"] == "fp32" else 0.05)

    def test_half_precision_moves_no_peak(self):
        model, _ = load_checkpoint(CHECKPOINT)
        for name in ("000.png", "060.png", "110.png"):
            z = pad_to(normalise(cv2.imread(str(CLIP / name), cv2.IMREAD_UNCHANGED)))
            a, b = (peaks(run(Exporter(model, half).build(*z.shape).SerializeToString(), z)[0], 0.5) for half in (False, True))
            self.assertEqual(len(a), len(b))
            self.assertGreater(len(a), 0)
            self.assertLessEqual(np.abs(a[:, :2] - b[:, :2]).max(), 0.02)

    def test_only_operators_that_tensorrt_takes_and_static_shapes(self):
        manifest = json.loads((MODELS / "manifest.json").read_text())
        self.assertEqual(len(manifest["files"]), 12)
        for f in manifest["files"]:
            with self.subTest(f["file"]):
                model = onnx.load(MODELS / f["file"])
                self.assertLessEqual({n.op_type for n in model.graph.node}, OPERATORS)
                self.assertEqual([o.version for o in model.opset_import], [17])
                dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
                self.assertEqual(dims, [1, 1, f["height"] or 0, f["width"] or 0])
                kinds = {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)}
                self.assertEqual(kinds, {onnx.TensorProto.FLOAT})
                self.assertLessEqual(f["bytes"], 1_000_000)

    def test_budget(self):
        model, _ = load_checkpoint(CHECKPOINT)
        self.assertLessEqual(count_parameters(model), 240_000)
        self.assertLessEqual(giga_flops(model), 1.53)

    def test_export_writes_what_is_shipped(self):
        shipped = json.loads((MODELS / "manifest.json").read_text())
        with tempfile.TemporaryDirectory() as folder:
            made = export(CHECKPOINT, Path(folder), shipped["name"])
            for kind in ("files", "blocked"):
                self.assertEqual([f["file"] for f in made[kind]], [f["file"] for f in shipped[kind]])
            self.assertEqual(made["decode"], shipped["decode"])
            self.assertEqual(made["input"], shipped["input"])


class Blocked(unittest.TestCase):
    """The build for ONNX Runtime's CPU provider: only a CPU with its block can run it."""

    def test_computes_what_the_network_does(self):
        block = cpu_block()
        if block is None:
            self.skipTest("this CPU has no blocks")
        z = np.random.default_rng(5).standard_normal((64, 96), np.float32) * 2
        for config in (NetConfig(), NetConfig(dynamic=False), NetConfig(fusion=False), NetConfig(gate=False), NetConfig(channels=(32, 64, 64), depth=((2,), (1, 2), (1, 1, 2)))):
            with self.subTest(config):
                model = random_net(config, z)
                with torch.no_grad():
                    logit, logsig = model(torch.from_numpy(z)[None, None])
                heat, sig = run(BlockedExporter(model, block).build("height", "width").SerializeToString(), z)
                self.assertGreater(np.ptp(heat), 0.1)
                self.assertLessEqual(np.abs(heat - logit.sigmoid().numpy()[0, 0]).max(), 1e-4)
                self.assertLessEqual(np.abs(sig - logsig.clamp(-1, 2).numpy()[0, 0]).max(), 1e-4)

    def test_shipped_files(self):
        manifest = json.loads((MODELS / "manifest.json").read_text())
        self.assertEqual([f["block"] for f in manifest["blocked"]], list(BLOCKS))
        frame = pad_to(normalise(cv2.imread(str(CLIP / "020.png"), cv2.IMREAD_UNCHANGED)))
        truth = run((MODELS / "p2p-lite_any_fp32.onnx").read_bytes(), frame)
        for f in manifest["blocked"]:
            data = (MODELS / f["file"]).read_bytes()
            self.assertEqual((len(data), hashlib.sha256(data).hexdigest()), (f["bytes"], f["sha256"]))
            self.assertLessEqual(f["bytes"], 1_000_000)
            if f["block"] == cpu_block():
                for a, b in zip(truth, run(data, frame)):
                    self.assertLessEqual(np.abs(a - b).max(), 1e-4)


class Variants(unittest.TestCase):
    def frames(self) -> list[np.ndarray]:
        return [pad_to(normalise(cv2.imread(str(CLIP / n), cv2.IMREAD_UNCHANGED))) for n in ("000.png", "060.png", "110.png")]

    def test_static_sum_is_folded_on_random_nets(self):
        z = np.random.default_rng(2).standard_normal((48, 64), np.float32) * 2
        for config in (NetConfig(), NetConfig(fusion=False), NetConfig(gate=False)):
            with self.subTest(config):
                model = random_net(config, z)
                graphs = [Exporter(model, variant=v).build(48, 64) for v in ("folded", "static-sum")]
                for a, b in zip(*(run(g.SerializeToString(), z) for g in graphs)):
                    self.assertGreater(np.ptp(a), 0.1)
                    self.assertLessEqual(np.abs(a - b).max(), 1e-4)

    def test_static_sum_is_folded_on_the_shipped_checkpoint(self):
        model, _ = load_checkpoint(CHECKPOINT)
        data = [Exporter(model, variant=v).build("height", "width").SerializeToString() for v in ("folded", "static-sum")]
        for z in self.frames():
            for a, b in zip(*(run(d, z) for d in data)):
                self.assertLessEqual(np.abs(a - b).max(), 1e-4)
        half = Exporter(model, True, "static-sum").build(*z.shape).SerializeToString()
        self.assertLessEqual(np.abs(run(half, z)[0] - run(data[0], z)[0]).max(), 0.02)

    def test_every_kernel_of_static_sum_and_frozen_is_constant(self):
        z = self.frames()[0]
        model, _ = load_checkpoint(CHECKPOINT)
        for variant in ("static-sum", "frozen"):
            with self.subTest(variant):
                graph = Exporter(model, variant=variant, frames=[z]).build(64, 96).graph
                constants = {i.name for i in graph.initializer}
                self.assertLessEqual({n.op_type for n in graph.node}, OPERATORS)
                convolutions = [n for n in graph.node if n.op_type == "Conv"]
                self.assertTrue(all(set(n.input[1:]) <= constants for n in convolutions))
                if variant == "frozen":
                    self.assertFalse({n.op_type for n in graph.node} & {"GlobalAveragePool", "MatMul", "Gemm", "Softmax"})

    def test_frozen_on_one_frame_is_exact_there_and_takes_means_over_several(self):
        z = np.random.default_rng(3).standard_normal((2, 48, 64)).astype(np.float32) * np.float32([[[1]], [[4]]])
        model = random_net(NetConfig(), z[0])
        before = {k: v.clone() for k, v in model.state_dict().items()}
        exact = run(Exporter(model).build(48, 64).SerializeToString(), z[0])[0]
        one = run(Exporter(model, variant="frozen", frames=[z[0]]).build(48, 64).SerializeToString(), z[0])[0]
        other = run(Exporter(model, variant="frozen", frames=[z[1]]).build(48, 64).SerializeToString(), z[0])[0]
        self.assertLessEqual(np.abs(exact - one).max(), 1e-4)
        self.assertGreater(np.abs(exact - other).max(), 1e-3, "kernels must depend on the frame, or freezing says nothing")
        kernels = [[m.kernel_bank().mean(0) for m in freeze(model, f).modules() if hasattr(m, "kernel_bank")] for f in ([z[0]], [z[1]], z)]
        for a, b, both in zip(*kernels):
            torch.testing.assert_close(both, (a + b) / 2)
        for k, v in model.state_dict().items():
            self.assertTrue(torch.equal(v, before[k]), "freezing must not change the network it reads")
        with self.assertRaisesRegex(ValueError, "calibration frame"):
            Exporter(model, variant="frozen")

    def test_files_are_named_after_the_variant_and_the_manifest_stays(self):
        model, _ = load_checkpoint(CHECKPOINT)
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            made = write_graphs(model, out, "p2p-lite", [(256, 256)], ["fp32"], "frozen", self.frames()[:1])
            made += write_graphs(model, out, "p2p-lite", [None], ["fp16"], "static-sum")
            names = ["p2p-lite_256x256_fp32_frozen.onnx", "p2p-lite_any_fp16_static-sum.onnx"]
            self.assertEqual([f["file"] for f in made], names)
            self.assertEqual(sorted(p.name for p in out.iterdir()), names)
            for f in made:
                data = (out / f["file"]).read_bytes()
                self.assertEqual((len(data), hashlib.sha256(data).hexdigest()), (f["bytes"], f["sha256"]))

    def test_sizes(self):
        self.assertEqual((parse_size("320x256"), parse_size("any")), ((256, 320), None))
        for text in ("320", "100x256", "0x8", "ax8", "8x8x8"):
            with self.assertRaises(argparse.ArgumentTypeError):
                parse_size(text)
