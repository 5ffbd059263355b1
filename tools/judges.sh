#!/usr/bin/env bash
# Makes build/venv: PyTorch, NumPy, TensorBoard and the other outsiders that tests are held against.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<TEXT
usage: tools/judges.sh [--help] [FOLDER]

Makes a Python virtual environment in FOLDER (build/venv when left out) with the packages of
tools/judges.txt: a PyTorch that runs on the CPU (eager, torch.compile, and its C++ library for
linking) without the CUDA libraries that its wheel names. Does nothing when it is up to date.

exit code: 0 ready; 77 the packages cannot be had here (the reason is the last line); 1 an error
TEXT
}

case "${1:-}" in
  -h | --help)
    usage
    exit 0
    ;;
esac

venv="${1:-$TANDEM_ROOT/build/venv}"
list="$TANDEM_ROOT/tools/judges.txt"
standins="$TANDEM_ROOT/tools/cuda_standins.py"
stamp="$venv/judges.sha256"
wanted="$(cat "$list" "$standins" | sha256sum)"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  say "judges: ready in $venv"
  exit 0
fi

# Debian's own python3, because another one on PATH may lack wheels or the venv module.
python=/usr/bin/python3
[ -x "$python" ] || python="$(command -v python3 || true)"
[ -n "$python" ] || die "python3 is missing (Debian: python3 python3-venv)"
"$python" -c 'import ensurepip' 2>/dev/null || die "python3 lacks venv (Debian: python3-venv)"
need_command gcc readelf nm

log="$(mktemp)"
trap 'rm -f "$log"' EXIT
say "judges: making $venv (PyTorch, NumPy, safetensors, TensorBoard, ONNX)"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
if ! "$venv/bin/python" -m pip install --quiet --no-deps -r "$list" >"$log" 2>&1; then
  tail -n 5 "$log" >&2
  printf 'judges: skipped: pip could not get the packages of tools/judges.txt from its index\n'
  exit 77
fi
"$venv/bin/python" "$standins"
use='import numpy, onnx, safetensors, tensorboard, torch; torch.ones(2).sum()'
"$venv/bin/python" -c "$use" >"$log" 2>&1 || {
  tail -n 5 "$log" >&2
  die "the packages in $venv do not import"
}
printf '%s\n' "$wanted" >"$stamp"
say "judges: ready in $venv"
