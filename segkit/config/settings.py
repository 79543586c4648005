"""What every block of settings is: frozen, strict about types, unknown keys refused."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Strict, model_validator


class Settings(BaseModel):
    """Base of recipe sections and plug-ins: its fields are the YAML keys.

    Strict: True is not 1, "3" is not 3; an int serves as a float, a list as a tuple.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, values: Any) -> Any:
        return _as_tuples(values)


def _as_tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_as_tuples(item) for item in value)
    if type(value) is dict:
        return {key: _as_tuples(item) for key, item in value.items()}
    return value


UserPath = Annotated[Path, Strict(False)]  # a string in YAML; relative to the recipe's file, resolved by `parse`
