#!/usr/bin/env bash
# In a copy of the tree tools/new_op writes an op; with no other edit the derived tests meet it, and
# a wrong gradient makes them fail.
set -euo pipefail

copy="$(mktemp -d)/tandem"
trap 'rm -rf "$(dirname "$copy")"' EXIT
passed=0
failed=0

check() {
  local what="$1"
  shift
  if "$@" >"$copy.log" 2>&1; then
    passed=$((passed + 1))
    printf 'ok: %s\n' "$what"
  else
    failed=$((failed + 1))
    printf 'FAILED: %s\n' "$what"
    tail -n 30 "$copy.log"
  fi
}
fails_with() {  # TEXT COMMAND...: it must fail, and say so
  local text="$1"
  shift
  local output
  if output="$("$@" 2>&1)"; then return 1; fi
  printf '%s\n' "$output"
  grep -qF -- "$text" <<<"$output"
}
suite() { build/release/tests/op_suite --gtest_filter="$1" --gtest_brief=1; }
cases() {
  build/release/tests/op_suite --gtest_list_tests --gtest_filter="*/cube_*" | grep -c '^  '
}

mkdir -p "$copy"
cd "$TANDEM_SOURCE"
git ls-files -co --exclude-standard -z | xargs -0 ls -d 2>/dev/null |
  tar -c -T - | tar -x -C "$copy"
cd "$copy"
command -v clang-format >/dev/null || { echo "skipped: no clang-format"; exit 77; }
[ -f tests/op_suite.cpp ]

check "the name is checked" fails_with "is not a snake_case name" tools/new_op Cube
check "an op that exists is refused" fails_with "exists already" tools/new_op exp
check "a gradient is wanted for each input" fails_with "--vjp is needed 2 times" \
  tools/new_op cube --inputs x,y --body 'x * y' --vjp dy
check "new_op writes the pair" \
  tools/new_op cube --body 'x * x * x' --vjp 'dy * s.in(0) * s.in(0) * 3.0'
check "the pair is as clang-format wants it" \
  clang-format --dry-run -Werror --style=file tandem/ops/cube.h tandem/ops/cube.cpp

options=(-DTANDEM_BUILD_EXAMPLES=OFF -DTANDEM_BUILD_TOOLS=OFF)
check "the build sees it" cmake --preset release "${options[@]}"
check "it compiles" ninja -C build/release test_op_suite
check "every derived check has cases for it" test "$(cases)" -ge 20
check "they pass" suite "*/cube_*-Values/*:*/Values.*"
check "without values from outside it is not done" fails_with "has no file in tests/golden/ops" \
  suite "*Values*/cube_*"

sed -i 's/\* 3\.0/* 2.0/' tandem/ops/cube.cpp
steps="$(ninja -C build/release test_op_suite | grep -c 'Building CXX' || true)"
check "a change in the op compiles one file (it was $steps)" test "$steps" -eq 1
check "a wrong gradient fails" fails_with "gradient" suite "*/cube_*-*Values*"

printf '%s passed, %s failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
