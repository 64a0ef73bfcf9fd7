#!/usr/bin/env bash
# Installs everything that this project needs into a virtual environment. Run it again at any time: it does
# nothing (in well under a second) when the environment is complete, and repairs it when it is not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly SUPPORTED_PYTHON='3.11 3.12 3.10' # in order of preference; the lock was tested with the first
readonly NEED_GB_CPU=4 NEED_GB_CUDA=12 NEED_GB_OPS=2
readonly MMCV_WITH_OPS_VERSION=2.1.0

usage() {
  cat <<'TEXT'
Usage: bash setup.sh [options]

Installs the project's requirements into .venv. Exact tested versions (requirements/lock.txt) on Python 3.11 and
3.12, the ranges of requirements/*.txt on Python 3.10. Options are remembered: a later plain `bash setup.sh` keeps them.

  --with-ops          build mmcv's compiled operators (needs g++ and Python's headers; minutes to half an hour).
                      Without it mmcv-lite is installed, whose operators raise an error when called;
                      DistillNeRF itself calls none of them
  --torch-index URL   extra package index to take torch from, for instance the CPU wheel index named on pytorch.org:
                      without it PyPI's Linux build comes, with CUDA, 6 GB (also: environment variable TORCH_INDEX_URL)
  --no-lock           newest versions inside the ranges instead of the tested ones
  --python PATH       the Python (3.10 to 3.12) to make the environment with (default: the first of
                      python3.11, python3.12, python3.10, python3 that fits)
  --venv DIR          the environment's folder (default: .venv; also: environment variable VENV)
  -h, --help          this text

To start over or to undo an option, delete the environment's folder.
Exit code: 0 done, 1 a step failed (run it again), 2 wrong option or the machine lacks something.
TEXT
}

say() { printf '[setup] %s\n' "$*"; }
warn() { printf '[setup] WARNING: %s\n' "$*" >&2; }

die() { # message: for what the user can cure
  step=''
  printf '[setup] error: %s\n' "$1" >&2
  exit 2
}

scratch=''
step=''
on_exit() {
  local status=$?
  [[ -z $scratch ]] || rm -rf "$scratch"
  if [[ $status -ne 0 && -n $step ]]; then
    printf '[setup] error: stopped while %s (exit code %d); the reason is above. ' "$step" "$status" >&2
    printf 'Run the same command again: it repairs what is half-made.\n' >&2
    exit 1
  fi
}
trap on_exit EXIT
trap 'exit 130' INT TERM

begin() { # what the script does now, as a gerund
  step=$1
  say "$step ..."
}

parse_options() {
  venv=${VENV:-.venv}
  torch_index=${TORCH_INDEX_URL:-}
  python='' with_ops='' use_lock=''
  while [[ $# -gt 0 ]]; do
    case $1 in
      --with-ops) with_ops=yes ;;
      --no-lock) use_lock=no ;;
      --torch-index | --python | --venv)
        [[ -n ${2:-} ]] || die "$1 needs a value; see bash setup.sh --help"
        case $1 in
          --torch-index) torch_index=$2 ;;
          --python) python=$2 ;;
          --venv) venv=$2 ;;
        esac
        shift
        ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) die "unknown option $1; see bash setup.sh --help" ;;
    esac
    shift
  done
}

# ---- state: two small files in the environment. `wanted` is written before the work, `done` after it; they are
# ---- equal when the environment is complete. `wanted` without `done` is a first setup that did not finish.

remember_options() {
  local key value
  [[ -f $venv/.setup-wanted ]] || return 0
  while read -r key value; do
    case $key in
      ops) with_ops=${with_ops:-$value} ;;
      lock) use_lock=${use_lock:-$value} ;;
      torch-index) [[ $value == none ]] || torch_index=${torch_index:-$value} ;;
    esac
  done <"$venv/.setup-wanted"
}

wanted_state() {
  printf 'requirements %s\nlock %s\nops %s\ntorch-index %s\n' "$requirements_sum" "$use_lock" "${with_ops:-no}" "${torch_index:-none}"
}

is_complete() {
  [[ -x $venv/bin/python && -f $venv/.setup-done && $(<"$venv/.setup-done") == "$(wanted_state)" ]] &&
    project_is_installed
}

# ---- the editable installation: a file whose name has the version holds one line, the checkout that Python imports.

find_owner() { # the checkout that the environment lies in, else the one that is installed in it, else this one
  local file
  owner=$(dirname "$venv")
  is_checkout "$owner" && return
  for file in "$venv"/lib/python3.*/site-packages/__editable__.distillnerf-*.pth; do
    [[ -f $file ]] || continue
    owner=$(<"$file")
    is_checkout "$owner" && return
  done
  owner=$PWD
}

is_checkout() { [[ -f $1/setup.sh && -d $1/projects/DistillNeRF ]]; }

project_is_installed() { # or is not for this checkout to install
  local file
  [[ $owner -ef . ]] || return 0
  for file in "$venv"/lib/python3.*/site-packages/"__editable__.distillnerf-$version.pth"; do
    [[ -f $file && $(<"$file") -ef . ]] && return
  done
  return 1
}

install_project() {
  project_is_installed && return
  begin 'installing the project itself, editable'
  pip install --quiet --no-deps --no-build-isolation --editable .
}

warn_of_other_owner() {
  [[ $owner -ef . ]] ||
    warn "$venv belongs to the checkout $owner and imports its code; to use it here: export PYTHONPATH=$(printf %q "$PWD")"
}

python_minor() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

find_python() {
  local candidates=(python3.11 python3.12 python3.10 python3) candidate version found=''
  [[ -z $python ]] || candidates=("$python")
  for candidate in "${candidates[@]}"; do
    version=$(python_minor "$candidate") || continue
    found+=" $candidate=$version"
    [[ " $SUPPORTED_PYTHON " == *" $version "* ]] || continue
    if ! "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
      die "$candidate cannot make virtual environments; install its venv module (Debian, Ubuntu: apt-get install python$version-venv)"
    fi
    python=$candidate
    say "Python $version ($candidate)"
    return
  done
  [[ -z $python || -n $found ]] || die "--python $python: no such program, or it does not run"
  die "Python 3.10, 3.11 or 3.12 is needed, found:${found:- none}; install one or name it with --python PATH"
}

need_disk() { # gigabytes, what for
  local parent free_gb
  parent=$(dirname "$venv")
  mkdir -p "$parent"
  free_gb=$(($(df -Pk "$parent" | awk 'NR == 2 {print $4}') / 1024 / 1024))
  [[ $free_gb -ge $1 ]] || die "$2 needs about $1 GB, $parent has $free_gb GB free; make room or choose another place with --venv DIR"
  say "disk: $free_gb GB free, $2 needs about $1 GB"
}

has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi --list-gpus 2>/dev/null | grep -q '^GPU '; }

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

create_environment() {
  if [[ -d $venv && -n $(ls -A "$venv") && ! -f $venv/.setup-wanted ]]; then
    die "$venv exists and is not a virtual environment; delete it or choose another folder with --venv DIR"
  fi
  find_python
  need_disk "$NEED_GB_CPU" 'the environment'
  begin "making $venv"
  rm -rf "$venv"
  mkdir -p "$venv"
  wanted_state >"$venv/.setup-wanted"
  "$python" -m venv "$venv"
  # --report came with pip 22.2; Ubuntu 22.04 makes environments with an older one
  pip install --quiet 'pip>=23'
}

check_torch_build() { # a fresh environment only: asks pip which torch it would install, before gigabytes arrive
  local report
  begin 'asking pip which build of torch it would install'
  report=$(pip install --dry-run --quiet --report - "${from_index[@]}" "${constraints[@]}" -r requirements/core.txt)
  if grep -Eq '"name": "(nvidia|cuda)-' <<<"$report"; then
    say 'torch: build with CUDA'
    need_disk "$NEED_GB_CUDA" 'the environment with CUDA'
    if ! has_gpu; then
      warn 'no GPU is seen here; the CPU build is 5 GB smaller: --torch-index URL with the CPU wheel index named on pytorch.org'
    fi
  else
    say 'torch: build for the CPU'
    if has_gpu; then
      warn 'a GPU is here but pip would take a CPU build of torch; see what PIP_* variables, pip.conf or --torch-index point to'
    fi
  fi
}

install_requirements() {
  local quiet=()
  [[ -t 1 ]] || quiet=(--quiet)
  begin 'installing torch, libraries and test tools (1 of 2)'
  pip install "${quiet[@]}" "${from_index[@]}" "${constraints[@]}" -r requirements.txt
  begin 'installing OpenMMLab and dataset kits without their own dependencies (2 of 2)'
  if [[ ${with_ops:-no} == yes ]]; then
    scratch=$(mktemp -d)
    grep -v '^mmcv-lite' requirements/nodeps.txt >"$scratch/nodeps.txt"
    pip install "${quiet[@]}" "${constraints[@]}" --no-deps -r "$scratch/nodeps.txt"
    install_ops
  else
    pip install "${quiet[@]}" "${constraints[@]}" --no-deps -r requirements/nodeps.txt
  fi
}

install_ops() {
  local torch_build wheels
  torch_build=$("$venv/bin/python" -c 'import torch; print(torch.__version__)')
  wheels=$venv/mmcv-ops/torch-$torch_build # the operators fit exactly this torch
  if ! compgen -G "$wheels/*.whl" >/dev/null; then
    build_ops "$wheels"
  fi
  begin 'replacing mmcv-lite by mmcv with compiled operators'
  pip uninstall --quiet --yes mmcv-lite
  pip install --quiet --no-deps --force-reinstall "$wheels"/*.whl
}

build_ops() { # folder for the finished wheel
  local source include jobs
  command -v g++ >/dev/null || die '--with-ops needs a C++ compiler (Debian, Ubuntu: apt-get install g++)'
  include=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  [[ -f $include/Python.h ]] || die "--with-ops needs Python's headers, $include/Python.h is missing (Debian, Ubuntu: apt-get install python3-dev)"
  need_disk "$NEED_GB_OPS" 'building operators'
  jobs=${MAX_JOBS:-$(nproc)}

  begin "fetching mmcv $MMCV_WITH_OPS_VERSION to build its operators"
  # mmcv's setup.py imports pkg_resources, which setuptools 81 dropped: an older one, for the build alone
  pip install --quiet --no-deps --target "$scratch/tools" 'setuptools<81' wheel packaging ninja
  export PYTHONPATH=$scratch/tools PATH=$scratch/tools/bin:$PATH
  pip download --quiet --no-deps --no-build-isolation --no-binary mmcv --dest "$scratch" "mmcv==$MMCV_WITH_OPS_VERSION"
  tar -xzf "$scratch/mmcv-$MMCV_WITH_OPS_VERSION.tar.gz" -C "$scratch"
  source=$scratch/mmcv-$MMCV_WITH_OPS_VERSION

  export MMCV_WITH_OPS=1 MAX_JOBS=$jobs
  if has_gpu && command -v nvcc >/dev/null; then
    begin "building the operators for CUDA with $jobs jobs (may take half an hour)"
    export FORCE_CUDA=1
  else
    has_gpu && warn 'nvcc is not here: the operators are built for the CPU only'
    export FORCE_CUDA=0 CUDA_VISIBLE_DEVICES=''
    begin "building the operators for the CPU with $jobs jobs (5 to 35 minutes)"
    # Most of the time goes into torch's headers, once per file: compile them once, before. g++ takes the result
    # only under the very flags and definitions of the build; -w: torch's headers warn about C++17.
    local flags='-O1 -g0 -w -DNDEBUG' includes common=$source/mmcv/ops/csrc/common/pytorch_cpp_helper.hpp
    includes=$("$venv/bin/python" -c '
import sysconfig
from torch.utils.cpp_extension import include_paths
print(*(f"-I{path}" for path in [*include_paths(), sysconfig.get_path("include")]))')
    # shellcheck disable=SC2086 # several words in one string
    g++ -x c++-header $flags -fPIC $includes -DTORCH_API_INCLUDE_EXTENSION_H -DTORCH_EXTENSION_NAME=_ext -std=c++17 "$common" -o "$common.gch"
    export CFLAGS="$flags -include $common"
  fi
  pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$scratch/wheel" "$source"
  mkdir -p "$1"
  mv "$scratch"/wheel/mmcv-*.whl "$1"
  unset PYTHONPATH CFLAGS
}

check_environment() {
  begin 'checking that it all works together'
  local isolated=(-I) # neither PYTHONPATH nor the current folder: the project must be found where it is installed
  [[ $owner -ef . ]] || isolated=()
  PYTHONPATH=. "$venv/bin/python" "${isolated[@]}" - <<'PYTHON'
import logging
import sys
from importlib.metadata import distributions

# Each of these breaks others by being installed: see docs/INSTALL.md.
intruders = {d.name for d in distributions()} & {'torchvision', 'opencv-python', 'opencv-contrib-python'}
if intruders:
    sys.exit(f'{", ".join(sorted(intruders))} must not be in this environment: uninstall it (and, after an OpenCV, '
             'reinstall opencv-python-headless), or delete the environment; then run setup.sh again')

import cv2, mmdet, mmengine, nuscenes, torch, trimesh
from projects.DistillNeRF.utils.mmcv_ext import ensure_mmcv_ext

logging.disable(logging.WARNING)
ops = 'compiled' if ensure_mmcv_ext() else 'none (mmcv-lite; --with-ops builds them)'
import mmdet3d.models

device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else 'CPU'
print(f'[setup] torch {torch.__version__} on {device}; mmdet3d {mmdet3d.__version__}; mmcv operators: {ops}')
PYTHON
  if has_gpu && ! "$venv/bin/python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    warn 'a GPU is here but this torch cannot use it: everything will run on the CPU. Update the driver, or choose another build with --torch-index'
  fi
}

main() {
  parse_options "$@"
  requirements_sum=$(cat requirements.txt requirements/*.txt | cksum | tr ' ' '-')
  remember_options
  use_lock=${use_lock:-yes}
  version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
  find_owner
  if is_complete; then
    say "$venv is complete"
    warn_of_other_owner
    return
  fi
  # One setup at a time in one checkout, where the system has a lock to offer.
  if command -v flock >/dev/null; then
    exec 9<setup.sh
    flock --nonblock 9 || { say 'waiting for another setup to finish' && flock 9; }
    if is_complete; then
      say "$venv is complete"
      warn_of_other_owner
      return
    fi
  fi

  local fresh=no
  from_index=() constraints=()
  [[ -z $torch_index ]] || from_index=(--extra-index-url "$torch_index")
  if [[ ! -x $venv/bin/python || (-f $venv/.setup-wanted && ! -f $venv/.setup-done) ]]; then
    fresh=yes
    create_environment
  elif [[ -n $python && $(python_minor "$python") != "$(python_minor "$venv/bin/python")" ]]; then
    die "$venv is made with Python $(python_minor "$venv/bin/python"); delete it to change to $python"
  elif [[ -f $venv/.setup-done ]]; then
    say 'updating; pip may list conflicts of mm* and the dataset kits, which docs/INSTALL.md explains'
    wanted_state >"$venv/.setup-wanted"
  fi
  if [[ $use_lock == yes && $(python_minor "$venv/bin/python") == 3.10 ]]; then
    warn 'the locked versions need Python 3.11 or 3.12; installing the newest in the ranges for 3.10'
  elif [[ $use_lock == yes ]]; then
    constraints=(--constraint requirements/lock.txt)
  fi
  [[ $fresh == no ]] || check_torch_build
  install_requirements
  install_project
  check_environment
  wanted_state >"$venv/.setup-wanted"
  cp "$venv/.setup-wanted" "$venv/.setup-done"
  step=''
  say "done in $SECONDS s: $venv"
  warn_of_other_owner
}

main "$@"
