#!/usr/bin/env bash
# The tour of the README: train ResNet-20 on CIFAR-10 to exact zeros, export, shrink, verify, bench.
#
#   examples/thin_cifar_resnet.sh DATA [OPTIONS OF TRAIN]
#
# DATA contains cifar-10-batches-py. A quick trial: examples/thin_cifar_resnet.sh data --epochs 1 --train-limit 2000
set -euo pipefail

data="${1:?name the folder that contains cifar-10-batches-py}"
shift
run=runs/resnet20-cifar10

compress train --model resnet20 --data cifar10 --data-dir "$data" --target 0.6 --epochs 30 --schedule cosine \
    --out "$run" "$@"
compress export "$run" -o "$run/model.onnx"
compress shrink "$run/model.onnx" -o "$run/slim.onnx" --data cifar10 --data-dir "$data"
compress verify "$run/slim.onnx" --against "$run/model.onnx" --data cifar10 --data-dir "$data"
compress bench "$run/slim.onnx" --against "$run/model.onnx" --batch 1,32 --plot "$run/latency.png"
