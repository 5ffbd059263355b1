#!/usr/bin/env bash
# ONNX's own conformance cases through load_graph; skipped where there is no onnx package.
set -euo pipefail
python="${TANDEM_PYTHON:-build/venv/bin/python}"
program="${TANDEM_BUILD:-build/release}/tests/onnx_conformance"
folder="$(dirname "${BASH_SOURCE[0]}")"
if ! "$python" -c 'import numpy, onnx, ml_dtypes' 2>/dev/null; then
  echo "onnx_conformance: skipped: no onnx package in $python (tools/judges.sh gets it)"
  exit 77
fi
if [ ! -x "$program" ]; then
  echo "onnx_conformance: skipped: $program is not built"
  exit 77
fi
exec "$python" "$folder/run.py" "$program" "$@"
