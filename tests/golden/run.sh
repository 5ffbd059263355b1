#!/usr/bin/env bash
# Computes the goldens anew with PyTorch and compares them with the committed files.
set -euo pipefail
python="${TANDEM_PYTHON:-build/venv/bin/python}"
tool="${TANDEM_BUILD:-build/release}/tools/op_replay"
if ! "$python" -c 'import torch' 2>/dev/null; then
  echo "golden: skipped: no PyTorch in $python (tools/judges.sh makes it)"
  exit 77
fi
if [ ! -x "$tool" ]; then
  echo "golden: skipped: the tools are not built ($tool)"
  exit 77
fi
exec "$python" "$(dirname "${BASH_SOURCE[0]}")/make_goldens.py" "$tool" --check
