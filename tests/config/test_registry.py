"""Shelves: plug-ins found by folder, parsed in every kind of annotation, and described."""

import re
import sys
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field, PositiveFloat, ValidationError

from segkit.config.registry import FieldFacts, PluginFacts, Registry
from segkit.config.settings import Settings


class Loss(Settings):
    name: ClassVar[str]


losses: Registry[Loss] = Registry("loss", "fractions")  # any module: the plug-ins are below


@losses.register("focal")
class Focal(Loss):
    """Cross-entropy that looks away from what is easy.

    More of it.
    """

    gamma: float = Field(2.0, ge=0, description="focus")
    scale: PositiveFloat
    axes: tuple[int, ...] = (1, 2)


@losses.register("dice")
class Dice(Loss):
    weights: tuple[PositiveFloat, ...] | None = None


Shelf = Annotated[Loss, losses]


class Recipe(Settings):
    one: Shelf = Dice()
    many: tuple[Shelf, ...] = ()
    perhaps: Shelf | None = None
    named: dict[str, Shelf] = {}  # noqa: RUF012
    choice: Shelf | Literal[0] = 0


GIVEN = {
    "one": {"name": "focal", "gamma": 1, "scale": 2.0},
    "many": ["dice", {"name": "dice", "weights": [1, 2]}],
    "perhaps": "dice",
    "named": {"a": "dice"},
    "choice": "dice",
}


def test_a_plugin_is_parsed_from_its_mapping_its_bare_name_or_itself():
    recipe = Recipe.model_validate(GIVEN)
    assert recipe.one == Focal(gamma=1.0, scale=2.0)
    assert recipe.many == (Dice(), Dice(weights=(1.0, 2.0)))
    assert (recipe.perhaps, recipe.named, recipe.choice) == (Dice(), {"a": Dice()}, Dice())
    assert Recipe.model_validate({"one": Dice(weights=(1.0,))}).one == Dice(weights=(1.0,))
    assert Recipe.model_validate({"perhaps": None}).perhaps is None


@pytest.mark.parametrize("mode", ["python", "json"])
@pytest.mark.parametrize("given", [GIVEN, {}])
def test_dumping_and_validating_are_inverses(mode, given):
    recipe = Recipe.model_validate(given)
    assert Recipe.model_validate(recipe.model_dump(mode=mode)) == recipe


def test_a_dumped_plugin_begins_with_its_name():
    assert list(Recipe.model_validate(GIVEN).model_dump()["one"].items()) == [
        ("name", "focal"),
        ("gamma", 1.0),
        ("scale", 2.0),
        ("axes", [1, 2]),
    ]


def test_the_name_belongs_to_the_class():
    assert (Focal.name, Focal(scale=1.0).name, Dice.name) == ("focal", "focal", "dice")
    assert "name" not in Focal.model_fields


def test_errors_inside_a_plugin_keep_their_place():
    with pytest.raises(ValidationError) as error:
        Recipe.model_validate({"many": ["dice", {"name": "focal", "scale": -1.0, "gama": 1}]})
    assert [details["loc"] for details in error.value.errors()] == [("many", 1, "scale"), ("many", 1, "gama")]


def test_two_plugins_cannot_have_one_name():
    with pytest.raises(ValueError, match="two loss plug-ins are named 'dice'"):
        losses.register("dice")(type("Other", (Loss,), {"__module__": __name__}))
    assert losses["dice"] is Dice


def test_a_plugin_cannot_have_a_field_called_name():
    class Named(Settings):
        name: str = "x"

    with pytest.raises(ValueError, match="cannot be a field"):
        losses.register("named")(Named)  # type: ignore[type-var]
    assert "named" not in losses


def test_an_unknown_name_comes_with_the_nearest_or_with_all():
    with pytest.raises(KeyError, match=re.escape("no loss is named 'dise'; did you mean 'dice'?")):
        losses["dise"]
    with pytest.raises(KeyError, match=re.escape("no loss is named 'zzz'; there are dice, focal")):
        losses["zzz"]


def test_a_shelf_describes_its_plugins():
    dice, focal = losses.describe()
    assert dice == PluginFacts(
        "dice",
        __doc__,  # the file's line, where the class has none
        (FieldFacts("weights", "list of numbers > 0 or null", "null", ""),),
    )
    assert focal == PluginFacts(
        "focal",
        "Cross-entropy that looks away from what is easy.",
        (
            FieldFacts("gamma", "number >= 0", "2.0", "focus"),
            FieldFacts("scale", "number > 0", None, ""),
            FieldFacts("axes", "list of ints", "[1, 2]", ""),
        ),
    )


def test_the_json_schema_names_every_plugin_and_its_fields():
    schema = Recipe.model_json_schema()
    names, *plugins = schema["properties"]["one"]["anyOf"]
    assert names == {"enum": ["dice", "focal"]}
    assert [plugin["properties"]["name"] for plugin in plugins] == [{"const": "dice"}, {"const": "focal"}]
    assert plugins[1]["required"] == ["name", "scale"]


PLUGIN = '''"""One file on the shelf."""
from SHELF.base import shelf
from segkit.config.settings import Settings

@shelf.register("NAME")
class Plugin(Settings):
    x: int = 1
'''


@pytest.fixture
def folder(tmp_path, monkeypatch, request):
    """An importable folder `shelf_<n>` with an empty base and a shelf."""
    name = f"shelf_{abs(hash(request.node.name))}"
    path = tmp_path / name
    path.mkdir()
    (path / "__init__.py").touch()
    (path / "base.py").write_text(f'from segkit.config.registry import Registry\nshelf = Registry("loss", "{name}")\n')
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[module]


def shelf_of(folder):
    __import__(f"{folder.name}.base")
    return sys.modules[f"{folder.name}.base"].shelf


def test_every_file_of_the_folder_is_on_the_shelf(folder):
    for name in ("b", "a"):
        (folder / f"{name}.py").write_text(PLUGIN.replace("SHELF", folder.name).replace("NAME", name))
    shelf = shelf_of(folder)
    assert list(shelf) == ["a", "b"]
    assert shelf.build("a").x == 1


def test_a_file_that_cannot_be_imported_fails_at_every_look(folder):
    (folder / "broken.py").write_text("import no_such_module")
    shelf = shelf_of(folder)
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_module"):
            list(shelf)


def test_a_plugin_from_elsewhere_cannot_take_a_name_of_the_folder(folder):
    (folder / "a.py").write_text(PLUGIN.replace("SHELF", folder.name).replace("NAME", "a"))
    with pytest.raises(ValueError, match="two loss plug-ins are named 'a'"):
        shelf_of(folder).register("a")(Dice)
