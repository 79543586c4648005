"""Every shipped recipe parses, builds and takes one step."""

from pathlib import Path

import pytest
import torch

from segkit.config.overrides import apply_values
from segkit.config.parse import dump, parse
from segkit.config.yaml import load, loads
from segkit.engine.console import Console
from segkit.engine.progress import differences
from segkit.engine.run import Run
from segkit.engine.train import train
from segkit.phantom.write import write
from segkit.recipe import Recipe, resolve
from segkit.sampling.augment import Augment

CONFIGS = Path(__file__).parents[1] / "configs"
RECIPES = [path for path in sorted(CONFIGS.rglob("*.yaml")) if not path.name.startswith("_") and path.parent.name != "tables"]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> dict[str, Path]:
    """Scans of 32^3 voxels in both layouts."""
    roots = {kind: tmp_path_factory.mktemp(kind) for kind in ("brats", "btcv")}
    for kind, root in roots.items():
        write(kind, root, 4, (32, 32, 32))
    return roots


def smallest(path: Path, phantoms: dict[str, Path], request: pytest.FixtureRequest) -> dict[str, object]:
    """What makes a recipe small: two patches of the smallest legal shape, one step, data that is here."""
    document = load(path)
    name, values = (
        document.value["dataset"]["name"],
        {"train.steps": 1, "train.batch_size": 2, "dataset.split": {"test": 1, "validation": 1}},
    )
    if name == "phantom":
        kind = document.value["dataset"]["kind"]
        values |= {"dataset.root": str(phantoms[kind]), "dataset.cases": 4, "dataset.shape": [32, 32, 32]}
    elif name == "msd":
        values["dataset.root"] = str(request.getfixturevalue("shared_data") / "Task04_Hippocampus")
        values["dataset.split"] = {"test": 180, "validation": 1}
    elif document.value["dataset"].get("edition") == 2015:
        values["dataset.root"] = str(request.getfixturevalue("shared_data") / "brats2015")
    else:
        values["dataset.root"] = str(phantoms[name])
    network = parse(Recipe, apply_values(document, values)).model.build(1, 2)
    return values | {"sampling.patch_shape": [4, 4, 4] if network.exact else [2 * size for size in network.multiple]}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_a_shipped_recipe_takes_one_step(path, phantoms, tmp_path, request):
    values = smallest(path, phantoms, request) | {"preprocess.store": str(tmp_path / "store"), "infer.tile_shape": "auto"}
    if load(path).value["dataset"].get("edition") == 2015:
        values |= {"dataset.split": {"test": 3, "validation": 0}}  # four whole brains: one is enough to train on
    else:
        values |= {"dataset.split": values["dataset.split"] | {"validation": 0}}
    recipe = resolve(apply_values(load(path), values))
    run = train(recipe, Run(tmp_path / "run"), device_name="cpu", console=Console("quiet"))
    steps = [record for record in run.records() if record["event"] == "step"]
    assert len(steps) == 1
    assert torch.isfinite(torch.tensor(steps[0]["loss"]))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_a_resolved_recipe_reads_back_as_itself(path, phantoms, request):
    recipe = resolve(apply_values(load(path), smallest(path, phantoms, request)))
    again = resolve(loads(dump(recipe), "resolved.yaml"))
    assert again == recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_the_header_says_what_the_recipe_is_and_how_to_run_it(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    (command,) = [line.removeprefix("# Run:   segkit ") for line in lines if line.startswith("# Run:   segkit ")]
    assert command == "demo" or command.split()[:2] == ["train", f"configs/{path.relative_to(CONFIGS)}"]


COMPARISONS = sorted(path.parent for path in CONFIGS.rglob("combination.yaml"))
SECTIONS = {  # what a row of a comparison changes against plain cross-entropy
    "adversarial": {"regularizers"},
    "augmentation": {"sampling"},
    "class_weights": {"losses"},
    "combination": {"losses", "regularizers", "sampling"},
    "cross_entropy": set(),
    "dice": {"losses"},
    "f_beta": {"losses"},
    "feature_weakening": {"regularizers"},
    "focal": {"losses"},
    "foreground_80": {"sampling"},
    "large_margin": {"regularizers"},
    "logit_adjustment": {"regularizers"},
    "mixup": {"regularizers"},
}


TWINS = ("adversarial", "augmentation", "combination", "focal", "large_margin", "mixup")  # in a symmetric and an asymmetric form


def test_there_is_a_comparison_of_the_same_rows_for_each_kind_of_data():
    assert [str(folder.relative_to(CONFIGS)) for folder in COMPARISONS] == ["brats/core", "btcv/organs", "hippocampus/few", "phantom/core"]
    for folder in COMPARISONS:
        assert {path.stem for path in folder.glob("[!_]*.yaml")} == SECTIONS.keys() | {f"{name}_asymmetric" for name in TWINS}


@pytest.mark.parametrize("folder", COMPARISONS, ids=lambda folder: str(folder.relative_to(CONFIGS)))
def test_a_row_of_a_comparison_changes_what_it_is_named_after_and_nothing_else(folder):
    plain = load(folder / "cross_entropy.yaml").value
    assert plain["losses"] == ["cross_entropy"]
    for path in folder.glob("[!_]*.yaml"):
        row = load(path).value
        name = path.stem.removesuffix("_asymmetric")
        changed = {section for section in plain.keys() | row.keys() if plain.get(section) != row.get(section)}
        assert changed == SECTIONS[name], path
        if "losses" in changed or "regularizers" in changed:
            named = [entry["name"] if isinstance(entry, dict) else entry for entry in (*row["losses"], *row.get("regularizers", ()))]
            assert name in named or name in ("class_weights", "combination"), path


@pytest.mark.parametrize("folder", COMPARISONS, ids=lambda folder: str(folder.relative_to(CONFIGS)))
def test_a_row_chooses_its_weights_on_no_case_it_is_scored_on(folder):
    for path in folder.glob("[!_]*.yaml"):
        recipe = parse(Recipe, load(path))
        assert recipe.dataset.split.validation == 0, path
        assert recipe.train.keep in ("last", None), path  # null keeps the last where there are no validation cases


CHOSEN_BY_ROW = CONFIGS / "hippocampus" / "few"  # strengths were chosen on validation cases, for each form of a technique by itself


@pytest.mark.parametrize("folder", COMPARISONS, ids=lambda folder: str(folder.relative_to(CONFIGS)))
def test_an_asymmetric_row_is_its_symmetric_twin_but_for_the_asymmetry_and_a_strength_of_its_own(folder):
    strengths = {"margin", "gamma", "alpha", "magnitude"} if folder == CHOSEN_BY_ROW else set()
    for path in folder.glob("*_asymmetric.yaml"):
        ours = differences(load(path.with_stem(path.stem.removesuffix("_asymmetric"))).value, load(path).value)
        keys = {
            key.split(".")[-1].split("[")[0] for key, text in ours if "nothing -> 0.2" not in text
        }  # a margin, which symmetric mixup has not
        assert keys & {"asymmetric", "other_probability"}, path
        assert keys <= {"asymmetric", "other_probability"} | strengths, path


def augments(settings: Augment) -> bool:
    return settings.model_copy(update={"asymmetric": False, "other_probability": 1.0}) != Augment()


def asymmetries(recipe: Recipe) -> list[bool]:
    """Of each plug-in that has the two forms, and of the augmentation where there is one."""
    plugins = [plugin.asymmetric for plugin in (*recipe.losses, *recipe.regularizers) if "asymmetric" in type(plugin).model_fields]
    augment = recipe.sampling.augment
    return plugins + [augment.asymmetric] * augments(augment)


@pytest.mark.parametrize("folder", COMPARISONS, ids=lambda folder: str(folder.relative_to(CONFIGS)))
def test_all_parts_of_a_row_are_asymmetric_if_its_name_says_so_and_else_none(folder):
    for path in folder.glob("[!_]*.yaml"):
        found = asymmetries(parse(Recipe, load(path)))
        named = path.stem.endswith("_asymmetric")
        assert set(found) <= {named}, path
        assert found or path.stem.removesuffix("_asymmetric") not in TWINS, path


@pytest.mark.parametrize("form", ["combination", "combination_asymmetric"])
@pytest.mark.parametrize("folder", COMPARISONS, ids=lambda folder: str(folder.relative_to(CONFIGS)))
def test_a_combination_is_all_techniques_each_of_some_strength(folder, form):
    recipe = parse(Recipe, load(folder / f"{form}.yaml"))
    (focal,) = recipe.losses
    margin, adversarial, mixup = recipe.regularizers
    assert [part.name for part in (focal, margin, adversarial, mixup)] == ["focal", "large_margin", "adversarial", "mixup"]
    assert min(focal.gamma, margin.margin, adversarial.magnitude, mixup.alpha) > 0
    assert augments(recipe.sampling.augment)


RANGES = {  # of the papers and the authors' programs
    "adversarial": ("magnitude", 10.0, 10.0),
    "focal": ("gamma", 2.0, 6.0),
    "large_margin": ("margin", 0.2, 2.0),
    "mixup": ("alpha", 0.2, 1.0),
}


@pytest.mark.parametrize("folder", COMPARISONS, ids=lambda folder: str(folder.relative_to(CONFIGS)))
def test_strengths_are_written_out_and_in_the_papers_ranges_or_among_those_that_were_tried(folder, scripts):
    tried = scripts("strengths").LADDERS
    for path in folder.glob("[!_]*.yaml"):
        row = load(path).value
        for entry in (*row["losses"], *row.get("regularizers", ())):
            name = entry["name"] if isinstance(entry, dict) else entry
            if name not in RANGES:
                continue
            key, least, most = RANGES[name]
            if folder == CHOSEN_BY_ROW:
                assert entry[key] in tried[name][2], path
            else:
                assert least <= entry[key] <= most, path
            if name == "mixup" and entry["asymmetric"]:
                assert entry["margin"] == 0.2, path
