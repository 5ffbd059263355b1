#!/usr/bin/env bash
# Replays PyTorch's OpInfo samples; skipped where there is no PyTorch (tools/judges.sh makes one).
set -euo pipefail
python="${TANDEM_PYTHON:-build/venv/bin/python}"
tool="${TANDEM_BUILD:-build/release}/tools/op_replay"
folder="$(dirname "${BASH_SOURCE[0]}")"
if ! "$python" -c 'import torch, expecttest' 2>/dev/null; then
  echo "opinfo: skipped: no PyTorch in $python (tools/judges.sh makes it)"
  exit 77
fi
if [ ! -x "$tool" ]; then
  echo "opinfo: skipped: the tools are not built ($tool)"
  exit 77
fi
exec "$python" "$folder/run.py" "$tool" --most "${TANDEM_OPINFO_SAMPLES:-15}"
