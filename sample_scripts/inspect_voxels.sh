#!/usr/bin/env bash
# Look at the voxels of a scene: web pages, PLY files, maps from above and from every camera. Without a checkpoint these are
# the cells that an untrained network fills.  bash sample_scripts/inspect_voxels.sh [CKPT|None] [CONFIG] [options]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} # the code here, also if VENV belongs to another checkout

checkpoint=${1:-None}
config=${2:-projects/DistillNeRF/configs/model_wrapper/successor_minitown.py}
shift $(($# > 2 ? 2 : $#))
"${VENV:-.venv}/bin/python" tools/visualization.py "$config" "$checkpoint" --samples 1 \
  --cfg-options model.visualize_voxels=True model.vis_save_directory=work_dirs/inspect_voxels "$@"
