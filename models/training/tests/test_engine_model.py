"""The model that wraps a TensorRT engine, written by the runtime in TypeScript, passes the checker of ONNX."""

import subprocess
import unittest

import onnx

from .common import ROOT

WRITE = """
import { epContextModel } from './dist/detect/ep-context.js';
const engine = Buffer.from('\\0engine\\xff', 'latin1');
process.stdout.write(epContextModel({ engine, width: 320, height: 256, stride: 2, computeCapability: '8.7' }));
"""
"""Runs on what ``npm run build`` made."""


class EngineModel(unittest.TestCase):
    def test_the_checker_accepts_it(self):
        written = subprocess.run(["node", "--input-type=module", "-e", WRITE], cwd=ROOT, check=True, capture_output=True)
        model = onnx.load_from_string(written.stdout)
        onnx.checker.check_model(model)
        (node,) = model.graph.node
        self.assertEqual((node.op_type, node.domain), ("EPContext", "com.microsoft"))
        engine = {a.name: a for a in node.attribute}["ep_cache_context"]
        self.assertEqual(engine.s, b"\0engine\xff")
