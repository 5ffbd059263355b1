#!/usr/bin/env bash
# ONNX files held against the onnx package; skipped where there is none (tools/judges.sh gets it).
set -euo pipefail
python="${TANDEM_PYTHON:-build/venv/bin/python}"
program="${TANDEM_BUILD:-build/release}/tests/onnx_format"
folder="$(dirname "${BASH_SOURCE[0]}")"
if ! "$python" -c 'import numpy, onnx' 2>/dev/null; then
  echo "onnx_format: skipped: no onnx package in $python (tools/judges.sh gets it)"
  exit 77
fi
if [ ! -x "$program" ]; then
  echo "onnx_format: skipped: $program is not built"
  exit 77
fi
exec "$python" "$folder/run.py" "$program"
