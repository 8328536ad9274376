#!/usr/bin/env bash
# Builds here what a bare GPU machine needs, and runs it there: conformance, then scenarios.
#
# Usage: ci/gpu/run.sh build            here: build-gpu/bin/ (programs that need libc and a driver)
#        ci/gpu/run.sh test [FILTER]    there, in the source folder: the GPU's conformance tests
#        ci/gpu/run.sh scenarios [FILE…]  there: scenarios on the GPU, none of its cells skipped
# INVAR_CUDA_ARCHITECTURES: what to compile for (90). Results are kept as text in $OUT, if set.
# Exit: 0 all passed; other than 0 when anything failed, or a GPU is there and the tests skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=${OUT:-build-gpu/out}
build=${INVAR_GPU_BUILD:-build-gpu/cmake}

archive() {
  # Where the distribution keeps a static library.
  "${CXX:-c++}" -print-file-name="lib$1.a"
}

build_here() {
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O2 -g0" \
    -DINVAR_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES="${INVAR_CUDA_ARCHITECTURES:-90}" \
    -DOPENSSL_USE_STATIC_LIBS=ON -DBoost_USE_STATIC_LIBS=ON -Dyaml-cpp_DIR="$PWD/ci/gpu/static" \
    -DSQLite3_LIBRARY="$(archive sqlite3)" -Dpkgcfg_lib_xxhash_xxhash="$(archive xxhash)" \
    -Dpkgcfg_lib_utf8proc_utf8proc="$(archive utf8proc)" \
    -DCMAKE_EXE_LINKER_FLAGS="-static-libstdc++ -static-libgcc"
  local targets
  targets=$(ninja -C "$build" -t targets all | grep EXECUTABLE |
    grep -oE '^(invar|tests/invar_conformance|tests/bench_cuda|tests/bench_ranks):' | tr -d ':')
  # shellcheck disable=SC2086
  ninja -C "$build" -j "${INVAR_JOBS:-$(nproc)}" $targets
  mkdir -p build-gpu/bin
  for target in $targets; do
    cp "$build/$target" build-gpu/bin/
    strip "build-gpu/bin/$(basename "$target")"
  done
  ls -l build-gpu/bin
}

test_there() {
  mkdir -p "$out"
  nvidia-smi --query-gpu=name,uuid,driver_version,ecc.mode.current,mig.mode.current,clocks.sm \
    --format=csv | tee "$out/gpu.txt"
  build-gpu/bin/invar_conformance --gtest_filter="${1:-*Gpu*}" --gtest_brief=1 2>&1 |
    tee "$out/conformance.txt"
  # Numbers of real ranks beyond the machine's GPUs skip with their number.
  if grep SKIPPED "$out/conformance.txt" | grep -qv RealRanksGpu; then
    echo "a GPU test was skipped on a machine that should have a GPU"
    return 1
  fi
}

scenarios_there() {
  mkdir -p "$out"
  export INVAR_MODELS=${INVAR_MODELS:-$PWD/scenarios/models}
  local failed=0
  for scenario in "$@"; do
    build-gpu/bin/invar check "$scenario" --require gpu --jobs 8 2>&1 |
      tee "$out/$(basename "$scenario" .yaml).txt" || failed=1
  done
  return "$failed"
}

case ${1:-} in
  build) build_here ;;
  test) test_there "${2:-}" ;;
  scenarios) shift; scenarios_there "$@" ;;
  *) sed -n '2,9p' "$0"; exit 2 ;;
esac
