#!/usr/bin/env bash
# Saved graphs in ONNX Runtime, and PyTorch's exports in ours; skipped where a judge is missing.
set -euo pipefail
python="${TANDEM_PYTHON:-build/venv/bin/python}"
program="${TANDEM_BUILD:-build/release}/tests/onnx_graphs"
folder="$(dirname "${BASH_SOURCE[0]}")"
if ! "$python" -c 'import numpy, onnx, onnxruntime, torch' 2>/dev/null; then
  echo "onnx_runtime: skipped: no judges in $python (tools/judges.sh gets them)"
  exit 77
fi
if [ ! -x "$program" ]; then
  echo "onnx_runtime: skipped: $program is not built"
  exit 77
fi
exec "$python" "$folder/run.py" "$program" "${TANDEM_BUILD:-build/release}/tools/tandem-run"
