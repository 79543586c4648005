"""From a document to settings and back: absolute paths, the resolved text, and where each value came from."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, model_validator

from segkit.config.errors import InputError
from segkit.config.overrides import apply
from segkit.config.parse import dump, explain, parse
from segkit.config.registry import Registry
from segkit.config.settings import Settings, UserPath
from segkit.config.yaml import load, loads


class Plugin(Settings):
    name: ClassVar[str]


shelf: Registry[Plugin] = Registry("model", "fractions")


@shelf.register("stored")
class Stored(Plugin):
    file: UserPath = Path("default.bin")
    weight: float = 1.0


class Store(Settings):
    folder: UserPath | None = None
    cache: UserPath = Path("cache")


class Recipe(Settings):
    root: UserPath
    store: Store = Store()
    extra: tuple[UserPath, ...] = ()
    named: dict[str, UserPath] = {}  # noqa: RUF012
    model: Annotated[Plugin, shelf] | None = None
    models: tuple[Annotated[Plugin, shelf], ...] = ()
    tables: Literal["none"] | UserPath = "none"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """configs/child.yaml on shared/base.yaml, read from the folder `here`."""
    for folder in ("configs", "shared", "here"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def parsed(project: Path, child: str, base: str = "{}", overrides: tuple[str, ...] = ()) -> Recipe:
    (project / "shared" / "base.yaml").write_text(base)
    (project / "configs" / "child.yaml").write_text(f"base: ../shared/base.yaml\n{child}")
    return parse(Recipe, apply(load("../configs/child.yaml"), overrides))


def test_a_path_starts_from_the_file_that_says_it(project):
    recipe = parsed(project, "root: a/b\n", "root: x\nextra: [c, ../d, /e]\n")
    assert recipe.root == project / "configs/a/b"
    assert recipe.extra == (project / "shared/c", project / "d", Path("/e"))


def test_a_path_of_an_override_starts_from_the_working_directory(project):
    recipe = parsed(project, "root: a\nextra: [b, c]\n", overrides=("root=x", "extra[1]=../y", "model={name: stored, file: z}"))
    assert (recipe.root, recipe.extra) == (project / "here/x", (project / "configs/b", project / "y"))
    assert recipe.model == Stored(file=project / "here/z")


def test_a_path_is_found_inside_plugins_mappings_and_unions(project):
    recipe = parsed(project, "root: /r\nnamed: {a: b}\nmodels: [{name: stored, file: m}]\ntables: t\n", "model: {name: stored, file: n}\n")
    assert recipe.named == {"a": project / "configs/b"}
    assert recipe.models == (Stored(file=project / "configs/m"),)
    assert recipe.model == Stored(file=project / "shared/n")
    assert recipe.tables == project / "configs/t"


def test_a_default_path_starts_from_the_document_and_none_stays_none(project):
    recipe = parsed(project, "root: /r\n", "store: {folder: null}\nmodel: stored\n")
    assert recipe.store == Store(folder=None, cache=project / "configs/cache")
    assert recipe.model == Stored(file=project / "configs/default.bin")
    assert recipe.tables == "none"


def test_the_tilde_is_the_home_folder(project, monkeypatch):
    monkeypatch.setenv("HOME", str(project / "home"))
    assert parsed(project, "root: ~/data").root == project / "home/data"
    with pytest.raises(InputError) as error:
        parsed(project, "root: ~nobody-of-this-name/data")
    assert str(error.value) == (
        "SK-R031: no such home folder\n  where:    ../configs/child.yaml:2: root\n  got:      ~nobody-of-this-name/data"
    )


def test_a_symbolic_link_keeps_its_name(project):
    (project / "configs" / "link.json").symlink_to(project / "shared" / "object")
    assert parsed(project, "root: link.json").root == project / "configs/link.json"


RESOLVED = """\
root: /r
store:
  folder: null
  cache: /c
extra: [/a, /b]
named: {}
model:
  name: stored
  file: /m
  weight: 1.0e-05
models:
  - name: stored
    file: /n
    weight: 2.0
tables: none
"""


def test_the_resolved_recipe_is_written_in_the_order_of_its_fields():
    recipe = parse(
        Recipe,
        loads(
            "models: [{file: /n, weight: 2, name: stored}]\nmodel: {weight: 1e-5, name: stored, file: /m}\n"
            "extra: [/a, /b]\nroot: /r\nstore: {cache: /c}"
        ),
    )
    assert dump(recipe) == RESOLVED


def test_dumping_is_the_inverse_of_parsing():
    assert dump(parse(Recipe, loads(RESOLVED))) == RESOLVED


class Texts(Settings):
    texts: tuple[str, ...] = ()
    numbers: tuple[float | int | bool | None, ...] = ()
    table: dict[str, tuple[tuple[int, ...], ...]] = {}  # noqa: RUF012


awkward = st.sampled_from(
    ["1e-3", "010", "08", "1_000", "yes", "true", "null", "~", "", " a", "a: b", "- a", "#", "!x", "&a", "*a", "0x1", "é\n", "\t", "="]
)
text = st.one_of(awkward, st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
numbers = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.booleans(), st.none())


@settings(deadline=None, max_examples=60)
@given(
    texts=st.lists(text, max_size=4),
    numbers=st.lists(numbers, max_size=4),
    table=st.dictionaries(
        text.filter(lambda key: key not in ("<<",)), st.lists(st.lists(st.integers(), max_size=2), max_size=9), max_size=3
    ),
)
def test_any_settings_survive_being_written_and_read(texts, numbers, table):
    instance = Texts.model_validate({"texts": texts, "numbers": numbers, "table": table})
    again = parse(Texts, loads(dump(instance)))
    assert again == instance
    assert [type(number) for number in again.numbers] == [type(number) for number in instance.numbers]


def test_every_leaf_is_explained_by_its_origin(project):
    (project / "shared" / "base.yaml").write_text("root: x\nextra: [/a, /b]\n")
    (project / "configs" / "child.yaml").write_text(
        "base: ../shared/base.yaml\nmodel: stored\nmodels:\n  - {name: stored,\n     weight: 3}\n"
    )
    document = apply(load("../configs/child.yaml"), ["store.cache=/c"])
    configs, shared = project / "configs", project / "shared"
    assert explain(document, parse(Recipe, document)) == [
        ("root", f"{shared}/x", "../shared/base.yaml:1"),
        ("store.folder", "null", "default"),
        ("store.cache", "/c", "command line"),
        ("extra", "[/a, /b]", "../shared/base.yaml:2"),
        ("named", "{}", "default"),
        ("model.name", "stored", "../configs/child.yaml:2"),
        ("model.file", f"{configs}/default.bin", "default"),
        ("model.weight", "1.0", "default"),
        ("models[0].name", "stored", "../configs/child.yaml:4"),
        ("models[0].file", f"{configs}/default.bin", "default"),
        ("models[0].weight", "3.0", "../configs/child.yaml:5"),
        ("tables", "none", "default"),
    ]


class Split(Settings):
    file: UserPath

    @model_validator(mode="before")
    @classmethod
    def _a_file_alone(cls, value: object) -> object:
        return {"file": value} if isinstance(value, str) else value


class WithSplit(Settings):
    split: Split


def test_one_value_that_stands_for_a_mapping_gives_its_place_to_what_is_in_it(tmp_path):
    document = loads("split: a.json", directory=tmp_path)
    recipe = parse(WithSplit, document)
    assert recipe.split.file == tmp_path / "a.json"
    assert explain(document, recipe) == [("split.file", f"{tmp_path}/a.json", "train.yaml:1")]


def test_any_pydantic_model_can_be_parsed():
    class Plain(BaseModel):
        x: int

    assert parse(Plain, loads("x: 3")).x == 3
