#!/usr/bin/env bash
# The scripts a user meets first explain themselves, and refuse what they do not know.
set -euo pipefail
cd "$TANDEM_SOURCE"
passed=0
failed=0

expect() {
  local text="$1" code="$2" got=0 output
  shift 2
  output="$("$@" 2>&1)" || got=$?
  if [ "$got" -eq "$code" ] && grep -qF -- "$text" <<<"$output"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED: %s: exit code %s (expected %s), and no line with `%s` in:\n%s\n' \
      "$*" "$got" "$code" "$text" "$output"
  fi
}

expect "usage: ./quickstart.sh" 0 ./quickstart.sh --help
expect "test accuracy: NN.NN %" 0 ./quickstart.sh -h
expect "usage: ./test.sh" 0 ./test.sh --help
expect "N passed, N failed, N skipped" 0 ./test.sh -h
expect "unknown argument --nonsense" 1 ./test.sh --nonsense
expect "usage: tools/judges.sh" 0 tools/judges.sh --help
expect "usage: tools/check" 0 tools/check --help
expect "usage: tools/new_op" 0 tools/new_op --help

# From another folder they still find the tree.
cd /
expect "usage: ./quickstart.sh" 0 "$TANDEM_SOURCE/quickstart.sh" --help
expect "usage: ./test.sh" 0 "$TANDEM_SOURCE/test.sh" --help

# Without apt-get's packages and without a compiler the end is one clear line.
empty="$(mktemp -d)"
trap 'rm -rf "$empty"' EXIT
for name in bash dirname cat; do ln -s "$(command -v "$name")" "$empty/$name"; done
expect 'the program `g++` is missing' 1 env PATH="$empty" bash "$TANDEM_SOURCE/quickstart.sh"
expect 'the program `g++` is missing' 1 env PATH="$empty" bash "$TANDEM_SOURCE/test.sh" --no-install

printf '%s passed, %s failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
