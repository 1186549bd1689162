"""A dry run prints every command with its environment, and runs and writes nothing."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import ramp_up
from ramp_up import words_after

from ablate import sweep
from ablate.errors import UserError
from ablate.serve.run import own_devices

ROOT = Path(__file__).parents[2]
GPU_NODES = {
    "ABLATE_GPUS_PER_NODE": "8",
    "ABLATE_PROCESSES_PER_NODE": "8",
    "ABLATE_CPUS_PER_TASK": "32",
    "ABLATE_MEMORY": "0",
}

APART = ("experiment=nouscoder_14b", "setting=apart", "seed=0")


def dry_run(tmp_path: Path, *words: str, **variables: str) -> list[str]:
    return finished_dry_run(tmp_path, *words, **variables).stdout.splitlines()


def finished_dry_run(tmp_path: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ABLATE_", "SLURM_"))}
    environment |= {"ABLATE_PYTHON": sys.executable, "ABLATE_LOGS": str(tmp_path / "logs"), **variables}
    command = ["bash", str(ROOT / "slurm" / "submit.sh"), "--dry-run", *words, f"paths.outputs={tmp_path / 'outputs'}"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    assert list(tmp_path.iterdir()) == []
    return result


def commands(lines: list[str], containing: str) -> list[list[str]]:
    return [shlex.split(line) for line in lines if containing in line and line.startswith("env ")]


def test_an_array_has_one_task_per_cell_and_each_trains_that_cell(tmp_path):
    lines = dry_run(
        tmp_path, "experiment=tiny", "objective=grpo,dapo", "seed=3", ABLATE_PARTITION="short", ABLATE_MAX_RUNNING="2"
    )
    cells = sweep.expand(["experiment=tiny", "objective=grpo,dapo", "seed=3", f"paths.outputs={tmp_path / 'outputs'}"])
    (sbatch,) = [shlex.split(line) for line in lines if line.startswith("sbatch ")]
    assert f"--array=0-{len(cells) - 1}%2" in sbatch
    assert "--partition=short" in sbatch
    assert not any(word.startswith(("--mem", "--gpus", "--account")) for word in sbatch)
    trained = commands(lines, "ablate.train")
    assert [tuple(command[-len(cell) :]) for command, cell in zip(trained, cells, strict=True)] == cells
    assert all("torch.distributed.run" not in command for command in trained)


def test_an_override_with_spaces_and_quotes_reaches_its_task_whole(tmp_path):
    template = "data.template='Solve this: {statement}'"
    lines = dry_run(tmp_path, "experiment=tiny", "objective=grpo", "seed=0", template)
    (command,) = commands(lines, "ablate.train")
    assert template in command


def hostile(directory: Path) -> str:
    """A value with every kind of quoting, of which a shell that evaluates any part would make a file."""
    touch = f"touch {directory}/executed"
    pieces = [f"$({touch})", f"`{touch}`", f"; {touch};", f"& {touch} &", f"| {touch}", f"a[$({touch})]", "${HOME}"]
    return "p" + "\n".join([*pieces, "$HOME", "'", '"', "\\", "#", "*", "~", "{a,b}", "\t", "é", "%n"]) + "\\"


def quoted(value: str) -> str:
    """The value as a quoted string of Hydra's grammar; "$" of an interpolation is escaped for OmegaConf."""
    text = re.sub(r"(\\*)'", r"\1\1\\'", value.replace("${", "\\${"))
    return "'" + re.sub(r"(\\+)$", r"\1\1", text) + "'"


@pytest.mark.parametrize("template", ["one task", "several nodes"])
def test_a_task_is_one_run_and_nothing_is_executed_whatever_a_value_holds(template, tmp_path):
    directory, value = tmp_path / "a b'c", hostile(tmp_path)
    words = [
        "experiment=tiny",
        "objective=grpo",
        "seed=0",
        f"logging.wandb_project={quoted(value)}",
        "cell='$(x) `y`'",
    ]
    options, settings = [], {"ABLATE_LOGS": f"{directory}/$(touch {tmp_path}/executed)", "ABLATE_PARTITION": value}
    if template == "several nodes":
        options, settings = ["--multinode"], settings | {"ABLATE_TRAINER_NODES": "1", "ABLATE_GENERATION_NODES": "1"}
        words += [f"model.path={quoted(str(tmp_path) + value)}"]
    shown = finished_dry_run(tmp_path, *options, *words, **settings).stdout
    assert not (tmp_path / "executed").exists()
    (planned,) = sweep.expand([*words, f"paths.outputs={tmp_path / 'outputs'}"])
    scripts = re.findall(r"^env .*", shown, flags=re.MULTILINE)
    trained = [words_of_bash(script) for script in scripts if "ablate.train" in script]
    assert [set(planned) - set(each) for each in trained] == [set()]
    if template == "several nodes":
        (server,) = [words_of_bash(script) for script in scripts if "vllm.entrypoints" in script]
        assert str(tmp_path) + value in server


def words_of_bash(line: str) -> list[str]:
    """The words of a command that bash's ``printf %q`` has quoted."""
    shown = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True)
    return shown.stdout.split("\0")[:-1]


def test_every_task_shows_the_environment_of_its_commands(tmp_path):
    lines = dry_run(tmp_path, "experiment=tiny", "objective=grpo", "seed=0")
    for name in ("ABLATE_ROOT", "ABLATE_TASKS", "OMP_NUM_THREADS", "HF_HUB_OFFLINE", "SLURM_ARRAY_TASK_ID"):
        assert any(line.startswith(f"export {name}=") for line in lines), name


def test_several_processes_on_a_node_are_started_by_torchrun(tmp_path):
    lines = dry_run(tmp_path, "experiment=tiny", "objective=grpo", "seed=0", ABLATE_PROCESSES_PER_NODE="4")
    (command,) = commands(lines, "ablate.train")
    assert command[command.index("torch.distributed.run") :][:6] == [
        *("torch.distributed.run", "--shutdown-timeout", "120", "--standalone", "--nproc-per-node", "4")
    ]


def test_apart_the_reference_run_has_two_trainer_nodes_and_a_server_on_every_gpu_of_four_more(tmp_path):
    settings = GPU_NODES
    words = ("--multinode", *words_after("slurm/submit.sh --multinode"), "setting=apart")
    lines = dry_run(tmp_path, *words, "objective=dapo", "seed=0", **settings)
    (sbatch,) = [shlex.split(line) for line in lines if line.startswith("sbatch ")]
    assert {"--nodes=6", "--gpus-per-node=8"} <= set(sbatch)

    servers = commands(lines, "vllm.entrypoints")
    places = [(next(w for w in s if w.startswith("--nodelist=")), s[s.index("--port") + 1]) for s in servers]
    assert len(set(places)) == 4 * 8
    assert {node for node, _ in places} == {f"--nodelist=node{index}" for index in (2, 3, 4, 5)}
    (same_words,) = {tuple(server[server.index("-m") : server.index("--host")]) for server in servers}
    assert same_words[same_words.index("--max-model-len") + 1] == "81920"  # the longest context that is evaluated
    assert json.loads(same_words[same_words.index("--hf-overrides") + 1])["max_position_embeddings"] == 81_920
    assert same_words[same_words.index("--middleware") + 1] == "ablate.rollout.servers.token.RequireToken"
    assert all(server[server.index("bash") + 1].endswith("slurm/server.sh") for server in servers)  # restarts it

    (trainer,) = commands(lines, "ablate.train")
    assert "--nodelist=node0,node1" in trainer
    assert trainer[trainer.index("--nnodes") + 1] == "2"
    assert trainer[trainer.index("--shutdown-timeout") + 1] == "120"  # torchrun's own is 30 s
    assert trainer[trainer.index("--nproc-per-node") + 1] == "8"
    assert trainer[trainer.index("--master-addr") + 1] == "node0"
    (urls,) = [word for word in trainer if word.startswith("rollout.engine.urls=")]
    assert len(urls.split(",")) == 4 * 8
    assert urls.endswith("http://node5:8007]")


def test_by_turns_the_reference_run_has_a_server_and_a_rank_on_every_gpu_of_six_nodes(tmp_path):
    settings = {"ABLATE_TRAINER_NODES": "6", "ABLATE_GENERATION_NODES": "0", "ABLATE_CPUS_PER_TASK": "56"}
    words = ("--multinode", *words_after("slurm/submit.sh --multinode"))
    lines = dry_run(tmp_path, *words, "objective=dapo", "seed=0", **GPU_NODES | settings)
    servers = commands(lines, "vllm.entrypoints")
    places = [next(word for word in words if word.startswith("--nodelist=")) for words in servers]
    assert places == [f"--nodelist=node{index}" for index in range(6) for _ in range(8)]
    assert [words[words.index("bash") + 2] for words in servers] == [str(gpu) for gpu in range(8)] * 6
    assert all("--enable-sleep-mode" in words for words in servers)
    (trainer,) = commands(lines, "ablate.train")
    assert "--nodelist=node0,node1,node2,node3,node4,node5" in trainer
    assert trainer[-2] == "rollout.engine.placement=servers"
    assert len(trainer[-1].split(",")) == 6 * 8


def test_without_generation_nodes_the_leader_has_an_engine_of_its_own(tmp_path):
    settings = {"ABLATE_TRAINER_NODES": "1", "ABLATE_GENERATION_NODES": "0", "ABLATE_PROCESSES_PER_NODE": "2"}
    lines = dry_run(tmp_path, "--multinode", "experiment=tiny", "objective=grpo", "seed=0", **settings)
    assert commands(lines, "vllm.entrypoints") == []
    (trainer,) = commands(lines, "ablate.train")
    assert trainer[-1] == "rollout.engine.placement=child"


def test_the_sweep_on_small_models_is_an_array_with_a_task_for_every_run(tmp_path):
    words = ("experiment=main", *words_after("slurm/submit.sh experiment=main"), "objective=dapo", "seed=0")
    (command,) = commands(dry_run(tmp_path, *words), "ablate.train")
    assert {"experiment=main", "objective=dapo", "seed=0"} <= set(command)


def test_the_doctor_of_an_allocation_runs_once_on_each_of_its_nodes(tmp_path):
    (line,) = dry_run(tmp_path, "--doctor", *words_after("slurm/submit.sh --doctor"))
    words = shlex.split(line)
    assert words[0] == "srun"
    assert {"--nodes=6", "--ntasks-per-node=1", "ablate.doctor", "experiment=nouscoder_14b"} <= set(words)


def test_every_command_of_the_ramp_up_is_executed_by_one_test():
    for words in ramp_up.commands():
        assert sum(" ".join(words).startswith(beginning) for beginning in ramp_up.EXECUTED) == 1, words


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--multi-node", "experiment=tiny"], "error: --multi-node is not an option"),
        (["objective=grpo"], "error: experiment=… is needed"),
    ],
)
def test_a_wrong_word_is_one_sentence_and_exit_code_2(words, sentence):
    command = ["bash", str(ROOT / "slurm" / "submit.sh"), "--dry-run", *words]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"ABLATE_PYTHON": sys.executable})
    assert result.returncode == 2
    assert result.stderr.startswith(sentence)
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "2 nodes x 1 processes are 2 processes, but parallel.world_size=16"),
        ({"ABLATE_PROCESSES_PER_NODE": "8"}, "parallel.transformer_engine=true needs GPUs, and a node has 0"),
        (
            {"ABLATE_PROCESSES_PER_NODE": "8", "ABLATE_GPUS_PER_NODE": "8"},
            "8 trainer ranks needs 24 CPUs, and ABLATE_CPUS_PER_TASK=2",
        ),
        (GPU_NODES | {"ABLATE_MEMORY": ""}, "ABLATE_MEMORY is empty"),
        (GPU_NODES | {"ABLATE_MEMORY": "200G"}, "needs about 418 GB of host memory"),
        (GPU_NODES | {"ABLATE_TIME_LIMIT": "10"}, "before its first update, and its time limit is 0 h"),
    ],
)
def test_a_job_whose_nodes_cannot_run_it_is_refused_before_it_is_submitted(tmp_path, settings, sentence):
    with pytest.raises(AssertionError, match=sentence):
        dry_run(
            tmp_path, "--multinode", "experiment=nouscoder_14b", "setting=apart", "objective=dapo", "seed=0", **settings
        )


def test_a_known_device_makes_a_short_stop_lead_a_warning(tmp_path):
    settings = GPU_NODES | {"ABLATE_DEVICE": "b200"}
    words = ("--multinode", *APART, "objective=gspo")
    assert "ABLATE_STOP_LEAD_S=120 is shorter" in finished_dry_run(tmp_path, *words, **settings).stderr


def test_on_one_node_the_first_gpus_train_and_the_others_generate(tmp_path):
    settings = dict(word.split("=") for word in words_after("export"))
    words = ("--onenode", *words_after("slurm/submit.sh --onenode"), "objective=dapo", "seed=0")
    check_one_node(dry_run(tmp_path, *words, **settings))


def test_the_template_of_one_node_does_the_same_without_slurm():
    check_one_node(by_hand().stdout.splitlines())


def by_hand(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    settings = dict(word.split("=") for word in words_after("export"))
    environment = os.environ | {"ABLATE_PYTHON": sys.executable, "ABLATE_DRY_RUN": "1", **settings, **variables}
    command = ["slurm/onenode.sbatch", *(words or words_after("slurm/onenode.sbatch"))]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return result


def test_on_a_shared_machine_a_run_takes_the_gpus_that_it_was_given():
    result = by_hand(CUDA_VISIBLE_DEVICES="8,9,10,11,12,13,14,GPU-7f")
    (trained,) = commands(result.stdout.splitlines(), "ablate.train")
    assert "CUDA_VISIBLE_DEVICES=8,9,10,11" in trained
    assert own_devices("4,7", "8,9,10,11,12,13,14,GPU-7f") == "12,GPU-7f"
    assert own_devices("4,7", "") == "4,7"
    with pytest.raises(UserError, match="names 2 GPUs, and a server needs number 2 of them"):
        own_devices("1,2", "5,6")
    with pytest.raises(AssertionError, match="names 4 of ABLATE_GPUS_PER_NODE=8 GPUs: lower it"):
        by_hand(CUDA_VISIBLE_DEVICES="0,1,2,3")


def test_a_run_that_would_only_evaluate_is_refused_by_hand_too():
    words = words_after("slurm/onenode.sbatch")
    with pytest.raises(AssertionError, match="30 h on 4 x h100 before its first update"):
        by_hand(*(word for word in words if word != "debug=rehearsal"))


def test_on_one_node_every_gpu_may_train_and_generate_by_turns():
    words = [*words_after("slurm/onenode.sbatch"), *SHARING]
    lines = by_hand(*words, **ALL_TRAIN).stdout.splitlines()
    (served,) = commands(lines, "ablate.serve")
    assert served[served.index("ablate.serve") + 1 :][:3] == ["1", "8", "first_gpu=0"]
    (trained,) = commands(lines, "ablate.train")
    assert "CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6,7" in trained
    assert trained[-1].count("http://127.0.0.1:") == 8
    with pytest.raises(AssertionError, match=r"PER_NODE=8 GPUs to generate: lower it, or let both share all GPUs"):
        by_hand(*words, "rollout.engine.share_gpus=false", **ALL_TRAIN)
    with pytest.raises(AssertionError, match=r"a node has 8 GPUs, 4 ranks, .* set ABLATE_PROCESSES_PER_NODE to"):
        by_hand(*words, "parallel=gpu4")


ALL_TRAIN = {"ABLATE_PROCESSES_PER_NODE": "8", "ABLATE_CPUS_PER_TASK": "56"}
SHARING = ("parallel=gpu8", "rollout.engine.share_gpus=true", "rollout.engine.gpu_memory_utilization=0.7")


def check_one_node(lines: list[str]) -> None:
    """Of eight GPUs the first four train, and each of the others has a server."""
    (served,) = commands(lines, "ablate.serve")
    assert {"run=true", "first_gpu=4", "port=8000"} <= set(served)
    (trained,) = commands(lines, "ablate.train")
    assert "CUDA_VISIBLE_DEVICES=0,1,2,3" in trained
    assert trained[trained.index("--nproc-per-node") + 1] == "4"
    urls = ",".join(f"http://127.0.0.1:{port}" for port in range(8000, 8004))
    assert trained[-1] == f"rollout.engine.urls=[{urls}]"


def test_one_node_without_a_gpu_for_generation_is_refused(tmp_path):
    environment = {"PATH": os.environ["PATH"], "ABLATE_PYTHON": sys.executable, "ABLATE_GPUS_PER_NODE": "4"}
    environment |= {
        "ABLATE_PROCESSES_PER_NODE": "4",
        "ABLATE_DRY_RUN": "1",
        "ABLATE_CPUS_PER_TASK": "16",
        "ABLATE_MEMORY": "0",
    }
    command = [str(ROOT / "slurm" / "onenode.sbatch"), "experiment=tiny"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 2
    assert "leaves none of ABLATE_GPUS_PER_NODE=4 GPUs to generate" in result.stderr


def test_a_nodes_cache_of_kernels_is_private_and_no_directory_of_others_is_changed(tmp_path):
    """What it holds runs as this user."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "readable").mkdir()
    (tmp_path / "readable").chmod(0o755)  # as an engine makes it that starts before this script
    script = f"source {shlex.quote(str(ROOT / 'slurm' / 'node_cache.sh'))}"
    for name, code in (("own", 0), ("own", 0), ("readable", 0), ("link", 2), ("open", 2)):
        environment = {"PATH": os.environ["PATH"], "ABLATE_NODE_CACHE": str(tmp_path / name)}
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)
        assert done.returncode == code, done.stderr
        assert code == 0 or "set ABLATE_NODE_CACHE to a new directory" in done.stderr
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o777
