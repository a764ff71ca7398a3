#!/usr/bin/env bash
# Every benchmark on an idle machine, one after the other, then the tables.
# Usage: benchmarks/make.sh [--data PREPARED] [--video [NAME=]FILE...]     (PYTHON chooses the interpreter)
set -euo pipefail
here=$(dirname "$0")
python=${PYTHON:-python}
data=() video=()
while [ $# -gt 0 ]; do
  case $1 in
    --data) data=(--data "${2:?--data needs a folder}"); shift 2 ;;
    --video) shift; video=(--video); while [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; do video+=("$1"); shift; done ;;
    *) echo "unknown argument $1; give --data PREPARED and --video [NAME=]FILE..." >&2; exit 2 ;;
  esac
done
"$python" "$here/classifier.py"
"$python" "$here/face_to_verdict.py"
"$python" "$here/roofline.py"
"$python" "$here/video.py" ${video[@]+"${video[@]}"}
"$python" "$here/training.py" ${data[@]+"${data[@]}"}
"$python" "$here/tables.py"
