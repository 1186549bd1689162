"""The README.md of an exported model: what it is, how it was trained, how well it does, under which licence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ablate.config import RunConfig
from ablate.evals.scores import summarise
from ablate.records import RunDirectory
from ablate.records.provenance import flatten
from ablate.types import EvalRow


def model_card(config: RunConfig, run: RunDirectory, step: int) -> str:
    """README.md: what the model is, how it was trained, how well it does, under which licence."""
    manifest = run.manifest.read()
    base = config.model.hub_name or f"{config.model.name} (made by ablate from conf/model/{config.model.name}.yaml)"
    front = ["---", f"license: {config.model.license.lower()}"]
    front += [f"base_model: {config.model.hub_name}"] if config.model.hub_name else []
    front += [
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags: [code, reinforcement-learning]",
        "---",
    ]
    sections = [
        "\n".join(front),
        f"# {config.experiment}, {config.cell}, seed {config.seed}, step {step}",
        f"{base}, trained by reinforcement learning with verifiable rewards: +1 if a program passes every test of its "
        "problem, else -1.",
        "## Training\n\n" + markdown_table(("setting", "value"), list(training_settings(config, step, manifest))),
        "## Evaluation\n\n" + evaluation_text(config, run.steps.eval_rows(), step),
        f"## Licence\n\n{config.model.license}"
        + (f", that of {config.model.hub_name}." if config.model.hub_name else "."),
    ]
    return "\n\n".join(sections) + "\n"


def training_settings(config: RunConfig, step: int, manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "base model", config.model.hub_name or config.model.name
    yield "data", f"{config.data.name}: {config.data.train}"
    for key, value in flatten(config.objective):
        if value is not None:
            yield ("objective" if key == "name" else f"objective.{key}"), str(value)
    yield "steps", f"{step} of {config.context.num_steps}"
    yield "context", ", then ".join(f"{stage.length:,} tokens ({stage.steps} steps)" for stage in config.context.stages)
    rollout, optim = config.rollout, config.optim
    yield "rollouts a step", f"{rollout.prompts_per_step} problems x {rollout.samples_per_prompt} samples"
    yield "sampling", f"temperature {rollout.temperature:g}, top-p {rollout.top_p:g}"
    yield "optimizer", f"AdamW, learning rate {optim.lr:g} ({optim.schedule}, {optim.warmup_steps} steps of warm-up)"
    yield "optimizer steps a rollout batch", str(optim.updates_per_batch)
    yield "seed", str(config.seed)
    yield "commit", str(manifest.get("commit")) + (" with uncommitted changes" if manifest.get("dirty") else "")


def evaluation_text(config: RunConfig, rows: Sequence[EvalRow], step: int) -> str:
    """Pass@k of the newest evaluation that is not later than the checkpoint, and whether that is the same step."""
    steps = [row.step for row in rows if row.step <= step]
    if not steps:
        return "Not evaluated."
    rows = [row for row in rows if row.step == max(steps)]
    metrics = summarise(rows, config.eval)
    lines = []
    for context in sorted({row.context for row in rows}):
        scores = [score_text(metrics, f"eval/pass@{k}/{context}") for k in config.eval.pass_at]
        finished = (
            f"{100 * (1 - metrics[f'eval/truncated/{context}']):.1f} %"
            if f"eval/truncated/{context}" in metrics
            else "-"
        )
        lines.append(
            (f"{context:,}" + (" (YaRN)" if context > config.model.original_context else ""), *scores, finished)
        )
    num_problems, num_samples = len({row.problem_id for row in rows}), len({row.sample for row in rows})
    when = "at this step" if max(steps) == step else f"at step {max(steps)}, before this checkpoint's step {step}"
    about = (
        f"{config.data.eval}: {num_problems} problems, {num_samples} samples each, temperature "
        f"{config.eval.temperature:g}, top-p {config.eval.top_p:g}, {when}; 95 % intervals over problems."
    )
    header = ("context", *(f"Pass@{k}" for k in config.eval.pass_at), "finished")
    return about + "\n\n" + markdown_table(header, lines)


def score_text(metrics: dict[str, float], name: str) -> str:
    if name not in metrics:
        return "-"
    point, low, high = (100 * metrics[key] for key in (name, f"{name}/low", f"{name}/high"))
    return f"{point:.1f} [{low:.1f}, {high:.1f}]"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
