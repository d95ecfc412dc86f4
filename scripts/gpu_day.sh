#!/usr/bin/env bash
# Everything that wants a GPU, in one command of at most ten minutes: the CUDA tests, then the measurements of
# benchmarks/gpu, one table at the end, and benchmarks/results/gpu_*.json. It needs no network: torch, timm and
# the rest of pyproject.toml's dependencies must be installed (pnag itself need not be).
#
#   scripts/gpu_day.sh --images ../shared/data/cifar10
#   scripts/gpu_day.sh --tiny                      # the same on a CPU, in a minute
#   scripts/gpu_day.sh --parts step,judging        # some of it
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
python=${PYTHON:-python3}
[ -z "${PYTHON:-}" ] && [ -x .venv/bin/python ] && python=.venv/bin/python
exec "$python" benchmarks/gpu/day.py "$@"
