#!/bin/bash
# A training on machines without a scheduler; run this on each of them, with the name of the first:
#   configs/cluster/torchrun_elastic.sh first-machine configs/cluster/qm9_gpus.yaml --out /shared/qm9
# Machines may come and go (one to four): torchrun then starts all processes again, and they continue from the last checkpoint, with the same
# batches, whatever their number. The folder must be seen by all of them.
set -euo pipefail
first=$1
shift

export TORCH_GLOO_LAZY_INIT=1 # without it, gloo (CPUs) cannot connect again after a restart
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}
exec torchrun --nnodes=1:4 --nproc-per-node="${GPUS:-4}" --max-restarts=20 \
    --rdzv-backend=c10d --rdzv-endpoint="$first:29400" --rdzv-id=scidiff \
    -m scidiff train "$@"
