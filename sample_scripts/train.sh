#!/usr/bin/env bash
# Train a small network on MiniTown: bash sample_scripts/train.sh [options of tools/train.py]
# Makes the data first, or what is missing or damaged of them (12 scenes, 3.5 minutes). SCENES=2 makes fewer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} # the code here, also if VENV belongs to another checkout

bash setup.sh
python=${VENV:-.venv}/bin/python
scenes=()
if [[ -n ${SCENES:-} || ! -f data/minitown/minitown.json ]]; then
  scenes=(--scenes "${SCENES:-12}")
fi
"$python" tools/create_data.py minitown --root-path data/minitown --workers 2 "${scenes[@]}"
"$python" tools/train.py projects/DistillNeRF/configs/model_wrapper/successor_minitown.py "$@"
