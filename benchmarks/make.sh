#!/usr/bin/env bash
# What fauxface is compared with others by, on an idle machine, one after the other, then the tables of the pages here.
# Usage: benchmarks/make.sh [--data PREPARED] [--results FOLDER] [--video [NAME=]FILE...]
#   --results  where to write, such as benchmarks/results/avx2 for another machine; benchmarks/results by default
# PYTHON chooses the interpreter.
set -euo pipefail
here=$(dirname "$0")
python=${PYTHON:-python}
data=() video=() results=$here/results
while [ $# -gt 0 ]; do
  case $1 in
    --data) data=(--data "${2:?--data needs a folder}"); shift 2 ;;
    --results) results=${2:?--results needs a folder}; shift 2 ;;
    --video) shift; video=(--video); while [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; do video+=("$1"); shift; done ;;
    *) echo "unknown argument $1; give --data PREPARED, --results FOLDER and --video [NAME=]FILE..." >&2; exit 2 ;;
  esac
done
measure() { # NAME [OPTION...]
  local name=$1
  shift
  "$python" "$here/$name.py" --out "$results/$name.json" "$@"
}
mkdir -p "$results"
measure classifier
measure face_to_verdict
measure roofline
measure video ${video[@]+"${video[@]}"}
measure training ${data[@]+"${data[@]}"}
"$python" "$here/tables.py" --results "$results"
