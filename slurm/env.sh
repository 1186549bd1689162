# Site settings: the only file to edit for a cluster. A value that is already set in the environment wins.
# submit.sh, train.sbatch and multinode.sbatch read it; ABLATE_ROOT is the clone, which all nodes must see.

export ABLATE_PYTHON="${ABLATE_PYTHON:-$ABLATE_ROOT/.venv/bin/python}"
export ABLATE_LOGS="${ABLATE_LOGS:-$ABLATE_ROOT/outputs/slurm}" # task lists and logs, on a file system that all nodes see

# What submit.sh requests from sbatch; an empty value requests nothing.
export ABLATE_PARTITION="${ABLATE_PARTITION-}"
export ABLATE_ACCOUNT="${ABLATE_ACCOUNT-}"
export ABLATE_TIME_LIMIT="${ABLATE_TIME_LIMIT-24:00:00}" # shorter than a run is fine: it checkpoints and is queued again
# How long before the limit a task is preempted. It leaves sampling and evaluation at once, finishes the updates of a
# batch, and writes a checkpoint.
export ABLATE_STOP_LEAD_S="${ABLATE_STOP_LEAD_S-120}" # nouscoder_14b on B200: about 300 s (ablate.plan), so 1800
# Per node. A GPU node needs 4 CPUs for each server, 2 for each rank and 8 for the leader's verifier; submit.sh refuses fewer.
export ABLATE_CPUS_PER_TASK="${ABLATE_CPUS_PER_TASK-2}" # nouscoder_14b with 8 GPUs in a node: 32, better 64
export ABLATE_MEMORY="${ABLATE_MEMORY-}"                # such as 16G; 0 asks for all of a node's, which a GPU node needs
export ABLATE_GPUS_PER_NODE="${ABLATE_GPUS_PER_NODE-0}"
export ABLATE_DEVICE="${ABLATE_DEVICE-}" # its GPU, a file of conf/device such as b200: submit.sh then warns from estimates
export ABLATE_MAX_RUNNING="${ABLATE_MAX_RUNNING-}"           # tasks of the array that may run at a time

# Trainer processes on a node; above 1 torchrun starts them.
export ABLATE_PROCESSES_PER_NODE="${ABLATE_PROCESSES_PER_NODE-1}"

# submit.sh --multinode: the nodes of one task. With 0 generation nodes the leader samples with an engine of its own, or
# the servers of rollout.engine.share_gpus=true are on the trainer nodes.
export ABLATE_TRAINER_NODES="${ABLATE_TRAINER_NODES-2}"
export ABLATE_GENERATION_NODES="${ABLATE_GENERATION_NODES-4}"
export ABLATE_RENDEZVOUS_PORT="${ABLATE_RENDEZVOUS_PORT-29500}"
export ABLATE_SERVER_PORT="${ABLATE_SERVER_PORT-8000}" # of a node's first server; the next server has the next port
export ABLATE_SERVER_DEADLINE_S="${ABLATE_SERVER_DEADLINE_S-900}"

# submit.sh --onenode: ABLATE_PROCESSES_PER_NODE of the node's GPUs train and the others generate; or all do both, by turns. A node without GPUs has
# this many CPU servers.
export ABLATE_CPU_SERVERS="${ABLATE_CPU_SERVERS-1}"

# Variables that the programs themselves read.
export OMP_NUM_THREADS="${OMP_NUM_THREADS-1}"
export HF_HUB_OFFLINE=1
export VLLM_NO_USAGE_STATS=1
# vLLM would compile FlashInfer's sampler and never use it: a request with a seed takes vLLM's own.
export VLLM_USE_FLASHINFER_SAMPLER="${VLLM_USE_FLASHINFER_SAMPLER-0}"
# Compiled kernels, on a disk of the node's own: 32 servers that share one directory over a network wait for its locks.
ABLATE_NODE_CACHE="${ABLATE_NODE_CACHE-/tmp/ablate-cache-$(id -u)}" # private: slurm/node_cache.sh makes it on each node
export ABLATE_NODE_CACHE
export VLLM_CACHE_ROOT="${VLLM_CACHE_ROOT-$ABLATE_NODE_CACHE/vllm}"
export TORCHINDUCTOR_CACHE_DIR="${TORCHINDUCTOR_CACHE_DIR-$ABLATE_NODE_CACHE/inductor}"
export TRITON_CACHE_DIR="${TRITON_CACHE_DIR-$ABLATE_NODE_CACHE/triton}"
# What a site usually has to say about its network; ablate.doctor shows the bandwidth that results.
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0 # the interface for connections: not the management network
# export NCCL_IB_HCA=mlx5                              # the InfiniBand adapters, where a node has others too
# export NCCL_DEBUG=WARN
# A collective of NCCL that hangs ends its rank with SIGABRT; these write down which collective each rank was in.
# export TORCH_NCCL_TRACE_BUFFER_SIZE=2000 TORCH_NCCL_DUMP_ON_TIMEOUT=1
# vLLM uses FlashInfer's attention only where it finds nvcc, and compiles it at the first start of a server: the doctor
# starts one alone, before the first large run.
# module load cuda/13.0
