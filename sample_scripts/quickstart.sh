#!/usr/bin/env bash
# Everything once, on a fresh machine: setup, first pictures by the network that comes with the repository (a minute),
# MiniTown, training, evaluation on scenes never trained on, pictures, a video. Results go to work_dirs/quickstart/. What
# is there already (first look, data, training) is not made again.
#   bash sample_scripts/quickstart.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} # the code here, also if VENV belongs to another checkout

scenes=12
out=work_dirs/quickstart
config=projects/DistillNeRF/configs/model_wrapper/successor_minitown.py
step() { printf '\n[quickstart %s] %s\n' "$(date +%H:%M:%S)" "$*"; }

step '1/6 setup'
bash setup.sh
python=${VENV:-.venv}/bin/python

step '2/6 first look: checkpoint/minitown.pth on a scene that it was never trained on'
shipped=checkpoint/minitown.pth town=data/first_look/minitown look=$out/first_look
panel=$look/panel_000.png voxels=$look/voxels_000/rgb.html video=$look/left_right.mp4
first_look() (
  # On a busy machine threads that wait for each other make a picture many times slower than one thread does.
  export OMP_NUM_THREADS=1
  scene=(--cfg-options "test_dataloader.dataset.data_root=$town")
  # The checkpoint was trained on the town of seed 0 (docs/RESULTS.md).
  "$python" tools/create_data.py minitown --root-path "$town" --scenes 2 --keyframes 2 --seed 77 --workers 2
  "$python" tools/visualization.py "$config" "$shipped" --samples 1 "${scene[@]}" model.visualize_imgs=True \
    model.visualize_voxels=True model.save_visualized_imgs=False model.vis_save_directory="$look"
  "$python" tools/novel_view_synthesis.py "$config" "$shipped" --video "$video" "${scene[@]}"
)
# The video is made last, and made again when another checkpoint came.
[[ -f $panel && -f $voxels && $video -nt $shipped ]] || first_look
printf '\nLook at:\n'
ls -1 "$panel" "$voxels" "$video"

step "3/6 data: MiniTown, $scenes scenes"
begin=$SECONDS
"$python" tools/create_data.py minitown --root-path data/minitown --scenes "$scenes" --seed 0 --workers "$(nproc)"
# How long that took tells how fast the machine is: a slow one trains for fewer steps, so that all of this ends within 19
# minutes. Where data takes 7 minutes, a step takes a 241st to 320th of that, all but the training 1.47 times as long.
# The number is kept for a run that goes on.
if [[ ! -s $out/steps ]]; then
  spent=$((SECONDS - begin + 1))
  steps=$(((114000 - 147 * spent) * 235 / (100 * spent)))
  steps=$((steps > 900 ? 900 : steps < 250 ? 250 : steps))
  mkdir -p "$out" && echo "$steps" >"$out/steps"
fi
steps=$(<"$out/steps")

step "4/6 training, $steps steps (goes on where an interrupted run stopped)"
# On a CPU a training step is thousands of short parallel loops: threads that wait awake save time.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-ACTIVE}
"$python" tools/train.py "$config" --work-dir "$out" --seed 0 --resume --cfg-options train_cfg.max_iters="$steps"
checkpoint=$(<"$out/last_checkpoint")

step '5/6 evaluation on scenes never trained on, beside three baselines'
"$python" tools/test.py "$config" "$checkpoint" --baselines --work-dir "$out/test" --out "$out/results.json" |
  tee "$out/results.txt"

step '6/6 pictures and a video of novel views'
"$python" tools/visualization.py "$config" "$checkpoint" \
  --cfg-options model.visualize_imgs=True model.vis_save_directory="$out/panels"
"$python" tools/novel_view_synthesis.py "$config" "$checkpoint" --video "$out/left_right.mp4"

step 'done; figures of scenes never trained on:'
sed -n '/^metric/,$p' "$out/results.txt" |
  grep -E '^(metric|---|psnr |ssim |next/psnr |next/ssim |holes |abs_rel |rmse |a1 |lidar/abs_rel )'
echo "(all figures: $out/results.json)"
printf '\nLook at:\n'
ls -1 "$out"/panels/panel_*.png "$out"/left_right.mp4 "$out"/results.json "$checkpoint"
