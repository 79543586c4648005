"""The strict part of YAML: text to plain values and their lines. No tags, no merge keys, no duplicate keys, no alias bombs."""

from pathlib import Path
from typing import Any

import yaml

from segkit.config import scalar
from segkit.config.document import Document, Key, Origin
from segkit.config.errors import InputError

MAX_DEPTH = 32
MAX_VALUES = 20_000  # counted as written, and again where aliases are used, so aliases of aliases stop here


def document(text: str, source: str, directory: Path) -> Document:
    """One YAML document whose top level is a mapping. `base:` is an ordinary key here. Errors: SK-R004 to SK-R012, SK-R016 to SK-R018."""
    node = _composed(text, source)
    if not isinstance(node, yaml.MappingNode):
        got = {yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value"}.get(type(node), "nothing")
        raise InputError("SK-R012", "the top level is not a mapping", where=source, expected="lines of the form `key: value`", got=got)
    tree = _Tree(source, directory)
    return Document(tree.value(node, ()), tree.origins)


def value(text: str, source: str) -> Any:
    """One value on its own, as written behind `key=` on a command line."""
    node = _composed(text, source)
    return None if node is None else _Tree(source, Path()).value(node, ())


class _Loader(yaml.SafeLoader):
    """PyYAML up to its tree of nodes; tags and bottomless nesting are refused before anything is built."""

    def __init__(self, text: str, source: str) -> None:
        super().__init__(text)
        self.source, self.depth, self.count = source, 0, 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "tag", None) is not None:
            place = f"{self.source}:{event.start_mark.line + 1}"
            raise InputError("SK-R005", "tags are not read", where=place, got=event.tag, remedy="quote a value that begins with `!`")
        self.depth += 1
        self.count += 1
        _check_size(self.depth, self.count, self.source, event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _composed(text: str, source: str) -> yaml.Node | None:
    try:
        return _Loader(text.removeprefix("\ufeff"), source).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, source) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        got = f"U+{ord(text[error.position]):04X}"
        raise InputError("SK-R006", "a character that YAML does not allow", where=f"{source}:{line}", got=got) from None
    except (ValueError, OverflowError) as error:  # an escape beyond Unicode, a version number of a thousand digits
        raise InputError("SK-R007", "not valid YAML", where=source, got=str(error)) from None


def _syntax_error(error: yaml.MarkedYAMLError, text: str, source: str) -> InputError:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return InputError("SK-R004", f"not valid YAML: {error.problem}", where=source)
    lines = text.removeprefix("\ufeff").splitlines()
    written = repr(lines[mark.line].strip()) if mark.line < len(lines) else "the end of the file"
    problem = " ".join(part for part in (error.context, error.problem) if part)
    remedy = None
    if "'\\t'" in problem:
        problem, remedy = "a tab between values", "use spaces"
    elif "mapping values are not allowed" in problem:
        remedy = "check the indentation, or quote a value that holds `: `"
    elif "cannot start any token" in problem:
        remedy = "quote the value"
    place = f"{source}:{mark.line + 1}:{mark.column + 1}"
    return InputError("SK-R004", f"not valid YAML: {problem}", where=place, got=written, remedy=remedy)


def _check_size(depth: int, count: int, source: str, mark: yaml.Mark) -> None:
    where = f"{source}:{mark.line + 1}"
    if depth > MAX_DEPTH:
        raise InputError("SK-R008", "nested too deeply", where=where, expected=f"at most {MAX_DEPTH} levels")
    if count > MAX_VALUES:
        raise InputError("SK-R009", "too many values for a recipe", where=where, expected=f"at most {MAX_VALUES:,}, with those of aliases")


class _Tree:
    """Values of a tree of nodes, and the origin of each on the way."""

    def __init__(self, source: str, directory: Path) -> None:
        self.source, self.directory = source, directory
        self.origins: dict[Key, Origin] = {(): Origin(source, None, directory)}
        self.count = 0

    def value(self, node: yaml.Node, key: Key) -> Any:
        self.count += 1
        _check_size(len(key) + 1, self.count, self.source, node.start_mark)  # an alias may lead back into its own anchor
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*key, index), item) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        return self._mapping(node, key)

    def _item(self, node: yaml.Node, key: Key, at: yaml.Node) -> Any:
        self.origins[key] = Origin(self.source, at.start_mark.line + 1, self.directory)
        return self.value(node, key)

    def _mapping(self, node: yaml.Node, key: Key) -> dict[str | int, Any]:
        mapping: dict[str | int, Any] = {}
        for name_node, value_node in node.value:
            name = self._name(name_node)
            if name in mapping:
                first = self.origins[(*key, name)].line
                got = f"{name!r} on line {first} and on line {name_node.start_mark.line + 1}"
                raise InputError("SK-R010", "a key is written twice", where=self._place(name_node), got=got, remedy="remove one")
            mapping[name] = self._item(value_node, (*key, name), name_node)
        return mapping

    def _name(self, node: yaml.Node) -> str | int:
        name = self._scalar(node) if isinstance(node, yaml.ScalarNode) else None
        if name == "<<":
            raise InputError("SK-R011", "merge keys are not read", where=self._place(node), remedy="inherit with `base: other.yaml`")
        if isinstance(name, bool) or not isinstance(name, str | int):
            got = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
            raise InputError("SK-R016", "not a key", where=self._place(node), expected="a string or a whole number", got=got)
        return name

    def _scalar(self, node: yaml.ScalarNode) -> scalar.Scalar:
        try:
            node.value.encode()
            return scalar.plain(node.value) if node.style is None else node.value  # style: the kind of quotes
        except scalar.AmbiguousNumberError:
            expected = "a number without leading zeros, or a quoted string"
            raise InputError("SK-R017", "an ambiguous number", where=self._place(node), expected=expected, got=node.value) from None
        except UnicodeEncodeError:  # half of a surrogate pair, by an escape
            raise InputError("SK-R018", "a character that is none", where=self._place(node), got=ascii(node.value)) from None

    def _place(self, node: yaml.Node) -> str:
        return f"{self.source}:{node.start_mark.line + 1}"
