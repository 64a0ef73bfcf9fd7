#!/usr/bin/env bash
# Fly through MiniTown in the browser, with the network that comes with the repository: sets up and makes a scene where they
# are missing (a minute).  bash sample_scripts/viewer.sh [CKPT] [options of tools/viewer.py]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} # the code here, also if VENV belongs to another checkout

bash setup.sh
python=${VENV:-.venv}/bin/python
checkpoint=${1:-checkpoint/minitown.pth}
shift $(($# > 0 ? 1 : 0))
root=data/minitown scene=()
if [[ ! -f $root/minitown_infos_val.pkl ]]; then
  root=data/small/minitown # apart, so that it is not in the way of a whole town
  scene=(--scenes 2 --keyframes 3 --seed 77) # not a seed of the training town
fi
# What is there is checked, and made again where it is not whole.
"$python" tools/create_data.py minitown --root-path "$root" --workers 2 "${scene[@]}"
exec "$python" tools/viewer.py projects/DistillNeRF/configs/model_wrapper/successor_minitown.py "$checkpoint" "$@" \
  --cfg-options test_dataloader.dataset.data_root="$root"
