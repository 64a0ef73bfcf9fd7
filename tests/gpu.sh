#!/usr/bin/env bash
# Checks and measures on a GPU all that needs one, in less than ten minutes; --device cpu tries it without.
# Options: --device cuda, --out FOLDER (gpu.json and gpu.md), --repetitions N.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=.venv/bin/python
[[ -x $python ]] || python=python3
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m verification.benchmark.gpu "$@"
