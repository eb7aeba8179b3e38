#!/usr/bin/env bash
# The tests of the training package, in its own Python environment. Arguments go to unittest.
# A test that is skipped fails the run, unless IRST_EDGE_ALLOW_SKIPS=1: what was never run must not look as if it had passed.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/training-env.sh
cd models/training
# One thread: the tests share two cores with whatever else runs, and OpenMP threads that wait for each other only spin.
OMP_NUM_THREADS=1 exec .venv/bin/python -c '
import os, sys, unittest

result = unittest.main(module=None, argv=["python -m unittest", *sys.argv[1:]], exit=False).result
for test, why in result.skipped:
    print(f"skipped: {test}: {why}", file=sys.stderr)
bad_skips = result.skipped and os.environ.get("IRST_EDGE_ALLOW_SKIPS") != "1"
if bad_skips:
    print("test-training: tests were skipped; IRST_EDGE_ALLOW_SKIPS=1 allows it", file=sys.stderr)
sys.exit(1 if bad_skips or not result.wasSuccessful() else 0)
' "$@"
