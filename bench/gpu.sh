#!/usr/bin/env bash
# bench/gpu.sh [FOLDER]: the CUDA tests and the figures on a machine that has a GPU, Python with PyTorch, and nothing else
# of ours: FOLDER (default .gpu) is what bench/gpu-pack.sh has made. Prints the tables last, and leaves them with the
# results in OUT (default build/gpu). DEVICE=cpu QUICK=1 PATIENCE=5 tries the script itself where there is no GPU.
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
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" "${wheels[@]}" || exit 1
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
bench() { # NAME SECONDS
  timeout $(($2 * ${PATIENCE:-1})) node "$folder/js/bench.mjs" "$1" --device "$device" --out "$out/results" ${QUICK:+--quick} > "$out/$1.txt" ||
    { echo "$1 failed, or took longer than $2 s" | tee -a "$out/$1.txt"; return 1; }
}

# What is not timed goes on at once, and so do quick looks: they compile what the figures will run.
seconds "tests; wire, memory, peak; programs are compiled"
tests=$(cd "$site" && find tests -name 'test_cuda*.py')
(cd "$site" && timeout "${TEST_SECONDS:-110}" "$python" -m pytest -q -p no:cacheprovider $tests) > "$out/tests.log" 2>&1 &
jobs=($!)
for name in ${UNTIMED:-wire memory peak}; do bench "$name" 100 & jobs+=($!); done
for name in em head; do
  timeout "${TEST_SECONDS:-110}" node "$folder/js/bench.mjs" "$name" --device "$device" --out "$site/quick" --quick > "$out/quick-$name.txt" 2>&1 &
  jobs+=($!)
done
for job in "${jobs[@]}"; do wait "$job" || status=1; done
tail -15 "$out/tests.log"

for each in ${FIGURES:-em:80 head:60 train:120}; do
  seconds "$each"
  bench "${each%:*}" "${each#*:}" || status=1
done

seconds "done"
tar -czf "$out/results.tar.gz" -C "$out" results && rm -r "$out/results"
for name in train head em wire memory peak; do [[ -f $out/$name.txt ]] && cat "$out/$name.txt" && rm "$out/$name.txt"; done | tee "$out/tables.txt"
exit $status
