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
here="$(dirname "${BASH_SOURCE[0]}")"
"$python" "$here/make_goldens.py" "$tool" --check
exec "$python" "$here/make_specials.py" "$tool" --check
