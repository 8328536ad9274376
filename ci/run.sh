#!/usr/bin/env bash
# Configures, builds and tests one preset, as the gate does.
#
# Usage: ci/run.sh PRESET [ctest argument…]     presets: cmake --list-presets
# Results: build/PRESET/ctest.xml (JUnit). Exit: 0 all tests passed or were skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=${1:?usage: ci/run.sh PRESET [ctest argument…]}
shift
jobs=${ISOBIT_JOBS:-$(nproc)}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
cmake --preset "$preset" >"$log" 2>&1 || { cat "$log"; exit 1; }
cmake --build --preset "$preset" -j "$jobs"
if [ "$preset" = tidy ]; then exit 0; fi
ctest --preset "$preset" -j "$jobs" --output-junit ctest.xml "$@"
