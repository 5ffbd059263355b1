#!/usr/bin/env bash
# Event files in the real tensorboard; skipped where there is none (tools/judges.sh gets it).
set -euo pipefail
python="${TANDEM_PYTHON:-build/venv/bin/python}"
program="${TANDEM_BUILD:-build/release}/tests/tensorboard_events"
folder="$(dirname "${BASH_SOURCE[0]}")"
if ! "$python" -c 'import tensorboard, torch' 2>/dev/null; then
  echo "tensorboard: skipped: no tensorboard and PyTorch in $python (tools/judges.sh gets them)"
  exit 77
fi
if [ ! -x "$program" ]; then
  echo "tensorboard: skipped: $program is not built"
  exit 77
fi
exec "$python" "$folder/run.py" "$program"
