import pytest

from ablate.data.problems import load_problems
from ablate.data.prompts import make_prompts, within
from ablate.data.tokenizer import character_tokenizer
from ablate.errors import UserError

TOKENIZER = character_tokenizer()
PROBLEMS = load_problems("shipped:tiny_eval.jsonl")


def test_there_is_one_prompt_per_problem_in_order_holding_its_statement():
    prompts = make_prompts(PROBLEMS, TOKENIZER, "{statement}")
    assert [prompt.problem_id for prompt in prompts] == [problem.id for problem in PROBLEMS]
    assert all(problem.statement in prompt.text for problem, prompt in zip(PROBLEMS, prompts, strict=True))


def test_the_tokens_are_the_text_and_special_tokens_are_there_once():
    for prompt in make_prompts(PROBLEMS, TOKENIZER, "{statement}"):
        assert TOKENIZER.decode(prompt.token_ids) == prompt.text
        assert sum(token in TOKENIZER.all_special_ids for token in prompt.token_ids) == 1


def test_braces_beside_the_placeholder_stand_for_themselves():
    (prompt,) = make_prompts(PROBLEMS[:1], TOKENIZER, "{x} {statement} {}")
    assert f"{{x}} {PROBLEMS[0].statement} {{}}" in prompt.text


def test_a_template_without_the_statement_is_the_users_error():
    with pytest.raises(UserError, match=r"data\.template"):
        make_prompts(PROBLEMS, TOKENIZER, "Write a program.")


def test_within_keeps_exactly_the_problems_whose_prompts_are_short_enough():
    prompts = make_prompts(PROBLEMS, TOKENIZER, "{statement}")
    length_of = {prompt.problem_id: len(prompt.token_ids) for prompt in prompts}
    limit = sorted(length_of.values())[len(prompts) // 2]

    def prompts_of(problems):
        return make_prompts(problems, TOKENIZER, "{statement}")

    assert within(PROBLEMS, prompts_of, limit) == [each for each in PROBLEMS if length_of[each.id] <= limit]
    with pytest.raises(UserError, match=r"data\.max_prompt_tokens"):
        within(PROBLEMS, prompts_of, min(length_of.values()) - 1)
