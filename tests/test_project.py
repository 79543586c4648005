"""Rules of the whole project that no single file can keep: docstrings, error codes, file names of tests, packaging."""

import ast
import hashlib
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import segkit
from segkit.config.registry import Registry

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "segkit"
MODULES = sorted(PACKAGE.rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def shelves() -> dict[str, Registry]:
    """Every registry of the package by the last part of its place (`segkit.losses`: losses), from importing all modules."""
    found = {}
    for module in pkgutil.walk_packages(segkit.__path__, "segkit."):
        if module.name != "segkit.__main__":
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, Registry):
                    found[value.package.rpartition(".")[2]] = value
    return found


PLUGINS = [(f"{shelf}/{name}", registry[name]) for shelf, registry in sorted(shelves().items()) for name in registry]


def test_a_folder_with_a_base_holds_the_registry_of_its_name():
    folders = {path.parent.name for path in PACKAGE.glob("*/base.py")}
    assert folders == set(shelves()) - {"intensity"}  # intensities are few and live in one file of `volume`


@pytest.mark.parametrize("plugin", [plugin for _, plugin in PLUGINS], ids=[name for name, _ in PLUGINS])
def test_every_plugin_says_what_it_is_in_its_first_line(plugin):
    assert plugin.__doc__, "a plug-in without a docstring is an empty line in `segkit list`"
    assert plugin.__doc__.strip().splitlines()[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_in_one_line_what_it_is_for(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, "no docstring"
    assert docstring.splitlines()[0].endswith((".", ":")), "the first line is not a whole sentence"


def error_codes(path: Path) -> Iterator[tuple[str, str]]:
    """(code, `file: function`) of every error code written as a string of its own."""

    def visit(node: ast.AST, place: str) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            inner = isinstance(child, ast.FunctionDef | ast.ClassDef)
            if isinstance(child, ast.Constant) and isinstance(child.value, str) and re.fullmatch(r"SK-.*", child.value):
                yield child.value, place
            yield from visit(child, f"{place}.{child.name}" if inner else place)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(PACKAGE)))


def test_an_error_code_stands_in_one_place_only():
    places = defaultdict(set)
    for path in MODULES:
        for code, place in error_codes(path):
            places[code].add(place)
    assert len(places) > 50
    assert {code: sorted(where) for code, where in places.items() if len(where) > 1} == {}


def test_an_error_code_is_the_letter_of_its_area_and_three_digits():
    letters = {
        "R": "recipe",
        "V": "volume",
        "D": "data set",
        "P": "phantom",
        "M": "model",
        "L": "loss, metric",
        "N": "regularizer",
        "S": "sampling",
    }
    letters |= {"T": "training", "I": "inference", "E": "evaluation", "A": "analysis", "B": "tables", "W": "report", "C": "command line"}
    codes = {code for path in MODULES for code, _ in error_codes(path)}
    assert {code for code in codes if not re.fullmatch(rf"SK-[{''.join(letters)}]\d{{3}}", code)} == set()


USE_OF_A_PLUGIN = """
import sys
from pathlib import Path
import torch
from segkit.config.plugins import load_plugin
from segkit.losses.base import losses
load_plugin(Path(sys.argv[1]))
target = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1, 1)
print(losses.build("brier")(torch.zeros_like(target), target, torch.zeros(2, dtype=torch.bool)).item())
"""


def test_the_loss_of_the_contributors_page_is_a_plugin(tmp_path):
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    path = tmp_path / "brier.py"
    path.write_text(code, encoding="utf-8")
    # in a process of its own: a plug-in stays on its shelf
    printed = subprocess.run([sys.executable, "-c", USE_OF_A_PLUGIN, path], capture_output=True, text=True, check=True).stdout
    assert float(printed) == 0.5  # (1/2 - 1)^2 + (1/2 - 0)^2


def test_the_tests_have_names_of_their_own():
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_the_license_is_the_one_the_package_names():
    assert PROJECT["project"]["license"] == "Apache-2.0"
    # of https://www.apache.org/licenses/LICENSE-2.0.txt
    verbatim = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == verbatim


def test_type_checkers_are_told_that_the_package_is_typed():
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]
    assert (PACKAGE / "py.typed").is_file()


def test_make_help_lists_every_target_that_has_a_comment():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = " ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)).split()
    printed = subprocess.run(["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert sorted(line.split()[1] for line in printed.splitlines()) == sorted(set(phony) - {"always"})


def test_the_makefile_accepts_the_pythons_the_package_runs_on():
    low, high = re.findall(r"3\.(\d+)", PROJECT["project"]["requires-python"])
    assert f"(3, {low}) <= v < (3, {high})" in (ROOT / "Makefile").read_text(encoding="utf-8")
