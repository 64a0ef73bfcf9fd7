#!/usr/bin/env bash
# What a trained model sees: panels with features and voxels, voxels as web pages and PLY files, a video of novel views.
# bash sample_scripts/visualize_model.sh CKPT [CONFIG]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} # the code here, also if VENV belongs to another checkout

checkpoint=${1:?usage: bash sample_scripts/visualize_model.sh CKPT [CONFIG]}
config=${2:-projects/DistillNeRF/configs/model_wrapper/successor_minitown.py}
python=${VENV:-.venv}/bin/python
"$python" tools/visualization.py "$config" "$checkpoint" \
  --cfg-options model.visualize_imgs=True model.visualize_foundation_model_feat=True \
  model.visualize_voxels=True model.vis_save_directory=work_dirs/visualize_model
"$python" tools/novel_view_synthesis.py "$config" "$checkpoint" \
  --trajectory left_right --video work_dirs/visualize_model/left_right.mp4
