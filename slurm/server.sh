#!/usr/bin/env bash
# One server of multinode.sbatch: run the command given as arguments, and run it again whenever it ends.
# The client notices that a server was restarted, and gives it weights again with the next update.
set -uo pipefail
source "$ABLATE_ROOT/slurm/node_cache.sh"
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
  echo "$(date +%FT%T) a server ended with exit code $code and is started again" >&2
  sleep "${ABLATE_SERVER_PAUSE_S-10}" &
  wait $! # unlike sleep itself, a signal ends this wait
done
wait
