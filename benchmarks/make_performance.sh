#!/usr/bin/env bash
# The scripts behind docs/performance.md, on an idle machine, one after the other, then the tables there.
# Usage: benchmarks/make_performance.sh CLIP...
# Among the clips should be talking heads; startup.py scans the first one. sampled.py needs py-spy, which the extra
# "dev" brings. PYTHON chooses the interpreter. A limit that isn't held doesn't stop the rest; the exit code is 1 then.
set -euo pipefail
here=$(dirname "$0")
python=${PYTHON:-python}
if [ $# -eq 0 ] || [ "${1#--}" != "$1" ]; then
  echo "give the clips to measure on: benchmarks/make_performance.sh CLIP..." >&2
  exit 2
fi
failed=()
measure() { # NAME [ARGUMENT...]
  local name=$1
  shift
  "$python" "$here/$name.py" "$@" || failed+=("$name.py")
}
measure hot_path "$@"
measure sampled "$@"
measure locator_policies "$@"
measure locator_sides "$@" --side 640 960 1152 1280
measure video_pipeline "$@"
measure folder
measure startup --clip "$1"
"$python" "$here/performance_doc.py"
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}; see above" >&2
  exit 1
fi
