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
    assert any(line.startswith("# Run:   segkit ") for line in lines)


COMPARISONS = sorted(path.parent for path in CONFIGS.rglob("combination.yaml"))
SECTIONS = {  # what a row of a comparison changes against plain cross-entropy
    "adversarial": {"regularizers"},
    "augmentation": {"sampling"},
    "class_weights": {"losses"},
    "combination": {"losses", "regularizers", "sampling"},
    "cross_entropy": set(),
    "dice": {"losses"},
    "feature_weakening": {"regularizers"},
    "focal": {"losses"},
    "foreground_80": {"sampling"},
    "large_margin": {"regularizers"},
    "logit_adjustment": {"regularizers"},
    "mixup": {"regularizers"},
}


def test_there_is_a_comparison_for_each_kind_of_data():
    assert [str(folder.relative_to(CONFIGS)) for folder in COMPARISONS] == ["brats/core", "btcv/organs", "hippocampus/few", "phantom/core"]


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


CHOSEN_BY_ROW = CONFIGS / "hippocampus" / "few"  # strengths were chosen on validation cases, for each form of a technique by itself


@pytest.mark.parametrize("folder", COMPARISONS, ids=lambda folder: str(folder.relative_to(CONFIGS)))
def test_an_asymmetric_row_is_its_symmetric_twin_but_for_the_asymmetry_and_a_strength_of_its_own(folder):
    strengths = {"margin", "gamma", "alpha", "magnitude"} if folder == CHOSEN_BY_ROW else set()
    twins = list(folder.glob("*_asymmetric.yaml"))
    assert len(twins) >= 5
    for path in twins:
        ours = differences(load(path.with_stem(path.stem.removesuffix("_asymmetric"))).value, load(path).value)
        keys = {
            key.split(".")[-1].split("[")[0] for key, text in ours if "nothing -> 0.2" not in text
        }  # a margin, which symmetric mixup has not
        assert keys & {"asymmetric", "other_probability"}, path
        assert keys <= {"asymmetric", "other_probability"} | strengths, path
