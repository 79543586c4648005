"""Plain values as YAML text that reads back the same under the strict rules."""

from typing import Any

import yaml

from segkit.config import scalar

WIDTH = 120


def emitted(value: Any) -> str:
    """Block style, with short lists in one line."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)


def flow(value: Any) -> str:
    """One line."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6, default_flow_style=True)
    return text.removesuffix("...\n").strip()


def _list(dumper: Any, data: list) -> yaml.Node:
    short = len(str(data)) < WIDTH - 20 and not any(isinstance(item, dict) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=short or dumper.default_flow_style)


def _string(dumper: Any, data: str) -> yaml.Node:
    style = None if data.isprintable() else '"'  # only double quotes keep every kind of line break
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


class _Dumper(yaml.SafeDumper):
    """Quotes exactly the strings that `scalar` would read as something else; never writes anchors."""

    yaml_representers = yaml.SafeDumper.yaml_representers | {list: _list, str: _string}

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)  # list items stand under their key, indented

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is not yaml.ScalarNode:
            return super().resolve(kind, value, implicit)
        return f"tag:yaml.org,2002:{scalar.kind(value) if implicit[0] else 'str'}"
