"""A user's own plug-in by --plugin: used by name, listed, and blamed by its line."""

import sys

import pytest

from segkit.losses import losses

SCALED = """
from segkit.losses.base import Loss, losses


@losses.register("{name}")
class Scaled(Loss):
    \"\"\"Twice the mean of the squared logits.\"\"\"

    factor: float = 2.0

    def __call__(self, logits, target, rare):
        {body}
        return self.factor * (logits**2).mean()
"""


@pytest.fixture
def plugin(place, monkeypatch):
    """Writes a loss named as its file, with a line of its own; forgets the module and its place on the shelf afterwards."""
    names = []
    shipped = {name: losses[name] for name in losses}
    monkeypatch.setattr(losses, "_plugins", shipped)

    def write(name: str, body: str = "") -> str:
        names.append(name)
        (place / f"{name}.py").write_text(SCALED.format(name=name, body=body))
        place.recipe("[cross_entropy]", f"[{name}]")
        return f"{name}.py"

    yield write
    for name in names:
        sys.modules.pop(f"segkit_plugin_{name}", None)


def test_a_loss_of_ones_own_trains_and_is_listed(plugin, place, segkit):
    file = plugin("scaled_squares")
    assert segkit("train", "r.yaml", "--plugin", file, "--run", "run", "--device", "cpu").status == 0
    assert '"scaled_squares": ' in (place / "run/log.jsonl").read_text()
    listed = segkit("list", "losses", "--plugin", file).out
    assert "scaled_squares: Twice the mean of the squared logits.\n" in listed
    assert "    factor: number, default 2.0\n" in listed


def test_without_the_option_the_name_is_unknown(place, segkit):
    place.recipe("[cross_entropy]", "[nobodys_loss]")
    said = segkit("train", "r.yaml", "--run", "run")
    assert said.status == 2
    assert said.err.startswith("SK-R030: 1 mistake in r.yaml\nr.yaml:9: losses[0]: no loss is named 'nobodys_loss'; ")


def test_a_model_trained_with_a_plugin_asks_for_it_by_its_option(run, segkit):
    description = run / "model.json"
    description.write_text(description.read_text().replace('"cross_entropy"', '"lost_loss"'))
    said = segkit("predict", run, "--split", "test", "--device", "cpu")
    assert said.status == 2
    assert said.err == (
        "SK-I005: the model's recipe cannot be used\n"
        f"  where:    {run}/model.json\n"
        f"  got:      {run}/model.json: losses[0].name: no loss is named 'lost_loss'; there are {listed('losses', segkit)}\n"
        "  remedy:   was it trained with a plug-in of your own? name it with --plugin FILE\n"
    )


def listed(shelf: str, segkit) -> str:
    return dict(line.split(": ") for line in segkit("list").out.splitlines())[shelf]


def test_an_error_inside_a_loss_is_shown_with_the_users_line(plugin, segkit):
    file = plugin("dividing", "1 / 0")
    said = segkit("train", "r.yaml", "--plugin", file, "--run", "run", "--device", "cpu")
    assert said.status == 2
    assert said.err.startswith("SK-R054: a plug-in fails\n  where:    ")
    assert "dividing.py:12\n  got:      ZeroDivisionError: division by zero\n" in said.err
    assert "Traceback" not in said.err


def test_so_is_an_error_that_torch_raises_for_it(plugin, segkit):
    file = plugin("misshaped", "logits @ target.flatten()")
    said = segkit("train", "r.yaml", "--plugin", file, "--run", "run", "--device", "cpu")
    assert said.status == 2
    assert "misshaped.py:12\n  got:      RuntimeError: " in said.err


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("nowhere.py", None, "SK-R050: the plug-in file does not exist\n  where:    nowhere.py\n"),
        ("plugin.txt", "", "SK-R051: a plug-in is a Python file\n  where:    plugin.txt\n"),
        (
            "importing.py",
            "import nothing_of_this_name\n",
            "SK-R053: the plug-in file fails\n  where:    importing.py:1\n  got:      ModuleNotFoundError: ",
        ),
        ("unfinished.py", "x = 1\ndef f(:\n", "SK-R053: the plug-in file fails\n  where:    unfinished.py:2\n  got:      SyntaxError: "),
    ],
)
def test_a_plugin_file_that_cannot_be_run(name, text, error, place, segkit):
    if text is not None:
        (place / name).write_text(text)
    said = segkit("train", "r.yaml", "--plugin", name, "--run", "run")
    assert said.status == 2
    assert said.err.startswith(error)
    assert not (place / "run").exists()
