#!/usr/bin/env bash
# bench/gpu-recipe.sh [CONFIG PLAN]: trains what PLAN says on a machine that has a GPU, Python with PyTorch, and nothing
# else of ours, JOBS (default 12) at a time, until LIMIT seconds (default 540) have passed since it began; where they pass,
# what is under way is stopped at a checkpoint, and the next call goes on from there if it finds the machine as it was.
# FOLDER (default .gpu) and its further parts are what bench/gpu-pack.sh has made; without CONFIG and PLAN the script only
# takes in what came along. Prints a table last, and leaves what it is made of in OUT/runs.tar.gz (default build/gpu).
#
# A line of PLAN: NAME SEED [KEY=VALUE ...], settings over CONFIG; # begins a comment. The longest runs come first.
set -uo pipefail
cd "$(dirname "$0")/.."

folder=${FOLDER:-.gpu}
out=$(realpath -m "${OUT:-build/gpu}")
mkdir -p "$out"
# shellcheck source=bench/gpu-setup.sh
source bench/gpu-setup.sh

seconds "everything is in place"
[[ $# -gt 0 ]] || exit 0
[[ $# -eq 2 ]] || { echo "usage: bench/gpu-recipe.sh [CONFIG PLAN]" >&2; exit 2; }
[[ ! -s $home/data/cifar10/missing ]] ||
  { echo "images are still to come ($(head -1 "$home/data/cifar10/missing") is the first): call with the other parts" >&2; exit 2; }
config=$(realpath "$1") plan=$(realpath "$2")
mkdir -p "$home/recipe"
cd "$home/recipe"

# A core is a training's: more threads would only wait for each other.
export OMP_NUM_THREADS=1
"$python" "$OLDPWD/bench/gpu_runs.py" "$plan" --jobs "${JOBS:-12}" --limit $((${LIMIT:-540} - SECONDS)) -- \
  node "$home/kit/js/mixhead.mjs" train "$config" "device=${DEVICE:-cuda}"
status=$?
[[ -d runs ]] || exit $status

seconds "done"
find runs -name '*.log' -o -name metrics.jsonl -o -name summary.json -o -name config.yaml -o -name evaluation.json |
  tar -czf "$out/runs.tar.gz" -T -
node "$home/kit/js/recipe-table.mjs" runs "$(awk '!/^ *(#|$)/ { print $1; exit }' "$plan")" | tee "$out/table.txt"
exit $status
