#!/usr/bin/env bash
# Submit the runs of an experiment that are missing or failed as one SLURM array, with one task per run.
#
#   slurm/submit.sh experiment=tiny                      any override of ablate.train may follow
#   slurm/submit.sh --multinode experiment=nouscoder_14b several nodes per run (slurm/multinode.sbatch)
#   slurm/submit.sh --onenode experiment=tiny model.path=DIR   one node per run: some GPUs train, the others generate
#   slurm/submit.sh --dry-run experiment=tiny            print every command with its environment, run nothing
#   slurm/submit.sh --wait experiment=tiny               return when the array has ended
#   slurm/submit.sh experiment=sequential next=true      submit what its declared design needs next, until it is decided
#   slurm/submit.sh --doctor experiment=tiny             run ablate.doctor on every node of such an allocation, and wait
#
# Site settings: slurm/env.sh.
set -euo pipefail
ABLATE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ABLATE_ROOT
source "$ABLATE_ROOT/slurm/env.sh"
source "$ABLATE_ROOT/slurm/machine.sh"

template=train.sbatch
dry_run=
waits=
doctor=
until_decided=
arguments=("$@")
options=()
words=()
for word in "$@"; do
  case $word in
    --multinode) template=multinode.sbatch ;;
    --onenode) template=onenode.sbatch ;;
    --dry-run) dry_run=1 ;;
    --wait) waits=1 ;;
    --doctor) doctor=1 ;;
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit ;;
    -*) echo "error: $word is not an option: see slurm/submit.sh --help" >&2; exit 2 ;;
    next=true) words+=("$word"); until_decided=1 waits=1 ;;
    *) words+=("$word") ;;
  esac
done

cd "$ABLATE_ROOT"
ask() { if [ -n "$2" ]; then options+=("$1=$2"); fi; }
request_node() {
  ask --partition "$ABLATE_PARTITION"
  ask --account "$ABLATE_ACCOUNT"
  ask --cpus-per-task "$ABLATE_CPUS_PER_TASK"
  ask --mem "$ABLATE_MEMORY"
  ask --gpus-per-node "${ABLATE_GPUS_PER_NODE#0}"
}

if [ -n "$doctor" ]; then
  request_node
  num_nodes=1
  [ "$template" = multinode.sbatch ] && num_nodes=$((ABLATE_TRAINER_NODES + ABLATE_GENERATION_NODES))
  command=(srun "${options[@]}" "--nodes=$num_nodes" --ntasks-per-node=1 --label)
  # shellcheck disable=SC2016 # expanded on the node
  command+=(bash -c 'source slurm/node_cache.sh; exec "$@"' doctor "$ABLATE_PYTHON" -m ablate.doctor "${words[@]}")
  if [ -n "$dry_run" ]; then printf '%q ' "${command[@]}"; printf '\n'; exit; fi
  exec "${command[@]}"
fi

checked_tasks=$(mktemp)
ABLATE_TASKS=$checked_tasks
export ABLATE_TASKS
trap 'rm -f "$checked_tasks"' EXIT
missing_files=error
[ -n "$dry_run" ] && missing_files=warn
machine_of "$template" "$ABLATE_CPUS_PER_TASK" "$ABLATE_MEMORY"
words+=("${machine[@]}" "missing_files=$missing_files")
"$ABLATE_PYTHON" -m ablate.plan "${words[@]}" "out=$ABLATE_TASKS" # ends here with exit code 2 if a run is wrong
num_tasks=$(wc -l < "$ABLATE_TASKS")
if [ "$num_tasks" = 0 ]; then
  echo "nothing to submit: every run is done, running or queued"
  exit
fi
if [ -n "$until_decided" ]; then
  digest=$(cksum < "$ABLATE_TASKS")
  if [ "$digest" = "${ABLATE_TASKS_BEFORE:-}" ]; then
    echo "error: the runs that the design needs next have ended without being done: see $ABLATE_LOGS" >&2
    exit 1
  fi
  export ABLATE_TASKS_BEFORE=$digest
fi
if [ -z "$dry_run" ]; then
  mkdir -p "$ABLATE_LOGS"
  ABLATE_TASKS=$(mktemp "$ABLATE_LOGS/tasks_XXXXXX")
  cp "$checked_tasks" "$ABLATE_TASKS"
fi

options+=(--parsable "--chdir=$ABLATE_ROOT" "--output=$ABLATE_LOGS/%A_%a.log" --export=ALL)
options+=("--array=0-$((num_tasks - 1))${ABLATE_MAX_RUNNING:+%$ABLATE_MAX_RUNNING}")
options+=("--signal=B:USR1@$ABLATE_STOP_LEAD_S")
request_node
ask --time "$ABLATE_TIME_LIMIT"
if [ "$template" = multinode.sbatch ]; then
  num_nodes=$((ABLATE_TRAINER_NODES + ABLATE_GENERATION_NODES))
  options+=("--nodes=$num_nodes" --ntasks-per-node=1)
fi

command=(sbatch "${options[@]}")
if [ -n "$dry_run" ]; then
  printf '%q ' "${command[@]}" "slurm/$template"
  printf '\n'
  for ((task = 0; task < num_tasks; task++)); do
    printf '\n# task %s\n' "$task"
    ABLATE_DRY_RUN=1 SLURM_ARRAY_TASK_ID=$task bash "slurm/$template"
  done
  exit
fi
# Every run records its task, so that `ablate.plan` shows a queued run as queued and not as missing.
job=$("${command[@]}" "slurm/$template")
"$ABLATE_PYTHON" -m ablate.plan "${words[@]}" "out=$ABLATE_TASKS" "queued=$job"
echo "job $job: $num_tasks tasks; logs: $ABLATE_LOGS/${job}_*.log"
if [ -n "$waits" ]; then
  while [ -n "$(squeue --noheader --jobs="$job" 2> /dev/null)" ]; do sleep 2; done
  "$ABLATE_PYTHON" -m ablate.plan "${words[@]}" status=true
  [ -n "$until_decided" ] && exec "${BASH_SOURCE[0]}" "${arguments[@]}"
fi
