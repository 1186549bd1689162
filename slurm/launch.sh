# Shared by train.sbatch and multinode.sbatch: start a program, hand signals on to it, queue the task again.
# With ABLATE_DRY_RUN set, commands are printed with their environment instead of run.

overrides_of_task() { # into the array `overrides`: line SLURM_ARRAY_TASK_ID (from 0) of the list that ablate.plan wrote
  read -r -a overrides < <(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$ABLATE_TASKS")
  if [ "${#overrides[@]}" = 0 ]; then
    echo "error: $ABLATE_TASKS has no line for task $SLURM_ARRAY_TASK_ID" >&2
    exit 2
  fi
}

show_environment() {
  env | grep -E '^(ABLATE_|OMP_|HF_|VLLM_|NCCL_|SLURM_ARRAY_TASK_ID)' | sort | sed 's/^/export /'
}

start() { # start NAME=VALUE ... COMMAND ...: in the background, in a process group of its own; its id is in `child`
  if [ -n "${ABLATE_DRY_RUN-}" ]; then
    printf '%q ' env "$@"
    printf '\n'
    child=
    return
  fi
  # Only the trainer handles USR1: what it inherits is "ignore", so that torchrun and vLLM do not die of it.
  (trap '' USR1; exec setsid env "$@") &
  child=$!
}

forward() { # forward SIGNAL: to the program, which checkpoints and leaves
  asked=$1
  echo "$(date +%FT%T) $1 received: asking the run to stop"
  kill "-$1" -- "-$child" 2> /dev/null
}

finish() { # wait for `child` and leave with its code, queueing the task again if it was asked to stop by USR1
  [ -n "${ABLATE_DRY_RUN-}" ] && return
  local code=0
  while kill -0 "$child" 2> /dev/null; do
    wait "$child" # a trapped signal ends the wait early, hence the loop
    code=$?
  done
  # Not after TERM: that is scancel, or SLURM's own preemption, which queues the task by itself.
  if [ "$asked" = USR1 ] && [ "$code" != 0 ]; then
    echo "$(date +%FT%T) exit code $code: queueing the task again"
    scontrol requeue "$SLURM_JOB_ID"
  fi
  exit "$code"
}

asked=
child=
trap 'forward USR1' USR1
trap 'forward TERM' TERM
