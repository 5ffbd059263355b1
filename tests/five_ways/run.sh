#!/usr/bin/env bash
# A fixed set of random programs, and all that were found once, in every way: README.md.
set -euo pipefail
if [ -z "${TANDEM_FIVE_WAYS:-}" ]; then
  echo "five_ways: skipped: what its fixed set found is being mended; TANDEM_FIVE_WAYS=1 runs it"
  exit 77
fi
folder="$(dirname "${BASH_SOURCE[0]}")"
python="${TANDEM_PYTHON:-build/venv/bin/python}"
build="${TANDEM_BUILD:-build/release}"
program="$build/tests/five_ways"
if [ ! -x "$program" ]; then
  echo "five_ways: skipped: $program is not built"
  exit 77
fi
judges=()
if "$python" -c 'import numpy, onnx, onnxruntime, safetensors, torch' 2>/dev/null; then
  judges=(--python "$python")
else
  echo "five_ways: without PyTorch and ONNX Runtime: $python has none (tools/judges.sh gets them)"
fi
# Two minutes on two cores; builds with sanitizers are some ten times slower.
programs=1600
case "$(basename "$build")" in
  *san) programs=160 ;;
esac
exec "$program" --programs "$programs" --seed 9 --jobs 2 --shrink 10 --most 20 \
  --cases "$folder/cases" "${judges[@]}"
