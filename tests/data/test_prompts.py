from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from ablate.cli import compose
from ablate.data.problems import load_problems
from ablate.data.prompts import make_prompts, within
from ablate.data.templates import Templates, make_templates
from ablate.data.tokenizer import character_tokenizer
from ablate.errors import UserError
from ablate.types import Problem, TestCase

TOKENIZER = character_tokenizer()
PROBLEMS = load_problems("shipped:tiny_eval.jsonl")
PLAIN = Templates("{statement}")


def test_there_is_one_prompt_per_problem_in_order_holding_its_statement():
    prompts = make_prompts(PROBLEMS, TOKENIZER, PLAIN)
    assert [prompt.problem_id for prompt in prompts] == [problem.id for problem in PROBLEMS]
    assert all(problem.statement in prompt.text for problem, prompt in zip(PROBLEMS, prompts, strict=True))


def test_the_tokens_are_the_text_and_special_tokens_are_there_once():
    for prompt in make_prompts(PROBLEMS, TOKENIZER, PLAIN):
        assert TOKENIZER.decode(prompt.token_ids) == prompt.text
        assert sum(token in TOKENIZER.all_special_ids for token in prompt.token_ids) == 1


def test_braces_other_than_the_placeholder_stand_for_themselves():
    (prompt,) = make_prompts(PROBLEMS[:1], TOKENIZER, Templates("{x} {statement} {}"))
    assert f"{{x}} {PROBLEMS[0].statement} {{}}" in prompt.text


def test_a_template_without_the_statement_is_the_users_error():
    with pytest.raises(UserError, match=r"data\.template"):
        Templates("Write a program.")


def test_within_keeps_exactly_the_problems_whose_prompts_are_short_enough():
    prompts = make_prompts(PROBLEMS, TOKENIZER, PLAIN)
    length_of = {prompt.problem_id: len(prompt.token_ids) for prompt in prompts}
    limit = sorted(length_of.values())[len(prompts) // 2]

    def prompts_of(problems):
        return make_prompts(problems, TOKENIZER, PLAIN)

    assert within(PROBLEMS, prompts_of, limit) == [each for each in PROBLEMS if length_of[each.id] <= limit]
    with pytest.raises(UserError, match=r"data\.max_prompt_tokens"):
        within(PROBLEMS, prompts_of, min(length_of.values()) - 1)


FUNCTION = Problem(
    "twice",
    "Double a {starter_code}.",
    (TestCase("1", "2"),),
    "easy",
    input_mode="functional",
    fn_name="twice",
    starter_code="def twice(a):\n    pass",
)
CHECKOUT = """
import a_module_that_nobody_has
from lcb_runner.benchmarks.code_generation import CodeGenerationProblem

class PromptConstants:
    SYSTEM_MESSAGE_GENERIC = f"You program."
    OTHER = "not asked for"

def get_generic_question_template_answer(question: CodeGenerationProblem):
    return f"{question.question_content} " + (f"complete {question.starter_code}" if question.starter_code else "read")
"""


def config_of(**changes):
    keys = {"template": "{statement}", "function_template": None, "system": None, "template_file": None}
    return SimpleNamespace(**{**keys, **changes})


def test_a_function_gets_its_own_template_with_its_stub():
    templates = Templates("Write a program: {statement}", "Complete {starter_code}, which must: {statement}")
    assert templates.message_for(FUNCTION) == "Complete def twice(a):\n    pass, which must: Double a {starter_code}."
    assert templates.message_for(PROBLEMS[0]).startswith("Write a program")


def test_a_function_without_a_stub_is_still_named():
    templates = Templates("{statement}", "{statement} {starter_code}")
    assert "def twice(" in templates.message_for(replace(FUNCTION, starter_code=None))


@pytest.mark.parametrize("template", ["only {statement}", "only {starter_code}"])
def test_a_function_template_without_a_placeholder_is_the_users_error(template):
    with pytest.raises(UserError, match=r"data\.function_template"):
        Templates("{statement}", template)


def test_a_function_where_no_template_asks_for_one_is_the_users_error():
    with pytest.raises(UserError, match=r"problem twice asks for a function: set data\.function_template"):
        make_prompts([FUNCTION], TOKENIZER, PLAIN)


def test_the_system_message_stands_before_the_question():
    (prompt,) = make_prompts(PROBLEMS[:1], TOKENIZER, make_templates(config_of(system="Program well.")))
    assert prompt.text.index("Program well.") < prompt.text.index(PROBLEMS[0].statement)


def test_the_wording_of_a_checkout_is_taken_without_its_imports(tmp_path):
    path = tmp_path / "code_generation.py"
    path.write_text(CHECKOUT)
    templates = make_templates(config_of(template_file=str(path)))
    assert templates == Templates("{statement} read", "{statement} complete {starter_code}", "You program.")


@pytest.mark.parametrize("content", [None, "", "def f(:", "class PromptConstants:\n    pass\n"])
def test_a_template_file_that_is_not_the_benchmarks_is_the_users_error(tmp_path, content):
    path = tmp_path / "other.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"data\.template_file=.*lcb_runner/prompts/code_generation\.py"):
        make_templates(config_of(template_file=str(path)))


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "conf" / "data").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_data_set_of_conf_has_templates_for_programs_and_functions(path):
    data = OmegaConf.to_container(compose([f"data={path.stem}"]).data, resolve=False)
    templates = make_templates(SimpleNamespace(**data))
    for problem in (PROBLEMS[0], FUNCTION):
        assert problem.statement in templates.message_for(problem)
