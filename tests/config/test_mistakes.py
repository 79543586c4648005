"""The exact line of every kind of mistake, and which lines there are when there are several."""

from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, field_validator, model_validator

from segkit.config.document import Document
from segkit.config.errors import InputError
from segkit.config.overrides import apply
from segkit.config.parse import parse
from segkit.config.registry import Registry
from segkit.config.settings import Settings, UserPath
from segkit.config.yaml import load, loads


class Plugin(Settings):
    name: ClassVar[str]


shelf: Registry[Plugin] = Registry("model", "fractions")


@shelf.register("unet3d")
class UNet(Plugin):
    widths: tuple[PositiveInt, ...] = (8,)
    gamma: float = Field(1.0, ge=0, le=2)


@shelf.register("file")
class FromFile(Plugin):
    path: UserPath


class ByFile(Settings):
    file: UserPath
    seed: int = 0


class ByFold(Settings):
    fold: int
    of: PositiveInt


class Train(Settings):
    steps: PositiveInt
    warmup: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    deterministic: bool = False
    rate: PositiveFloat = 1e-3

    @model_validator(mode="after")
    def _warmup_ends(self) -> "Train":
        if self.warmup > self.steps:
            raise ValueError(f"warmup must end before steps, got {self.warmup}")
        return self


class Recipe(Settings):
    train: Train
    seed: int = 0
    patch_shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (9, 9, 9)
    spacing_mm: tuple[PositiveFloat, PositiveFloat] | None = None
    model: Annotated[Plugin, shelf] = UNet()
    plugins: tuple[Annotated[Plugin, shelf], ...] = Field((), max_length=3)
    one_or_more: tuple[Annotated[Plugin, shelf], ...] = Field((UNet(),), min_length=1)
    classes: dict[str, tuple[int, ...]] = {}  # noqa: RUF012
    numbers: dict[int, str] = {}  # noqa: RUF012
    background: Literal["rest"] | tuple[int, ...] = "rest"
    tile: Literal["auto"] | PositiveInt | None = None
    split: ByFile | ByFold = ByFold(fold=0, of=5)
    root: UserPath = Field(default=None, validate_default=False)  # type: ignore[assignment]
    listed: Annotated[tuple[int, ...], BeforeValidator(lambda value: (value,) if isinstance(value, int) else value)] = ()
    even: int = 2

    @field_validator("even")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError(f"expected an even number, got {value}")
        return value

    @model_validator(mode="after")
    def _seed_is_not_even(self) -> "Recipe":
        if self.seed == self.even:
            raise ValueError("train.steps: this rule speaks of another section")
        if self.seed == 13:
            raise ValueError("Nothing starts with a field here")
        return self


def lines(document: Document) -> list[str]:
    with pytest.raises(InputError) as error:
        parse(Recipe, document)
    headline, *rest = str(error.value).split("\n")
    count = "1 mistake" if len(rest) == 1 else f"{len(rest)} mistakes"
    assert headline == f"SK-R030: {count} in {document.source}"
    return rest


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("seed: a", "seed: expected int, got 'a'"),
        ("seed: true", "seed: expected int, got true"),
        ("seed: 1.0", "seed: expected int, got 1.0"),
        ("seed:", "seed: expected int, got null"),
        ("seed: [1]", "seed: expected int, got [1]"),
        ("patch_shape: [9, 9]", "patch_shape: expected 3 ints > 0, got [9, 9]"),
        ("patch_shape: [9, 9, 9, 9]", "patch_shape: expected 3 ints > 0, got [9, 9, 9, 9]"),
        ("patch_shape: 9", "patch_shape: expected 3 ints > 0, got 9"),
        ("patch_shape: [9, 0, 9]", "patch_shape[1]: expected int > 0, got 0"),
        ("spacing_mm: [1, -1]", "spacing_mm[1]: expected number > 0, got -1"),
        ("spacing_mm: [.inf, 1]", "spacing_mm[0]: expected number > 0, got .inf"),
        ("spacing_mm: x", "spacing_mm: expected 2 numbers > 0, got 'x'"),
        ("model: unet3", "model: no model is named 'unet3'; did you mean 'unet3d'?"),
        ("model: {name: unet3}", "model.name: no model is named 'unet3'; did you mean 'unet3d'?"),
        ("model: {name: zzz}", "model.name: no model is named 'zzz'; there are file, unet3d"),
        ("model: {widths: [1]}", "model.name: missing; expected the name of a model"),
        ("model: {name: 3}", "model.name: expected the name of a model, got 3"),
        ("model: 3", "model: expected a model: its name, or {name: ..., ...}, got 3"),
        ("model: file", "model.path: missing; expected path"),
        ("model: {name: unet3d, widths: [8, 16, a]}", "model.widths[2]: expected int > 0, got 'a'"),
        ("plugins: [unet3d, {name: unet3d, gamma: -1}]", "plugins[1].gamma: expected number >= 0 and <= 2, got -1"),
        ("plugins: [{name: unet3d, gama: 1}]", "plugins[0].gama: unknown key; did you mean 'gamma'?"),
        ("plugins: [{name: unet3d, zzz: 1}]", "plugins[0].zzz: unknown key; known keys: widths, gamma"),
        ("plugins: unet3d", "plugins: expected at most 3 items, each a model: its name, or {name: ..., ...}, got 'unet3d'"),
        ("one_or_more: [unet3]", "one_or_more[0]: no model is named 'unet3'; did you mean 'unet3d'?"),
        ("one_or_more: []", "one_or_more: expected 1 or more items, each a model: its name, or {name: ..., ...}, got []"),
        ("classes: {a: [1, x]}", "classes.a[1]: expected int, got 'x'"),
        ("classes: {a: 1}", "classes.a: expected list of ints, got 1"),
        ("classes: {1: [1]}", "classes[1]: expected a key that is string, got 1"),
        ("classes: 1", "classes: expected mapping of string to list of ints, got 1"),
        ("numbers: {a: b}", "numbers.a: expected a key that is int, got 'a'"),
        ("background: most", "background: expected 'rest' or list of ints, got 'most'"),
        ("background: [0, x]", "background[1]: expected int, got 'x'"),
        ("background: {a: 1}", "background: expected 'rest' or list of ints, got {a: 1}"),
        ("tile: 0", "tile: expected 'auto' or int > 0 or null, got 0"),
        ("split: {fold: a, of: 5}", "split.fold: expected int, got 'a'"),
        ("split: {file: a.json, sed: 1}", "split.sed: unknown key; did you mean 'seed'?"),
        ("split: 3", "split: expected mapping, got 3"),
        ("root: 3", "root: expected path, got 3"),
        ("listed: x", "listed: expected list of ints, got 'x'"),
        ("even: 3", "even: expected an even number, got 3"),
        ("bogus: 1", "bogus: unknown key"),
        ("paches: 1", "paches: unknown key"),
        ("patch_shpe: 1", "patch_shpe: unknown key; did you mean 'patch_shape'?"),
        (f"seed: {'x' * 90}", f"seed: expected int, got '{'x' * 76}..."),
    ],
)
def test_the_line_names_the_place_and_both_halves(change, line):
    assert lines(loads(f"train: {{steps: 1}}\n{change}")) == [f"train.yaml:2: {line}"]


def test_a_missing_key_has_the_line_of_its_mapping():
    assert lines(loads("seed: 1\ntrain:\n  rate: 0.1\n")) == ["train.yaml:2: train.steps: missing; expected int > 0"]


def test_what_is_missing_at_the_top_level_has_no_line():
    assert lines(loads("seed: 1")) == ["train.yaml: train: missing; expected mapping"]


def test_a_section_must_be_a_mapping():
    assert lines(loads("train: 3")) == ["train.yaml:1: train: expected mapping, got 3"]
    assert lines(loads("train: [1]")) == ["train.yaml:1: train: expected mapping, got [1]"]


def test_a_rule_between_fields_is_put_at_the_field_it_begins_with():
    assert lines(loads("train:\n  steps: 3\n  warmup: 5\n")) == ["train.yaml:3: train.warmup: must end before steps, got 5"]
    assert lines(loads("train:\n  steps: 3\nseed: 2\n")) == ["train.yaml:2: train.steps: this rule speaks of another section"]


def test_a_rule_that_begins_otherwise_is_put_at_its_section():
    assert lines(loads("train: {steps: 3}\nseed: 13\n")) == ["train.yaml: Nothing starts with a field here"]


def test_all_mistakes_come_at_once_in_the_order_of_lines():
    text = """
patch_shape: [9, 9]
plugins:
  - {name: unet3d, gama: 2}
  - unet3
train:
  rate: -1
  precision: fp16
  deterministic: yes
"""
    assert lines(loads(text)) == [
        "train.yaml:2: patch_shape: expected 3 ints > 0, got [9, 9]",
        "train.yaml:4: plugins[0].gama: unknown key; did you mean 'gamma'?",
        "train.yaml:5: plugins[1]: no model is named 'unet3'; did you mean 'unet3d'?",
        "train.yaml:6: train.steps: missing; expected int > 0",
        "train.yaml:7: train.rate: expected number > 0, got -1",
        "train.yaml:8: train.precision: expected one of 'auto', 'fp32', 'bf16', got 'fp16'",
        "train.yaml:9: train.deterministic: expected true or false, got 'yes'",
    ]


def test_mistakes_of_a_base_and_of_the_command_line_follow_and_name_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text("seed: x\ntrain: {steps: 0, rate: 1}\n")
    (tmp_path / "child.yaml").write_text("base: base.yaml\n\n\neven: x\n")
    assert lines(apply(load("child.yaml"), ["train.rate=fast", "model.name=unet3"])) == [
        "child.yaml:4: even: expected int, got 'x'",
        "base.yaml:1: seed: expected int, got 'x'",
        "base.yaml:2: train.steps: expected int > 0, got 0",
        "command line: train.rate: expected number > 0, got 'fast'",
        "command line: model.name: no model is named 'unet3'; did you mean 'unet3d'?",
    ]


def test_an_item_of_a_list_given_on_the_command_line_has_its_place():
    document = apply(loads("train: {steps: 1}"), ["plugins=[{name: unet3d, widths: [0]}]"])
    assert lines(document) == ["command line: plugins[0].widths[0]: expected int > 0, got 0"]
