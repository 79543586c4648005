"""docs/objectives.md keeps its word: its examples run as they stand, and its names are on the shelves."""

import re
from pathlib import Path

import pytest

from segkit.config.yaml import loads
from segkit.losses import losses
from segkit.regularizers import regularizers

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "objectives.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"), ids=["torch", "monai"])
def test_an_example_trains_the_network_it_speaks_of(code):
    names = {}
    exec(code, names)
    moved = [parameter.grad is not None and bool(parameter.grad.abs().sum() > 0) for parameter in names["network"].parameters()]
    assert any(moved)
    if "rng" in names:  # views draw from the seed alone, so a loop needs a new one each step
        assert names["rng"].initial_seed() == names["step"] == 1


def test_the_table_names_every_loss_and_regularizer():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    named = {kind: set() for kind in ("loss", "regularizer")}
    for row in rows:
        for kind in named:
            if row.startswith(f"| {kind} "):
                named[kind] |= set(re.findall(r"`([a-z_]+)`", row.split("|")[1]))
    assert named == {"loss": set(losses), "regularizer": set(regularizers)}


def test_the_recipe_of_the_page_builds_its_plug_ins():
    (recipe,) = (loads(block, "objectives.md").value for block in blocks("yaml"))
    assert all(losses.build(entry).asymmetric for entry in recipe["losses"])
    assert all(regularizers.build(entry).asymmetric for entry in recipe["regularizers"])
