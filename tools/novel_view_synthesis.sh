#!/usr/bin/env bash
# The whole left-right path of one scene as a video, with one load of the model and one look at the scene:
#   . tools/novel_view_synthesis.sh [CONFIG] [CKPT] [OUT.mp4] [options of tools/novel_view_synthesis.py]
# Paths are seen from the root of the repository. It may be sourced: all happens in a shell of its own.
(
  cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." || exit
  export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} # the code here, also if VENV belongs to another checkout
  config=${1:-projects/DistillNeRF/configs/model_wrapper/successor_minitown.py}
  trained=work_dirs/quickstart/last_checkpoint
  if [[ -f $trained ]]; then trained=$(<"$trained"); else trained=checkpoint/minitown.pth; fi
  checkpoint=${2:-$trained}
  video=${3:-work_dirs/novel_views/left_right.mp4}
  shift $(($# < 3 ? $# : 3))
  "${VENV:-.venv}/bin/python" tools/novel_view_synthesis.py "$config" "$checkpoint" \
    --trajectory left_right --video "$video" "$@"
)
