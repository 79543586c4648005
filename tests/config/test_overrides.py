"""Overrides: where a value goes, what it drops, and what is refused."""

from pathlib import Path

import pytest

from segkit.config.document import Document
from segkit.config.errors import InputError
from segkit.config.overrides import apply, apply_values
from segkit.config.yaml import loads

TEXT = """
train: {steps: 10, seed: null}
losses:
  - {name: focal, gamma: 1.0}
  - dice
model: {name: deepmedic, widths: [30, 40], dropout: 0.5}
"""


def changed(*overrides: str) -> Document:
    return apply(loads(TEXT), overrides)


@pytest.mark.parametrize(
    ("override", "section", "value"),
    [
        ("train.steps=500", "train", {"steps": 500, "seed": None}),
        ("train.steps = 500", "train", {"steps": 500, "seed": None}),
        ("train.steps=1e-3", "train", {"steps": 1e-3, "seed": None}),
        ("train.note=a=b", "train", {"steps": 10, "seed": None, "note": "a=b"}),
        ("train.optimizer.name=adam", "train", {"steps": 10, "seed": None, "optimizer": {"name": "adam"}}),
        ("train.seed.x=1", "train", {"steps": 10, "seed": {"x": 1}}),
        ("train={x: 1}", "train", {"x": 1}),
        ("train=null", "train", None),
        ("losses[0].gamma=2", "losses", [{"name": "focal", "gamma": 2}, "dice"]),
        ("losses[1].smooth=1", "losses", [{"name": "focal", "gamma": 1.0}, {"name": "dice", "smooth": 1}]),
        ("losses[2]=tversky", "losses", [{"name": "focal", "gamma": 1.0}, "dice", "tversky"]),
        ("losses[2].name=tversky", "losses", [{"name": "focal", "gamma": 1.0}, "dice", {"name": "tversky"}]),
        ("losses=[a, {b: 1}]", "losses", ["a", {"b": 1}]),
        ("model.widths[1]=41", "model", {"name": "deepmedic", "widths": [30, 41], "dropout": 0.5}),
        ("model.widths=[1, 2]", "model", {"name": "deepmedic", "widths": [1, 2], "dropout": 0.5}),
        ("model.name=unet3d", "model", {"name": "unet3d"}),
        ("model.name=deepmedic", "model", {"name": "deepmedic", "widths": [30, 40], "dropout": 0.5}),
        ("losses[1].name=dice", "losses", [{"name": "focal", "gamma": 1.0}, {"name": "dice"}]),
        ("regularizers[0]=mixup", "regularizers", ["mixup"]),
        ("dataset.root=/data/a b", "dataset", {"root": "/data/a b"}),
    ],
)
def test_an_override_sets_its_value(override, section, value):
    document = changed(override)
    assert document.value[section] == value
    assert {key: item for key, item in document.value.items() if key != section} == {
        key: item for key, item in loads(TEXT).value.items() if key != section
    }


def test_an_override_comes_from_the_command_line_and_the_rest_from_its_file():
    document = changed("losses[1].smooth=[1, 2]", "losses[2]=x")
    places = {key: origin.place for key, origin in document.origins.items() if key[:1] == ("losses",)}
    assert places == {
        ("losses",): "train.yaml:3",
        ("losses", 0): "train.yaml:4",
        ("losses", 0, "name"): "train.yaml:4",
        ("losses", 0, "gamma"): "train.yaml:4",
        ("losses", 1): "train.yaml:5",
        ("losses", 1, "name"): "train.yaml:5",
        ("losses", 1, "smooth"): "command line",
        ("losses", 1, "smooth", 0): "command line",
        ("losses", 1, "smooth", 1): "command line",
        ("losses", 2): "command line",
    }
    assert document.origins[("losses", 2)].directory == Path.cwd()


def test_a_replaced_value_leaves_no_origins_behind():
    document = changed("model=x", "losses=[]")
    assert {key for key in document.origins if key[:1] in (("model",), ("losses",))} == {("losses",), ("model",)}


def test_the_document_given_stays_as_it_was():
    document = loads(TEXT)
    apply(document, ["train.steps=1", "losses[0].gamma=9", "model.name=x"])
    assert document == loads(TEXT)


def test_the_order_of_a_new_name_and_its_fields_does_not_matter():
    expected = {"name": "unet3d", "levels": 4}
    assert changed("model.name=unet3d", "model.levels=4").value["model"] == expected
    assert changed("model.levels=4", "model.name=unet3d").value["model"] == expected


def test_the_last_of_two_overrides_of_one_key_stands():
    assert changed("train.steps=1", "train.steps=2").value["train"]["steps"] == 2


@pytest.mark.parametrize(
    "override", ["steps 500", "=5", "", ".a=1", "a.=1", "a..b=1", "a b", "[0]=1", "a[=1", "a[x]=1", "a[-1]=1", "a]=1", "a.[0]=1", "a[0]b=1"]
)
def test_what_has_not_the_form_of_an_override_is_refused(override):
    with pytest.raises(InputError) as error:
        changed(override)
    assert str(error.value) == (
        "SK-R021: not an override\n"
        f"  where:    command line: {override}\n"
        "  expected: key.path=value, as in train.steps=500 or losses[0].gamma=2"
    )


@pytest.mark.parametrize(
    ("override", "where", "expected"),
    [
        (
            "train.steps=",
            "train.steps=",
            InputError("SK-R022", "an override without a value", expected="key.path=value", remedy="write null or ''"),
        ),
        ("losses[3]=x", "losses[3]", InputError("SK-R024", "losses has 2 items", expected="an index up to 2, which appends", got="3")),
        ("x[1]=x", "x[1]", InputError("SK-R024", "x has 0 items", expected="index 0, which appends", got="1")),
        ("train[0]=x", "train[0]", InputError("SK-R025", "train is not a list", expected="train.key=value")),
        ("losses.gamma=1", "losses.gamma", InputError("SK-R026", "losses is a list", expected="an index, as in losses[0].gamma")),
        ("train.steps.x=1", "train.steps.x", InputError("SK-R027", "train.steps has no keys", got="train.steps is 10")),
        (
            "a=[1",
            "a",
            InputError("SK-R004", "not valid YAML: while parsing a flow sequence expected ',' or ']', but got '<stream end>'", got="[1"),
        ),
        ("a=x: !!set y", "a", InputError("SK-R005", "tags are not read", got="x: !!set y", remedy="quote a value that begins with `!`")),
    ],
)
def test_a_refused_override_says_where_and_why(override, where, expected):
    with pytest.raises(InputError) as error:
        changed(override)
    facts = error.value
    assert facts.where == f"command line: {where}"
    assert (facts.code, facts.what, facts.expected, facts.got, facts.remedy) == (
        expected.code,
        expected.what,
        expected.expected,
        expected.got,
        expected.remedy,
    )


def test_python_values_are_taken_as_they_are():
    widths = (1, 2)
    document = apply_values(loads(TEXT), {"train.steps": 500, "model.widths": widths, "train.note": "010", "model.path": Path("x")})
    assert document.value["train"] == {"steps": 500, "seed": None, "note": "010"}
    assert document.value["model"] == {"name": "deepmedic", "widths": [1, 2], "dropout": 0.5, "path": Path("x")}
    assert document.origins[("model", "widths", 1)].place == "overrides"


def test_a_python_key_must_be_a_key_path():
    with pytest.raises(InputError, match="SK-R023"):
        apply_values(loads(TEXT), {"train..steps": 1})
