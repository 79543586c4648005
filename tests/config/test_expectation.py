"""Types and values in a user's words."""

import enum
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, create_model

from segkit.config.expectation import expectation, shown
from segkit.config.registry import Registry
from segkit.config.settings import Settings, UserPath


class Section(Settings):
    x: int = 0


class Side(enum.Enum):
    LEFT = "left"
    RIGHT = "right"


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (bool, "true or false"),
        (int, "int"),
        (PositiveInt, "int > 0"),
        (NonNegativeInt, "int >= 0"),
        (PositiveFloat, "number > 0"),
        (Annotated[float, Field(ge=0, le=1)], "number >= 0 and <= 1"),
        (Annotated[int, Field(gt=0, multiple_of=2)], "int > 0, a multiple of 2"),
        (str, "string"),
        (Annotated[str, Field(min_length=1)], "string that is not empty"),
        (Annotated[str, Field(pattern="^[a-z]+$")], "string of the form ^[a-z]+$"),
        (UserPath, "path"),
        (Path | None, "path or null"),
        (Literal["auto", "fp32", "bf16"], "one of 'auto', 'fp32', 'bf16'"),
        (Literal["rest"] | tuple[int, ...], "'rest' or list of ints"),
        (Side, "one of 'left', 'right'"),
        (tuple[PositiveInt, PositiveInt, PositiveInt], "3 ints > 0"),
        (tuple[PositiveFloat, PositiveFloat] | None, "2 numbers > 0 or null"),
        (tuple[int, str], "list of 2: int, string"),
        (tuple[str], "1 string"),
        (tuple[str, ...], "list of strings"),
        (tuple[tuple[int, int], ...], "list, each 2 ints"),
        (tuple[Literal["x", "y"], ...], "list, each one of 'x', 'y'"),
        (tuple[int | None, ...], "list, each int or null"),
        (Annotated[tuple[int, ...], Field(min_length=1)], "1 or more ints"),
        (Annotated[tuple[int, ...], Field(min_length=2, max_length=3)], "2 to 3 ints"),
        (Annotated[tuple[int, ...], Field(max_length=3)], "at most 3 ints"),
        (Annotated[tuple[bool, ...], Field(min_length=1)], "1 or more items, each true or false"),
        (tuple, "list"),
        (dict, "mapping"),
        (dict[str, PositiveInt], "mapping of string to int > 0"),
        (dict[str, tuple[int, ...]], "mapping of string to list of ints"),
        (Section, "mapping"),
        (tuple[Section, ...], "list of mappings"),
        (Annotated[Section, Registry("loss", "fractions")], "a loss: its name, or {name: ..., ...}"),
        (Annotated[Section, Registry("intensity", "fractions")], "an intensity: its name, or {name: ..., ...}"),
        (Any, "any value"),
    ],
)
def test_a_type_is_said_in_words(annotation, text):
    assert expectation(annotation) == text
    field = create_model("Model", x=(annotation, ...)).model_fields["x"]
    assert expectation(field.annotation, tuple(field.metadata)) == text


def test_a_bound_on_an_optional_field_is_that_of_its_value():
    field = create_model("Model", x=(int | None, Field(None, gt=0))).model_fields["x"]
    assert expectation(field.annotation, tuple(field.metadata)) == "int > 0 or null"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (1e-3, "0.001"),
        (math.inf, ".inf"),
        (-math.inf, "-.inf"),
        (math.nan, ".nan"),
        ("a", "'a'"),
        ("1", "'1'"),
        ("a\nb", r"'a\nb'"),
        ([1, "a", None], "[1, 'a', null]"),
        ((9, 9), "[9, 9]"),
        ({"a": [1], "b": {}}, "{a: [1], b: {}}"),
        (Path("/a"), "'/a'"),
        ("x" * 100, "'" + "x" * 76 + "..."),
    ],
)
def test_a_value_is_shown_as_yaml_on_one_line(value, text):
    assert shown(value) == text
