# Shared by submit.sh and onenode.sbatch: the site's machine in words of ablate.plan, which refuses what cannot run on it.

seconds_of() { # seconds_of [DAYS-]HOURS:MINUTES:SECONDS, or MINUTES, as sbatch reads a time limit; nothing for another form
  if [[ $1 =~ ^(([0-9]+)-)?([0-9]+):([0-9]+):([0-9]+)$ ]]; then
    echo $(((10#${BASH_REMATCH[2]:-0} * 24 + 10#${BASH_REMATCH[3]}) * 3600 + 10#${BASH_REMATCH[4]} * 60 + 10#${BASH_REMATCH[5]}))
  elif [[ $1 =~ ^[0-9]+$ ]]; then
    echo $((10#$1 * 60))
  fi
}

machine_of() { # machine_of TEMPLATE CPUS MEMORY: sets `machine` to the words for the nodes of one task
  local nodes=1 time_limit_s
  machine=("cpus_per_node=$2" "memory_per_node=$3" "processes_per_node=$ABLATE_PROCESSES_PER_NODE")
  machine+=("gpus_per_node=$ABLATE_GPUS_PER_NODE" "stop_lead_s=$ABLATE_STOP_LEAD_S")
  if [ "$1" = multinode.sbatch ]; then
    nodes=$ABLATE_TRAINER_NODES
    machine+=("generation_nodes=$ABLATE_GENERATION_NODES")
  elif [ "$1" = onenode.sbatch ] && [ "$ABLATE_GPUS_PER_NODE" -gt "$ABLATE_PROCESSES_PER_NODE" ]; then
    machine+=("gpus_that_generate=$((ABLATE_GPUS_PER_NODE - ABLATE_PROCESSES_PER_NODE))")
  fi
  machine+=("nodes=$nodes")
  time_limit_s=$(seconds_of "$ABLATE_TIME_LIMIT")
  [ -z "$time_limit_s" ] || machine+=("time_limit_s=$time_limit_s")
  [ -z "$ABLATE_DEVICE" ] || machine+=("device=$ABLATE_DEVICE")
}
