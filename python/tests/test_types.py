"""Stubs, docstrings and examples tell the truth."""

from __future__ import annotations

import ast
import asyncio
import doctest
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import slotkv
from slotkv import aio, errors

HERE = Path(__file__).resolve().parent


def tool(module: str, *arguments: str, cwd: Path = HERE.parent) -> None:
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"{module} is not installed")
    finished = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, cwd=cwd
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_mypy_accepts_the_package_and_its_use() -> None:
    tool("mypy", "--strict", "slotkv", "tests/typing_use.py")


def test_pyright_accepts_the_package_and_its_use() -> None:
    tool("pyright", "--pythonpath", sys.executable)


@pytest.mark.parametrize(
    ("function", "things"),
    [("every_result", (slotkv.Client, slotkv.Scan)), ("every_awaited_result", (aio.Client, aio.Scan, aio.Call))],
)
def test_the_type_of_every_result_is_checked(function: str, things: tuple[type, ...]) -> None:
    tree = ast.parse((HERE / "typing_use.py").read_text())
    uses = next(node for node in tree.body if getattr(node, "name", None) == function)
    checked = {
        node.attr
        for use in ast.walk(uses)
        if isinstance(use, ast.Call) and getattr(use.func, "id", None) == "assert_type"
        for node in ast.walk(use)
        if isinstance(node, ast.Attribute)
    }
    # A coroutine's methods, which programs leave to event loops.
    members = {name for thing in things for name in dir(thing) if not name.startswith("_")} - {"send", "throw"}
    assert members <= checked, f"not checked: {members - checked}"


def test_the_stubs_agree_with_the_extension() -> None:
    # Not from the sources' folder: there the extension module need not be.
    tool("mypy.stubtest", "slotkv", cwd=HERE)


@pytest.mark.parametrize("module", [slotkv, aio, errors])
def test_doctests_hold(module: ModuleType, uri: str) -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner()
    for number, test in enumerate(finder.find(module)):
        with slotkv.connect(f"{uri}-{number}") as client:
            test.globs.update(
                uri=f"{uri}-{number}", client=client, slotkv=slotkv, aio=aio, asyncio=asyncio
            )
            runner.run(test)
    failed, tried = runner.summarize()
    assert failed == 0 < tried


def test_both_clients_have_the_same_methods_with_the_same_parameters_and_docstrings() -> None:
    def methods(thing: type) -> dict[str, str]:
        return {
            name: str(inspect.signature(member))
            for name, member in inspect.getmembers(thing, callable)
            if not name.startswith("_")
        }

    assert methods(slotkv.Client) == methods(aio.Client)
    for thing in (slotkv.Client, aio.Client, aio.Call, slotkv.Scan, aio.Scan):
        for name, member in inspect.getmembers(thing):
            if not name.startswith("_"):
                assert inspect.getdoc(member), f"{thing.__name__}.{name} has no docstring"
