"""The network as an ONNX graph written by hand, so that every operator in it is one that TensorRT takes.

Batch 1. Batch normalisation is folded into its convolution; each dynamic convolution becomes ONE convolution whose kernel
is computed at run time from the attentions (legal in every opset; TensorRT >= 8.5). Channel shuffles cost no transposition:
they are permutations that the next layer's weights absorb (``Feature.order``). Nothing in the graph depends on the image's
size, so one builder serves static shapes and the free one. Operators: see ``OPERATORS``; variants: see ``VARIANTS``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from .frozen import freeze
from .model import AFDUnit, AODConv, CrossFusion, Down, P2PLite, Up

OPSET = 17
IR_VERSION = 9
OPERATORS = frozenset(
    "Conv Relu Sigmoid Softmax GlobalAveragePool MatMul Gemm Add Mul Reshape Split Concat Resize Clip Cast".split()
)
"""Every operator that an exported graph may hold (a test refuses others)."""
LOGSIG_RANGE = (-1.0, 2.0)
VARIANTS = ("folded", "static-sum", "frozen")
"""How a dynamic convolution is written.

``folded``: one convolution with a run-time kernel. ``static-sum``: the same function with constant kernels only (engines
that refuse run-time kernels, 8-bit builds). ``frozen``: the mean kernel over calibration frames, a plain convolution;
another function, so measure it (``compare``).
"""

# The 15 own taps of the three kernels as places in a 3x3 window, in the order 3x3 | 1x3 | 3x1.
OWN_TAPS = np.array([*range(9), 3, 4, 5, 1, 4, 7])
OWN_KERNEL = np.array([0] * 9 + [1] * 3 + [2] * 3)


@dataclass(frozen=True)
class Feature:
    """A tensor in the graph. ``order[p]`` is the network's channel that lies in place ``p``."""

    name: str
    order: np.ndarray


def array(t: torch.Tensor) -> np.ndarray:
    return t.detach().double().numpy()


def fold_bn(weight: np.ndarray, bn: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """(weight, bias) of the convolution that does ``bn(conv(x))``; weight is [Cout, ...]."""
    scale = array(bn.weight) / np.sqrt(array(bn.running_var) + bn.eps)
    bias = array(bn.bias) - array(bn.running_mean) * scale
    return weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), bias


class GraphBuilder:
    """Collects nodes and shared constants; every method returns the name of the tensor it makes.

    ``half``: floating constants are float16 (the body of the FP16 build).
    """

    def __init__(self, half: bool) -> None:
        self.half = half
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def constant(self, value: np.ndarray, dtype: type | None = None) -> str:
        a = np.asarray(value)
        if dtype is None:
            dtype = a.dtype.type if a.dtype.kind != "f" else np.float16 if self.half else np.float32
        a = np.ascontiguousarray(a.astype(dtype))
        name = "k" + hashlib.sha256(f"{a.dtype}{a.shape}".encode() + a.tobytes()).hexdigest()[:12]
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(a, name)
        return name

    def op(self, kind: str, inputs: list[str], outputs: int = 1, name: str | None = None, **attributes):
        base = name or f"t{len(self.nodes)}"
        outs = [base] if outputs == 1 else [f"{base}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, outs, **attributes))
        return outs[0] if outputs == 1 else outs

    def conv(self, x: str, weight: np.ndarray | str, bias: np.ndarray, stride: int = 1, pad: int = 0, group: int = 1, name: str | None = None) -> str:
        w = weight if isinstance(weight, str) else self.constant(weight)
        return self.op("Conv", [x, w, self.constant(bias)], name=name, strides=[stride] * 2, pads=[pad] * 4, group=group)

    def shift(self, x: str, channels: int, dy: int, dx: int) -> str:
        """``out[y, x] = in[y + dy, x + dx]``, zero outside, dy and dx in -1..1: a depthwise convolution of one tap.

        Its kernel is 1 or 2 long a side with one-sided padding, so it needs neither Pad nor Slice.
        """
        if dy == dx == 0:
            return x
        weight = np.zeros((channels, 1, 1 + abs(dy), 1 + abs(dx)))
        weight[:, 0, dy if dy > 0 else 0, dx if dx > 0 else 0] = 1
        pads = [max(-dy, 0), max(-dx, 0), max(dy, 0), max(dx, 0)]
        return self.op("Conv", [x, self.constant(weight)], strides=[1, 1], pads=pads, group=channels)

    def gemm(self, x: str, weight: np.ndarray, bias: np.ndarray) -> str:
        return self.op("Gemm", [x, self.constant(weight), self.constant(bias)], transB=1)

    def reshape(self, x: str, shape: list[int]) -> str:
        return self.op("Reshape", [x, self.constant(np.array(shape, np.int64))])

    def split(self, x: str, sizes: list[int]) -> list[str]:
        return self.op("Split", [x, self.constant(np.array(sizes, np.int64))], outputs=len(sizes), axis=1)

    def model(self, height: int | str, width: int | str, name: str = "irst-edge", domains: Sequence[tuple[str, int]] = ()) -> onnx.ModelProto:
        """What was collected, as the model ``image`` -> ``heat``, ``logsig``; ``domains``: operator sets beside ONNX's own."""
        out = [height // 2, width // 2] if isinstance(height, int) else ["rows", "cols"]
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, height, width])],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, *out]) for n in ("heat", "logsig")],
            list(self.initializers.values()),
        )
        opsets = [helper.make_opsetid(*o) for o in (("", OPSET), *domains)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="irst-edge")


class Exporter:
    """Walks a trained ``P2PLite`` in evaluation mode and writes its graph in one of ``VARIANTS``.

    ``frames``: normalised calibration frames [H, W], which ``frozen`` needs (see ``freeze``).
    """

    def __init__(
        self, model: P2PLite, half: bool = False, variant: str = "folded", frames: Sequence[np.ndarray] | None = None
    ) -> None:
        if variant not in VARIANTS:
            raise ValueError(f"unknown variant {variant!r}: one of {', '.join(VARIANTS)}")
        if variant == "frozen" and model.config.dynamic:
            model = freeze(model, frames or ())
        self.model = model
        self.variant = variant
        self.g = GraphBuilder(half)

    def conv_bn(self, x: Feature, seq: nn.Sequential, out_order: np.ndarray | None = None) -> Feature:
        """A static convolution; ``out_order`` lays its output channels out as the tensor it is added to."""
        conv: nn.Conv2d = seq[0]
        w, b = fold_bn(array(conv.weight), seq[1])
        if conv.groups > 1:
            order = x.order
            name = self.g.conv(x.name, w[order], b[order], conv.stride[0], conv.padding[0], len(order))
        else:
            order = np.arange(len(b)) if out_order is None else out_order
            name = self.g.conv(x.name, w[order][:, x.order], b[order], conv.stride[0], conv.padding[0])
        return Feature(name, order)

    def relu(self, x: Feature) -> Feature:
        return Feature(self.g.op("Relu", [x.name]), x.order)

    def aod(self, x: Feature, m: AODConv) -> Feature:
        """A dynamic convolution, kernel ``a_f a_c a_s sum_k a_w,k K_k``; the batch norm's scale sits in the bank."""
        g, c = self.g, m.channels
        scale, bias = fold_bn(np.ones(c), m.bn)
        if not m.dynamic:
            kernel = array(m.kernel_bank()).mean(0) * scale[:, None, None, None]
            return Feature(g.conv(x.name, kernel[:, x.order], bias, pad=1), np.arange(c))
        bank = np.concatenate([array(k).reshape(c, c, -1) for k in (m.k33, m.k13, m.k31)], 2) * scale[:, None, None]
        bank = bank[:, x.order]
        pooled = g.reshape(g.op("GlobalAveragePool", [x.name]), [1, c])
        z = g.op("Relu", [g.gemm(pooled, array(m.squeeze.weight)[:, x.order], array(m.squeeze.bias))])
        # Heads in the order a_c (as the input lies), a_f, a_s, then the kernels' logits.
        rows = np.concatenate([x.order, np.arange(c, 2 * c + 9)])
        hw, hb = array(m.heads.weight), array(m.heads.bias)
        a_c, a_f, a_s = g.split(g.op("Sigmoid", [g.gemm(z, hw[rows], hb[rows])]), [c, c, 9])
        a_w = g.op("Softmax", [g.gemm(z, hw[-3:], hb[-3:])], axis=1)
        write = self.static_sum if self.variant == "static-sum" else self.folded
        return Feature(write(x.name, bank, bias, a_c, a_f, a_s, a_w), np.arange(c))

    def folded(self, x: str, bank: np.ndarray, bias: np.ndarray, a_c: str, a_f: str, a_s: str, a_w: str) -> str:
        """One convolution with a run-time kernel.

        The bank is stored by own taps, [C*C, 15] = (3x3 | 1x3 | 3x1), and spread to the 9 taps by one small product with
        ``sum_k a_w,k P_k`` scaled by a_s.
        """
        g, c = self.g, len(bias)
        spread = np.zeros((3, 15, 9))
        spread[OWN_KERNEL, range(15), OWN_TAPS] = 1
        mix = g.op("Mul", [g.reshape(g.op("MatMul", [a_w, g.constant(spread.reshape(3, -1))]), [15, 9]), a_s])
        kernel = g.op("MatMul", [g.constant(bank.reshape(c * c, 15)), mix])
        io = g.op("Mul", [g.reshape(a_f, [c, 1]), a_c])
        kernel = g.op("Mul", [kernel, g.reshape(io, [c * c, 1])])
        return g.conv(x, g.reshape(kernel, [c, c, 3, 3]), bias, pad=1)

    def static_sum(self, x: str, bank: np.ndarray, bias: np.ndarray, a_c: str, a_f: str, a_s: str, a_w: str) -> str:
        """The same function with constant kernels: attentions scale activations, never weights.

        ``y = a_f . sum_t shift_t( sum_k B_(k,t) (a_w,k a_s,t a_c . x) )``: a constant 1x1 convolution for each of the 15 own
        taps (k, t), the sum of a place t shifted there. 15 C^2 + 24 C multiply-accumulates a pixel (folded: 9 C^2). No sum
        of constant kernels weighted by scalars needs fewer than 15 C^2: the 15 products a_w,k a_s,t are linearly
        independent functions, so place t takes as many C x C matrices as kernels cover it (4 corners 1, 4 arms 2, centre 3).
        Shifting after the 1x1 convolutions, not before, keeps 9 C instead of 15 C channels moving, and needs no Concat.
        """
        g, c = self.g, len(bias)
        kernels, taps = np.zeros((3, 15)), np.zeros((9, 15))
        kernels[OWN_KERNEL, range(15)], taps[OWN_TAPS, range(15)] = 1, 1
        own = g.op("Mul", [g.op("MatMul", [a_w, g.constant(kernels)]), g.op("MatMul", [a_s, g.constant(taps)])])
        scales = g.split(g.reshape(g.op("Mul", [g.reshape(own, [15, 1]), a_c]), [1, 15 * c, 1, 1]), [c] * 15)
        total = None
        for t in range(9):
            place = None
            for k in np.flatnonzero(OWN_TAPS == t):
                weight = g.constant(bank[:, :, k].reshape(c, c, 1, 1))
                part = g.op("Conv", [g.op("Mul", [x, scales[k]]), weight])
                place = part if place is None else g.op("Add", [place, part])
            place = g.shift(place, c, t // 3 - 1, t % 3 - 1)
            total = place if total is None else g.op("Add", [total, place])
        total = g.op("Mul", [total, g.reshape(a_f, [1, c, 1, 1])])
        return g.op("Add", [total, g.constant(bias.reshape(1, c, 1, 1))])

    def halves(self, x: Feature) -> tuple[Feature, Feature]:
        """(first half, second half) of the network's channels of ``x``, in whatever order they lie."""
        c = len(x.order)
        runs: list[tuple[bool, int]] = []
        for first in x.order < c // 2:
            if runs and runs[-1][0] == first:
                runs[-1] = (first, runs[-1][1] + 1)
            else:
                runs.append((bool(first), 1))
        parts = self.g.split(x.name, [n for _, n in runs])
        out = []
        for wanted in (True, False):
            names = [p for p, (first, _) in zip(parts, runs) if first == wanted]
            order = x.order[(x.order < c // 2) == wanted] - (0 if wanted else c // 2)
            out.append(Feature(names[0] if len(names) == 1 else self.g.op("Concat", names, axis=1), order))
        return out[0], out[1]

    def afd(self, x: Feature, m: AFDUnit) -> Feature:
        keep, work = self.halves(x)
        work = self.relu(self.conv_bn(self.relu(self.aod(work, m.od)), m.mix))
        # Shuffle: channel i of the kept half becomes 2i, of the other 2i + 1. Only the bookkeeping moves.
        order = np.concatenate([2 * keep.order, 2 * work.order + 1])
        return Feature(self.g.op("Concat", [keep.name, work.name], axis=1), order)

    def down(self, x: Feature, m: Down, out_order: np.ndarray | None = None) -> Feature:
        for step in m.depthwise:
            x = self.conv_bn(x, step)
        return self.conv_bn(x, m.point, out_order)

    def up(self, x: Feature, m: Up, out_order: np.ndarray) -> Feature:
        low = self.conv_bn(x, m.point, out_order)
        scales = self.g.constant(np.array([1, 1, m.factor, m.factor], np.float32), np.float32)
        name = self.g.op("Resize", [low.name, "", scales], mode="linear", coordinate_transformation_mode="half_pixel")
        return Feature(name, low.order)

    def fuse(self, xs: list[Feature], m: CrossFusion) -> list[Feature]:
        g, ys = self.g, []
        for i in range(m.outputs):
            order = xs[i].order
            y, semantics = xs[i].name, None
            for j, x in enumerate(xs):
                if j < i:
                    y = g.op("Add", [y, self.down(x, m.paths[f"{j}to{i}"], order).name])
                elif j > i:
                    t = self.up(x, m.paths[f"{j}to{i}"], order).name
                    semantics = t if semantics is None else g.op("Add", [semantics, t])
            if semantics is not None:
                if str(i) in m.gates:
                    gate = m.gates[str(i)]
                    logit = g.conv(xs[i].name, array(gate.weight)[:, order], array(gate.bias))
                    semantics = g.op("Mul", [semantics, g.op("Sigmoid", [logit])])
                y = g.op("Add", [y, semantics])
            ys.append(self.relu(Feature(y, order)))
        return ys

    def build(self, height: int | str, width: int | str) -> onnx.ModelProto:
        """The graph for one image size (multiples of 8), or for any (names of free dimensions)."""
        m, g = self.model, self.g
        x = g.op("Cast", ["image"], to=TensorProto.FLOAT16) if g.half else "image"
        w, b = fold_bn(array(m.stem[0].weight), m.stem[1])
        xs = [self.relu(Feature(g.conv(x, w, b, 2, 2), np.arange(len(b))))]
        for s in range(3):
            if s > 0:
                xs.append(self.relu(self.down(xs[-1], m.transitions[s - 1])))
            for r in range(len(xs)):
                for unit in m.stages[s][r]:
                    xs[r] = self.afd(xs[r], unit)
            if s == 1 and m.config.fusion:
                xs = self.fuse(xs, m.fusions[0])
        y = self.fuse(xs, m.fusions[1])[0]
        y = self.relu(self.conv_bn(self.conv_bn(y, m.smooth[0]), m.smooth[1])).name
        if g.half:
            # The last head stays in float32: near one, float16 steps by 5e-4, and strong neighbours would tie.
            y = g.op("Cast", [y], to=TensorProto.FLOAT)
            g.half = False
        hw, hb = array(m.head.weight), array(m.head.bias)
        g.op("Sigmoid", [g.conv(y, hw[:1], hb[:1])], name="heat")
        bounds = [g.constant(np.array(v), np.float32) for v in LOGSIG_RANGE]
        g.op("Clip", [g.conv(y, hw[1:], hb[1:]), *bounds], name="logsig")
        model = g.model(height, width)
        onnx.checker.check_model(model, full_check=True)
        return model
