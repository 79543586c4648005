"""Scalars without quotes, by the YAML 1.2 core schema."""

import math

import pytest

from segkit.config.scalar import AmbiguousNumberError, plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-2e+3", -2000.0),
        ("+1.5", 1.5),
        ("0", 0),
        ("-0", 0),
        ("+12", 12),
        ("-7", -7),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
    ],
)
def test_numbers_booleans_and_null_are_read(text, value):
    assert plain(text) == value
    assert type(plain(text)) is type(value)


def test_not_a_number_is_read():
    assert math.isnan(plain(".nan"))


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "no",
        "on",
        "off",
        "y",
        "N",
        "none",
        "None",
        "1:30",
        "12:30:45",
        "2015-01-01",
        "0x1F",
        "0o17",
        "1_000",
        "e5",
        ".",
        "-",
        "+.nan",
        "inf",
        "nan",
    ],
)
def test_everything_else_is_a_string(text):
    assert plain(text) == text


def test_a_number_of_more_than_64_digits_is_a_string():
    assert plain("9" * 64) == int("9" * 64)
    assert plain("9" * 65) == "9" * 65


@pytest.mark.parametrize("text", ["010", "00", "-01", "+007", "08"])
def test_leading_zeros_are_refused(text):
    with pytest.raises(AmbiguousNumberError):
        plain(text)
