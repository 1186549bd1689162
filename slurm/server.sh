#!/usr/bin/env bash
# One server of multinode.sbatch: run the command given after its GPUs, and run it again whenever it ends, unless
# ABLATE_SERVER_ONCE says that a rank of the trainer shares its GPU: a server that starts would take the rank's memory. The
# numbers of the GPUs count those that SLURM gives to this job: on a shared node they need not begin with 0.
# The client notices that a server was restarted, and gives it weights again with the next update.
set -uo pipefail
source "$ABLATE_ROOT/slurm/node_cache.sh"
devices=$1
shift
if [ -n "${CUDA_VISIBLE_DEVICES-}" ] && [ "$devices" != none ]; then
  IFS=, read -r -a given <<< "$CUDA_VISIBLE_DEVICES"
  IFS=, read -r -a numbers <<< "$devices"
  devices=$(for number in "${numbers[@]}"; do printf '%s\n' "${given[number]}"; done | paste -sd,) || exit 2
fi
export CUDA_VISIBLE_DEVICES=$devices
is_asked=
child=
trap 'is_asked=1; kill -TERM -- "-$child" 2> /dev/null' TERM INT
while [ -z "$is_asked" ]; do
  setsid "$@" &
  child=$!
  wait "$child"
  code=$?
  [ -n "$is_asked" ] && break
  kill -KILL -- "-$child" 2> /dev/null # a server that was killed leaves its engine's process, which holds the GPU
  if [ -n "${ABLATE_SERVER_ONCE-}" ]; then
    echo "$(date +%FT%T) a server ended with exit code $code and stays away" >&2
    break
  fi
  echo "$(date +%FT%T) a server ended with exit code $code and is started again" >&2
  sleep "${ABLATE_SERVER_PAUSE_S-10}" &
  wait $! # unlike sleep itself, a signal ends this wait
done
wait
