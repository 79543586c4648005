"""Recipes from YAML files: strict syntax, and `base:` inheritance."""

import os
from pathlib import Path

from segkit.config import syntax
from segkit.config.document import Document
from segkit.config.errors import InputError
from segkit.config.inheritance import merged

MAX_BYTES = 1_000_000

Chain = dict[Path, str]  # the files on the way to a base: where each is, and its name in messages


def load(path: str | Path) -> Document:
    """A YAML file whose top level is a mapping, on top of the file its `base:` names (relative to the file that says it)."""
    path, source = Path(path), str(path)
    try:
        document = syntax.document(_text(path, source), source, Path(os.path.normpath(Path.cwd() / path.parent)))
    except OSError as error:
        raise InputError("SK-R001", "the file cannot be read", where=source, got=error.strerror) from None
    return _inherited(document, {path.resolve(): source})


def loads(text: str, source: str = "train.yaml", directory: Path | None = None) -> Document:
    """The same from text. source: its name in messages. directory: what relative paths start from, the working directory by default."""
    return _inherited(syntax.document(text, source, directory or Path.cwd()), {})


def _inherited(document: Document, chain: Chain) -> Document:
    """The document on top of its base, and that on top of its own."""
    if "base" not in document.value:
        return document
    says, name = document.origins[("base",)], document.value["base"]
    if not isinstance(name, str) or not name:
        raise InputError("SK-R013", "base names one file", where=says.place, expected="the path of a YAML file", got=repr(name))
    path = Path(os.path.normpath(says.directory / name))
    source = os.path.normpath(Path(says.source).parent / name)
    if path.resolve() in chain:
        circle = " -> ".join([*chain.values(), source])
        raise InputError("SK-R015", "a file is its own base", where=says.place, got=circle, remedy="remove one `base:`")
    try:
        base = syntax.document(_text(path, source), source, path.parent)
    except OSError as error:
        raise InputError("SK-R014", f"the base {source} cannot be read", where=says.place, got=error.strerror) from None
    own = Document(
        {key: value for key, value in document.value.items() if key != "base"},
        {key: origin for key, origin in document.origins.items() if key[:1] != ("base",)},
    )
    return merged(_inherited(base, {**chain, path.resolve(): source}), own)


def _text(path: Path, source: str) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError("SK-R002", "the file is too large for a recipe", where=source, expected=f"at most {MAX_BYTES:,} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        got = f"byte 0x{data[error.start]:02X}"
        raise InputError("SK-R003", "the file is not UTF-8", where=f"{source}:{line}", got=got, remedy="save it as UTF-8") from None
