#!/usr/bin/env bash
# The depths of the zoo: ResNet-18, -34 and -50 with the CIFAR stem, pretrained without labels on CIFAR-10 with the
# paper's recipe and with ours, scored, and ready to be published. A GPU is needed; what is done already is not done
# again, so it may be stopped and started.
#
#   examples/zoo_cifar10.sh CIFAR10 OUT [resnet18 resnet34 resnet50]
#   npid push OUT/resnet18-ours ORG/npid-cifar10-resnet18
#
# Expected cost of each recipe: 78 000 steps of 427 (ResNet-18), 890 (-34) and 997 GFLOP (-50), 33 to 78 PFLOP in all
# (`npid pretrain --plan --images 50000 --preset paper-cifar10 --set stem=cifar --backbone …`). Not timed yet.
set -euo pipefail
data=$1 out=$2
shift 2
[ $# -gt 0 ] || set -- resnet18 resnet34 resnet50
mkdir -p "$out"

for arch in "$@"; do
    for recipe in paper ours; do
        name=$arch-$recipe
        options=(--preset paper-cifar10)
        [ "$recipe" = paper ] || options=(--preset cifar10-cpu)
        npid pretrain "$data" --out "$out/runs/$name" "${options[@]}" --epochs "${EPOCHS:-200}" --backbone "$arch" --set stem=cifar --resume
        [ -d "$out/$name" ] || npid export "$out/runs/$name" --to "$out/$name" --license apache-2.0
        [ -f "$out/$name/metrics.json" ] || {
            results=$out/runs/$name.metrics.json
            rm -f "$results"
            npid knn "$out/$name" "$data" --json "$results"
            npid linear "$out/$name" "$data" --layers pooled --json "$results"
            npid linear "$out/$name" "$data" --preset svm --json "$results"
            npid finetune "$out/$name" "$data" --labels "${LABELS:-1%,10%}" --seeds 3 --json "$results"
            mv "$results" "$out/$name/metrics.json"
        }
        npid push "$out/$name" "org/npid-cifar10-$name" --dry-run >"$out/$name.card.txt"
    done
done
