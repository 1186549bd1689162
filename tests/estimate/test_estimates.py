"""The estimate's arithmetic follows the rules of the code that it predicts."""

import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ramp_up import PYTHON, words_after

from ablate.cli import compose
from ablate.config import parse
from ablate.errors import UserError
from ablate.estimate.__main__ import main
from ablate.estimate.cells import branches_sentence, estimates_of
from ablate.estimate.collect import BatchWork, Pool, collect
from ablate.estimate.decode import EngineSpeed, engine_speed
from ablate.estimate.estimator import Estimator
from ablate.estimate.lengths import recorded_lengths, resampled
from ablate.estimate.memory import rank_memory, rank_parameters
from ablate.estimate.page import number, spoken_hours
from ablate.estimate.problems import num_eval_problems
from ablate.estimate.run import StepSeconds
from ablate.estimate.schedule import num_checkpoints, num_evaluations, num_steps
from ablate.estimate.settings import estimate_settings
from ablate.estimate.shape import shape_of
from ablate.estimate.training import TrainerSpeed, layout_of, num_micro_batches, rows_of_passes
from ablate.files.parquet import read_parquet
from ablate.sweep import planned_runs

README = Path(__file__).parents[2] / "experiments" / "nouscoder_14b" / "README.md"
RECORDED = Path(__file__).parents[1] / "analysis" / "fixture_outputs" / "main" / "grpo" / "seed0"
SPEED = EngineSpeed(
    weight_bytes=100.0,
    kv_bytes=1.0,
    flops=1.0,
    attention_flops=0.0,
    bytes_per_s=100.0,
    flops_per_s=1e9,
    prefill_flops_per_s=1e9,
    step_s=0.5,
    sequence_s=0.0,
    kv_tokens=10_000,
)


def configuration(*words):
    return parse(compose(words))


def work(num_groups=4, group_size=2, lengths=lambda: (0, 10), **others):
    return BatchWork(num_groups, group_size, lengths, verify_s=others.pop("verify_s", lambda: 0.0), **others)


def random_lengths(seed):
    rng = random.Random(seed)
    return lambda: (5, rng.randint(1, 200))


@pytest.mark.parametrize(
    ("experiment", "count"), [("nouscoder_14b", 14_768_307_200), ("deepcoder_14b", 14_770_033_664), ("tiny", 231_776)]
)
def test_the_shape_has_the_published_number_of_parameters(experiment, count):
    config = configuration(f"experiment={experiment}")
    assert shape_of(config.model.architecture).num_parameters == count == config.model.num_parameters


def test_one_batch_of_equal_lengths_takes_the_sum_of_its_steps():
    pool = Pool(SPEED, num_servers=1, max_num_seqs=64, num_sandboxes=1)
    collected = collect(pool, work())
    cached = [8 * step for step in range(10)]  # eight sequences without a prompt
    assert collected.sampled_s == pytest.approx(sum(0.5 + (100 + each) / 100 for each in cached))


def test_a_batch_ends_with_the_last_verdict():
    pool = Pool(SPEED, num_servers=1, max_num_seqs=64, num_sandboxes=2)
    collected = collect(pool, work(verify_s=lambda: 3.0))
    assert collected.exposed_verification_s == pytest.approx(3.0 * 8 / 2)
    assert collected.sandbox_busy_s == pytest.approx(3.0 * 8)


def test_programs_get_the_cores_of_the_engine_once_it_has_sampled():
    pool = Pool(SPEED, num_servers=1, max_num_seqs=64, num_sandboxes=2, cores=1, cores_alone=2)
    few, many = (collect(pool, work(count, 1, lambda: (0, 10), verify_s=lambda: 3.0)) for count in (2, 8))
    assert few.exposed_verification_s == pytest.approx(3.0)  # both start when the engine has ended
    assert many.exposed_verification_s == pytest.approx(3.0 * 8 / 2)


def test_a_program_that_runs_alone_is_as_fast_while_the_engine_samples():
    lengths = iter([(0, 0), (0, 1), (0, 0), (0, 50)])
    pool = Pool(SPEED, num_servers=1, max_num_seqs=64, num_sandboxes=2, cores=1, cores_alone=2)
    collected = collect(pool, work(2, 1, lambda: next(lengths), verify_s=lambda: 3.0))
    assert collected.sandbox_busy_s == collected.program_s == pytest.approx(6.0)


def test_a_response_that_the_context_cuts_has_no_program_to_wait_for():
    pool = Pool(SPEED, num_servers=1, max_num_seqs=64, num_sandboxes=1)
    lengths = [(5, 10), (5, 20), (5, 30), (5, 40)]
    given = (iter([(5, 0), *((5, length) for _, length in lengths)]) for _ in range(2))
    every, cut = (
        collect(pool, BatchWork(1, 4, lambda pairs=pairs: next(pairs), verify_s=lambda: 3.0, context=context))
        for pairs, context in zip(given, (None, 35), strict=True)
    )
    assert (every.program_s, cut.program_s) == (pytest.approx(12.0), pytest.approx(6.0))
    assert cut.sampled_s == every.sampled_s
    assert cut.seconds < every.seconds


def test_where_cores_are_shared_a_step_takes_its_work_even_at_lag_1():
    step = StepSeconds(sample=3.0, verify=1.0, batch=0.0, old_logp=0.0, update=2.0, record=0.0, weights=0.5)
    assert step.seconds(1) == 4.5
    assert step.seconds(1, core_s=5.0) == 5.5
    assert step.seconds(0, core_s=5.0) == 6.5


def test_more_servers_never_make_a_batch_slower_and_halve_a_full_one():
    seconds = [collect(Pool(SPEED, count, 8, 100), work(64, 4, random_lengths(1))).seconds for count in (1, 2, 4, 8)]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] / seconds[1] == pytest.approx(2, rel=0.2)


def test_a_small_cache_preempts_and_computes_again_what_it_dropped():
    pools = [Pool(EngineSpeed(**{**vars(SPEED), "kv_tokens": room}), 1, 16, 100) for room in (10_000, 600)]
    large, small = (collect(pool, work(16, 2, random_lengths(2))) for pool in pools)
    assert large.num_recomputed == 0 < small.num_recomputed
    assert small.seconds > large.seconds
    assert small.num_tokens == large.num_tokens


def test_a_batch_holds_the_groups_that_it_wants_and_costs_more_where_some_are_dropped():
    pool = Pool(SPEED, 4, 16, 100)
    for seed in range(5):
        rng = random.Random(seed)
        some = collect(
            pool, work(16, 2, random_lengths(seed), keeps=lambda rng=rng: rng.random() < 0.5, kept_share=0.5)
        )
        every = collect(pool, work(16, 2, random_lengths(seed)))
        assert len(some.kept_lengths) == len(every.kept_lengths) == 32
        assert some.num_responses > every.num_responses == 32
        assert some.seconds > every.seconds


def test_no_more_groups_are_drawn_than_max_draws_allows():
    collected = collect(Pool(SPEED, 1, 8, 4), work(8, 2, keeps=lambda: False, kept_share=0.5, max_draws=20))
    assert (collected.num_responses, collected.kept_lengths) == (40, ())


@pytest.mark.parametrize("experiment", ["tiny", "nouscoder_14b"])
def test_micro_batches_are_counted_as_the_trainer_plans_them(experiment):
    from ablate.trainer.batching import plan_micro_batches

    parallel = configuration(f"experiment={experiment}").parallel
    rng = random.Random(0)
    lengths = [rng.randint(1, parallel.max_tokens_per_micro_batch // 12) for _ in range(100)]
    planned = plan_micro_batches(
        lengths,
        parallel.max_tokens_per_micro_batch,
        num_ranks=1,
        row_multiple=1,
        multiple_of=1,
        packing=parallel.packing,
    )
    assert num_micro_batches(lengths, parallel, 1) == len(planned[0])


def test_recomputing_some_layers_lies_between_recomputing_none_and_all_in_memory_and_time():
    config = configuration("experiment=nouscoder_14b", "parallel=gpu8")
    shape, device = shape_of(config.model.architecture), estimate_settings(["device=b200"])[0]
    changes = ({"recompute": "none"}, *({"recompute_layers": layers} for layers in (1, 20, 39, 40, None)))
    found = []
    for change in changes:
        parallel = replace(config.parallel, **change)
        speed = TrainerSpeed(shape, layout_of(parallel), parallel, device)
        found.append((rank_memory(shape, parallel).stored, speed.update_s([30_000] * 64, 0.0)))
    stored, seconds = zip(*found, strict=True)
    assert list(stored) == sorted(stored, reverse=True)
    assert list(seconds) == sorted(seconds)
    assert found[-1] == found[-2]
    assert len(set(found)) == len(found) - 1


def test_the_reference_run_is_evaluated_at_the_start_every_50_steps_and_at_the_ends():
    counts = num_evaluations(configuration("experiment=nouscoder_14b"))
    assert counts == {40_960: 1 + 600 // 50, 81_920: 1 + 2 + 1}  # start, two ends of stages, the selected checkpoint


def test_one_batch_ahead_hides_the_shorter_half_of_a_step_and_no_more():
    step = StepSeconds(sample=60, verify=5, batch=1, old_logp=7, update=30, record=2, weights=4)
    assert (step.seconds(lag=0), step.seconds(lag=1)) == (60 + 5 + 1 + 7 + 30 + 2 + 4, 60 + 5 + 4)


@pytest.mark.parametrize("for_records", [False, True])
def test_every_row_gets_its_old_logp_from_a_pass_or_from_the_first_update(for_records):
    lengths = list(range(1, 33))
    own_pass, updates = rows_of_passes(lengths, 4, trained_share=0.5, for_records=for_records)
    assert [len(rows) for rows in updates] == [4] * 4
    needed = lengths if for_records else [length for rows in updates for length in rows]
    assert sorted(own_pass + updates[0]) == sorted(needed)


def test_the_lengths_of_a_recorded_run_are_those_of_its_rollouts_cut_at_the_context():
    pairs = recorded_lengths(RECORDED)
    rows = read_parquet(RECORDED / "rollouts" / "step_00016.parquet")
    assert pairs == [(len(row["prompt_ids"]), len(row["response_ids"])) for row in rows]
    context = max(prompt for prompt, _ in pairs) + 3
    draw = resampled(pairs, context, random.Random(0))
    assert {prompt + response for prompt, response in (draw() for _ in range(200))} <= set(range(context + 1))


def test_a_run_without_rollouts_is_no_source_of_lengths(tmp_path):
    with pytest.raises(UserError, match="has no saved rollouts"):
        recorded_lengths(tmp_path)


@pytest.mark.parametrize("layout", ["gpu8", "gpu16", "gpu16_pp2", "gpu48"])
def test_a_rank_of_the_reference_holds_its_share_of_18_bytes_a_parameter(layout):
    config = configuration("experiment=nouscoder_14b", f"parallel={layout}")
    shape, parallel = shape_of(config.model.architecture), config.parallel
    memory = rank_memory(shape, parallel)
    copies = layout_of(parallel).data if parallel.distributed_optimizer else 1
    static = memory.weights + memory.gradients + memory.optimizer
    assert static == pytest.approx(rank_parameters(shape, parallel) * (6 + 12 / copies))
    assert rank_parameters(shape, parallel) == pytest.approx(
        shape.num_parameters / (parallel.tensor * parallel.pipeline), rel=0.001
    )


def test_the_page_of_the_reference_run_names_what_limits_it(capsys, monkeypatch):
    words = words_after(f"{PYTHON} ablate.estimate")
    monkeypatch.setattr(sys, "argv", ["ablate.estimate", *words, "objective=gspo", "seed=0,1,2"])
    main()
    shown = capsys.readouterr().out
    for phrase in ("old log-probabilities", "device hours", "gpu16", "limits the run", "rows of 40,960", "sandboxes"):
        assert phrase in shown


def test_the_budget_in_the_readme_of_the_reference_run_is_estimated():
    runs = planned_runs(["experiment=nouscoder_14b"])
    estimators = estimates_of([run.config for run in runs], *estimate_settings(["device=b200"]))
    dapo, others = (estimator.run() for estimator in estimators.values())
    for label, of_each in {
        "seconds of a step at": lambda each: " and ".join(number(stage.step_s) for stage in each.stages),
        "hours of a run": lambda each: f"{number(each.hours)}, {each.evaluation_hours:.0f}",
        "GPU hours of a run": lambda each: f"{round(each.device_hours, -2):,.0f}",
        "GB on disk": lambda each: number(each.disk_bytes / 1e9),
    }.items():
        (line,) = [line for line in README.read_text().splitlines() if line.startswith(f"| {label}")]
        assert [cell.strip() for cell in line.split("|")[2:4]] == [of_each(dapo), of_each(others)]
    assert f"{round(3 * dapo.device_hours + 6 * others.device_hours, -3):,.0f} GPU hours" in README.read_text()


FORKS_OF_THE_REFERENCE = {
    100: "[{length:32768,steps:120}]",
    500: "[{length:32768,steps:400},{length:40960,steps:120}]",
}


def test_the_budget_of_forks_of_the_reference_run_is_estimated():
    words = "experiment=nouscoder_14b seed=0 fork.run=parent eval.contexts=[{length:40960,every:0}] checkpoint.every=0"
    found = []
    for point, stages in FORKS_OF_THE_REFERENCE.items():
        own = [*words.split(), "checkpoint.keep_best=false", f"fork.step={point}", f"context.stages={stages}"]
        runs = [run.config for run in planned_runs(own)]
        found.append([each.run() for each in estimates_of(runs, *estimate_settings(["device=b200"])).values()])
        assert "3 branches make 60 steps after their fork points" in branches_sentence(runs)
    hours = [each.hours for pair in found for each in pair]
    early, late = (dapo.device_hours + 2 * others.device_hours for dapo, others in found)
    text = README.read_text()
    assert f"| {number(min(hours))} to {number(max(hours))}, {found[0][0].evaluation_hours:.1f} |" in text
    assert f"| {round(2 * early + late, -2):,.0f} |" in text, "steps 100 and 300 cost the same"


def test_a_fork_is_counted_from_its_point_and_cells_that_cost_the_same_share_a_column():
    runs = [run.config for run in planned_runs(["experiment=fork_objective", "fork.step=5,15", "seed=0,1"])]
    estimators = estimates_of(runs, *estimate_settings(["device=cpu"]))
    assert [each.num_cells for each in estimators.values()] == [6, 18]
    assert list(estimators) == [
        ", ".join(f"dapo-at{point}-repeat{repeat}" for repeat in range(3) for point in (5, 15)),
        "grpo-at5-repeat0 and 17 more",
    ]
    for config in runs:
        assert (num_steps(config, 0), num_checkpoints(config)) == (8, 1)
        assert num_evaluations(config) == {128: 1, 320: 1}
    said = branches_sentence(runs)
    assert said.startswith("48 branches make 384 steps after their fork points. Their parents keep 4 checkpoints for ")
    assert "(checkpoint.keep_steps=[5, 15])" in said
    later = configuration("context.stages=[{length:128,steps:4},{length:160,steps:6}]", "fork.run=a", "fork.step=7")
    assert [num_steps(later, stage) for stage in (0, 1)] == [0, 3]
    assert branches_sentence([configuration("experiment=tiny")]) is None


def test_each_choice_contributes_what_the_readme_of_the_reference_run_says():
    lines = {line.split("|")[2].strip(): line for line in README.read_text().splitlines() if line.startswith("| ")}
    apart, shared = "setting=apart", "parallel=gpu48 rollout.engine.share_gpus=true"
    fp8, once = "rollout.engine.kv_cache_dtype=fp8", "parallel.recompute=none"
    words = [apart]
    for keys in (apart, shared, fp8, once, "parallel=gpu48_tp4"):
        words += [word for word in keys.split() if word != apart]
        room = "rollout.engine.gpu_memory_utilization=0.85"
        every = (
            [] if keys == "parallel=gpu48_tp4" else [*words, *([room] if len(words) > 1 else [])]
        )  # the last: as it is
        (run,) = planned_runs(["experiment=nouscoder_14b", "objective=dapo", "seed=0", *every])
        (estimator,) = estimates_of([run.config], *estimate_settings(["device=b200"])).values()
        found = estimator.run()
        cells = [" and ".join(number(stage.step_s) for stage in found.stages), f"{found.hours:.0f}"]
        assert [cell.strip() for cell in lines[f"`{keys}`"].split("|")[3:5]] == cells


def test_the_budget_of_the_other_recipe_is_estimated():
    settings = estimate_settings(["device=h100", "assumptions.servers=16"])
    runs = planned_runs(["experiment=deepcoder_14b"])
    (estimator,) = estimates_of([run.config for run in runs], *settings).values()
    run = estimator.run()
    text = README.parents[1].joinpath("deepcoder_14b", "README.md").read_text()
    for phrase in (
        f"{run.hours:.0f} hours for a run",
        f"{round(run.device_hours, -2):,.0f} GPU hours",
        f"{round(3 * run.device_hours, -3):,.0f} GPU hours for three seeds",
        f"{run.kv_tokens / 32_768:.1f} rows",
    ):
        assert phrase in " ".join(text.split())


def test_a_faster_device_and_a_shorter_context_shorten_the_run():
    def hours(device, *words):
        (run,) = planned_runs(["experiment=nouscoder_14b", "objective=gspo", "seed=0", *words])
        (estimator,) = estimates_of([run.config], *estimate_settings([f"device={device}"])).values()
        return estimator.run().hours

    assert hours("b200", "context.stages=[{length:16384,steps:600}]") < hours("b200") < hours("h200")


def test_the_problems_of_an_evaluation_are_counted_where_their_file_is_there():
    _, assumptions = estimate_settings([])
    assert num_eval_problems(configuration("experiment=tiny"), assumptions) == 108
    assert num_eval_problems(configuration("experiment=nouscoder_14b"), assumptions) == 454
    missing = configuration("experiment=tiny", "data.eval=nowhere.jsonl")
    assert num_eval_problems(missing, assumptions) == assumptions.eval_problems


SAID = {57938.2: "57,938 device hours", 0.2: "12 device minutes", 0.01: "36 device seconds"}


@pytest.mark.parametrize(("hours", "said"), SAID.items())
def test_a_short_time_is_said_in_minutes_or_seconds(hours, said):
    assert spoken_hours(hours) == said


ON_B200 = ("experiment=nouscoder_14b", "objective=gspo")


def test_a_token_of_fp8_takes_half_of_the_cache_and_of_its_reading():
    device, _ = estimate_settings(["device=b200"])
    whole, half = [
        engine_speed(shape_of(config.model.architecture), config.rollout.engine, device)
        for config in (configuration(*ON_B200, f"rollout.engine.kv_cache_dtype={dtype}") for dtype in ("auto", "fp8"))
    ]
    assert whole.kv_bytes == 2 * half.kv_bytes == 160 * 1024
    assert half.kv_tokens == pytest.approx(2 * whole.kv_tokens)


def test_where_servers_share_the_trainers_gpus_all_of_them_sample_and_none_is_counted_twice():
    device, assumed = estimate_settings(["device=b200"])
    words = ("parallel=gpu48", "rollout.engine.share_gpus=true", "rollout.engine.gpu_memory_utilization=0.85")
    estimator = Estimator(configuration(*ON_B200, *words), device, assumed, drops_groups=False)
    assert estimator.num_servers == 48
    assert not estimator.has_own_devices
    step = estimator.step_of(0, estimator.batch(0, 0))
    assert step.switch == assumed.switch_s
    assert step.seconds(0) == pytest.approx(step.collect + step.train + step.weights + step.switch)
    assert step.weights == pytest.approx(assumed.weights_s + 2 * 29.5e9 / (assumed.pinned_gb_s * 1e9), rel=0.01)
