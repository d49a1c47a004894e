#!/usr/bin/env bash
# Trains as a Kubernetes JobSet: fills scripts/launch/jobset.yaml and hands it to kubectl.
#
#   scripts/launch/jobset.sh --name=RUN --image=IMAGE --claim=CLAIM --accelerator=TYPE \
#     [--topology=4x4] --nodes=4 --config=configs/NAME.py --workdir=/mnt/shared/DIR [-- FLAGS]
#
#   --image=IMAGE        built with scripts/launch/Dockerfile
#   --claim=CLAIM        a claim on a volume that many nodes write; mounted at /mnt/shared
#   --accelerator=TYPE   the node label's value, such as tpu-v5-lite-podslice or nvidia-h100-80gb
#   --topology=4x4       of a TPU slice; without it the nodes have GPUs
#   --nodes=N            pods, one a node
#   --devices=N          chips or GPUs of a node (4)
#   --restarts=N         how often the run may come back after a pod was lost (20)
#   --namespace=NAME     where it is not kubectl's own
#   --dry-run            prints the JobSet and applies nothing
#   -- FLAGS             go to scripts/train.py as they are
#
# Follow it with `kubectl logs --follow --selector=jobset.sigs.k8s.io/jobset-name=RUN`; stop it with
# `kubectl delete jobset RUN`.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/launch/arguments.sh
source "$root/scripts/launch/arguments.sh"

name="" image="" claim="" accelerator="" topology="" nodes="" devices=4 restarts=20 namespace=""
mount=/mnt/shared port=8476

parse "name image claim accelerator topology nodes devices restarts namespace" "" "$@"
require name image claim accelerator nodes
train_command
[[ $name =~ ^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$ ]] ||
  fail "--name=$name: at most 40 of a-z, 0-9 and -, a letter first and no - last"
for option in nodes devices restarts; do
  [[ ${!option} =~ ^[0-9]+$ ]] || fail "--$option=${!option} must be a whole number"
done
[[ $workdir == "$mount"/* ]] ||
  fail "--workdir=$workdir must lie in $mount, where --claim is mounted: other folders are a pod's own"

device=nvidia.com/gpu label=cloud.google.com/gke-accelerator pool=""
if [[ -n $topology ]]; then
  [[ $topology =~ ^[0-9]+(x[0-9]+)+$ ]] || fail "--topology=$topology must look like 4x4 or 2x2x4"
  ((${topology//x/*} == nodes * devices)) ||
    fail "--topology=$topology has $((${topology//x/*})) chips; --nodes=$nodes of --devices=$devices have $((nodes * devices))"
  device=google.com/tpu label=cloud.google.com/gke-tpu-accelerator
  pool=cloud.google.com/gke-nodepool
fi

# Kubernetes reads $(NAME) in a command; $$ is a plain $.
command=(python)
for word in "${train[@]}"; do
  command+=("${word//\$/\$\$}")
done
# GKE tells TPU pods of one another; GPU pods learn it from the JobSet's own names.
if [[ -z $topology ]]; then
  command+=("--coordinator=$name-workers-0-0.$name:$port" "--num_processes=$nodes")
  # shellcheck disable=SC2016
  command+=('--process_id=$(JOB_COMPLETION_INDEX)')
fi

manifest=$(python3 "$root/scripts/launch/render.py" "$root/scripts/launch/jobset.yaml" \
  "NAME=$name" "IMAGE=$image" "CLAIM=$claim" "MOUNT=$mount" \
  "ACCELERATOR=$accelerator" "ACCELERATOR_LABEL=$label" "TOPOLOGY=$topology" "POOL_LABEL=$pool" \
  "NODES=$nodes" "DEVICE=$device" "DEVICES=$devices" "RESTARTS=$restarts" -- "${command[@]}")
if [[ -n $dry_run ]]; then
  printf '%s\n' "$manifest"
else
  kubectl ${namespace:+"--namespace=$namespace"} apply -f - <<<"$manifest"
fi
