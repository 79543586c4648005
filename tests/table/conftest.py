"""A tiny table: two rows, two shares, two seeds, six phantom scans, one step. And results of items that were never worked on."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch

from segkit.engine.evaluate import Row, write_scores
from segkit.phantom.write import write
from segkit.table.item import Item, Result, items_of
from segkit.table.spec import Table, read

RECIPE = """\
dataset:
  name: phantom
  kind: brats
  root: {root}
  cases: 6
  shape: [32, 32, 32]
  channels: [flair, t1c]
  classes: {{core: [1, 4], edema: 2}}
  rare_classes: [core]
  split: {{test: 2, validation: 0}}
preprocess: {{store: {store}}}
sampling: {{patch_shape: [9, 9, 9]}}
model: deepmedic_tiny
losses: [cross_entropy]
train: {{steps: 1, batch_size: 2, precision: fp32}}
evaluate: {{regions: {{whole: [core, edema]}}}}
"""
SPEC = """\
title: Tiny
recipe: tiny.yaml
rows:
  plain: {}
  focal:
    overrides: {losses: [{name: focal, gamma: 2.0}]}
    against: plain
fractions: [0.5, 1.0]
classes: [core]
seeds: [0, 1]
"""
Scored = Mapping[str, Mapping[str, float | None]]  # metric -> case -> value


@pytest.fixture(scope="session")
def six_scans(tmp_path_factory) -> Path:
    """Six phantom scans of 32^3 voxels."""
    root = tmp_path_factory.mktemp("six_scans")
    write("brats", root, 6, (32, 32, 32))
    return root


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on how many threads share them; with one, those of several processes are those of one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def spec_file(six_scans, tmp_path) -> Callable[..., Path]:
    """Writes the tiny table with parts of its text replaced: `spec_file(("seeds: [0, 1]", "seeds: [3]"))`."""
    (tmp_path / "tiny.yaml").write_text(RECIPE.format(root=six_scans, store=tmp_path / "store"), encoding="utf-8")

    def write_it(*changes: tuple[str, str]) -> Path:
        text = SPEC
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "table.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_it


@pytest.fixture
def tiny(spec_file) -> Callable[..., Table]:
    """The same, read."""
    return lambda *changes, overrides=(): read(spec_file(*changes), overrides)


def make_done(item: Item, scores: Scored, structure: str = "core") -> None:
    """Write these scores as those of every split and variant, and the result."""
    for variant in item.asked.variants:
        rows = [Row(case, structure, metric, value, "", "ok") for metric, values in scores.items() for case, value in values.items()]
        write_scores(item.scores(*variant), rows)
    item.place.result.write_text(item.write(Result(item.asked, 3, 1, "0.0.0", ("c0ffee",))), encoding="utf-8")


@pytest.fixture
def plant() -> Callable[..., None]:
    """Makes an item look done, without any work: `plant(item, {"dice": {"case": 0.5}})`."""
    return make_done


@pytest.fixture
def planted(tiny, tmp_path) -> Callable[..., tuple[Table, list[Item]]]:
    """A table of one share and one metric with these Dice values: row -> for each seed those of its cases; None leaves an item missing."""

    def make(values: Mapping[str, list[list[float | None] | None]], *changes: tuple[str, str]) -> tuple[Table, list[Item]]:
        table = tiny(("fractions: [0.5, 1.0]", "fractions: [0.5]\nmetrics: [dice]"), *changes)
        items = items_of(table, tmp_path / "out")
        for item in items:
            found = values[item.row][table.spec.seeds.index(item.seed)]
            if found is not None:
                make_done(item, {"dice": {f"case{i}": value for i, value in enumerate(found)}})
        return table, items

    return make
