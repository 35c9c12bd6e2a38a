# What bench/gpu.sh and bench/gpu-recipe.sh do first on a machine that has a GPU. They source it, with `folder` set.
# It lays what FOLDER, FOLDER-2 and so on hold in `home`, which outlasts the call: the parts may come one by one.

home=${GPU_HOME:-${TMPDIR:-/tmp}/mixhead-gpu}
python=$(command -v "${PYTHON:-python3}")
seconds() { echo "== $1 (${SECONDS} s)"; }

seconds "what is missing here"
mkdir -p "$home/bin" "$home/site" "$home/kit"
export PATH="$home/bin:$PATH" PYTHONPATH="$home/site" PYTHONUNBUFFERED=1
missing() { ! "$python" -c "import $1" 2>/dev/null; }
if [[ -d $folder ]]; then
  wheels=()
  missing zmq && wheels+=("$folder"/wheels/pyzmq-*.whl)
  missing msgspec && wheels+=("$folder"/wheels/msgspec-*.whl)
  missing lightly && wheels+=("$folder"/wheels/lightly-*.whl)
  if [[ ${#wheels[@]} -gt 0 ]]; then
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$home/site" "${wheels[@]}" || exit 1
  fi
  if [[ ! -x $home/bin/node ]]; then
    "$python" -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), open(sys.argv[2], "wb"))' \
      "$folder"/node-*.xz "$home/node" && chmod +x "$home/node" && mv "$home/node" "$home/bin/node" || exit 1
  fi
  # Two folders below python_env, where the bundle looks for it.
  rm -rf "$home/kit/js" && cp -r "$folder/js" "$folder/revision" "$home/kit" || exit 1
fi
[[ -d $home/kit/js ]] || { echo "$folder is missing: bench/gpu-pack.sh makes it" >&2; exit 2; }
"$python" bench/gpu_data.py unpack "$folder" "$home/data/cifar10" || exit 1
# As a wheel installs it: the package, and the plugin's bundle in it.
rm -rf "$home/site/mixhead" "$home/site/tests" "$home/python_env"
cp -r python_env/mixhead python_env/tests "$home/site" && rm -rf "$home/site/mixhead/_plugin" && cp -r "$home/kit/js" "$home/site/mixhead/_plugin" || exit 1
ln -s "$home/site" "$home/python_env"
cp package.json "$home"

export MIXHEAD_PYTHON="$python" MIXHEAD_DATA="$home/data" MIXHEAD_REVISION="$(cat "$home/kit/revision")"
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null
