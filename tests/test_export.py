"""An exported checkpoint is the trained model, for transformers and for vLLM, and its card says where it comes from."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import forks
import pytest
import torch

from ablate.cli import compose
from ablate.config import parse
from ablate.errors import UserError
from ablate.export.model_directory import export, model_config, unfinished
from ablate.trainer.model.weight_files import WeightReader, write_weight_files
from ablate_analysis import model_card

SCRIPT = Path(__file__).parent / "trainer" / "export_in_one_process.py"


@pytest.fixture(scope="module")
def exported(tiny_checkpoint, tmp_path_factory) -> tuple[Path, dict]:
    root = tmp_path_factory.mktemp("export")
    result = forks.run([str(SCRIPT), str(tiny_checkpoint), str(root)])
    assert result.returncode == 0, result.stdout + result.stderr
    return root / "exported", json.loads(result.stdout.splitlines()[-1])


def transformers_logp(model_dir: Path, tokens: list[int]) -> torch.Tensor:
    """log p of every token but the first."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_dir, local_files_only=True)
    with torch.no_grad():
        logits_TV = model(torch.tensor([tokens])).logits[0, :-1]
    return torch.log_softmax(logits_TV, dim=-1).gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]


def test_transformers_gives_the_trained_models_log_probabilities(exported, tiny_checkpoint):
    directory, seen = exported
    tokens = list(range(3, 33))
    trained = torch.tensor(seen["trainer_logp"])
    torch.testing.assert_close(transformers_logp(directory, tokens), trained, rtol=0, atol=2e-5)
    assert (transformers_logp(tiny_checkpoint, tokens) - trained).abs().max() > 0.1


def test_vllm_samples_from_the_trained_model(exported):
    directory, seen = exported
    tokens = [*range(3, 33), *seen["response_ids"]]
    expected = transformers_logp(directory, tokens)[-len(seen["response_ids"]) :]
    torch.testing.assert_close(torch.tensor(seen["vllm_logp"]), expected, rtol=0, atol=2e-5)


def test_the_tokenizer_and_the_chat_template_come_along(exported, tiny_checkpoint):
    from ablate.data.tokenizer import load_tokenizer

    ours, theirs = load_tokenizer(exported[0]), load_tokenizer(tiny_checkpoint)
    message = [{"role": "user", "content": "Read a and b."}]
    assert ours.apply_chat_template(message) == theirs.apply_chat_template(message)


def test_the_generation_config_is_the_sampling_that_was_evaluated(exported):
    from transformers import GenerationConfig

    config = GenerationConfig.from_pretrained(exported[0])
    assert (config.do_sample, config.temperature, config.top_p, config.top_k) == (True, 0.6, 0.95, 0)
    assert config.eos_token_id is not None


def test_the_card_names_base_data_objective_steps_scores_and_licence(exported):
    card = (exported[0] / "README.md").read_text()
    for line in (
        "license: apache-2.0",
        "| base model | tiny |",
        "| objective | gspo_plus |",
        "| objective.clip_high | 0.0004 |",
        "| steps | 7 of 40 |",
        "| commit | 0123abc |",
        "4 problems, 2 samples each, temperature 0.6, top-p 0.95, at this step",
        "| context | Pass@1 | Pass@2 | finished |",
    ):
        assert line in card
    assert "| 160 | 50.0 [" in card


def test_a_directory_that_exists_is_not_overwritten(exported):
    directory, _ = exported
    with pytest.raises(UserError, match="exists already"):
        export(directory.parent / "run" / "checkpoints" / "latest", directory)


def test_the_scratch_of_a_killed_export_is_taken_over_and_that_of_a_living_one_refused(tmp_path):
    out = tmp_path / "exported"
    with unfinished(out) as scratch:
        (scratch / "config.json").write_text("whole")
        with pytest.raises(UserError, match="another process writes"), unfinished(out):
            pass
    assert [path.name for path in out.iterdir()] == ["config.json"]
    shutil.rmtree(out)
    killed = tmp_path / ".exported.unfinished"
    killed.mkdir()
    (killed / "model.safetensors").write_text("half")
    with unfinished(out):
        pass
    assert list(tmp_path.rglob("*")) == [out]


def test_a_checkpoint_without_its_run_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "checkpoints" / "step_000003").mkdir(parents=True)
    with pytest.raises(UserError, match=r"config\.yaml does not exist"):
        export(tmp_path / "checkpoints" / "step_000003", tmp_path / "out")
    with pytest.raises(UserError, match="does not exist"):
        export(tmp_path / "checkpoints" / "step_000004", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_big_weights_go_into_numbered_files_with_an_index(tmp_path):
    tensors = {f"layer.{index}": torch.full((10, 5), float(index)) for index in range(7)}  # 200 bytes each
    write_weight_files(tensors.items(), tmp_path, max_bytes=450)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(f"model-0000{index}-of-00004.safetensors" for index in (1, 2, 3, 4)),
        "model.safetensors.index.json",
    ]
    with WeightReader(tmp_path) as checkpoint:
        for name, tensor in tensors.items():
            assert torch.equal(checkpoint.read(name, (10, 5)), tensor)


def test_a_context_beyond_the_original_one_is_exported_with_yarn():
    config = parse(compose(["context.length=320"]))
    values = model_config(config, {"rope_theta": 1e6, "torch_dtype": "bfloat16"})
    assert values["rope_parameters"]["factor"] == 2.0
    assert values["rope_parameters"]["original_max_position_embeddings"] == 160
    assert values["max_position_embeddings"] == 320
    assert values["dtype"] == "float32"
    assert "rope_parameters" not in model_config(parse(compose([])), {"rope_theta": 1e6})


def test_a_card_says_when_its_scores_are_older_than_the_checkpoint():
    config = parse(compose([]))
    assert model_card.evaluation_text(config, [], 5) == "Not evaluated."
    rows = [model_card.EvalRow(3, 160, "p", "easy", n, 9, True, True, "accepted") for n in range(8)]
    assert "at step 3, before this checkpoint's step 5" in model_card.evaluation_text(config, rows, 5)
    assert model_card.evaluation_text(config, rows, 2) == "Not evaluated."


def test_help_is_the_docstring_and_a_wrong_key_is_one_sentence():
    run = [sys.executable, "-m", "ablate.export"]
    shown = subprocess.run([*run, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    assert "checkpoint=" in shown.stdout
    refused = subprocess.run([*run, "chekpoint=a", "out=b"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: chekpoint is not a key")
    assert len(refused.stderr.splitlines()) == 1
