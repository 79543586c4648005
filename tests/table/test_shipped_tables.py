"""The tables of configs/tables: each can be read, and each of its items resolved, where no data are."""

import csv
import io
import re
from collections import Counter
from pathlib import Path

import pytest

from segkit.recipe import Penalty, Recipe
from segkit.table.cells import fill, unit_of
from segkit.table.escape import in_latex, in_markdown
from segkit.table.item import items_of
from segkit.table.render import FORMATS, LATEX, MARKDOWN
from segkit.table.spec import Table, read

FOLDER = Path(__file__).parents[2] / "configs" / "tables"
FILES = sorted(FOLDER.glob("[!_]*.yaml"))
NAMES = [path.stem for path in FILES]


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    """All of them; no data set is asked, since no folder of one is named."""
    return {path.stem: read(path, ("dataset.root=/nowhere",)) for path in FILES}


def test_there_is_a_table_for_each_experiment_of_the_papers_and_three_of_our_own():
    assert NAMES == [
        "abdomen_tmi2020",
        "atlas_tmi2020",
        "brats_core_miccai2019",
        "brats_core_tmi2020",
        "btcv_organs_miccai2019",
        "hippocampus",
        "hippocampus_small",
        "kits_tmi2020",
        "phantom",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_item_has_a_recipe_and_a_folder_of_its_own(name, tables):
    items = items_of(tables[name], Path("out"))
    spec = tables[name].spec
    assert len({item.folder for item in items}) == len(spec.rows) * len(spec.fractions) * len(spec.seeds)
    for item in items:
        assert (item.recipe.dataset.train_fraction, item.recipe.train.seed) == (item.fraction, item.seed)
        assert set(item.recipe.dataset.rare_classes) <= set(item.recipe.class_names())


OUR_OWN = ("hippocampus", "hippocampus_small", "phantom")
PAPER = ("dice", "sensitivity", "precision")
SHAPES = {  # shares, blocks, metrics, splits, whether also with the largest part only, seeds
    "abdomen_tmi2020": (
        (0.25, 1.0),
        ("rare organs", "gallbladder", "esophagus", "inferior_vena_cava", "portal_and_splenic_veins"),
        (*PAPER, "specificity", "hd95"), ("test",), True, (0, 1, 2),
    ),
    "atlas_tmi2020": ((0.3, 0.5, 1.0), ("lesion",), (*PAPER, "specificity", "hd95"), ("test",), True, (0, 1, 2)),
    "brats_core_miccai2019": ((0.05, 0.1, 0.2, 0.5, 1.0), ("tumor_core",), PAPER, ("test", "training"), False, (0, 1, 2)),
    "brats_core_tmi2020": ((0.05, 0.1, 0.2, 0.5, 1.0), ("tumor_core",), (*PAPER, "specificity", "hd95"), ("test",), True, (0, 1, 2)),
    "btcv_organs_miccai2019": ((0.25, 1.0), ("small organs", "all organs"), PAPER, ("test", "training"), False, (0, 1, 2)),
    "hippocampus": (
        (0.05, 0.1, 0.2, 0.5, 1.0), ("both parts", "Anterior", "Posterior"), PAPER, ("test", "training"), False, (0, 1, 2),
    ),
    "hippocampus_small": ((0.05, 0.1, 1.0), ("both parts", "Anterior", "Posterior"), PAPER, ("test", "training"), False, (0, 1, 2)),
    "kits_tmi2020": ((0.1, 0.5, 1.0), ("tumor", "kidney"), (*PAPER, "specificity", "hd95"), ("test",), True, (0, 1, 2)),
    "phantom": ((0.25, 1.0), ("tumor_core",), PAPER, ("test", "training"), False, (0, 1)),
}  # fmt: skip
TECHNIQUES = ("large_margin", "focal", "adversarial", "mixup")
PAIRS = [row for technique in TECHNIQUES for row in (technique, f"{technique}_asymmetric")]
COMBINED = ["combination", "combination_asymmetric"]
ROWS = {
    "abdomen_tmi2020": ["cross_entropy", "focal", "focal_asymmetric"],
    "atlas_tmi2020": ["no_augmentation", "cross_entropy", "f_beta", *PAIRS, "augmentation_asymmetric", *COMBINED],
    "brats_core_miccai2019": ["cross_entropy", "dice", "foreground_80", *PAIRS, "combination_asymmetric"],
    "brats_core_tmi2020": [
        "cross_entropy", "class_weights", "dice", "f_beta", *PAIRS, "augmentation", "augmentation_asymmetric", *COMBINED,
    ],
    "btcv_organs_miccai2019": ["cross_entropy", "dice", "foreground_80", *PAIRS, "combination_asymmetric"],
    "hippocampus": [
        "cross_entropy", "dice", "class_weights", "foreground_80", *PAIRS, "augmentation", "augmentation_asymmetric", *COMBINED,
    ],
    "hippocampus_small": ["cross_entropy", "focal_asymmetric", "combination_asymmetric"],
    "kits_tmi2020": ["no_augmentation", "baseline", "f_beta", *PAIRS, "augmentation_asymmetric", *COMBINED],
    "phantom": [
        "cross_entropy", "focal", "focal_asymmetric", "large_margin_asymmetric", "mixup_asymmetric", "combination_asymmetric",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_rows_blocks_and_columns_are_those_that_were_decided(name, tables):
    spec = tables[name].spec
    assert (spec.fractions, spec.classes, spec.metrics, spec.splits, spec.largest_component, spec.seeds) == SHAPES[name]
    assert list(spec.rows) == ROWS[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_row_has_a_recipe_that_is_its_own_file_or_the_tables(name, tables):
    spec = tables[name].spec
    assert list(tables[name].recipes) == list(spec.rows)
    for name, row in spec.rows.items():
        file = row.recipe or spec.recipe
        assert file.is_file()
        assert file.stem in (name, "_atlas", "_kits")
        assert (row.recipe is None) != (spec.recipe is None)  # a row without a recipe of its own in a table that has one


@pytest.mark.parametrize("name", NAMES)
def test_every_table_can_be_shown_before_anything_is_done(name, tables):
    spec, filled = tables[name].spec, fill(tables[name], [])
    blocks = len(spec.classes) * (1 + spec.largest_component) * (len(spec.splits) + ("training" in spec.splits))  # and the gap
    columns = len(spec.fractions) * len(spec.metrics)
    lines = list(csv.DictReader(io.StringIO(FORMATS["csv"](filled))))
    assert Counter(line["row"] for line in lines) == dict.fromkeys(spec.rows, blocks * columns)
    published = sum(len(value.scores) for each in spec.published for value in each.values)
    for format, text, mark, begin, between, end in (
        ("md", in_markdown, MARKDOWN.unverified, "| ", " | ", " |"),
        ("latex", in_latex, LATEX.unverified, "", " & ", " \\\\"),
    ):
        shown, marks = FORMATS[format](filled).splitlines(), 0
        for row in spec.rows:
            label = begin + text(spec.label(row)) + between
            found = [line.removeprefix(label).removesuffix(end).split(between) for line in shown if line.startswith(label)]
            assert [len(cells) for cells in found] == [columns] * blocks, (format, row)
            assert all(cell.startswith("-") for cells in found for cell in cells), (format, row)
            marks += sum(mark in cell for cells in found for cell in cells)
        assert marks == published, format


@pytest.mark.parametrize("name", NAMES)
def test_rows_differ_in_their_objective_and_sampling_alone(name, tables):
    recipes = [recipe.model_dump(exclude={"losses", "regularizers", "sampling"}) for recipe in tables[name].recipes.values()]
    for recipe in recipes:
        recipe["infer"].pop("mirror")  # follows the flips of sampling
        recipe["preprocess"].pop("store")
    assert all(recipe == recipes[0] for recipe in recipes)


@pytest.mark.parametrize("name", NAMES)
def test_no_two_rows_are_the_same_experiment(name, tables):
    assert len({recipe.model_dump_json() for recipe in tables[name].recipes.values()}) == len(tables[name].recipes)


def baseline_of(name: str) -> str:
    return "baseline" if name == "kits_tmi2020" else "cross_entropy"


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_tested_against_its_symmetric_counterpart_or_else_the_baseline(name, tables):
    rows, baseline = tables[name].spec.rows, baseline_of(name)
    for row in rows:
        twin = row.removesuffix("_asymmetric")
        expected = None if row == baseline else twin if twin != row and twin in rows else baseline
        assert rows[row].against == expected, row
        assert expected is None or expected in rows


@pytest.mark.parametrize("name", NAMES)
def test_labels_tell_rows_apart_and_say_which_are_asymmetric(name, tables):
    spec = tables[name].spec
    labels = {row: spec.label(row) for row in spec.rows}
    assert len(set(labels.values())) == len(labels)
    for row, label in labels.items():
        symmetric = row.removesuffix("_asymmetric")
        assert label.startswith("asymmetric ") == (row != symmetric), row
        words = label.removeprefix("asymmetric ").replace("-", " ").casefold()
        if symmetric in (*TECHNIQUES, "augmentation", "combination", "cross_entropy", "class_weights"):
            assert words == symmetric.replace("_", " "), row
        if row == "foreground_80":
            assert label.startswith("80 % "), row


def named(recipe: Recipe) -> dict[str, dict]:
    """Its losses and regularizers by name, with what they are set to."""
    return {plugin.name: plugin.model_dump() for plugin in (*recipe.losses, *recipe.regularizers)}


@pytest.mark.parametrize("name", NAMES)
def test_a_row_trains_with_what_it_is_named_after_and_nothing_else(name, tables):
    recipes = tables[name].recipes
    plain = named(recipes[baseline_of(name)])
    assert list(plain) == (["cross_entropy", "dice"] if name == "kits_tmi2020" else ["cross_entropy"])
    focal = ["focal", "focal_dice"] if name == "kits_tmi2020" else ["focal"]
    for row, recipe in recipes.items():
        technique = row.removesuffix("_asymmetric")
        expected = {
            "focal": focal,
            "dice": ["dice"],
            "f_beta": [*list(plain)[:-1], "f_beta"],  # in the place of Dice on KiTS, of cross-entropy elsewhere
            "combination": [*focal, "large_margin", "adversarial", "mixup"],
            **{each: [*plain, each] for each in ("large_margin", "adversarial", "mixup")},
        }.get(technique, list(plain))
        assert list(named(recipe)) == expected, row
        assert (named(recipe) == plain) == (expected == list(plain) and technique != "class_weights"), row
        assert (named(recipe).get("cross_entropy", {}).get("class_weights") is not None) == (technique == "class_weights"), row


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_asymmetric_in_an_asymmetric_row_and_nothing_in_another(name, tables):
    for row, recipe in tables[name].recipes.items():
        asymmetric = row.endswith("_asymmetric")
        assert {each["asymmetric"] for each in named(recipe).values() if "asymmetric" in each} <= {asymmetric}, row
        augment = recipe.sampling.augment
        # the papers' combinations on BraTS and BTCV are of four techniques, without augmentation
        augmented = asymmetric and (
            row == "augmentation_asymmetric" or (row == "combination_asymmetric" and name in ("atlas_tmi2020", *OUR_OWN, "kits_tmi2020"))
        )
        assert (augment.asymmetric, augment.other_probability) == ((True, 0.5) if augmented else (False, 1.0)), row


@pytest.mark.parametrize("name", NAMES)
def test_asymmetric_mixup_has_the_margin_of_the_papers_and_symmetric_mixup_has_none(name, tables):
    for row, recipe in tables[name].recipes.items():
        mixup = named(recipe).get("mixup")
        if mixup is not None:
            assert mixup["margin"] == (0.2 if row.endswith("_asymmetric") else None)


@pytest.mark.parametrize(
    ("name", "gamma", "margin", "magnitude", "alpha"), [("atlas_tmi2020", 2.0, 2.0, 10.0, 1.0), ("kits_tmi2020", 4.0, 1.0, 10.0, 0.2)]
)
def test_strengths_written_in_a_table_are_the_same_in_every_row_of_it(name, gamma, margin, magnitude, alpha, tables):
    strengths = {"focal": ("gamma", gamma), "focal_dice": ("gamma", gamma), "large_margin": ("margin", margin)}
    strengths |= {"adversarial": ("magnitude", magnitude), "mixup": ("alpha", alpha)}
    seen = set()
    for row, recipe in tables[name].recipes.items():
        for plugin, values in named(recipe).items():
            if plugin in strengths:
                key, value = strengths[plugin]
                assert values[key] == value, (row, plugin)
                seen.add(plugin)
    assert seen == set(strengths) - ({"focal_dice"} if name == "atlas_tmi2020" else set())


@pytest.mark.parametrize("name", NAMES)
def test_rows_named_after_their_sampling_sample_otherwise_and_others_do_not(name, tables):
    recipes = tables[name].recipes
    plain = recipes[baseline_of(name)].sampling
    for row, recipe in recipes.items():
        foreground = 1 - recipe.sampling.proportions["background"]
        assert foreground == pytest.approx(0.8 if row == "foreground_80" else 0.5), row
        augment = recipe.sampling.augment.model_dump(exclude={"asymmetric", "other_probability"})
        if row == "no_augmentation":
            assert (augment["flip"], augment["rotation"], augment["scale"], augment["elastic"]) == ((), 0, 0, None)
            assert set(augment["intensity"].values()) <= {0.0}
            assert not recipe.infer.mirror
        elif not row.startswith(("augmentation", "combination")):
            assert recipe.sampling.augment == plain.augment, row


@pytest.mark.parametrize("name", NAMES)
def test_views_are_trained_one_after_the_other_where_the_papers_rows_have_them(name, tables):
    sequential = name not in ("abdomen_tmi2020", *OUR_OWN)  # which has no rows with views, and which are no paper's
    assert {recipe.train.update for recipe in tables[name].recipes.values()} == {"sequential" if sequential else "joint"}


@pytest.mark.parametrize(
    ("name", "mean", "of"),
    [
        ("abdomen_tmi2020", "rare organs", "rare"),
        ("btcv_organs_miccai2019", "small organs", "rare"),
        ("btcv_organs_miccai2019", "all organs", "all"),
        ("hippocampus", "both parts", "all"),
        ("hippocampus_small", "both parts", "all"),
    ],
)
def test_a_mean_is_over_the_classes_it_is_named_after(name, mean, of, tables):
    for recipe in tables[name].recipes.values():
        classes = recipe.dataset.rare_classes if of == "rare" else recipe.class_names()[1:]
        assert tables[name].spec.means[mean] == classes


def test_there_are_no_other_means(tables):
    assert {name: list(table.spec.means) for name, table in tables.items() if table.spec.means} == {
        "abdomen_tmi2020": ["rare organs"],
        "btcv_organs_miccai2019": ["small organs", "all organs"],
        "hippocampus": ["both parts"],
        "hippocampus_small": ["both parts"],
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_header_says_what_the_table_is_and_how_to_fill_it(name):
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    (run,) = [line for line in lines if line.startswith("# Run:   ")]
    assert run.startswith(f"# Run:   segkit table configs/tables/{name}.yaml ")
    assert run.endswith(" --run")


SECOND_HAND = "a summary in Korean of Li, Kamnitsas and Glocker, IEEE TMI 2020 (arXiv:2102.10365)"
PUBLISHED = {  # as the summary has them, written down here once more: Dice, sensitivity, precision in percent
    "brats_core_tmi2020": {
        ("cross_entropy", 0.05, "tumor_core"): (50.4, 41.0, None),
        ("large_margin", 0.05, "tumor_core"): (44.5, None, None),
        ("large_margin_asymmetric", 0.05, "tumor_core"): (56.8, None, None),
        ("focal_asymmetric", 0.05, "tumor_core"): (58.8, None, None),
        ("adversarial_asymmetric", 0.05, "tumor_core"): (58.5, None, None),
        ("mixup_asymmetric", 0.05, "tumor_core"): (59.8, None, None),
        ("combination_asymmetric", 0.05, "tumor_core"): (63.4, 63.1, None),
        ("cross_entropy", 0.1, "tumor_core"): (62.5, 56.0, None),
        ("combination_asymmetric", 0.1, "tumor_core"): (72.4, 72.9, None),
    },
    "atlas_tmi2020": {
        ("cross_entropy", 0.3, "lesion"): (22.2, 18.3, None),
        ("combination_asymmetric", 0.3, "lesion"): (31.1, 27.9, None),
        ("cross_entropy", 0.5, "lesion"): (45.2, None, None),
        ("combination_asymmetric", 0.5, "lesion"): (52.2, None, None),
        ("cross_entropy", 1.0, "lesion"): (54.5, None, None),
        ("combination_asymmetric", 1.0, "lesion"): (58.5, None, None),
        ("focal_asymmetric", 1.0, "lesion"): (None, 63.2, 55.6),
    },
    "kits_tmi2020": {
        ("baseline", 0.1, "tumor"): (54.6, 46.0, None),
        ("large_margin_asymmetric", 0.1, "tumor"): (55.5, None, None),
        ("focal_asymmetric", 0.1, "tumor"): (57.9, None, None),
        ("adversarial_asymmetric", 0.1, "tumor"): (55.2, None, None),
        ("mixup_asymmetric", 0.1, "tumor"): (56.8, None, None),
        ("combination_asymmetric", 0.1, "tumor"): (59.2, 52.2, None),
        ("baseline", 0.5, "tumor"): (76.0, 72.8, None),
        ("combination_asymmetric", 0.5, "tumor"): (79.4, 77.0, None),
        ("baseline", 1.0, "tumor"): (79.2, 77.0, None),
        ("combination_asymmetric", 1.0, "tumor"): (82.7, 82.1, None),
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_published_numbers_are_those_that_were_found_and_no_others(name, tables):
    found = {}
    for published in tables[name].spec.published:
        for value in published.values:
            found[value.row, value.fraction, value.structure] = tuple(value.scores.get(metric) for metric in PAPER)
            assert set(value.scores) <= set(PAPER)
    assert found == PUBLISHED.get(name, {})


@pytest.mark.parametrize("name", NAMES)
def test_published_numbers_are_possible_and_have_a_place_in_the_table(name, tables):
    spec = tables[name].spec
    for published in spec.published:
        for value in published.values:
            assert value.row in spec.rows
            assert value.fraction in spec.fractions
            assert value.structure in spec.classes
            for metric, score in value.scores.items():
                assert metric in spec.metrics
                assert score > 0 if unit_of(metric) == "mm" else 0 <= score <= 100


@pytest.mark.parametrize("name", NAMES)
def test_a_number_that_was_not_read_in_the_paper_itself_is_marked_and_its_source_named(name, tables):
    for published in tables[name].spec.published:
        assert (published.source, published.verified) == (SECOND_HAND, False)


@pytest.mark.parametrize("name", [name for name in NAMES if "2020" in name or "2019" in name])
def test_the_notes_say_how_far_published_numbers_can_be_relied_on(name, tables):
    spec, text = tables[name].spec, " ".join(tables[name].spec.notes)
    if spec.published:
        assert spec.largest_component
        assert "Whether the published values are those with or without keeping the largest part is not said in the summary" in text
    elif name == "abdomen_tmi2020":
        assert (
            "It does not say on which share of the training cases, so none stand in the table; and it was not verified in the paper."
            in text
        )
    else:
        assert "could not be read" in text
        assert "so none stand beside ours" in text


@pytest.mark.parametrize("name", [name for name in NAMES if "btcv" in name or "abdomen" in name])
def test_what_is_cited_of_the_organs_stands_in_the_notes_alone(name, tables):
    assert tables[name].spec.published == ()
    numbers = set(re.findall(r"\d+\.\d", " ".join(tables[name].spec.notes)))
    assert numbers == ({"48.3", "53.2", "34.6", "53.7", "65.1", "73.9", "42.0", "43.3", "99.9"} if "abdomen" in name else set())


@pytest.mark.parametrize(
    ("name", "pool", "counts"),
    [
        ("brats_core_miccai2019", 190, [10, 19, 38, 95, 190]),
        ("btcv_organs_miccai2019", 20, [5, 20]),
        ("atlas_tmi2020", 145, [44, 73, 145]),
        ("kits_tmi2020", 168, [17, 84, 168]),
        ("phantom", 16, [4, 16]),
    ],
)
def test_the_shares_are_the_papers_numbers_of_cases(name, pool, counts, tables):
    assert [int(share * pool + 0.5) for share in tables[name].spec.fractions] == counts


def test_the_dice_loss_of_the_papers_is_the_mean_over_all_classes(tables):
    rows = {name: table.recipes["dice"] for name, table in tables.items() if name != "hippocampus" and "dice" in table.recipes}
    assert list(rows) == ["brats_core_miccai2019", "brats_core_tmi2020", "btcv_organs_miccai2019"]
    for recipe in rows.values():
        (loss,) = recipe.losses
        assert (loss.name, loss.background) == ("dice", True)


@pytest.mark.parametrize("name", ["brats_core_miccai2019", "brats_core_tmi2020"])
def test_the_combinations_on_brats_are_not_augmented_as_its_other_rows_are_not(name, tables):
    recipes = tables[name].recipes
    combined = [row for row in recipes if row.startswith("combination")]
    assert len(combined) == {"brats_core_miccai2019": 1, "brats_core_tmi2020": 2}[name]
    for row in combined:
        assert recipes[row].sampling.augment == recipes["cross_entropy"].sampling.augment


def test_the_notes_say_what_is_not_the_authors_on_kits(tables):
    text = " ".join(tables["kits_tmi2020"].spec.notes)
    assert "Of two kidneys only the larger is kept" in text
    assert "Optimizer, schedule, patch, intensity window, augmentation and sampling are not the authors'" in text


def test_atlas_is_trained_as_the_tumor_core_is_but_with_deepmedics_regularization_and_augmentation(tables):
    atlas, brats = tables["atlas_tmi2020"].recipes["cross_entropy"], tables["brats_core_tmi2020"].recipes
    regularized = brats["cross_entropy"].train.model_copy(update={"regularization": Penalty(l1=1e-6, l2=1e-4)})
    assert (atlas.train, atlas.model.name, atlas.losses) == (regularized, "deepmedic", brats["cross_entropy"].losses)
    assert atlas.sampling.patch_shape == brats["cross_entropy"].sampling.patch_shape
    assert atlas.sampling.augment == brats["augmentation"].sampling.augment
    assert (atlas.dataset.classes, atlas.dataset.background, atlas.dataset.roi) == ({"lesion": (1,)}, "rest", "file")
    assert atlas.dataset.rare_classes == ("lesion",)


def test_kits_is_trained_as_its_header_says(tables):
    for row, recipe in tables["kits_tmi2020"].recipes.items():
        assert (recipe.dataset.classes, recipe.dataset.rare_classes) == ({"kidney": (1,), "tumor": (2,)}, ("tumor",))
        assert (recipe.dataset.split.test, recipe.dataset.split.validation, recipe.dataset.split.seed) == (42, 0, 0)
        assert recipe.preprocess.spacing_mm == (1.6, 1.6, 3.2)
        assert (recipe.preprocess.intensity.low, recipe.preprocess.intensity.high) == (-175, 250)
        assert (recipe.model.widths, recipe.model.strides) == ((30, 60, 120, 240, 320), ((2, 2, 1), 2, 2, 2))
        assert (recipe.sampling.patch_shape, recipe.sampling.keep_inside) == ((128, 128, 64), True)
        assert recipe.sampling.proportions == {"background": 0.5, "kidney": 0.25, "tumor": 0.25}
        train = recipe.train
        assert (train.steps, train.batch_size, train.clip_gradient, train.keep) == (100_000, 2, 12, "last")
        assert (train.optimizer.name, train.optimizer.learning_rate, train.optimizer.weight_decay) == ("adamw", 3e-4, 3e-5)
        assert train.schedule.name == "poly"
        augment = recipe.sampling.augment
        if row != "no_augmentation":
            assert (augment.flip, augment.rotation, augment.scale, augment.probability) == (("x", "y", "z"), 15, 0.2, 0.2)
            assert (augment.elastic.magnitude, augment.elastic.spacing, augment.intensity.gamma) == (2.0, 16.0, 0.3)
            assert recipe.infer.mirror


def test_the_phantom_and_hippocampus_tables_are_of_the_size_that_their_headers_promise(tables):
    for recipe in tables["phantom"].recipes.values():
        assert (recipe.dataset.cases, recipe.dataset.shape) == (32, (64, 64, 56))
        assert (recipe.dataset.split.test, recipe.dataset.split.validation) == (16, 0)
        assert (recipe.train.steps, recipe.train.keep) == (800, "last")
    for recipe in tables["hippocampus"].recipes.values():
        assert (recipe.train.steps, recipe.dataset.classes) == (600, {"Anterior": (1,), "Posterior": (2,)})
