#!/usr/bin/env bash
# Builds here what a bare GPU machine needs, runs it there, and prints a short table last.
#
# Usage: ci/gpu/run.sh build            here: build-gpu/bin/ (programs that need libc and a driver)
#        ci/gpu/run.sh all [SECONDS]    there: every verb below, resumable, within 540 seconds
#        ci/gpu/run.sh test [FILTER]    the GPU's conformance tests; none may be skipped
#        ci/gpu/run.sh sanitize [TOOL…] memcheck racecheck initcheck over the label sanitize
#        ci/gpu/run.sh bench [NAME…]    build-gpu/bin/{bench,phenomenon}_*, each side by side
#        ci/gpu/run.sh scenarios [FILE…]  scenarios on the GPU, none of its cells skipped
#        ci/gpu/run.sh multi [FILE…]    the same with ranks on GPUs of their own (two or more)
#        ci/gpu/run.sh table            what the verbs found so far
# Carry: this folder's checkout with build-gpu/bin/ (ci/gpu/README.md). Environment: OUT (results as
# text, and the database; build-gpu/out), ISOBIT_CUDA_ARCHITECTURES (90), ISOBIT_SANITIZER,
# ISOBIT_MODELS (models handed over as files; build-gpu/models if there, else scenarios/models).
# Exit: 0 all is well, 1 something failed, 2 usage, 8 not all was run in the time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=${OUT:-build-gpu/out}
bin=${ISOBIT_GPU_BIN:-build-gpu/bin}
build=${ISOBIT_GPU_BUILD:-build-gpu/cmake}
default_scenarios=(scenarios/migration.yaml scenarios/migration-kv.yaml
                   scenarios/migration-smollm2.yaml
                   scenarios/vendor-gpu.yaml scenarios/vendor-gpu-cache.yaml
                   scenarios/vendor-gpu-batch.yaml scenarios/vendor-gpu-pinned.yaml)
self=ci/gpu/run.sh
export ISOBIT_GPU_DEADLINE=${ISOBIT_GPU_DEADLINE:-0}  # seconds since the epoch; 0: none

archive() {
  # Where the distribution keeps a static library.
  "${CXX:-c++}" -print-file-name="lib$1.a"
}

build_here() {
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O2 -g0" \
    -DISOBIT_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES="${ISOBIT_CUDA_ARCHITECTURES:-90}" \
    -DOPENSSL_USE_STATIC_LIBS=ON -DBoost_USE_STATIC_LIBS=ON -Dyaml-cpp_DIR="$PWD/ci/gpu/static" \
    -DSQLite3_LIBRARY="$(archive sqlite3)" -Dpkgcfg_lib_xxhash_xxhash="$(archive xxhash)" \
    -DCMAKE_EXE_LINKER_FLAGS="-static-libstdc++ -static-libgcc"
  local targets
  targets=$(ninja -C "$build" -t targets all | grep EXECUTABLE |
    grep -oE '^(isobit|tests/(isobit_conformance|bench_[a-z_0-9]+|[a-z_0-9]+_gpu)):' | tr -d ':')
  targets+=$'\n'"tests/gemm_orders.so"$'\n'"tests/libisobit_gpu_plugin.so"  # cuda_plugin_test.cc
  # shellcheck disable=SC2086
  ninja -C "$build" -j "${ISOBIT_JOBS:-$(nproc)}" $targets
  mkdir -p build-gpu/bin
  local target
  for target in $targets; do
    cp "$build/$target" build-gpu/bin/
    strip "build-gpu/bin/$(basename "$target")"
  done
  ls -l build-gpu/bin
}

# What a step depends on: programs, scenarios, goldens, models. A changed one runs again.
inputs_key() {
  if [ -z "${key_of_inputs:-}" ]; then
    key_of_inputs=$(cat "$bin"/* scenarios/*.yaml golden/*.golden 2>/dev/null | sha256sum |
      cut -c1-16)
  fi
}

left() {
  if [ "$ISOBIT_GPU_DEADLINE" -eq 0 ]; then
    echo 1000000
  else
    echo $((ISOBIT_GPU_DEADLINE - $(date +%s)))
  fi
}

# step NAME SUMMARY COMMAND…: keeps its output in $out/NAME.txt and "result seconds key summary" in
# $out/NAME.state. SUMMARY is a function that reads the output. A step that was well is not
# repeated.
step() {
  local name=$1 summary=$2 begun key rc=0 seconds result what
  shift 2
  inputs_key
  key=$key_of_inputs-$(echo "$*" | sha256sum | cut -c1-8)
  if grep -q "^ok [0-9]* $key " "$out/$name.state" 2>/dev/null; then return 0; fi
  if [ "$(left)" -lt 5 ]; then
    echo "waits 0 $key " >"$out/$name.state"
    return 0
  fi
  begun=$(date +%s)
  timeout --kill-after=10 "$(left)" "$@" >"$out/$name.txt" 2>&1 || rc=$?
  seconds=$(($(date +%s) - begun))
  what=$("$summary" "$out/$name.txt" | tr -d '\n' | cut -c1-100 || true)
  case $rc in
    0) result=ok ;;
    5) result=ok; what="no goldens; $what" ;;
    8 | 124 | 137) result='time' ;;
    77) result=skipped ;;
    *) result=FAILED; what="exit code $rc; $what" ;;
  esac
  echo "$result $seconds $key $what" >"$out/$name.state"
  printf '%-8s %-28s %5s s  %s\n' "$result" "$name" "$seconds" "$what"
}

of_tests() {
  local failed skipped
  failed=$(grep -c '^\[  FAILED  \].*(' "$1" || true)
  skipped=$(grep -c '^\[  SKIPPED \].*(' "$1" || true)
  echo "$(grep -oE '[0-9]+ tests from' "$1" | tail -n 1 | cut -d' ' -f1) tests," \
    "$failed failed, $skipped skipped"
}
of_sanitizer() {
  grep -E 'ERROR SUMMARY|RACECHECK SUMMARY|^no ' "$1" | tail -n 1 | sed 's/^=* *//'
}
of_bench() { echo "$(grep -c . "$1") lines: $(grep -v '^ *$' "$1" | tail -n 1)"; }
of_scenario() { tail -n 2 "$1" | head -n 1; }

# GoogleTest, where a skipped test is a failure: this machine should have a GPU.
conformance() {
  local rc=0 log
  log=$(mktemp)
  "$bin/isobit_conformance" --gtest_filter="$1" 2>&1 | tee "$log" || rc=1
  if ! grep -q '\[  PASSED  \]' "$log"; then rc=1; fi
  # Ranks on more GPUs than the machine has skip with their number.
  if grep '\[  SKIPPED \].*(' "$log" | grep -qv RealRanksGpu; then
    echo "a GPU test was skipped on a machine that should have a GPU"
    rc=1
  fi
  rm -f "$log"
  return "$rc"
}

find_sanitizer() {
  local place
  for place in "${ISOBIT_SANITIZER:-}" build-gpu/sanitizer/compute-sanitizer \
    "$(command -v compute-sanitizer || true)" /usr/local/cuda/bin/compute-sanitizer \
    /usr/local/cuda/compute-sanitizer/compute-sanitizer; do
    if [ -n "$place" ] && [ -x "$place" ]; then echo "$place" && return 0; fi
  done
  return 1
}

# Kernels of a library are not ours to change: memcheck alone sees them.
sanitize_with() {
  local tool=$1 sanitizer filter='*SanitizeGpu*'
  if ! sanitizer=$(find_sanitizer); then
    echo "no compute-sanitizer here: install the toolkit's, or name it with ISOBIT_SANITIZER"
    return 1
  fi
  local options=(--tool "$tool" --error-exitcode 9 --print-limit 20)
  case $tool in
    memcheck) filter='*SanitizeGpu*:*SanitizeLibraryGpu*'; options+=(--leak-check no) ;;
    racecheck) options+=(--racecheck-report all) ;;
    initcheck) ;;
    *) echo "no tool $tool: memcheck, racecheck or initcheck"; return 2 ;;
  esac
  "$sanitizer" "${options[@]}" "$bin/isobit_conformance" --gtest_filter="$filter" --gtest_brief=1
}

scenario() {
  local limit=()
  if [ "$(left)" -lt 100000 ]; then limit=(--max-time "$(($(left) > 15 ? $(left) - 10 : 5))s"); fi
  local models=$PWD/scenarios/models
  if [ -d build-gpu/models ]; then models=$PWD/build-gpu/models; fi
  ISOBIT_MODELS=${ISOBIT_MODELS:-$models} "$bin/isobit" check "$@" \
    --db "$out/isobit.db" \
    --require gpu --jobs "${ISOBIT_JOBS:-8}" "${limit[@]}"
}

gpu_facts() {
  nvidia-smi --query-gpu=name,uuid,driver_version,ecc.mode.current,mig.mode.current,clocks.sm \
    --format=csv || echo "no nvidia-smi here"
  "$bin/isobit" env
}

tests() { step conformance of_tests "$self" -conformance "${1:-*Gpu*}"; }

sanitize() {
  local tool
  if [ $# -eq 0 ]; then set -- memcheck racecheck initcheck; fi
  for tool in "$@"; do step "$tool" of_sanitizer "$self" -sanitize "$tool"; done
}

bench() {
  local program
  if [ $# -gt 0 ]; then
    for program in "$@"; do step "$program" of_bench "$bin/$program"; done
    return 0
  fi
  for program in "$bin"/bench_* "$bin"/*_gpu; do
    if [ -x "$program" ]; then step "$(basename "$program")" of_bench "$program"; fi
  done
}

scenarios() {
  local file files=("$@")
  if [ $# -eq 0 ]; then
    for file in "${default_scenarios[@]}"; do
      if [ -e "$file" ]; then files+=("$file"); fi
    done
  fi
  for file in "${files[@]}"; do
    step "$(basename "$file" .yaml)" of_scenario "$self" -scenario "$file"
  done
}

multi() {
  local count file files=("$@")
  count=$(nvidia-smi --list-gpus 2>/dev/null | grep -c . || true)
  if [ "$count" -lt 2 ]; then
    echo "skipped 0 - one GPU here; ranks on GPUs of their own need two" >"$out/multi.state"
    return 0
  fi
  if [ $# -eq 0 ]; then mapfile -t files < <(grep -lE 'requires:.*gpus: *real' scenarios/*.yaml); fi
  for file in "${files[@]}"; do
    step "multi-$(basename "$file" .yaml)" of_scenario "$self" -scenario "$file"
  done
}

table() {
  local state name result seconds key what code=0
  echo
  printf '%-28s %-8s %7s  %s\n' step result seconds what
  for state in "$out"/*.state; do
    if [ ! -e "$state" ]; then echo "nothing was run"; return 8; fi
    name=$(basename "$state" .state)
    read -r result seconds key what <"$state"
    printf '%-28s %-8s %7s  %s\n' "$name" "$result" "$seconds" "$what"
    case $result in
      FAILED) code=1 ;;
      time | waits) if [ "$code" -eq 0 ]; then code=8; fi ;;
    esac
  done
  : "$key"
  return "$code"
}

everything() {
  ISOBIT_GPU_DEADLINE=$(($(date +%s) + ${1:-540}))
  gpu_facts >"$out/gpu.txt" 2>&1 || true
  tests
  sanitize
  scenarios
  bench
  multi
}

verb=${1:-}
if [ -n "$verb" ]; then shift; fi
case $verb in
  build) build_here; exit 0 ;;
  # Steps, in processes of their own so that a time limit ends all of them.
  -conformance) conformance "$1"; exit $? ;;
  -sanitize) sanitize_with "$1"; exit $? ;;
  -scenario) scenario "$1"; exit $? ;;
esac
mkdir -p "$out"
case $verb in
  all) everything "$@" ;;
  test) tests "$@" ;;
  sanitize) sanitize "$@" ;;
  bench) bench "$@" ;;
  scenarios) scenarios "$@" ;;
  multi) multi "$@" ;;
  table) ;;
  *) sed -n '2,15p' "$0"; exit 2 ;;
esac
table
