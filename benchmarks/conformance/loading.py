"""Load one module of an installed trainer without its surroundings: no cluster, no GPU, no engine.

A package's __init__ is skipped (``bare``), and modules that are not needed are replaced by inert stand-ins. Nothing of
a trainer is copied: every function that runs is the installed one.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class StandIn(type):
    """A class that takes any attribute, call, subscript and use as a decorator or base class, and does nothing."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return stand_in(name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls.__dict__.get("is_stand_in") is not True:
            return super().__call__(*args, **kwargs)
        return args[0] if len(args) == 1 and not kwargs and callable(args[0]) else cls

    def __getitem__(cls, item: Any) -> Any:
        return cls

    def __iter__(cls) -> Any:
        return iter(())

    def __enter__(cls) -> Any:
        return cls

    def __exit__(cls, *error: Any) -> bool:
        return False


def stand_in(name: str) -> Any:
    return StandIn(name, (), {"is_stand_in": True, "__init_subclass__": classmethod(lambda cls, **kwargs: None)})


class StandInModule(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return stand_in(name)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers before Python's own finders."""

    def __init__(self) -> None:
        self.bare: dict[str, str] = {}
        self.stand_ins: set[str] = set()

    def replaces(self, name: str) -> bool:
        return any(name == each or name.startswith(each + ".") for each in self.stand_ins)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if self.replaces(name):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        if name in self.bare:
            spec = importlib.machinery.ModuleSpec(name, self, is_package=True)
            spec.submodule_search_locations = [self.bare[name]]
            return spec
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        if not self.replaces(spec.name):
            return None
        module = StandInModule(spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """There is nothing to execute."""


FINDER = Finder()


def bare(*packages: str) -> None:
    """These packages exist, and their __init__ is not run."""
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)
    for package in packages:
        FINDER.bare[package] = str(package_of(package))


def package_of(name: str) -> Path:
    """The directory of a package, which is not imported."""
    return next(path for path in (Path(folder, *name.split(".")) for folder in sys.path) if path.is_dir())


def commit_of(package: str) -> str:
    """The commit of a checkout, for a trainer without a version."""
    command = ["git", "-C", str(package_of(package)), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or "of unknown commit"


def stand_ins(*names: str) -> None:
    """These modules, and all below them, are inert."""
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)
    FINDER.stand_ins |= set(names)


def function_of(path: Path, name: str, names: dict[str, Any], inside: str | None = None) -> Any:
    """One function of an installed file, compiled in a namespace of ours: for a method whose module needs a cluster."""
    body: Sequence[ast.stmt] = ast.parse(path.read_text()).body
    if inside:
        body = next(node for node in body if isinstance(node, ast.ClassDef) and node.name == inside).body
    node = next(each for each in body if isinstance(each, ast.FunctionDef) and each.name == name)
    node.decorator_list, node.returns = [], None
    for argument in (*node.args.args, *node.args.kwonlyargs):
        argument.annotation = None
    exec(compile(ast.Module([node], []), str(path), "exec"), names)
    return names[name]
