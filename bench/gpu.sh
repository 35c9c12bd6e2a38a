#!/usr/bin/env bash
# bench/gpu.sh [FOLDER]: the CUDA tests and the figures on a machine that has a GPU, Python with PyTorch, and nothing else
# of ours: FOLDER (default .gpu) is what bench/gpu-pack.sh has made. Prints the tables last, and leaves them with the
# results in OUT (default build/gpu). DEVICE=cpu QUICK=1 PATIENCE=5 tries the script itself where there is no GPU.
set -uo pipefail
cd "$(dirname "$0")/.."

folder=${1:-.gpu}
device=${DEVICE:-cuda}
out=${OUT:-build/gpu}
mkdir -p "$out/results"
# shellcheck source=bench/gpu-setup.sh
source bench/gpu-setup.sh

status=0
bench() { # NAME SECONDS
  timeout $(($2 * ${PATIENCE:-1})) node "$folder/js/bench.mjs" "$1" --device "$device" --out "$out/results" ${QUICK:+--quick} > "$out/$1.txt" ||
    { echo "$1 failed, or took longer than $2 s" | tee -a "$out/$1.txt"; return 1; }
}

# What is not timed goes on at once, and so do quick looks: they compile what the figures will run.
seconds "tests; wire, memory, peak; programs are compiled"
tests=$(cd "$home/site" && find tests -name 'test_cuda*.py')
(cd "$home/site" && timeout "${TEST_SECONDS:-110}" "$python" -m pytest -q -p no:cacheprovider $tests) > "$out/tests.log" 2>&1 &
jobs=($!)
for name in ${UNTIMED:-wire memory peak}; do bench "$name" 100 & jobs+=($!); done
for name in em head; do
  timeout "${TEST_SECONDS:-110}" node "$folder/js/bench.mjs" "$name" --device "$device" --out "$home/quick" --quick > "$out/quick-$name.txt" 2>&1 &
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
