"""The schema of a run's configuration. It has no default values, because YAML owns the values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from omegaconf import MISSING


@dataclass
class StageConfig:
    length: int = MISSING  # tokens of prompt and response together
    steps: int = MISSING


@dataclass
class ContextConfig:
    """Training contexts, in order. A run without a schedule has one stage."""

    stages: list[StageConfig] = MISSING

    @property
    def longest(self) -> int:
        """Tokens of the longest context that the run trains at."""
        return max(stage.length for stage in self.stages)

    @property
    def num_steps(self) -> int:
        return sum(stage.steps for stage in self.stages)


@dataclass
class ModelConfig:
    name: str = MISSING
    hub_name: str | None = MISSING  # where the weights come from, for the model card; null: this project made them
    license: str = MISSING  # SPDX identifier, of the weights and of every model trained from them
    path: str | None = MISSING  # a Hugging Face directory; null: built from `build` and cached by its hash
    build: dict[str, Any] | None = MISSING
    original_context: int = MISSING  # positions the weights were trained for: YaRN's original length
    num_parameters: int | None = MISSING
    architecture: dict[str, Any] | None = MISSING  # the shape that config.json at `path` must have; null: not pinned


@dataclass
class ParallelConfig:
    tensor: int = MISSING
    pipeline: int = MISSING
    context: int = MISSING  # processes that share the tokens of each row
    sequence_parallel: bool = MISSING
    distributed_optimizer: bool = MISSING
    world_size: int | None = MISSING  # processes of the layout; null: any multiple of tensor x pipeline x context
    precision: str = MISSING  # fp32 | bf16 (with fp32 main weights)
    transformer_engine: bool = MISSING
    attention: str = MISSING  # auto | flash | fused | unfused: which of Transformer Engine's kernels
    fp8: str = MISSING  # none | e4m3 | hybrid (e4m3 forward, e5m2 backward): for the matrix products of the layers
    fp8_recipe: str = MISSING  # tensorwise | blockwise | mxfp8: how the products are scaled
    recompute: str = MISSING  # none | core_attn | full
    recompute_layers: int | None = MISSING  # full: only the first ones of each pipeline stage; null: every layer
    num_threads: int = MISSING  # intra-op threads of the trainer on a CPU
    collective_timeout_s: float = MISSING  # a collective that waits longer ends the job, and the message says why
    leader_timeout_s: float = MISSING  # how long the other ranks wait while the leader samples and verifies
    silence_s: float = MISSING  # a process of the job that is silent for this long counts as dead
    packing: bool = MISSING  # place the rows of a micro-batch end to end, without padding
    max_tokens_per_micro_batch: int = MISSING  # padding included; the ranks of a context-parallel group share them
    logp_chunk_tokens: int = MISSING  # tokens per chunk of the vocabulary projection
    megatron: dict[str, Any] = MISSING  # further fields of Megatron's TransformerConfig or OptimizerConfig

    def alone(self) -> ParallelConfig:
        """The layout for the same weights in one process on any machine: nothing split, Megatron's own layers."""
        return replace(
            self,
            tensor=1,
            pipeline=1,
            context=1,
            sequence_parallel=False,
            distributed_optimizer=False,
            world_size=None,
            transformer_engine=False,
            attention="auto",
            fp8="none",
            recompute="none",
            recompute_layers=None,
            megatron={},
        )


@dataclass
class HistoryConfig:
    """When a training problem rests because its groups have no gradient."""

    groups: int = MISSING  # in a row with one outcome, up to the problem's last one
    rest_steps: int = MISSING  # from the step after that one on


@dataclass
class DataConfig:
    name: str = MISSING
    train: str = MISSING  # a problem store (directory) or JSONL; "shipped:NAME" is a file of the package
    eval: str = MISSING
    template: str = MISSING  # user message for a program, with {statement}
    function_template: str | None = MISSING  # user message for a function, with {statement} and {starter_code}
    system: str | None = MISSING  # system message
    template_file: str | None = MISSING  # a LiveCodeBench checkout's own wording, instead of the three above
    max_prompt_tokens: int | None = MISSING
    pass_counts: str | None = MISSING  # rows of an evaluation of the training problems; null: no difficulty filter
    min_pass_rate: float = MISSING  # training problems below it are left out; needs pass_counts
    max_pass_rate: float = MISSING
    shuffle: bool = MISSING
    history: HistoryConfig | None = MISSING  # null: every problem is drawn as often as the others


@dataclass
class EngineConfig:
    kind: str = MISSING  # vllm
    placement: str = MISSING  # inline (this process) | child (its own) | auto (child under torchrun) | servers (HTTP)
    urls: list[str] = MISSING  # servers
    share_gpus: bool = MISSING  # servers: on the trainer's GPUs, asleep while these train; needs rollout.lag=0
    weight_transfer: str = MISSING  # servers: broadcast (share_gpus: through each machine's memory) | file
    weights_dir: str | None = MISSING  # file: a directory for new weights that the trainer and all servers see
    bucket_mib: float = MISSING  # broadcast: weights in one message; trainer and servers hold one more of it in memory
    silence_s: float = MISSING  # a server without an answer, or a stopped child, counts as dead after this long
    load_limit_s: float = MISSING  # servers: for new weights from a file or a directory
    min_tokens_per_s: float = MISSING  # servers: a request that takes longer than its tokens at this rate is lost
    min_live_share: float = MISSING  # servers: with fewer alive the run checkpoints, leaves and is queued again
    dtype: str = MISSING
    head_dtype: str = MISSING  # of the logits: float32, as the trainer's are | model: rounded to dtype
    max_num_seqs: int = MISSING
    tensor_parallel: int = MISSING
    gpu_memory_utilization: float = MISSING
    kv_cache_gib: float = MISSING  # CPU only
    kv_cache_dtype: str = MISSING  # auto: as dtype | bfloat16 | float16 | fp8 (e4m3) | fp8_e4m3 | fp8_e5m2
    num_threads: int = MISSING  # CPU only: intra-op threads while sampling
    enforce_eager: bool = MISSING
    prefix_caching: bool = MISSING
    args: dict[str, Any] = MISSING  # further arguments of vLLM's engine, by the names of its EngineArgs


@dataclass
class AtroposConfig:
    url: str = MISSING  # of run-api
    silence_s: float = MISSING  # the trainer fails when no batch comes for this long
    max_batches_ahead: int = MISSING  # the environment pauses when so many wait at the server


@dataclass
class RolloutConfig:
    groups_from: str = MISSING  # own: this run samples | atropos: others post groups to a run-api server
    atropos: AtroposConfig = MISSING
    prompts_per_step: int = MISSING
    samples_per_prompt: int = MISSING
    temperature: float = MISSING
    top_p: float = MISSING
    max_draws: int = MISSING  # problems that one step may draw to find prompts_per_step groups that are kept
    lag: int = MISSING  # 0; or 1 or 2: batches ahead, sampled while the trainer works, from weights as many steps older
    on_short_batch: str = MISSING  # error | train: what to do with fewer groups than prompts_per_step
    infrastructure_retries: int = MISSING  # per rollout, before its group is dropped
    engine: EngineConfig = MISSING


@dataclass
class VerifyConfig:
    backend: str = MISSING  # local | modal
    container: str = MISSING  # rollout | problem | test
    workers: int = MISSING
    queue_size: int = MISSING
    time_limit_s: float = MISSING  # CPU seconds per test
    time_scale: int | float | str = MISSING  # factor of CPU time limits: a number, or auto, by the speed of the cores
    reference_speed_s: float = MISSING  # CPU seconds of verify/speed.py's program on the core that auto compares with
    wall_factor: float = MISSING  # wall cap = factor x time limit + 1 s
    checker_time_limit_s: float = MISSING  # CPU seconds in which a checker judges one answer
    memory_limit_mib: int = MISSING
    output_limit_kib: int = MISSING  # or four times the expected output, where that is more
    disk_limit_mib: int = MISSING  # the files that a program writes; they lie in memory
    max_processes: int = MISSING
    max_tests: int | None = MISSING  # only the hardest tests; null: all tests
    comparison: str = MISSING  # tokens | lcb | exact
    second_comparison: str | None = MISSING  # also verify by this one; Pass@1 of both is then reported
    case_insensitive: str = MISSING  # true | false | statement: where it says that any case is accepted
    prelude: str | None = MISSING  # Python that runs in a program's module before the program
    packages: list[str] = MISSING  # installed ones that programs may import, as name or name==version
    extraction: str = MISSING  # last_block | lcb
    cache: bool = MISSING  # verdicts on disk, for re-evaluation; never infrastructure errors
    cache_dir: str = MISSING
    retries: int = MISSING  # inside the verifier, after a starved test or an infrastructure error


@dataclass
class OptimConfig:
    lr: float = MISSING
    min_lr: float = MISSING
    schedule: str = MISSING  # constant | cosine
    warmup_steps: int = MISSING  # updates
    weight_decay: float = MISSING
    beta1: float = MISSING
    beta2: float = MISSING
    eps: float = MISSING
    clip_grad: float = MISSING
    updates_per_batch: int = MISSING  # updates (optimizer steps) on each rollout batch
    old_logp: str = MISSING  # trainer (recomputed) | rollout (as the engine reported them)


@dataclass
class EvalContextConfig:
    length: int = MISSING  # tokens of prompt and response; beyond model.original_context YaRN stretches the positions
    every: int = MISSING  # steps; 0: only as eval.at_start and eval.at_end say


@dataclass
class EvalConfig:
    every: int = MISSING  # steps: the schedule that `contexts` may refer to
    at_start: bool = MISSING
    at_end: bool = MISSING
    contexts: list[EvalContextConfig] = MISSING
    select_at: int = MISSING  # tokens: Pass@1 at this context chooses the best checkpoint of every stage
    select_on: str | None = MISSING  # JSONL of held-out problems that choose it; null: the evaluation problems
    expected_problems: int | None = MISSING  # problems that data.eval must hold; null: any number
    samples_per_problem: int = MISSING
    save_samples: bool = MISSING  # keep the samples' texts: of the start, the selected and the last step
    temperature: float = MISSING
    top_p: float = MISSING
    pass_at: list[int] = MISSING
    bootstrap_resamples: int = MISSING
    seed: int = MISSING  # the same for every cell


@dataclass
class CheckpointConfig:
    every: int = MISSING  # steps; 0: only at the end of a stage
    keep: int = MISSING  # number of newest checkpoints that are kept
    keep_best: bool = MISSING
    keep_steps: list[int] = MISSING  # written and kept as well: where forks will start
    asynchronous: bool = MISSING


@dataclass
class LoggingConfig:
    wandb: str = MISSING  # disabled | offline | online
    wandb_project: str = MISSING
    display: str = MISSING  # auto | live | plain
    completions: int = MISSING  # print so many responses of each step, with verdict and reward
    save_rollouts: bool = MISSING


@dataclass
class PathsConfig:
    outputs: str = MISSING
    cache: str = MISSING


@dataclass
class LongerContextConfig:
    """One cell's score at two evaluation contexts, of the same runs."""

    cell: str = MISSING
    context: int = MISSING  # tokens: the shortest evaluation context
    longer: int = MISSING


@dataclass
class DesignConfig:
    """A sequential design, fixed before the first look: when the sweep is looked at, and when it stops."""

    cell: str = MISSING  # compared with the baseline
    context: int = MISSING  # tokens: the evaluation context
    effect: float = MISSING  # the smallest difference of interest, a share
    looks: list[int] = MISSING  # numbers of matched seeds, the last is the most
    alpha: float = MISSING  # error rate over all looks
    futility: float = MISSING  # stop where the chance of a claim at the end is below this; 0 never stops


@dataclass
class ComparisonConfig:
    """What the report compares. It changes nothing that a run computes."""

    factors: list[str] = MISSING  # keys, or their prefixes, in which the cells differ on purpose
    baseline: str = MISSING  # the cell that the others are compared with
    min_seeds: int = MISSING  # with fewer matched seeds the report compares no cell with the baseline
    longer_context: LongerContextConfig | None = MISSING  # a comparison that is fixed before the runs
    design: DesignConfig | None = MISSING  # a sweep that stops when its comparison is decided (ablate.plan next=true)
    tuned_in: str | None = MISSING  # the experiment that chose each objective's optim.lr, for a report of both stages
    note: str | None = MISSING  # what a reader must know before any number: the report's first sentence
    published: list[str] = MISSING  # sources of numbers that others published, to show apart


@dataclass
class ForkConfig:
    """The checkpoint of another run from which this one starts."""

    run: str | None = MISSING  # the directory of the parent; null: the run starts from the model
    step: int | None = MISSING
    repeat: int = MISSING  # 0: the parent's random numbers of sampling; 1, 2, ...: others


@dataclass
class RunConfig:
    """One run: a cell of an experiment, and a seed. The registry of objectives checks ``objective``."""

    experiment: str = MISSING
    cell: str = MISSING
    seed: int = MISSING
    fork: ForkConfig = MISSING
    objective: dict[str, Any] = MISSING
    context: ContextConfig = MISSING
    model: ModelConfig = MISSING
    parallel: ParallelConfig = MISSING
    data: DataConfig = MISSING
    rollout: RolloutConfig = MISSING
    verify: VerifyConfig = MISSING
    optim: OptimConfig = MISSING
    eval: EvalConfig = MISSING
    checkpoint: CheckpointConfig = MISSING
    logging: LoggingConfig = MISSING
    paths: PathsConfig = MISSING
    comparison: ComparisonConfig = MISSING

    @property
    def longest_context(self) -> int:
        """Tokens of the longest context that the run trains or evaluates at."""
        return max(self.context.longest, *(each.length for each in self.eval.contexts))

    @property
    def rollouts_per_step(self) -> int:
        return self.rollout.prompts_per_step * self.rollout.samples_per_prompt
