#!/usr/bin/env bash
# Queue a training: bash slurm_scripts/launch.sh NODES GPUS_PER_NODE CONFIG [options of tools/train.py]
# More options of sbatch (partition, account, time) go into SBATCH_OPTIONS.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if (($# < 3)); then
  sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
nodes=$1 gpus=$2
shift 2
[[ -f $1 ]] || { echo "$1: no such config" >&2; exit 2; }
mkdir -p work_dirs
read -ra more <<<"${SBATCH_OPTIONS:-}"
exec sbatch --nodes="$nodes" --gpus-per-node="$gpus" --ntasks-per-node="$gpus" "${more[@]}" slurm_scripts/train.sbatch "$@"
