# Shared by train.sbatch, onenode.sbatch, multinode.sbatch and node.sh: start a program, forward signals to it, queue the task again.
# With ABLATE_DRY_RUN set, commands are printed with their environment instead of run.

words_of() { # words_of JSON: sets `words` to the strings of a JSON list, whatever they hold; bash evaluates none of them
  mapfile -d '' -t words < <("$ABLATE_PYTHON" -c 'import json, os, sys
os.write(1, b"".join(os.fsencode(word) + b"\0" for word in json.loads(sys.argv[1])))' "$1")
}

overrides_of_task() { # sets `overrides` to line SLURM_ARRAY_TASK_ID (from 0) of the list that ablate.plan wrote
  local line
  line=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$ABLATE_TASKS")
  if [ -z "$line" ]; then
    echo "error: $ABLATE_TASKS has no line for task $SLURM_ARRAY_TASK_ID" >&2
    exit 2
  fi
  words_of "$line"
  overrides=("${words[@]}")
  [ "${#overrides[@]}" -gt 0 ] || exit 2 # Python has said why
}

show_environment() {
  local name
  for name in $(compgen -e | grep -E '^(ABLATE_|OMP_|HF_|VLLM_|NCCL_|TORCHINDUCTOR_|TRITON_|SLURM_ARRAY_TASK_ID)' | sort); do
    printf 'export %s=%q\n' "$name" "${!name}"
  done
}

start() { # start NAME=VALUE ... COMMAND ... in the background, in a process group of its own; `child` is its process id
  if [ -n "${ABLATE_DRY_RUN-}" ]; then
    printf '%q ' env "$@"
    printf '\n'
    child=
    return
  fi
  setsid env "$@" &
  child=$!
}

make_token() { # a token of this job, which every route of its servers demands
  ABLATE_SERVER_TOKEN=$([ -n "${ABLATE_DRY_RUN-}" ] || od --address-radix=n --format=x1 --read-bytes=32 /dev/urandom | tr -d ' \n')
  export ABLATE_SERVER_TOKEN
}

wait_until_up() { # wait_until_up URL ...: until every server answers
  [ -n "${ABLATE_DRY_RUN-}" ] && return
  local url
  for url in "$@"; do
    until curl --noproxy '*' --silent --fail --output /dev/null \
      --header @<(echo "Authorization: Bearer $ABLATE_SERVER_TOKEN") "$url/health"; do
      ((SECONDS > ABLATE_SERVER_DEADLINE_S)) && { echo "error: $url is not up after $SECONDS s" >&2; return 1; }
      sleep 5
    done
  done
}

forward() { # forward SIGNAL to the program, which writes a checkpoint and exits
  asked=$1
  echo "$(date +%FT%T) $1 received: asking the run to stop"
  until deliver "$1" 2> /dev/null; do # the target process may not have started yet
    kill -0 "$child" 2> /dev/null || break
    sleep 1
  done
}

deliver() {
  # Send USR1 to the leader's process only: the signal would kill the processes of the engine and the verifier.
  case $1:$program in
    USR1:python) kill -USR1 "$child" ;;
    USR1:torchrun) pkill -USR1 -P "$child" ;;
    USR1:srun) kill -USR1 "$(cat "$ABLATE_LEADER_PID_FILE")" ;; # node.sh of the first node, where this script runs too
    *) kill "-$1" -- "-$child" ;;
  esac
}

wait_for_end() { # waits until `child` ends; its exit code is in `code`
  code=0
  [ -n "${ABLATE_DRY_RUN-}" ] && return
  while kill -0 "$child" 2> /dev/null; do
    wait "$child" # a trapped signal ends the wait early, hence the loop
    code=$?
  done
}

leave() { # exits with `code`; queues the task again if USR1 asked it to stop, or the run lost its servers
  # Not after TERM, which comes from scancel or from a preemption after which SLURM queues the task by itself.
  if { [ "$asked" = USR1 ] && [ "$code" != 0 ]; } || { [ -z "$asked" ] && [ -e "${ABLATE_REQUEUE_FILE-}" ]; }; then
    if [ -n "${SLURM_JOB_ID-}" ]; then
      echo "$(date +%FT%T) exit code $code: queueing the task again"
      scontrol requeue "$SLURM_JOB_ID"
    else
      echo "$(date +%FT%T) exit code $code: the same command continues"
    fi
  fi
  exit "$code"
}

if [ -z "${ABLATE_DRY_RUN-}" ] && [ -z "${ABLATE_REQUEUE_FILE-}" ]; then
  ABLATE_REQUEUE_FILE=$(mktemp --dry-run) # ablate.train creates it to be queued again
  export ABLATE_REQUEUE_FILE
fi
source "$ABLATE_ROOT/slurm/node_cache.sh"
asked=
child=
stop_lead=(--shutdown-timeout "$ABLATE_STOP_LEAD_S") # torchrun kills its ranks 30 s after it has passed TERM on to them
program=python # or torchrun, or srun: what `child` is
trap 'forward USR1' USR1
trap 'forward TERM' TERM
