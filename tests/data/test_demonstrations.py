import random
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from ablate.cli import CONF_DIR
from ablate.data import tiny
from ablate.data.demonstrations import NoiseConfig, demonstrate, demonstration_batches, mistaken
from ablate.data.tokenizer import EOS, character_tokenizer
from ablate.verify.extract import extract_last_block

MODEL = OmegaConf.load(f"{CONF_DIR}/model/tiny.yaml")
NOISE = NoiseConfig(**MODEL.build.lessons[-1].noise)
NO_NOISE = NoiseConfig(0, 0, 0, 0, 0, 0)
COMBINATIONS = tiny.all_combinations()
SEEDS = st.integers(0, 2**31 - 1)


@given(st.sampled_from(COMBINATIONS), SEEDS)
def test_without_mistakes_the_demonstrated_program_is_the_reference(combination, seed):
    noise = replace(NO_NOISE, another_thought=0.9)
    response = demonstrate(combination, noise, random.Random(seed)).response
    assert response.endswith(EOS)
    assert extract_last_block(response.removesuffix(EOS)) == f"{combination.program}\n"


@given(st.sampled_from(COMBINATIONS), SEEDS)
def test_a_mistake_is_the_one_that_the_part_is_easily_taken_for(combination, seed):
    certain = replace(NO_NOISE, wrong_operation=1, wrong_hard_operation=1, wrong_layout=1)
    understood = mistaken(combination, certain, random.Random(seed))
    assert understood.operation.name == combination.operation.mistaken_for
    assert understood.layout.name == combination.layout.mistaken_for
    assert understood.transformation == combination.transformation


@given(st.sampled_from(COMBINATIONS), SEEDS)
def test_a_probability_changes_its_own_part_only(combination, seed):
    before = mistaken(combination, NOISE, random.Random(seed))
    after = mistaken(combination, replace(NOISE, wrong_transformation=1, wrong_layout=0), random.Random(seed))
    assert after.operation == before.operation
    assert after.layout == combination.layout


def test_a_batch_depends_on_the_seed_and_its_place_only():
    some = list(demonstration_batches(NOISE, 4, num_batches=2, seed=3))
    more = list(demonstration_batches(NOISE, 4, num_batches=5, seed=3))
    assert more[:2] == some
    assert next(demonstration_batches(NOISE, 4, num_batches=1, seed=4)) != some[0]


def test_mistakes_come_at_the_configured_rates():
    rng = random.Random(0)
    easy = [each for each in COMBINATIONS if not each.operation.hard]
    hard = [each for each in COMBINATIONS if each.operation.hard]
    for chosen, rate in ((easy, NOISE.wrong_operation), (hard, NOISE.wrong_hard_operation)):
        drawn = [rng.choice(chosen) for _ in range(4000)]
        wrong = sum(mistaken(each, NOISE, rng).operation != each.operation for each in drawn)
        assert wrong / 4000 == pytest.approx(rate, abs=0.04)


def test_some_do_not_fit_the_training_context_and_almost_all_fit_twice_that():
    tokenizer = character_tokenizer()
    (batch,) = demonstration_batches(NOISE, 3000, num_batches=1, seed=0)
    statements = {each.id: each.statement for each in COMBINATIONS}
    texts = [f"<|im_start|>{statements[each.problem_id]}\n{each.response}" for each in batch]
    lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    context = MODEL.original_context
    assert 0.1 < sum(length > context for length in lengths) / 3000 < 0.3
    assert sum(length > 2 * context for length in lengths) / 3000 < 0.01


def test_the_first_lesson_makes_no_mistakes():
    noise = asdict(NoiseConfig(**MODEL.build.lessons[0].noise))
    assert [name for name, rate in noise.items() if rate and name.startswith("wrong")] == []
