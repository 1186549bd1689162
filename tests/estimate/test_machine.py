"""A run that its machine cannot run is refused from arithmetic, and what an estimate doubts is a warning."""

import resource
from dataclasses import replace

import pytest
from hydra.errors import ConfigCompositionException

from ablate.cli import compose
from ablate.config import parse
from ablate.errors import UserError
from ablate.estimate.cells import check_starts, estimates_of, warnings_of
from ablate.estimate.host import Machine, memory_bytes
from ablate.estimate.machine import check_machine
from ablate.estimate.settings import estimate_settings, machine_of
from ablate.estimate.shape import shape_of
from ablate.sweep import planned_runs

REFERENCE = Machine(
    nodes=2,
    processes_per_node=8,
    gpus_per_node=8,
    generation_nodes=4,
    gpu_bytes=80e9,
    cpus_per_node=32,
    host_bytes=0,
)
REFERENCE_WORDS = ("experiment=nouscoder_14b", "setting=apart", "objective=gspo", "seed=0")


def check(machine, *words):
    config = parse(compose(words))
    check_machine(config, machine, shape_of(config.model.architecture))


def test_the_reference_run_is_accepted_on_its_nodes():
    check(REFERENCE, *REFERENCE_WORDS)


@pytest.mark.parametrize(
    ("changes", "words", "sentence"),
    [
        ({"nodes": 1}, (), r"1 nodes x 8 processes are 8 processes, but parallel.world_size=16: change ABLATE_TRAINER"),
        ({"gpus_per_node": 0}, (), r"transformer_engine=true needs GPUs, and a node has 0: set ABLATE_GPUS_PER_NODE"),
        ({"gpus_per_node": 4}, (), r"8 processes of a node need a GPU each, and a node has 4"),
        ({"generation_nodes": 0}, (), r"placement=child\) shares a GPU .* asks for 90% of 80 GB, .* needs 28.1 GB"),
        ({"gpu_bytes": 40e9}, (), r"room for 39,\d{3} tokens, and one row of the longest context has 81,920"),
        ({"gpu_bytes": 24e9}, (), r"room for 0 tokens"),
        (
            {"cpus_per_node": 23},
            (),
            r"8 trainer ranks needs 24 CPUs, and ABLATE_CPUS_PER_TASK=23: set it to 24",
        ),
        ({"cpus_per_node": 24}, (), r"a node with 8 servers needs 32 CPUs"),
        ({"host_bytes": None}, (), r"ABLATE_MEMORY is empty.* set it to 0 .*8 trainer ranks need, about 418 GB"),
        ({"host_bytes": 256e9}, (), r"8 trainer ranks needs about 418 GB of host memory .* ABLATE_MEMORY is 256 GB"),
        (
            {"generation_nodes": None, "gpus_that_generate": 4, "cpus_per_node": 39},
            (),
            r"8 trainer ranks and 4 servers needs 40 CPUs",
        ),
        (
            {},
            ("rollout.engine.share_gpus=true",),
            r"share_gpus=true has a rank .* on every GPU, and .* 4 nodes only generate: .* ABLATE_GENERATION_NODES=0",
        ),
        (
            {"generation_nodes": 0, "cpus_per_node": 56},
            ("rollout.engine.share_gpus=true",),
            r"placement=servers\) shares a GPU .* asks for 90% of 80 GB, and the rank needs 14.8 GB between updates",
        ),
        (
            {"generation_nodes": 0, "gpu_bytes": 192e9, "cpus_per_node": 55},
            ("rollout.engine.share_gpus=true", "rollout.engine.gpu_memory_utilization=0.8"),
            r"8 trainer ranks and 8 servers needs 56 CPUs",
        ),
        ({}, ("verify.workers=100000000",), r"need 400002560 open files, but the hard limit is"),
    ],
)
def test_a_machine_that_cannot_run_the_reference_is_refused(changes, words, sentence):
    if "workers" in "".join(words) and resource.getrlimit(resource.RLIMIT_NOFILE)[1] == resource.RLIM_INFINITY:
        pytest.skip("this system has no limit of open files")
    with pytest.raises(UserError, match=sentence):
        check(replace(REFERENCE, **changes), *REFERENCE_WORDS, *words)


def test_the_reference_run_takes_turns_on_six_nodes():
    nodes = replace(REFERENCE, nodes=6, generation_nodes=0, gpu_bytes=192e9, cpus_per_node=56)
    check(nodes, "experiment=nouscoder_14b", "objective=gspo", "seed=0")


def test_memory_is_read_as_sbatch_reads_it():
    assert [memory_bytes(words) for words in ("", "0", "512", "900G", "1T")] == [
        *(None, 0, 512 * 2**20, 900 * 2**30, 2**40)
    ]
    with pytest.raises(UserError, match="ABLATE_MEMORY=much is no amount of memory"):
        memory_bytes("much")


def test_evaluations_that_fill_the_time_limit_before_the_first_update_are_refused():
    words = ["experiment=nouscoder_14b", "setting=apart", "model=qwen3_8b", "parallel=gpu4", "objective=dapo", "seed=0"]
    machine = Machine(nodes=1, processes_per_node=4, gpus_per_node=8, gpus_that_generate=4)
    h100, assumptions = estimate_settings(["device=h100"])

    def check_words(*more: str) -> None:
        check_starts([parse(compose([*words, *more]))], h100, assumptions, machine, 24 * 3600.0)

    with pytest.raises(UserError, match=r"evaluates for about 30 h on 4 x h100 before its first update.* is 24 h"):
        check_words()
    for fix in ("debug=rehearsal", "eval.at_start=false", "eval.samples_per_problem=1"):
        check_words(fix, "eval.pass_at=[1]")


def test_a_rehearsal_takes_half_an_hour_and_leaves_the_runs_of_its_experiment_alone():
    words = ["experiment=nouscoder_14b", "setting=apart", "model=qwen3_8b", "parallel=gpu4", "objective=dapo", "seed=0"]
    (run,) = planned_runs([*words, "debug=rehearsal"])
    h100, assumptions = estimate_settings(["device=h100", "assumptions.servers=4"])
    (estimator,) = estimates_of([run.config], h100, assumptions).values()
    assert estimator.run().hours < 0.5
    assert estimator.run().num_checkpoints == run.config.context.stages[0].steps == 3
    assert run.config.longest_context > run.config.model.original_context  # YaRN
    assert run.directory != planned_runs(words)[0].directory


def test_two_gpus_per_server_have_room_where_one_has_none():
    check(replace(REFERENCE, gpu_bytes=40e9), *REFERENCE_WORDS, "rollout.engine.tensor_parallel=2")


def test_a_child_engine_may_share_a_gpu_that_has_room_for_both():
    machine = Machine(nodes=1, processes_per_node=2, gpus_per_node=2, gpu_bytes=80e9)
    check(machine, "experiment=tiny", "parallel=tp2")


@pytest.mark.parametrize("placement", ["inline", "servers"])
def test_the_cache_of_a_cpu_engine_holds_a_row_or_is_refused_unless_it_is_another_machines(placement):
    words = ("experiment=tiny", f"rollout.engine.placement={placement}", "rollout.engine.kv_cache_gib=1e-4")
    machine = Machine(nodes=1, processes_per_node=1, gpus_per_node=0)
    if placement == "servers":
        return check(machine, *words)
    with pytest.raises(UserError, match=r"room for 104 tokens, .* has 320: raise rollout.engine.kv_cache_gib"):
        check(machine, *words)


def test_a_wrong_count_of_the_command_line_is_named():
    with pytest.raises(UserError, match="nodes=two must be a whole number"):
        machine_of({"nodes": "two"}, None)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("assumptions.kept_share=0", "kept_share must be above 0 and at most 1, not 0"),
        ("device.train_share=1.5", "train_share must be above 0 and at most 1, not 1.5"),
        ("assumptions.servers=0", "servers must be above 0, not 0"),
        ("assumptions.kept=0.5", "kept"),
    ],
)
def test_an_assumption_out_of_range_is_refused(word, sentence):
    with pytest.raises((UserError, ConfigCompositionException), match=sentence):
        estimate_settings([word])


def warned(device, own, *words):
    configs = [run.config for run in planned_runs([*REFERENCE_WORDS, *words])]
    return warnings_of(configs, *estimate_settings([f"device={device}"]), own)


def test_memory_near_the_devices_is_a_warning():
    assert warned("b200", {}) == []
    (sentence,) = warned("h100", {}, "parallel=gpu8", "parallel.recompute=none")
    assert "and h100 has 85 GB: use a larger layout" in sentence


@pytest.mark.parametrize(
    ("own", "sentences"),
    [
        ({"time_limit_s": "86400", "stop_lead_s": "1800"}, []),
        ({"stop_lead_s": "120"}, ["ABLATE_STOP_LEAD_S=120 is shorter than a step's updates with a checkpoint"]),
        ({"time_limit_s": "600"}, ["a time limit of 600 s is shorter than a step and its checkpoint"]),
        ({"time_limit_s": "2400"}, ["a time limit of 2400 s is shorter than an evaluation"]),
    ],
)
def test_times_that_are_shorter_than_what_they_must_contain_are_warnings(own, sentences):
    found = warned("b200", own)
    assert len(found) == len(sentences)
    assert all(sentence.startswith(expected) for sentence, expected in zip(found, sentences, strict=True))
