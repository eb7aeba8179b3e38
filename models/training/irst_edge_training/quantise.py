"""8-bit build of a frozen graph (QuantizeLinear/DequantizeLinear pairs), an experiment: nothing shipped uses it."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx


FRAMES = 16
"""Calibration frames that are used: the calibrator holds every activation of all of them in memory, 100 MB a frame at 256x256."""


def quantise(model: onnx.ModelProto, frames: Sequence[np.ndarray], method: str = "Percentile") -> onnx.ModelProto:
    """Static 8-bit quantisation of convolutions, per-channel int8 weights and uint8 activations.

    ``frames``: normalised calibration frames [H, W], all of one size, the graph's; ``FRAMES`` spread over them are used. The two heads (last convolutions) and the
    stem, whose input is wide-ranged, stay in float32. ``method``: MinMax, Entropy or Percentile.

    Processors without VNNI add pairs of products in 16 bits, where these saturate
    (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html): the graph is right there only without the optimiser.
    """
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

    used = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))]

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(used)

        def get_next(self):
            z = next(self.left, None)
            return None if z is None else {"image": z[None, None]}

    # Unnamed nodes cannot be excluded.
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for i, node in enumerate(named.graph.node):
        node.name = node.name or f"{node.op_type}_{i}"
    convolutions = [n for n in named.graph.node if n.op_type == "Conv"]
    outputs = {i for n in named.graph.node for o in n.output if o in ("heat", "logsig") for i in n.input}
    keep = [n.name for n in convolutions if n.input[0] == "image" or n.output[0] in outputs]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(named, source)
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)
        try:
            # It prints its progress.
            with contextlib.redirect_stdout(io.StringIO()):
                quantize_static(
                    source,
                    target,
                    Reader(),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    nodes_to_exclude=keep,
                    calibrate_method=CalibrationMethod[method],
                )
        finally:
            logging.getLogger().setLevel(level)
        return onnx.load(target)
