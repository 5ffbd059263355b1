#!/usr/bin/env bash
# A fixed set of random programs, and all that were found once, in every way: README.md.
set -euo pipefail
folder="$(dirname "${BASH_SOURCE[0]}")"
python="${TANDEM_PYTHON:-build/venv/bin/python}"
build="${TANDEM_BUILD:-build/release}"
program="$build/tests/five_ways"
if [ ! -x "$program" ]; then
  echo "five_ways: skipped: $program is not built"
  exit 77
fi
# PyTorch and ONNX Runtime judge a set of their own; with TANDEM_FIVE_WAYS=judges, all programs.
judges=()
if ! "$python" -c 'import numpy, onnx, onnxruntime, safetensors, torch' 2>/dev/null; then
  echo "five_ways: without PyTorch and ONNX Runtime: $python has none (tools/judges.sh gets them)"
elif [ "${TANDEM_FIVE_WAYS:-}" = judges ]; then
  judges=(--python "$python")
else
  case "$(basename "$build")" in
    *san) ;;
    *)
      "$program" --programs 400 --seed 7 --jobs 2 --shrink 10 --most 20 --python "$python" \
        --ways "torch,torch training,f64,onnxruntime,judge"
      ;;
  esac
fi
# Two minutes on two cores; builds with sanitizers are some ten times slower.
programs=1600
if [ -n "${TANDEM_FULL:-}" ]; then programs=20000; fi
case "$(basename "$build")" in
  *san) programs=160 ;;
esac
cases=()
if [ -d "$folder/cases" ]; then cases=(--cases "$folder/cases"); fi
exec "$program" --programs "$programs" --seed 9 --jobs 2 --shrink 10 --most 20 \
  "${cases[@]}" "${judges[@]}"
