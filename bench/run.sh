#!/usr/bin/env bash
# Builds and runs the benchmark beside PyTorch. Arguments go to bench/run.py: --json FILE,
# --markdown docs/performance.md, --rows a,b, --rounds N, --threads N, --no-compile.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../tools/lib.sh"

if [ "${1:-}" = --help ]; then
  sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}"
  exit 0
fi
cd "$TANDEM_ROOT"
tools/judges.sh
venv="build/venv"
torch="$("$venv/bin/python" -c 'import torch, os; print(os.path.dirname(torch.__file__))')"
cmake --preset release -DTANDEM_BENCH=ON >/dev/null
ninja -C build/release tandem tandem_rows >/dev/null
peer=build/release/bench/torch_rows
if [ ! -x "$peer" ] || [ bench/torch/torch_rows.cpp -nt "$peer" ]; then
  g++ -O2 -std=c++20 -I"$torch/include" -I"$torch/include/torch/csrc/api/include" \
    bench/torch/torch_rows.cpp -o "$peer" -L"$torch/lib" -ltorch -ltorch_cpu -lc10 \
    -Wl,-rpath,"$torch/lib" -Wl,--allow-shlib-undefined
fi
exec "$venv/bin/python" bench/run.py --tandem build/release/bench/tandem_rows --torch-cpp "$peer" \
  --library build/release/libtandem.so "$@"
