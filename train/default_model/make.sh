#!/usr/bin/env bash
# Makes the default bundle and the demo's pictures, from data that isn't part of the repository.
#
# Usage: train/default_model/make.sh SHARED RUNS
#   SHARED  folder with faces/{train,val,test}/{real,fake}/SOURCE/, scenes/backgrounds/, and models/ with
#           face_detection_yunet_2026may.onnx (YuNet, OpenCV Zoo) and resnet18_imagenet_partial.npz
#   RUNS    folder for runs and prepared data; a step whose result exists is skipped, one that broke off goes on
#
# On two cores it takes about two hours.
set -euo pipefail
shared=$1 runs=$2
here=$(cd "$(dirname "$0")" && pwd)
bundle=$here/../../runtime/fauxface/default_bundle
mkdir -p "$runs"

locator=$runs/locator
if [ ! -f "$locator/locator.onnx" ]; then
  fauxface locator train --teacher "$shared/models/face_detection_yunet_2026may.onnx" --faces "$shared/faces/train" \
    --backgrounds "$shared/scenes/backgrounds" --out "$locator" --minutes 20 \
    $([ -f "$locator/last.pt" ] && echo --resume)
fi

if [ ! -f "$locator/compare.json" ]; then
  (runs=$(cd "$runs" && pwd) && cd "$shared" && fauxface locator compare "$runs/locator/locator.onnx" \
    models/face_detection_yunet_2026may.onnx faces/test scenes/images scenes/backgrounds scenes/videos \
    --json "$runs/locator/compare.json")
fi

fauxface data prepare "$shared/faces" "$runs/prepared" --locator "$locator/locator.onnx"

classifier=$runs/classifier
if [ ! -f "$classifier/done" ]; then
  fauxface train "$runs/prepared" --out "$classifier" --preset robust \
    --weights "$shared/models/resnet18_imagenet_partial.npz" $([ -f "$classifier/resume.pt" ] && echo --resume)
  touch "$classifier/done"
fi
# A second, gentler cycle, with more of what the first one finds hard on the validation split: sharp FFHQ portraits and
# the StyleGANs that imitate them.
second=$runs/classifier-2
if [ ! -f "$second/done" ]; then
  fauxface train "$runs/prepared" --out "$second" --preset robust --weights "$classifier" --samples 64000 --lr 0.0005 \
    --validate-every 16000 --seed 1 --source-weight 'ffhq256*=2' --source-weight 'ffhq_*=2' --source-weight 'sg1_*=2' \
    --source-weight 'sg_*=1.5' --source-weight 'omi_*=1.5' --source-weight 'sg2studio*=0.5' \
    $([ -f "$second/resume.pt" ] && echo --resume)
  touch "$second/done"
fi
# A third, with gentler degradations, to learn what only clear pictures show.
third=$runs/classifier-3
if [ ! -f "$third/done" ]; then
  fauxface train "$runs/prepared" --out "$third" --preset robust --weights "$second" --samples 24000 --lr 0.0003 \
    --strength 0.35 --validate-every 24000 --seed 2 --source-weight 'ffhq256*=2' --source-weight 'ffhq_*=2' \
    --source-weight 'sg1_*=2' --source-weight 'sg_*=1.5' --source-weight 'omi_*=1.5' --source-weight 'sg2studio*=0.5'
  touch "$third/done"
fi
fauxface evaluate "$third" "$runs/prepared" --out "$runs/evaluation"

generator=$runs/generator
fauxface generator train "$runs/prepared" --out "$generator"

fauxface export "$third" --out "$runs/bundle" --name fauxface-default --locator "$locator/locator.onnx" \
  --data "$runs/prepared" --metrics "$runs/evaluation/metrics.json" --terms "$here/terms.csv" \
  --license "$here/LICENSE-WEIGHTS.md" --formats onnx --int8 --overwrite
rm -rf "$bundle" && cp -r "$runs/bundle" "$bundle"
python "$here/record.py" "$runs"
python "$here/readme_figures.py"
