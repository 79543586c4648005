"""What a table compares, as a YAML file says it: rows of recipes, columns of scores, seeds, published values."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from segkit.config.document import Document, Key, Origin, dotted
from segkit.config.errors import InputError
from segkit.config.inheritance import merged
from segkit.config.overrides import apply
from segkit.config.parse import parse
from segkit.config.settings import Settings, UserPath
from segkit.config.yaml import load
from segkit.engine.progress import differences
from segkit.metrics.base import metrics as metric_shelf  # the field `metrics` hides the name
from segkit.recipe import Recipe, resolve

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
Share = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Members = Annotated[tuple[str, ...], Field(min_length=2)]
SplitName = Literal["training", "validation", "test"]
OWN: tuple[Key, ...] = (("train", "seed"), ("dataset", "train_fraction"))  # what the table itself sets, item by item
TESTED_BY: dict[str, set[str]] = {  # what decides on which cases, and how, a row is tested; the metrics are the table's
    "dataset": {"split", "classes", "background", "ignore"},
    "evaluate": {"nsd_tolerance_mm", "regions", "convention"},
}


class Row(Settings):
    """One method: a recipe and what is changed in it."""

    label: str | None = Field(None, description="what the table calls it; null: its name")
    recipe: UserPath | None = Field(None, description="its recipe file; null: the table's")
    overrides: dict[str, Any] = Field(default_factory=dict, description="a part of a recipe, on top of the table's own overrides")
    against: str | None = Field(None, description="the row it is tested against, such as its symmetric counterpart")
    group: str | None = Field(None, description="a heading above the rows that share it")


class PublishedScores(Settings):
    """What a publication reports in one place of the table: percent, or mm for distances."""

    row: str
    fraction: Share
    structure: str = Field(description="class, region or mean")
    scores: dict[str, float] = Field(min_length=1, description="metric: value")


class Published(Settings):
    """Values from one source, for test cases. verified: read in the publication itself, not in somebody's account of it."""

    source: str = Field(min_length=1)
    verified: bool = False
    values: tuple[PublishedScores, ...] = Field(min_length=1)


class Spec(Settings):
    """A table. Overrides are parts of a recipe and inherit as `base:` does: mappings merge, lists replace, paths start at this file."""

    title: str = Field(min_length=1)
    recipe: UserPath | None = Field(None, description="of the rows that name none")
    overrides: dict[str, Any] = Field(default_factory=dict, description="a part of a recipe, for all rows")
    rows: dict[Name, Row] = Field(min_length=1)
    fractions: tuple[Share, ...] = Field(min_length=1, description="dataset.train_fraction: the columns")
    classes: tuple[str, ...] = Field(min_length=1, description="classes, regions or `means`; a block of the table each")
    means: dict[str, Members] = Field(default_factory=dict, description="name: classes or regions; their mean, case by case")
    metrics: tuple[str, ...] = Field(("dice", "sensitivity", "precision"), min_length=1)
    splits: tuple[SplitName, ...] = Field(("test",), min_length=1, description="training and test also show the gap between them")
    largest_component: bool = Field(False, description="also score with only the largest part of each class or region kept")
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    published: tuple[Published, ...] = ()
    notes: tuple[str, ...] = Field((), description="sentences under the table")

    def label(self, row: str) -> str:
        """What the table calls a row."""
        return self.rows[row].label or row


@dataclass(frozen=True)
class Table:
    """A table that was read: its name (the file's), what it says, and the recipe of each row with seed and fraction still open."""

    name: str
    spec: Spec
    recipes: dict[str, Recipe]


def read(path: Path, overrides: Sequence[str] = ()) -> Table:
    """The table of a YAML file; overrides (`train.steps=500`) reach the recipe of every row.

    Raises InputError: SK-R030 for values of wrong types, SK-B001 for names that do not fit together and rows that are not tested alike,
    each with all mistakes and their lines; what the recipes raise; SK-B002 for an override of what the table itself sets.
    """
    document = load(path)
    spec = parse(Spec, document)
    _refuse(document, _mistakes(spec, document.value))
    recipes = {name: resolve(_recipe_document(document, spec, name, overrides)) for name in spec.rows}
    _refuse(document, chain(_unknown_structures(spec, recipes), _tested_otherwise(recipes)))
    return Table(path.stem, spec, recipes)


def _recipe_document(table: Document, spec: Spec, name: str, overrides: Sequence[str]) -> Document:
    """The recipe of a row before it is typed: its file, then the overrides of table, row and command line, with their origins."""
    file = spec.rows[name].recipe or spec.recipe
    assert file is not None, "checked before"
    document = load(file)
    own: tuple[Key, ...] = (("overrides",), ("rows", name, "overrides"))
    for key in own:
        if key in table.origins:
            document = merged(document, _part(table, key, document.origins[()]))
    document = apply(document, overrides)
    for key in OWN:
        if key in document.origins and document.origins[key].line is None:
            raise InputError(
                "SK-B002",
                f"the table itself sets {dotted(key)}",
                where=document.origins[key].place,
                remedy="change `seeds` or `fractions` in the table's file",
            )
    return document


def _part(document: Document, key: Key, root: Origin) -> Document:
    """The mapping at `key` as a document of its own, which counts as a part of the file `root`."""
    value: Any = document.value
    for part in key:
        value = value[part]
    origins = {at[len(key) :]: origin for at, origin in document.origins.items() if at[: len(key)] == key}
    return Document(value, origins | {(): root})


def _refuse(document: Document, mistakes: Iterator[tuple[Key, str]]) -> None:
    """Raises InputError with all mistakes, by line, if there is one."""
    placed = [(document.origin(key), key, text) for key, text in mistakes]
    if placed:
        lines = [f"{origin.place}: {dotted(key)}: {text}" for origin, key, text in sorted(placed, key=lambda entry: entry[0].line or 0)]
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise InputError("SK-B001", "\n".join([f"{count} in {document.source}", *lines]))


def _mistakes(spec: Spec, written: dict[str | int, Any]) -> Iterator[tuple[Key, str]]:
    """Names that do not fit together, as far as no recipe is needed to see it: key and text."""
    for field in ("fractions", "classes", "metrics", "splits", "seeds"):
        for value, count in Counter(getattr(spec, field)).items():
            if count > 1:
                yield (field,), f"expected each value once, got {value} {count} times"
    for position, name in enumerate(spec.metrics):
        if name not in metric_shelf:
            yield ("metrics", position), f"no metric is named {name!r}; there are {', '.join(metric_shelf)}"
    if spec.recipe is not None and not spec.recipe.is_file():
        yield ("recipe",), f"no such file: {spec.recipe}"
    yield from _own_settings(("overrides",), spec.overrides)
    for name, row in spec.rows.items():
        yield from _row_mistakes(name, row, spec)
    yield from _published_mistakes(spec)


def _row_mistakes(name: str, row: Row, spec: Spec) -> Iterator[tuple[Key, str]]:
    key: Key = ("rows", name)
    if row.recipe is None and spec.recipe is None:
        yield key, "expected a recipe, here or for the whole table, got none"
    if row.recipe is not None and not row.recipe.is_file():
        yield (*key, "recipe"), f"no such file: {row.recipe}"
    if row.against is not None and (row.against not in spec.rows or row.against == name):
        yield (
            (*key, "against"),
            f"expected another row, one of {', '.join(other for other in spec.rows if other != name)}, got {row.against!r}",
        )
    yield from _own_settings((*key, "overrides"), row.overrides)


def _own_settings(key: Key, overrides: dict[str, Any]) -> Iterator[tuple[Key, str]]:
    for section, field in OWN:
        if isinstance(overrides.get(str(section)), dict) and field in overrides[str(section)]:
            yield (*key, section, field), "expected nothing, since `seeds` and `fractions` set it"


def _published_mistakes(spec: Spec) -> Iterator[tuple[Key, str]]:
    seen: set[tuple[str, float, str, str]] = set()
    for source, published in enumerate(spec.published):
        for position, value in enumerate(published.values):
            key: Key = ("published", source, "values", position)
            for field, found, known in (
                ("row", value.row, tuple(spec.rows)),
                ("fraction", value.fraction, spec.fractions),
                ("structure", value.structure, spec.classes),
            ):
                if found not in known:
                    yield (*key, field), f"the table has no such {field}: {found}; there are {', '.join(map(str, known))}"
            for metric in value.scores:
                if metric not in spec.metrics:
                    yield (*key, "scores", metric), f"the table has no such metric; there are {', '.join(spec.metrics)}"
                place = (value.row, value.fraction, value.structure, metric)
                if place in seen:
                    yield (*key, "scores", metric), "published twice"
                seen.add(place)


def _unknown_structures(spec: Spec, recipes: dict[str, Recipe]) -> Iterator[tuple[Key, str]]:
    """Classes of the table that the recipe of a row does not score; means named like a class."""
    places: list[tuple[Key, str]] = [(("classes", i), name) for i, name in enumerate(spec.classes) if name not in spec.means]
    places += [(("means", mean, i), name) for mean, members in spec.means.items() for i, name in enumerate(members)]
    for key, name in places:
        lacking = next((row for row, recipe in recipes.items() if name not in recipe.structures()), None)
        if lacking is not None:
            yield key, f"row {lacking} has no class or region {name!r}; there are {', '.join(recipes[lacking].structures())}"
    for mean in spec.means:
        if any(mean in recipe.structures() for recipe in recipes.values()):
            yield ("means", mean), "expected a name that no class or region has"


def _tested_otherwise(recipes: dict[str, Recipe]) -> Iterator[tuple[Key, str]]:
    """Rows that other cases, classes or rules of scoring than those of the first row make no comparison."""
    tested = {name: recipe.model_dump(mode="json", include=TESTED_BY) for name, recipe in recipes.items()}
    first, *others = tested
    for name in others:
        for _, text in differences(tested[first], tested[name]):
            yield ("rows", name), f"tested otherwise than row {first}: {text}"
