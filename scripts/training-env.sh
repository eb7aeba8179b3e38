#!/usr/bin/env bash
# Makes the Python environment of the training package, models/training/.venv, once for each state of pyproject.toml.
set -euo pipefail
cd "$(dirname "$0")/../models/training"
stamp=".venv/installed-$(sha256sum pyproject.toml | cut -c1-12)"
[ -e "$stamp" ] && exit 0
if ! python3 -m venv .venv >/dev/null 2>&1; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o DPkg::Lock::Timeout=120 --no-install-recommends python3-venv >/dev/null
    python3 -m venv .venv
  else
    echo "training-env: Python cannot make environments here. Run: sudo apt-get install python3-venv" >&2
    exit 1
  fi
fi
echo "training-env: installing PyTorch, ONNX and friends into models/training/.venv" >&2
# One retry: fail soon where there is no index.
if ! .venv/bin/pip install --quiet --disable-pip-version-check --retries 1 --prefer-binary -e . >.venv/pip.log 2>&1; then
  tail -n 20 .venv/pip.log >&2
  echo "training-env: pip could not install the packages named in models/training/pyproject.toml" >&2
  exit 1
fi
touch "$stamp"
