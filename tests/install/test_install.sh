#!/usr/bin/env bash
# Installs the build to a fresh folder, builds tests/install against it, and runs both programs.
set -euo pipefail
source_dir=${ISOBIT_SOURCE_DIR:?} build_dir=${ISOBIT_BUILD_DIR:?}
if grep -qE '^CMAKE_CXX_FLAGS.*(-fsanitize|--coverage)' "$build_dir/CMakeCache.txt"; then
  echo "skipped: an instrumented library is not what users install"
  exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cmake --install "$build_dir" --prefix "$folder/prefix" >/dev/null
cmake -S "$source_dir/tests/install" -B "$folder/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CXX_COMPILER="${ISOBIT_CXX:?}" -DCMAKE_PREFIX_PATH="$folder/prefix" >/dev/null
cmake --build "$folder/build" >"$folder/log" || { cat "$folder/log"; exit 1; }
"$folder/build/consumer"

# A plugin needs its header alone.
"${CC:-cc}" -std=c99 -fsyntax-only -I "$folder/prefix/include/isobit" \
  "$source_dir/runtime/backends/plugin/examples/gemm_other_order.c"

# The headers must come from the installed copy.
if grep -rq "$source_dir" "$folder/prefix/lib"*/cmake; then
  echo "the installed package names the source folder" >&2
  exit 1
fi
if [ -n "${ISOBIT:-}" ]; then
  "$folder/prefix/bin/isobit" --version
  # Its models are those that were installed with it, wherever it is called.
  if grep -q "$source_dir" "$folder/prefix/bin/isobit"; then
    echo "the installed program names the source folder" >&2
    exit 1
  fi
  cd "$folder"
  ISOBIT_MODELS= "$folder/prefix/bin/isobit" model info default-7m >"$folder/info"
  grep -q "$folder/prefix/share/isobit/scenarios/models/default-7m" "$folder/info"
fi
