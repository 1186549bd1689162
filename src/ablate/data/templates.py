"""What surrounds a statement in the user message: one template for programs, one for functions."""

from __future__ import annotations
import __future__

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ablate.errors import UserError
from ablate.types import Problem

if TYPE_CHECKING:
    from ablate.config import DataConfig

STATEMENT, STARTER_CODE = "{statement}", "{starter_code}"
PLACEHOLDER = re.compile("|".join(map(re.escape, (STATEMENT, STARTER_CODE))))
CONSTANTS, LAYOUT = "PromptConstants", "get_generic_question_template_answer"  # names in a LiveCodeBench checkout


@dataclass(frozen=True)
class Templates:
    """Braces other than the two placeholders stand for themselves: statements and templates are full of them.

    Example:
        ``Templates("Solve: {statement}", "Complete: {statement} {starter_code}").message_for(add)`` is
        ``"Solve: Print a+b."`` where ``add`` asks for a program.
    """

    program: str  # with {statement}
    function: str | None = None  # with {statement} and {starter_code}; None: no problem asks for a function
    system: str | None = None  # the system message; None: none

    def __post_init__(self) -> None:
        if STATEMENT not in self.program:
            raise UserError(f"data.template={self.program!r} has no {STATEMENT}: the model would never see the problem")
        for name in (STATEMENT, STARTER_CODE):
            if self.function is not None and name not in self.function:
                raise UserError(
                    f"data.function_template={self.function!r} has no {name}: the model would not know what to complete"
                )

    def message_for(self, problem: Problem) -> str:
        """Return the user message of one problem.

        Raises:
            UserError: for a problem that asks for a function where no template does.
        """
        if problem.input_mode == "functional" and self.function is None:
            raise UserError(f"problem {problem.id} asks for a function: set data.function_template")
        template = self.function if problem.input_mode == "functional" else self.program
        values = {STATEMENT: problem.statement, STARTER_CODE: starter_code(problem)}
        return PLACEHOLDER.sub(lambda match: values[match[0]], template or "")


def starter_code(problem: Problem) -> str:
    """Return the stub that a prompt shows; one that takes any arguments where the problem has none of its own."""
    return problem.starter_code or f"def {problem.fn_name}(*args):\n    pass"


def make_templates(data: DataConfig) -> Templates:
    """Return the templates of a configuration: its own words, or the benchmark's from ``data.template_file``.

    Raises:
        UserError: for a template without its placeholders, or a file that is not the benchmark's.
    """
    if data.template_file is not None:
        return benchmark_templates(Path(data.template_file).expanduser())
    return Templates(data.template, data.function_template, data.system)


def benchmark_templates(path: Path) -> Templates:
    """Read the exact wording of LiveCodeBench from ``lcb_runner/prompts/code_generation.py`` of the user's checkout.

    One class of constants and one function of that file are run, without its imports; the function is asked for the
    prompts of two problems whose texts are the placeholders.

    Raises:
        UserError: when there is no such file, or it is another one.
    """
    if not path.is_file():
        raise UserError(f"data.template_file={path} does not exist: give lcb_runner/prompts/code_generation.py")
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
        parts: list[Any] = [
            node
            for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in (CONSTANTS, LAYOUT)
        ]
        names: dict[str, Any] = {}
        # Annotations name classes of modules that are not imported here.
        flags = __future__.annotations.compiler_flag
        exec(compile(ast.Module(parts, []), str(path), "exec", flags=flags), names)
        render, system = names[LAYOUT], names[CONSTANTS].SYSTEM_MESSAGE_GENERIC
        program = render(SimpleNamespace(question_content=STATEMENT, starter_code=""))
        function = render(SimpleNamespace(question_content=STATEMENT, starter_code=STARTER_CODE))
    except (SyntaxError, KeyError, AttributeError, TypeError, NameError) as error:
        raise UserError(
            f"data.template_file={path} is not LiveCodeBench's ({type(error).__name__}: {error}): give "
            "lcb_runner/prompts/code_generation.py of a checkout"
        ) from error
    return Templates(program, function, system)
