#!/usr/bin/env bash
# Every C++ block of README.md and docs/ compiles, and those not marked `no-run` run.
set -euo pipefail
exec python3 "$TANDEM_SOURCE/tools/doc_blocks.py" --source "$TANDEM_SOURCE" \
  --library "$TANDEM_BUILD" --work "$TANDEM_BUILD/doc_blocks"
