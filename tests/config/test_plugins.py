"""A user's plug-in file: run once, and its faults told with its line."""

import sys

import pytest

from segkit.config.errors import InputError
from segkit.config.plugins import load_plugin
from segkit.config.registry import Registry
from segkit.config.settings import Settings

shelf: Registry[Settings] = Registry("loss", "fractions")


@pytest.fixture(autouse=True)
def _forgotten_modules():
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("segkit_plugin_"):
            del sys.modules[name]


def fault(path) -> str:
    with pytest.raises(InputError) as error:
        load_plugin(path)
    return str(error.value)


def test_a_plugin_file_puts_its_classes_on_the_shelf(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "shelf_of_the_test", sys.modules[__name__])
    path = tmp_path / "my-loss.py"
    path.write_text(
        "from segkit.config.settings import Settings\nfrom shelf_of_the_test import shelf\n"
        "@shelf.register('mine')\nclass Mine(Settings):\n    x: int = 3\n"
    )
    module = load_plugin(path)
    assert module.__name__ == "segkit_plugin_my-loss"
    assert shelf.build("mine").x == 3
    assert load_plugin(path) is module  # again: not run, or `mine` would be taken


@pytest.mark.parametrize(
    ("text", "line", "got"),
    [
        ("x = 1\nx = = 2\n", 2, "SyntaxError: invalid syntax"),
        ("x = 1\n\ny = 1 / 0\n", 3, "ZeroDivisionError: division by zero"),
        ("def f():\n    return g\n\nf()\n", 2, "NameError: name 'g' is not defined"),
        ("import no_such_module\n", 1, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import json\njson.loads('x')\n", 2, "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_a_fault_is_told_with_the_line_of_the_file(tmp_path, text, line, got):
    path = tmp_path / "mine.py"
    path.write_text(text)
    assert fault(path) == f"SK-R053: the plug-in file fails\n  where:    {path}:{line}\n  got:      {got}"
    assert "segkit_plugin_mine" not in sys.modules


def test_a_repaired_file_can_be_loaded(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("x = ")
    fault(path)
    path.write_text("repaired = 1")
    assert load_plugin(path).repaired == 1


def test_a_plugin_must_be_a_python_file_that_is_there(tmp_path):
    (tmp_path / "a.txt").touch()
    assert fault(tmp_path / "none.py") == f"SK-R050: the plug-in file does not exist\n  where:    {tmp_path}/none.py"
    assert fault(tmp_path / "a.txt").startswith("SK-R051: a plug-in is a Python file")
    assert fault(tmp_path).startswith("SK-R050")


def test_two_files_with_one_name_are_refused(tmp_path):
    (tmp_path / "other").mkdir()
    for path in (tmp_path / "mine.py", tmp_path / "other" / "mine.py"):
        path.write_text("")
    load_plugin(tmp_path / "mine.py")
    assert fault(tmp_path / "other" / "mine.py").startswith("SK-R052: two plug-in files have one name")
