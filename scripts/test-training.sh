#!/usr/bin/env bash
# The tests of the training package, in its own Python environment. Arguments go to unittest.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/training-env.sh
cd models/training
# One thread: the tests share two cores with whatever else runs, and OpenMP threads that wait for each other only spin.
OMP_NUM_THREADS=1 exec .venv/bin/python -m unittest "$@"
