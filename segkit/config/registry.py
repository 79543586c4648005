"""A shelf: plug-in classes by their YAML name, found by importing the shelf's folder."""

import difflib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from segkit.config.expectation import expectation, shown
from segkit.config.settings import Settings

P = TypeVar("P", bound=Settings)


@dataclass(frozen=True)
class FieldFacts:
    """One hyper-parameter: its type in words, its default as YAML (None: it must be given), what it is."""

    name: str
    expected: str
    default: str | None
    description: str


@dataclass(frozen=True)
class PluginFacts:
    """One plug-in: its YAML name, one line on it, its fields."""

    name: str
    line: str
    fields: tuple[FieldFacts, ...]


class Registry(Generic[P]):
    """Plug-ins of one kind. Used in an annotation (`Annotated[Loss, losses]`) it parses `{name: focal, gamma: 2}` or just `focal`.

    kind: singular noun for messages; package: folder (or module) whose import registers the plug-ins.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package = kind, package
        self._plugins: dict[str, type[P]] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[type[P]], type[P]]:
        """Class decorator: file the class under its YAML name, which also becomes its attribute `name`."""

        def file(plugin: type[P]) -> type[P]:
            if not plugin.__module__.startswith(self.package):
                self._load()  # a user's plug-in: what the shelf holds must be known, or a name taken twice is found too late
            if name in self._plugins:
                raise ValueError(f"two {self.kind} plug-ins are named {name!r}: {self._plugins[name]} and {plugin}")
            if "name" in plugin.model_fields:
                raise ValueError(f"{plugin}: `name` is the plug-in's own name and cannot be a field")
            plugin.name = name  # type: ignore[attr-defined]
            self._plugins[name] = plugin
            return plugin

        return file

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._plugins))

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._plugins

    def __getitem__(self, name: str) -> type[P]:
        """The class filed under `name`; KeyError with the nearest name otherwise."""
        self._load()
        if name not in self._plugins:
            raise KeyError(self._unknown(name))
        return self._plugins[name]

    def build(self, value: Any) -> P:
        """A plug-in from `{name: ..., **fields}`, from its bare name, or as it is."""
        self._load()
        if type(value) in self._plugins.values():
            return value
        mapping = {"name": value} if isinstance(value, str) else value
        if not isinstance(mapping, dict) or not isinstance(mapping.get("name"), str):
            raise PydanticCustomError("plugin_form", "expected {expected}", {"expected": self.expectation})
        fields = dict(mapping)
        name = fields.pop("name")
        if name not in self._plugins:
            raise PydanticCustomError("plugin_name", "{message}", {"message": self._unknown(name)})
        return self._plugins[name].model_validate(fields)

    def describe(self) -> tuple[PluginFacts, ...]:
        """What can be named in a recipe, by name."""
        return tuple(_facts(name, self[name]) for name in self)

    @property
    def a_kind(self) -> str:
        """`a loss`, `an intensity`."""
        return f"{'an' if self.kind[0] in 'aeiou' else 'a'} {self.kind}"

    @property
    def expectation(self) -> str:
        """What a recipe may say in this place."""
        return f"{self.a_kind}: its name, or {{name: ..., ...}}"

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._plugins, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(self._plugins)) or 'none'}"
        return f"no {self.kind} is named {name!r}; {hint}"

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True  # before the imports, which may look into the shelf themselves
        complete = False
        try:
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
                importlib.import_module(f"{self.package}.{module.name}")
            complete = True
        finally:
            self._loaded = complete

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Pydantic's hook: errors of the plug-in's own fields keep their place in the recipe."""
        return core_schema.no_info_plain_validator_function(
            self.build,
            serialization=core_schema.plain_serializer_function_ser_schema(described),
        )

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Pydantic's hook for editors: any of the names, or any of the plug-ins with its fields."""
        plugins = []
        for name in self:
            plugin = handler.resolve_ref_schema(handler(self[name].__pydantic_core_schema__))
            required = [field for field in plugin.get("required", []) if field != "name"]
            properties = {"name": {"const": name}, **plugin.get("properties", {})}
            plugin.update(properties=properties, required=["name", *required])
            plugins.append(plugin)
        return {"anyOf": [{"enum": list(self)}, *plugins]}


def described(plugin: Settings) -> dict[str, Any]:
    """The mapping that builds this plug-in again: its name, then its fields."""
    return {"name": plugin.name, **plugin.model_dump(mode="json")}  # type: ignore[attr-defined]


def _facts(name: str, plugin: type[Settings]) -> PluginFacts:
    fields = tuple(
        FieldFacts(
            name=key,
            expected=expectation(field.annotation, tuple(field.metadata)),
            default=None if field.is_required() else shown(_plain(field.get_default(call_default_factory=True, validated_data={}))),
            description=field.description or "",
        )
        for key, field in plugin.model_fields.items()
    )
    text = plugin.__doc__ or sys.modules[plugin.__module__].__doc__ or ""
    return PluginFacts(name, inspect.cleandoc(text).partition("\n")[0], fields)


def _plain(value: Any) -> Any:
    """A default as a recipe would write it."""
    if isinstance(value, Settings):
        return described(value) if hasattr(value, "name") else value.model_dump(mode="json")
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
