#!/usr/bin/env bash
# Installs what is missing, builds everything, runs every test.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/tools/lib.sh"

PACKAGES=(g++ cmake ninja-build libdnnl-dev zlib1g-dev nlohmann-json3-dev libprotozero-dev
  libxbyak-dev dataset-fashion-mnist
  libgtest-dev libcli11-dev clang libomp-dev clang-format pkgconf binutils git
  python3 python3-venv python3-dev ccache)

usage() {
  cat <<TEXT
usage: ./test.sh [--help] [--asan | --full] [--no-install] [--no-judges]

  1. installs the Debian packages that are missing (apt-get; with sudo when not root):
$(printf '%s ' "${PACKAGES[@]}" | fold -s -w 85 | sed 's/^/     /')
  2. makes build/venv with the outside judges (PyTorch, NumPy; tools/judges.txt)
  3. runs tools/check: format, warnings with g++ and clang, headers, layers, budgets
  4. builds everything in build/release and runs every test: the C++ tests, the examples' numbers,
     three install consumers, the code in the docs, the judges
  --asan        and the C++ tests again under the address and undefined-behaviour sanitizers
  --full        and, after those, under the thread sanitizer and in the debug build; tests that kill
                runs or try many shapes do so 1,000 and 20,000 times
  --no-install  leaves the packages as they are
  --no-judges   without build/venv; tests that need it are skipped, and say so

The last line is \`N passed, N failed, N skipped\`; it counts single test cases. The exit code is 0
when nothing failed. It can be run again: only what changed is built.
TEXT
}

presets=()
install=yes
judges=yes
for argument in "$@"; do
  case "$argument" in
    -h | --help)
      usage
      exit 0
      ;;
    --asan) presets=(asan) ;;
    --full)
      presets=(asan tsan debug)
      export TANDEM_KILLS=1000 TANDEM_FULL=1
      ;;
    --no-install) install=no ;;
    --no-judges) judges=no ;;
    *) die "unknown argument $argument (./test.sh --help lists them)" ;;
  esac
done

cd "$TANDEM_ROOT"
say "Tandem tests"
if [ "$install" = yes ]; then install_packages "${PACKAGES[@]}"; fi
need_command g++ cmake ninja python3

jobs="$(cores)"
results="$TANDEM_ROOT/build/results"
rm -rf "$results"
mkdir -p "$results"

# step NAME COMMAND...: one result of its own: passed, failed, or skipped with exit code 77.
step() {
  local name="$1" code=0
  shift
  local log="$results/$name.log"
  say "$name"
  "$@" 2>&1 | tee "$log" || code="${PIPESTATUS[0]}"
  case "$code" in
    0) printf 'passed %s\n' "$name" ;;
    77) printf 'skipped %s: %s\n' "$name" "$(tail -n 1 "$log")" ;;
    *) printf 'failed %s: exit code %s\n' "$name" "$code" ;;
  esac >"$results/$name.step"
  grep -v '^passed' "$results/$name.step" || true
}

# suite PRESET LABEL: configures, builds, and runs the tests of that label (all of them when empty).
suite() {
  local preset="$1" label="$2" folder="build/$1" select=()
  local options=(-DTANDEM_BUILD_TESTS=ON)
  if [ -n "$label" ]; then
    select=(-L "$label")
    options+=(-DTANDEM_BUILD_EXAMPLES=OFF -DTANDEM_BUILD_TOOLS=OFF)
  else
    options+=(-DTANDEM_BUILD_EXAMPLES=ON -DTANDEM_BUILD_TOOLS=ON -DTANDEM_BENCH=ON)
  fi
  quietly "$folder/logs/configure.log" cmake --preset "$preset" "${options[@]}" || return 1
  quietly "$folder/logs/build.log" ninja -C "$folder" -j "$jobs" -k 20 || return 1
  rm -rf "$folder/test_reports"
  mkdir -p "$folder/test_reports"
  # Its exit code is not asked: the reports that it leaves are counted below.
  ctest --test-dir "$folder" -j "$jobs" --output-on-failure "${select[@]}" \
    --test-output-size-passed 10000000 --test-output-size-failed 10000000 \
    --output-junit test_reports/ctest.xml || true
  [ -s "$folder/test_reports/ctest.xml" ]
}

if [ "$judges" = yes ]; then
  step judges tools/judges.sh
else
  printf 'skipped judges: --no-judges was given\n' >"$results/judges.step"
fi
step check tools/check
step release suite release ""
for preset in "${presets[@]}"; do step "$preset" suite "$preset" gtest; done

say "summary"
exec python3 tools/sum_tests.py "$results" build/release "${presets[@]/#/build/}"
