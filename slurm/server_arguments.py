"""Print what ``vllm serve`` is told for a run, one word a line; the first line is the number of GPUs of one server.

python slurm/server_arguments.py experiment=nouscoder_14b objective=dapo
"""

from __future__ import annotations

import sys

from ablate.cli import compose, run_main
from ablate.config import RunConfig, parse
from ablate.errors import UserError


def server_arguments(config: RunConfig) -> list[str]:
    """The options of ``ablate.rollout.vllm.start``, as ``vllm serve`` spells them."""
    if config.model.path is None:
        raise UserError(f"model={config.model.name} is built on first use: servers need model.path=DIR")
    engine = config.rollout.engine
    words = [config.model.path, "--dtype", engine.dtype]
    words += ["--max-model-len", str(max(stage.length for stage in config.context.stages))]
    words += ["--max-num-seqs", str(engine.max_num_seqs), "--tensor-parallel-size", str(engine.tensor_parallel)]
    words += ["--gpu-memory-utilization", str(engine.gpu_memory_utilization)]
    words += ["--generation-config", "vllm", "--logprobs-mode", "processed_logprobs"]
    words += ["--worker-extension-cls", "ablate.rollout.worker.WeightReplacement"]
    words += ["--enforce-eager"] if engine.enforce_eager else []
    words += ["--enable-prefix-caching" if engine.prefix_caching else "--no-enable-prefix-caching"]
    return words


def main() -> None:
    config = parse(compose(sys.argv[1:]))
    print(config.rollout.engine.tensor_parallel, *server_arguments(config), sep="\n")


if __name__ == "__main__":
    run_main(main)
