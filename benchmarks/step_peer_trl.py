"""TRL's side of benchmarks/step_peer.py: runs in TRL's environment, and takes a step for each line of its input.

Everything else is the other side's: model, prompts, batch, sampling, learning rate, threads, and the sandbox with the
programs that it is given. Per answer there is one line: seconds by stage, of the whole step, and its response tokens.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from ablate.verify.verifier import Verifier, open_verifier


class Steps(GRPOTrainer):
    """Times its stages. The update is all of a step that is not one of the other two."""

    def _generate(self, *arguments, **named):
        return self.timed("generate", super()._generate, *arguments, **named)

    def _calculate_rewards(self, *arguments, **named):
        return self.timed("verify (tail)", super()._calculate_rewards, *arguments, **named)

    def timed(self, stage: str, function, *arguments, **named):
        started = time.perf_counter()
        result = function(*arguments, **named)
        self.seconds[stage] = time.perf_counter() - started
        return result


class InTurn(TrainerCallback):
    """Waits for a line before each step, and says afterwards how long it took."""

    def __init__(self, answers, trainer: Steps, reward: Reward) -> None:
        self.answers, self.trainer, self.reward = answers, trainer, reward

    def on_step_begin(self, args, state, control, **named):
        if not sys.stdin.readline():
            os._exit(0)  # the other side has what it wanted, or ended
        self.trainer.seconds, self.started = {}, time.perf_counter()

    def on_step_end(self, args, state, control, **named):
        step_s = time.perf_counter() - self.started
        seconds = self.trainer.seconds
        update_s = step_s - sum(seconds.values())
        row = {"wall_s": {**seconds, "update": update_s}, "step_s": step_s, "tokens": self.reward.num_tokens}
        self.answers.write(json.dumps(row) + "\n")
        self.answers.flush()


class Reward:
    """The sandbox's verdicts on the given programs, in turn; whatever was sampled is not a program."""

    __name__ = "sandbox"

    def __init__(self, verifier: Verifier, problems: list, wrong_program: str) -> None:
        self.verifier, self.problems, self.wrong_program = verifier, problems, wrong_program
        self.num_tokens = 0

    def __call__(self, completion_ids: list, problem: list[int], **others) -> list[float]:
        self.num_tokens = sum(map(len, completion_ids))
        programs = [
            self.wrong_program if position % 2 else self.problems[index].reference
            for position, index in enumerate(problem)
        ]
        futures = [
            self.verifier.submit(self.problems[index], program)
            for index, program in zip(problem, programs, strict=True)
        ]
        return [1.0 if future.result().passed else -1.0 for future in futures]


def settings(given: dict, directory: Path) -> GRPOConfig:
    num_samples, num_tokens = given["num_samples"], given["num_response_tokens"]
    return GRPOConfig(
        output_dir=str(directory / "trl"),
        per_device_train_batch_size=len(given["problems"]) * num_samples,
        num_generations=num_samples,
        max_completion_length=num_tokens,
        generation_kwargs=None if given["can_end"] else {"min_new_tokens": num_tokens},
        temperature=given["temperature"],
        top_p=given["top_p"],
        learning_rate=given["learning_rate"],
        lr_scheduler_type="constant",
        max_steps=1_000_000,
        beta=0.0,
        loss_type="grpo",
        shuffle_dataset=False,
        gradient_checkpointing=False,  # the model is tiny: recomputing would only cost time
        bf16=False,
        use_cpu=True,
        report_to="none",
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def main() -> None:
    directory = Path(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand between the answers
    given = pickle.loads((directory / "given.pickle").read_bytes())
    torch.set_num_threads(given["num_threads"])
    tokenizer = AutoTokenizer.from_pretrained(directory / "model")
    assert tokenizer(given["prompts"])["input_ids"] == given["prompt_ids"], "the prompts have other tokens here"
    rows = [{"prompt": prompt, "problem": index} for index, prompt in enumerate(given["prompts"])]
    with open_verifier(given["verify"]) as verifier:
        reward = Reward(verifier, given["problems"], given["wrong_program"])
        trainer = Steps(
            model=str(directory / "model"),
            reward_funcs=reward,
            args=settings(given, directory),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        trainer.add_callback(InTurn(answers, trainer, reward))
        trainer.train()


if __name__ == "__main__":
    main()
