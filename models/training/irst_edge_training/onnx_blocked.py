"""The network as a graph for ONNX Runtime's CPU provider alone: channels in blocks from the image to the head.

ONNX Runtime's fast CPU convolutions work on tensors whose channels lie in blocks of 16 (AVX-512) or 8 (other x86-64) and that
its optimiser makes by itself, but only around convolutions with constant kernels: around each dynamic convolution the standard
graph goes back to planes and copies every feature map twice. Here the run-time kernels are computed in the blocked order, so
nothing is reordered before the heat map; and the channel shuffle, whose runs of channels are shorter than a block, becomes part
of the 1x1 convolution that follows the dynamic one: features are never negative, so a kept channel passes its ReLU unchanged.

The function is that of ``onnx_graph.Exporter`` (to rounding). The operators are ONNX Runtime's own (domain
``com.microsoft.nchwc``, the one in which it saves its optimised models), so the file is for the CPUs whose block it was made for,
and only ONNX Runtime reads it. See https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html (offline mode).
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from torch import nn

from .model import AFDUnit, AODConv, CrossFusion, Down, P2PLite, Up
from .onnx_graph import IR_VERSION, LOGSIG_RANGE, OPSET, OWN_KERNEL, OWN_TAPS, GraphBuilder, array, fold_bn

DOMAIN = "com.microsoft.nchwc"
BLOCKS = (16, 8)
"""Channels a block: what MLAS takes on a CPU with AVX-512, and with AVX or AVX2."""


def cpu_block() -> int | None:
    """Channels a block of ONNX Runtime on this CPU, which the library itself tells by reordering two pixels of 32 channels."""
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 32, 1, 2]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("ReorderInput", ["x"], ["y"], domain=DOMAIN)], "block", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)], ir_version=IR_VERSION)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except ort.capi.onnxruntime_pybind11_state.NotImplemented:
        return None
    # Pixel 0 is even, pixel 1 is odd, and a block lies pixel by pixel.
    (y,) = session.run(None, {"x": np.arange(64, dtype=np.float32).reshape(1, 32, 1, 2)})
    return int((y.ravel() % 2).argmax())


def blocked(w: np.ndarray, block: int) -> np.ndarray:
    """Kernel [O, I, h, w] in MLAS's order: [O/b, I/b, h, w, b in, b out]; [O/b, I, h, w, b out] for few or grouped inputs."""
    o, i, h, k = w.shape
    out = w.reshape(o // block, block, i, h, k)
    if i < block:
        return out.transpose(0, 2, 3, 4, 1).reshape(w.shape)
    return out.reshape(o // block, block, i // block, block, h, k).transpose(0, 2, 4, 5, 3, 1).reshape(w.shape)


class BlockedExporter:
    """Walks a trained ``P2PLite`` in evaluation mode and writes its blocked graph, float32, batch 1."""

    def __init__(self, model: P2PLite, block: int) -> None:
        if block not in BLOCKS:
            raise ValueError(f"block {block}: one of {BLOCKS}")
        self.model = model
        self.block = block
        self.g = GraphBuilder(False)

    def nchwc(self, kind: str, inputs: list[str], **attributes) -> str:
        return self.g.op(kind, inputs, domain=DOMAIN, **attributes)

    def conv(self, x: str, w: np.ndarray | str, b: np.ndarray, *, kernel: int = 1, stride: int = 1, group: int = 1,
             relu: bool = False, plus: str = "") -> str:
        """``relu(conv(x) + plus)``; the output channels are filled up to whole blocks with zeros."""
        g, n = self.g, self.block
        if not isinstance(w, str):
            fill = -len(b) % n
            w = g.constant(blocked(np.pad(w, ((0, fill), (0, 0), (0, 0), (0, 0))), n))
            b = np.pad(b, (0, fill))
        inputs = [x, w, g.constant(b)] + ([plus] if plus else [])
        extra = {"activation": "Relu"} if relu else {}
        pad = (kernel - 1) // 2 if kernel % 2 else kernel // 2 - 1
        return self.nchwc("Conv", inputs, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, group=group, **extra)

    def halves(self, x: str, w: np.ndarray, b: np.ndarray, **how) -> list[str]:
        """The two halves of a convolution's output channels as two tensors: what the next unit keeps and what it works on."""
        c = len(b) // 2
        return [self.conv(x, w[:c], b[:c], **how), self.conv(x, w[c:], b[c:], **how)]

    def aod(self, x: str, m: AODConv) -> str:
        g, c, n = self.g, m.channels, self.block
        scale, bias = fold_bn(np.ones(c), m.bn)
        if not m.dynamic:
            return self.conv(x, array(m.kernel_bank()).mean(0) * scale[:, None, None, None], bias, kernel=3, relu=True)
        o = c // n
        bank = np.concatenate([array(k).reshape(c, c, -1) for k in (m.k33, m.k13, m.k31)], 2) * scale[:, None, None]
        bank = bank.reshape(o, n, o, n, 15).transpose(0, 2, 4, 3, 1).reshape(o * o, 15, n * n)
        pooled = g.reshape(self.nchwc("GlobalAveragePool", [x]), [1, c])
        z = g.op("Relu", [g.gemm(pooled, array(m.squeeze.weight), array(m.squeeze.bias))])
        hw, hb = array(m.heads.weight), array(m.heads.bias)
        a_c, a_f, a_s = g.split(g.op("Sigmoid", [g.gemm(z, hw[:-3], hb[:-3])]), [c, c, 9])
        a_w = g.op("Softmax", [g.gemm(z, hw[-3:], hb[-3:])], axis=1)
        spread = np.zeros((3, 9, 15))
        spread[OWN_KERNEL, OWN_TAPS, range(15)] = 1
        mix = g.op("Mul", [g.reshape(g.op("MatMul", [a_w, g.constant(spread.reshape(3, -1))]), [9, 15]), g.reshape(a_s, [9, 1])])
        kernel = g.reshape(g.op("MatMul", [mix, g.constant(bank)]), [o, o, 9, n, n])
        io = g.op("Mul", [g.reshape(a_f, [o, 1, 1, 1, n]), g.reshape(a_c, [1, o, 1, n, 1])])
        kernel = g.reshape(g.op("Mul", [kernel, io]), [c, c, 3, 3])
        return self.conv(x, kernel, bias, kernel=3, relu=True)

    def ends(self, keep: str, work: str, m: AFDUnit, parts: int) -> list[str]:
        """The end of a unit as ``parts`` tensors of equal width, in the network's order: 1x1 convolution, shuffle, ReLU.

        Output channel 2i is the kept channel i, 2i + 1 is filter i of the convolution. The kernels are put together from small
        constants, once, when the file is loaded: the one that keeps is the same for every unit of a width.
        """
        g, n = self.g, self.block
        mix, bias = fold_bn(array(m.mix[0].weight)[:, :, 0, 0], m.mix[1])
        c = len(bias)
        x = g.op("Concat", [keep, self.aod(work, m.od)], axis=1)
        per = 2 * c // parts
        names = []
        for p in range(parts):
            first, last = p * per, (p + 1) * per
            b = np.zeros(per)
            b[1::2] = bias[first // 2 : last // 2]
            # [blocks of filters, blocks of inputs, input in its block, filter in its block]
            filters = mix[first // 2 : last // 2].reshape(per // n, n // 2, c // n, n).transpose(0, 2, 3, 1)[..., None]
            zeros = g.op("ConstantOfShape", [g.constant(np.array(filters.shape, np.int64))])
            between = g.op("Concat", [zeros, g.constant(filters)], axis=-1)
            left = self.keepers(first // n, per // n, c // n)
            right = g.reshape(between, [per // n, c // n, n * n])
            w = g.reshape(g.op("Concat", [left, right], axis=1), [per, 2 * c, 1, 1])
            names.append(self.conv(x, w, b, relu=True))
        return names

    def keepers(self, first: int, outputs: int, inputs: int) -> str:
        """The kernel [outputs, inputs, n * n] that brings kept channel i to output channel 2i, from output block ``first`` on.

        A block of outputs takes the first or the second half of one block of inputs: three squares, and a table of which is where.
        """
        g, n = self.g, self.block
        squares = np.zeros((3, n, n))
        for half in range(2):
            squares[1 + half, range(half * n // 2, (half + 1) * n // 2), range(0, n, 2)] = 1
        where = np.zeros((outputs, inputs), np.int64)
        for o in range(outputs):
            where[o, (first + o) // 2] = 1 + (first + o) % 2
        return g.op("Gather", [g.constant(squares.reshape(3, n * n)), g.constant(where)], axis=0)

    def branch(self, keep: str, work: str, units: nn.Sequential) -> str:
        for unit in units[:-1]:
            keep, work = self.ends(keep, work, unit, 2)
        return self.ends(keep, work, units[-1], 1)[0]

    def point(self, seq: nn.Sequential) -> tuple[np.ndarray, np.ndarray]:
        return fold_bn(array(seq[0].weight), seq[1])

    def depthwise(self, x: str, m: nn.Sequential) -> str:
        for step in m:
            w, b = self.point(step)
            x = self.conv(x, w, b, kernel=3, stride=step[0].stride[0], group=len(b))
        return x

    def down(self, x: str, m: Down, plus: str) -> str:
        w, b = self.point(m.point)
        return self.conv(self.depthwise(x, m.depthwise), w, b, plus=plus)

    def up(self, x: str, m: Up) -> str:
        w, b = self.point(m.point)
        return self.nchwc("Upsample", [self.conv(x, w, b)], scales=[1, 1, m.factor, m.factor], mode="linear", coordinate_transformation_mode="half_pixel")

    def gated(self, semantics: str, x: str, gate: nn.Conv2d) -> str:
        """``semantics * sigmoid(gate(x))``: the gate's one channel is made as a block of equal ones, which broadcasts."""
        g, n = self.g, self.block
        w, b = array(gate.weight).repeat(n, 0), array(gate.bias).repeat(n)
        value = g.reshape(g.op("Sigmoid", [self.conv(x, w, b)]), [1, -1, n])
        c = gate.in_channels
        shape = self.g.op("Shape", [semantics])
        return g.op("Reshape", [g.op("Mul", [g.reshape(semantics, [c // n, -1, n]), value]), shape])

    def fuse(self, xs: list[str], m: CrossFusion) -> list[str]:
        g, ys = self.g, []
        for i in range(m.outputs):
            y, semantics = xs[i], None
            for j, x in enumerate(xs):
                if j < i:
                    y = self.down(x, m.paths[f"{j}to{i}"], y)
                elif j > i:
                    t = self.up(x, m.paths[f"{j}to{i}"])
                    semantics = t if semantics is None else g.op("Add", [semantics, t])
            if semantics is not None:
                if str(i) in m.gates:
                    semantics = self.gated(semantics, xs[i], m.gates[str(i)])
                y = g.op("Add", [y, semantics])
            ys.append(g.op("Relu", [y]))
        return ys

    def build(self, height: int | str, width: int | str) -> onnx.ModelProto:
        m, g = self.model, self.g
        w, b = fold_bn(array(m.stem[0].weight), m.stem[1])
        starts: list[list[str]] = [self.halves("image", w, b, kernel=6, stride=2, relu=True)]
        xs: list[str] = []
        for s in range(3):
            if s > 0:
                t = m.transitions[s - 1]
                w, b = self.point(t.point)
                starts = [g.split(x, [c // 2] * 2) for x, c in zip(xs, m.config.channels)]
                starts.append(self.halves(self.depthwise(xs[-1], t.depthwise), w, b, relu=True))
            xs = [self.branch(*start, m.stages[s][r]) for r, start in enumerate(starts)]
            if s == 1 and m.config.fusion:
                xs = self.fuse(xs, m.fusions[0])
        y = self.fuse(xs, m.fusions[1])[0]
        w, b = self.point(m.smooth[0])
        y = self.conv(y, w, b, kernel=3, group=len(b))
        w, b = self.point(m.smooth[1])
        y = self.conv(y, w, b, relu=True)
        y = self.conv(y, array(m.head.weight), array(m.head.bias))
        logit, logsig = g.split(self.nchwc("ReorderOutput", [y], channels=2), [1, 1])
        g.op("Sigmoid", [logit], name="heat")
        g.op("Clip", [logsig, *[g.constant(np.array(v), np.float32) for v in LOGSIG_RANGE]], name="logsig")
        return g.model(height, width, f"irst-edge, channels in blocks of {self.block}", [(DOMAIN, 1)])
