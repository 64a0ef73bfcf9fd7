#!/usr/bin/env bash
# Runs the tests, after setting up what is missing.
#   bash tests/run.sh [--slow] [pytest arguments]
# --slow adds the tests that train for minutes. Arguments go to pytest: paths, -k NAME, -x, -n 0 (one process), ...
# OMP_NUM_THREADS=2 runs fewer processes of more threads. --device cuda runs the tests of kernels on a GPU.
# The fuzz test takes --fuzz-seed N and --fuzz-count M.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-} in
  -h | --help)
    sed -n '2,6s/^# \{0,1\}//p' tests/run.sh
    exit 0
    ;;
esac

select=(-m 'not slow' --timeout 600)
arguments=()
for argument in "$@"; do
  if [[ $argument == --slow ]]; then
    select=(--timeout 3600)
  else
    arguments+=("$argument")
  fi
done

bash setup.sh

# Many small kernels run faster on one thread each. Processes times threads fill the cores: more threads than cores wait for
# each other, ten times as long.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# nproc answers OMP_NUM_THREADS where it is set.
cores=$(env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2)
processes=$(((cores < 4 ? cores : 4) / OMP_NUM_THREADS))
exec "${VENV:-.venv}/bin/python" -m pytest -q -p no:cacheprovider -n "$((processes > 0 ? processes : 1))" "${select[@]}" "${arguments[@]}"
