"""Packages that come with an extra of segkit, imported where they are used."""

from importlib import import_module
from types import ModuleType

from segkit.config.errors import InputError


def extra(package: str, name: str) -> ModuleType:
    """A package of the extra `name`. Raises InputError where it is not installed."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        remedy = f'pip install "segkit[{name}]"'
        raise InputError("SK-C071", f"{package} is not installed", where=f"--launcher {name}", remedy=remedy) from None
