#!/usr/bin/env bash
# Runs every example and holds its last number against what it must be: PyTorch's range
# (tests/examples.txt) or the bound below.
set -euo pipefail
: "${TANDEM_SOURCE:?}" "${TANDEM_BUILD:?}"
folder="$TANDEM_BUILD/examples"
if [ ! -x "$folder/fashion_mnist" ]; then
  echo "the examples are not built (TANDEM_BUILD_EXAMPLES=OFF)"
  exit 77
fi
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
passed=0 failed=0 skipped=0

# holds EXAMPLE LEAST GREATEST [OPTIONS]: the number at the end of its last line lies between them.
holds() {
  local name="$1" least="$2" greatest="$3" last number
  shift 3
  if ! "$folder/$name" "$@" >out.txt 2>&1; then
    echo "FAILED $name: $(tail -n 1 out.txt)"
    failed=$((failed + 1))
    return
  fi
  last="$(tail -n 1 out.txt)"
  number="$(grep -oE '[-+0-9.e]+( %)?$' <<<"$last" | tr -d ' %')"
  if awk -v x="$number" -v a="$least" -v b="$greatest" \
    'BEGIN { exit !(x != "" && x + 0 >= a + 0 && x + 0 <= b + 0) }'; then
    echo "ok $name: $last"
    passed=$((passed + 1))
  else
    echo "FAILED $name: $last, which is not in [$least, $greatest]"
    failed=$((failed + 1))
  fi
}

# Equal steps from equal numbers: only their order of summation may differ.
holds sum_abz 0 0
holds static_abz 0 0
holds static_control_flow 0 0
holds three_ways 0 1e-6
while read -r name least greatest; do
  case "$name" in '#'* | '') continue ;; esac
  # The range of 20 seeds, widened by half of it on a logarithmic scale: ours is one more draw.
  read -r a b < <(awk -v a="$least" -v b="$greatest" \
    'BEGIN { r = sqrt(b / a) * 1.2; print a / r, b * r }')
  holds "$name" "$a" "$b"
done <"$TANDEM_SOURCE/tests/examples.txt"
holds train_and_save 0 2
holds run_saved 0 0.9
holds tree_rnn 95 100
holds lstm_variable_length 95 100
if [ -e /usr/share/datasets/fashion-mnist ]; then
  holds fashion_mnist 91 95
else
  echo "skipped fashion_mnist: Debian's package dataset-fashion-mnist is not installed"
  skipped=$((skipped + 1))
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
