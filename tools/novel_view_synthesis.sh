#!/usr/bin/env bash
# The whole left-right path of one scene as a video: . tools/novel_view_synthesis.sh [CONFIG] [CKPT] [OUT.mp4]
config=${1:-projects/DistillNeRF/configs/model_wrapper/model_wrapper_minitown.py}
checkpoint=${2:-$(cat work_dirs/quickstart/last_checkpoint)}
video=${3:-work_dirs/novel_views/left_right.mp4}
.venv/bin/python tools/novel_view_synthesis.py "$config" "$checkpoint" --trajectory left_right --video "$video"
