#!/usr/bin/env bash
# Everything once, on a fresh machine: setup, MiniTown, training, evaluation on scenes never trained on, pictures, a
# video. Results go to work_dirs/quickstart/. What is there already (data, training) is not made again.
#   bash sample_scripts/quickstart.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scenes=12
out=work_dirs/quickstart
config=projects/DistillNeRF/configs/model_wrapper/model_wrapper_minitown.py
step() { printf '\n[quickstart %s] %s\n' "$(date +%H:%M:%S)" "$*"; }

step '1/5 setup'
bash setup.sh
python=.venv/bin/python

step "2/5 data: MiniTown, $scenes scenes"
"$python" tools/create_data.py minitown --root-path data/minitown --scenes "$scenes" --seed 0 --workers "$(nproc)"

step '3/5 training (goes on where an interrupted run stopped)'
# On a CPU a training step is thousands of short parallel loops: threads that wait awake save time.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-ACTIVE}
"$python" tools/train.py "$config" --work-dir "$out" --seed 0 --resume
checkpoint=$(<"$out/last_checkpoint")

step '4/5 evaluation on scenes never trained on, beside three baselines'
"$python" tools/test.py "$config" "$checkpoint" --baselines --work-dir "$out/test" --out "$out/results.json" |
  tee "$out/results.txt"

step '5/5 pictures and a video of novel views'
"$python" tools/visualization.py "$config" "$checkpoint" \
  --cfg-options model.visualize_imgs=True model.vis_save_directory="$out/panels"
"$python" tools/novel_view_synthesis.py "$config" "$checkpoint" --video "$out/left_right.mp4"

step 'done; figures of scenes never trained on:'
sed -n '/^metric/,$p' "$out/results.txt" |
  grep -E '^(metric|---|psnr |ssim |next/psnr |abs_rel |rmse |a1 |lidar/abs_rel )'
echo "(all figures: $out/results.json)"
printf '\nLook at:\n'
ls -1 "$out"/panels/panel_*.png "$out"/left_right.mp4 "$out"/results.json "$checkpoint"
