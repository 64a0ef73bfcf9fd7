#!/usr/bin/env bash
# Train a small network on MiniTown: bash sample_scripts/train.sh [options of tools/train.py]
# Makes the data first where they are missing (12 scenes, 3.5 minutes). SCENES=2 makes fewer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash setup.sh
python=${VENV:-.venv}/bin/python
if [[ ! -f data/minitown/minitown_infos_train.pkl ]]; then
  "$python" tools/create_data.py minitown --root-path data/minitown --scenes "${SCENES:-12}" --workers 2
fi
"$python" tools/train.py projects/DistillNeRF/configs/model_wrapper/model_wrapper_minitown.py "$@"
