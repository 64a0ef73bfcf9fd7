#!/usr/bin/env bash
# Look at the data that a configuration trains on, before any training: images, LiDAR, teacher and true depth in one panel
# per sample, rendered rows from random weights. bash sample_scripts/inspect_images.sh [CONFIG] [options]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} # the code here, also if VENV belongs to another checkout

config=${1:-projects/DistillNeRF/configs/model_wrapper/successor_minitown.py}
shift || true
"${VENV:-.venv}/bin/python" tools/visualization.py "$config" None \
  --cfg-options model.visualize_imgs=True model.vis_save_directory=work_dirs/inspect_images "$@"
