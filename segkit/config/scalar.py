"""What a scalar without quotes means: the YAML 1.2 core schema, decimal only.

`1e-3`, `1E5` and `.5` are numbers; only true and false are booleans; `yes`, `on`, `1:30`, `0x1F`, `1_000` and `2015-01-01` are strings.
"""

import re

Scalar = None | bool | int | float | str

_FORMS = {
    "null": re.compile(r"~|null|Null|NULL|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "ambiguous": re.compile(r"[-+]?0[0-9]+"),  # octal to YAML 1.1, decimal to 1.2, and to a user perhaps a case id
    "int": re.compile(r"[-+]?[0-9]{1,64}"),  # longer ones are no count or seed, and slow to convert
    "float": re.compile(
        r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN"
    ),
}


class AmbiguousNumberError(ValueError):
    """A whole number with leading zeros."""


def kind(text: str) -> str:
    """null, bool, ambiguous, int, float or str."""
    return next((name for name, form in _FORMS.items() if form.fullmatch(text)), "str")


def plain(text: str) -> Scalar:
    """The value of a scalar written without quotes. AmbiguousNumberError for `010`."""
    match kind(text):
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text)
        case "float":
            return float(re.sub(r"\.(?=[iInN])", "", text))  # .inf and .nan are Python's inf and nan
        case "ambiguous":
            raise AmbiguousNumberError(text)
    return text
