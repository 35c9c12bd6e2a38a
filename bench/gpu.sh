#!/usr/bin/env bash
# bench/gpu.sh [FOLDER]: the CUDA tests and the figures on a machine that has a GPU, Python with PyTorch, and nothing else
# of ours: FOLDER (default .gpu) is what bench/gpu-pack.sh has made. Prints the tables last, and leaves them with the
# results in OUT (default build/gpu). DEVICE=cpu QUICK=1 tries the script itself where there is no GPU.
set -uo pipefail
cd "$(dirname "$0")/.."

folder=${1:-.gpu}
device=${DEVICE:-cuda}
out=${OUT:-build/gpu}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
python=$(command -v "${PYTHON:-python3}")
seconds() { echo "== $1 (${SECONDS} s)"; }

seconds "what is missing here"
mkdir -p "$out/results" "$site/bin"
missing() { ! "$python" -c "import $1" 2>/dev/null; }
wheels=()
missing zmq && wheels+=("$folder"/wheels/pyzmq-*.whl)
missing lightly && wheels+=("$folder"/wheels/lightly-*.whl)
if [[ ${#wheels[@]} -gt 0 ]]; then
  "$python" -m pip install --quiet --no-index --no-deps --no-cache-dir --target "$site" "${wheels[@]}" || exit 1
fi
"$python" -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), open(sys.argv[2], "wb"))' \
  "$folder"/node-*.xz "$site/bin/node" && chmod +x "$site/bin/node" || exit 1
"$python" bench/gpu_data.py unpack "$folder/data" "$site/data/cifar10" || exit 1
# As a wheel installs it: the package, and the plugin's bundle in it.
cp -r python_env/mixhead python_env/tests "$site"/
rm -rf "$site/mixhead/_plugin" && cp -r "$folder/js" "$site/mixhead/_plugin"

export PATH="$site/bin:$PATH" PYTHONPATH="$site" PYTHONUNBUFFERED=1
export MIXHEAD_PYTHON="$python" MIXHEAD_DATA="$site/data" MIXHEAD_REVISION="$(cat "$folder/revision")"
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null

status=0
seconds "tests"
tests=$(cd "$site" && find tests -name 'test_cuda*.py')
(cd "$site" && timeout "${TEST_SECONDS:-110}" "$python" -m pytest -q -p no:cacheprovider $tests) 2>&1 | tee "$out/tests.log" | tail -15
[[ ${PIPESTATUS[0]} -eq 0 ]] || status=1

figure() { # NAME SECONDS
  seconds "$1"
  timeout "$2" node "$folder/js/bench.mjs" "$1" --device "$device" --out "$out/results" ${QUICK:+--quick} >> "$out/tables.txt"
  [[ $? -eq 0 ]] || { echo "$1 failed, or took longer than $2 s" | tee -a "$out/tables.txt"; status=1; }
}
: > "$out/tables.txt"
for each in ${FIGURES:-train:110 head:60 em:60 wire:20 memory:40 peak:30}; do figure "${each%:*}" "${each#*:}"; done

seconds "done"
tar -czf "$out/results.tar.gz" -C "$out" results && rm -r "$out/results"
cat "$out/tables.txt"
exit $status
