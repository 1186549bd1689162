"""Programs of which no object can act at their end, recognised by their names alone.

Looking for such objects costs a fifth of a small test (``ending.may_act``), so it is left out for plain programs: they
import nothing but these modules, and use no name by which one could get at a file, a class's own methods or threads.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import io
import sys
import types
from collections.abc import Iterable, Iterator

MODULE_NAMES = (
    "__future__ array bisect calendar cmath collections copy datetime decimal enum fractions functools heapq itertools "
    "json math numbers operator queue random re readline statistics string struct sys time typing"
)
SPECIAL_NAMES = (
    "name main init module qualname slots annotations doc call repr str bool len hash iter next contains getitem "
    "setitem delitem missing lt le gt ge eq ne add sub mul truediv floordiv mod pow neg and or xor lshift rshift "
    "invert abs int float index enter exit radd rsub rmul iadd isub imul post_init"
)
REFLECTING_NAMES = (
    "type eval exec compile getattr setattr delattr globals locals vars dir breakpoint help open attrgetter "
    "methodcaller make_dataclass get_type_hints ForwardRef modules addaudithook settrace setprofile unraisablehook "
    "excepthook detach"
)
MODULES = frozenset(MODULE_NAMES.split())
SPECIAL = frozenset(f"__{name}__" for name in SPECIAL_NAMES.split()) | {"__future__"}
GENERATORS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def hidden_names() -> set[str]:
    """Names with one underscore in those modules: some lead to other modules."""
    modules = map(importlib.import_module, MODULES - {"calendar", "numbers", "readline", "struct"})
    return {name for module in modules for name in vars(module) if name[0] == "_" and name not in SPECIAL} - {"_"}


SUSPECT = set(REFLECTING_NAMES.split()) | (sys.stdlib_module_names - MODULES) | set(io.__all__) | hidden_names()


def suspects_in(prelude: types.ModuleType) -> frozenset[str]:
    """The names that a prelude has defined and that come from anywhere else."""
    return frozenset(name for name, value in vars(prelude).items() if not is_known(value))


def is_known(value: object) -> bool:
    module = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
    return module is None or value is builtins or str(module).lstrip("_") in MODULES or module == "builtins"


def is_plain(code: types.CodeType, suspects: Iterable[str]) -> bool:
    """Whether no object of a program can act at its end."""
    names = set(".".join(code.co_names).split("."))  # an imported name may have dots
    if not SUSPECT.isdisjoint(names) or not names.isdisjoint(suspects):
        return False
    if any(name[:2] == "__" and name not in SPECIAL for name in names):
        return False
    if code.co_flags & GENERATORS and code.co_exceptiontable:
        return False
    if any("__" in text and text not in SPECIAL for text in texts_in(code.co_consts)):  # names as text
        return False
    return all(is_plain(inner, suspects) for inner in code.co_consts if isinstance(inner, types.CodeType))


def texts_in(constants: Iterable[object]) -> Iterator[str]:
    for constant in constants:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple | frozenset):
            yield from texts_in(constant)
