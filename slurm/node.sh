#!/usr/bin/env bash
# One trainer node of multinode.sbatch: run torchrun, which the arguments give, and forward signals to its ranks.
set -uo pipefail
source "$ABLATE_ROOT/slurm/launch.sh"
program=torchrun
[ "$SLURM_PROCID" = 0 ] && echo $$ > "$ABLATE_LEADER_PID_FILE"
start "PET_NODE_RANK=$SLURM_PROCID" "$@" # the --node-rank of torchrun: rank 0 is on the node that receives USR1
wait_for_end
exit "$code"
