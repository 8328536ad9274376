#!/usr/bin/env bash
# The literal scalar text gives the same bits at every optimisation level and with every compiler.
# Compiles one small program (tests/conformance/oracle/scalar_hash.cc) several times and compares
# the hash that it prints; then once with contraction on, which must be noticed.
# Usage: ci/checks/optimisation_levels.sh [compiler ...]
set -euo pipefail
cd "$(dirname "$0")/../.."

compilers=("$@")
if [ ${#compilers[@]} -eq 0 ]; then
  compilers=("${ISOBIT_CXX:-g++}")
  if command -v clang++ > /dev/null; then compilers+=(clang++); fi
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sources="tests/conformance/oracle/scalar_hash.cc runtime/backends/cpu/kernels/scalar.cc
         runtime/backends/cpu/packed.cc runtime/backends/cpu/packed_blocks.cc
         runtime/numerics/blocks.cc"
machine=()
if [ "$(uname -m)" = x86_64 ]; then machine=(-march=haswell); fi

# hash_of compiler flag...
hash_of() {
  # shellcheck disable=SC2086
  "$1" -std=c++20 "${@:2}" "${machine[@]}" -I. $sources -o "$work/program" && "$work/program"
}

first=""
for compiler in "${compilers[@]}"; do
  for level in -O0 -O2 -O3; do
    hash=$(hash_of "$compiler" "$level" -ffp-contract=off)
    echo "$compiler $level $hash"
    first=${first:-$hash}
    if [ "$hash" != "$first" ]; then
      echo "optimisation_levels: $compiler $level gives other bits than the first build" >&2
      exit 1
    fi
  done
done

contracted=$(hash_of "${compilers[0]}" -O2 -ffp-contract=fast)
echo "${compilers[0]} -O2 -ffp-contract=fast $contracted (must differ)"
if [ "$contracted" = "$first" ]; then
  echo "optimisation_levels: contraction was not noticed: the check proves nothing" >&2
  exit 1
fi
echo "optimisation_levels: same bits"
