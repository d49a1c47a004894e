#!/usr/bin/env bash
# Trains on every worker of a TPU VM slice that is there; creates no slice and deletes none.
#
#   scripts/launch/tpu_vm.sh --name=SLICE --zone=ZONE --config=configs/NAME.py --workdir=DIR [-- FLAGS]
#   scripts/launch/tpu_vm.sh --name=SLICE --zone=ZONE --follow
#   scripts/launch/tpu_vm.sh --name=SLICE --zone=ZONE --stop
#
#   --project=PROJECT      where it is not gcloud's own
#   --ref=REF              the commit, branch or tag whose files are installed (HEAD)
#   --skip-install         starts what an earlier call installed
#   --nfs=SERVER:/EXPORT   mounted on every worker at /mnt/shared, for a workdir that all see
#   --follow               shows the log of worker 0 until Ctrl-C; the run goes on
#   --stop                 ends the run on every worker
#   --dry-run              prints the commands and runs none
#   -- FLAGS               go to scripts/train.py as they are
#
# A worker holds dvmap_jax/ (the files), dvmap_jax.log and dvmap_jax.pid in its home folder. The run
# survives the end of the connection; the same call goes on from the newest checkpoint.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/launch/arguments.sh
source "$root/scripts/launch/arguments.sh"

name="" zone="" project="" ref=HEAD skip_install="" nfs="" follow="" stop=""

# Words of the workers' shell. A recorded process id may since belong to another program.
# shellcheck disable=SC2016
running='pid=$(cat ~/dvmap_jax.pid 2>/dev/null) && grep -qs scripts/train.py "/proc/$pid/cmdline"'
refuse="if $running; then echo 'error: a run is going on here; end it with --stop' >&2; exit 1; fi"

tpu() {
  local verb=$1
  shift
  run gcloud compute tpus tpu-vm "$verb" "$@" "--zone=$zone" ${project:+"--project=$project"}
}

on_workers() {
  tpu ssh "$name" "--worker=$1" "--command=$2"
}

# The files of the ref, in a folder of their own, with the package for TPUs; uv brings a Python
# where the image's is older than ours.
install_package() {
  git -C "$root" cat-file -e "$ref:${config%%:*}" 2>/dev/null ||
    fail "--config=$config is not in --ref=$ref; commit it"
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  run git -C "$root" archive --format=tar.gz "--output=$folder/dvmap_jax.tar.gz" "$ref"
  tpu scp "$folder/dvmap_jax.tar.gz" "$name:dvmap_jax.tar.gz" --worker=all
  on_workers all "set -eu; $refuse; rm -rf dvmap_jax; mkdir dvmap_jax; \
tar -xzf dvmap_jax.tar.gz -C dvmap_jax; cd dvmap_jax; \
python3 -m pip install --quiet --user uv; python3 -m uv venv --quiet --python '>=3.11' .venv; \
python3 -m uv pip install --quiet --python .venv/bin/python -e '.[tpu,gcs]'"
}

mount_nfs() {
  on_workers all "set -eu; mountpoint -q /mnt/shared && exit 0; \
command -v mount.nfs >/dev/null || sudo apt-get install --yes --quiet nfs-common; \
sudo mkdir -p /mnt/shared; sudo mount -t nfs $(quoted "$nfs") /mnt/shared"
}

# A session of its own outlives the connection; its leader's id is that of the whole group.
start() {
  on_workers all "set -eu; $refuse; cd dvmap_jax; \
nohup setsid bash -c 'echo \$\$ >~/dvmap_jax.pid; exec \"\$@\"' launch \
.venv/bin/python $(quoted "${train[@]}") >>~/dvmap_jax.log 2>&1 </dev/null &"
}

stop() {
  on_workers all "$running || { echo 'no run here'; exit 0; }; kill -TERM -- -\$pid; \
for _ in \$(seq 30); do $running || exit 0; sleep 1; done; kill -KILL -- -\$pid"
}

parse "name zone project ref nfs" "skip-install follow stop" "$@"
require name zone
if [[ -n $stop ]]; then
  stop
elif [[ -n $follow ]]; then
  on_workers 0 "tail -n 100 -F dvmap_jax.log"
else
  train_command
  [[ -z $nfs ]] || mount_nfs
  [[ -n $skip_install ]] || install_package
  start
fi
