"""Files of the class embeddings: tables that add up, arrays that load, pictures that are there whatever was seen."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.analysis.embedding_figures import FIGURES
from segkit.analysis.embeddings import Embeddings, write_embeddings
from segkit.analysis.observe import Voxels

D = 8
FILES = ["embeddings.npz", "embeddings.csv", "embeddings_channels.csv", *(f"embeddings_{stem}.png" for stem in FIGURES)]
HEADER = (
    "class,split,group,weights,n,cases,n_most,n_used50,n_used90,H,PR,n_equal,H_equal,PR_equal,share_K,J,J_chance,r,ci_lo,ci_hi,gap,recall"
)


def seen(classes, training, test, present=None):
    """Embeddings after so many random cases, in which only some classes have voxels."""
    rng = np.random.default_rng(0)
    weight = np.eye(len(classes), D, dtype=np.float32) + np.linspace(0, 0.3, D, dtype=np.float32)
    observer = Embeddings(weight, np.zeros(len(classes)), classes, "run $1$")
    for split, count in (("training", training), ("test", test)):
        for index in range(count):
            label = torch.from_numpy(rng.integers(0, present or len(classes), 200))
            features = torch.from_numpy(rng.gamma(1.0, size=(200, D)).astype(np.float32)) + torch.eye(len(classes), D)[label]
            observer.begin(split, f"case_{index}")
            observer.see(Voxels(label, features, features @ torch.from_numpy(weight).T, torch.from_numpy(rng.random(200))))
            observer.end()
    return observer


@pytest.fixture(scope="module")
def usual():
    return seen(("background", "edema", "core"), 4, 3)


@pytest.fixture(scope="module")
def written(usual, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "analysis"
    assert write_embeddings(folder, usual) == [folder / name for name in FILES]
    return folder


def table(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_there_is_a_line_a_class_split_group_and_reading(written, usual):
    rows = table(written / "embeddings.csv")
    assert ",".join(rows[0]) == HEADER
    assert len(rows) == 3 * 2 * 3 * 2
    row = next(r for r in rows if (r["class"], r["split"], r["group"], r["weights"]) == ("edema", "test", "all", "centered"))
    comparison = usual.compare()
    portrait, match = comparison.portraits["centered", "test", "all", 1], comparison.matches["centered", "all", 1]
    numbers = (portrait.voxels, portrait.cases, portrait.used50, portrait.diversity, portrait.share, 0.25, match.ratio, match.range_gap)
    cells = ("n", "cases", "n_used50", "H", "share_K", "J_chance", "r", "gap")
    assert tuple(float(row[cell]) for cell in cells) == numbers
    assert float(row["recall"]) == comparison.recall["test", 1]
    assert {row["class"]: row["n_most"] for row in rows} == {"background": "20000", "edema": "200000", "core": "200000"}
    assert float(row["ci_lo"]) < match.ratio < float(row["ci_hi"])


def test_what_compares_splits_stands_with_the_test_split(written):
    for row in table(written / "embeddings.csv"):
        if row["split"] == "training":
            assert [row[cell] for cell in ("r", "ci_lo", "ci_hi", "gap")] == [""] * 4
        assert (row["recall"] != "") == (row["group"] == "all")


def test_channels_add_up_to_the_shift_of_the_logit(written, usual):
    rows = [r for r in table(written / "embeddings_channels.csv") if (r["class"], r["group"], r["weights"]) == ("core", "all", "raw")]
    assert [int(row["channel"]) for row in rows] == list(range(D))
    means = [usual.population(split, "all", 2).case_means().mean(axis=0) @ usual.weights[0, 2] for split in ("training", "test")]
    assert sum(float(row["shift"]) for row in rows) == pytest.approx(means[1] - means[0], rel=1e-9)
    for row in rows:
        assert float(row["shift"]) == pytest.approx(float(row["M_test"]) - float(row["M_training"]), rel=1e-9, abs=1e-12)
        assert (row["ci_lo"] == "") == (row["rank"] == "")
    ranked = sorted((row for row in rows if row["rank"]), key=lambda row: int(row["rank"]))
    assert [int(row["channel"]) for row in ranked] == list(usual.compare().top["raw", 2])


def test_arrays_hold_what_the_tables_are_made_from(written, usual):
    with np.load(written / "embeddings.npz", allow_pickle=False) as arrays:
        shapes = {name: arrays[name].shape for name in arrays}
        mean = np.nanmean(arrays["test_case_means"], axis=2)  # over cases
        np.testing.assert_allclose(arrays["magnitude"][:, 1], mean * arrays["weights"][:, None], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(arrays["test_case_voxels"].sum(axis=2), arrays["voxels"][1])
        np.testing.assert_array_equal(arrays["top"][1, 2], usual.compare().top["centered", 2])
        assert list(arrays["training_cases"]) == [f"case_{index}" for index in range(4)]
    assert shapes == {
        "weights": (2, 3, D),
        "bias": (3,),
        "voxels": (2, 3, 3),
        "feature_mean": (2, 3, 3, D),
        "feature_variance": (2, 3, 3, D),
        "training_cases": (4,),
        "training_case_voxels": (3, 3, 4),
        "training_case_means": (3, 3, 4, D),
        "test_cases": (3,),
        "test_case_voxels": (3, 3, 3),
        "test_case_means": (3, 3, 3, D),
        "classes": (3,),
        "most": (3,),
        "magnitude": (2, 2, 3, 3, D),
        "frequency": (2, 2, 3, 3, D),
        "shift": (2, 3, 3, D),
        "shift_interval": (2, 3, 3, D, 2),
        "top": (2, 3, 2),
        "class_overlap": (2, 3, 3),
        "response": (2, 3, 3),
    }


@pytest.mark.parametrize("stem", FIGURES)
def test_pictures_are_whole(written, stem):
    with Image.open(written / f"embeddings_{stem}.png") as image:
        image.load()
        assert min(image.size) > 500


def test_pictures_say_what_they_were_made_from(usual):
    comparison = usual.compare()
    for draw in FIGURES.values():
        figure = draw(comparison, "run $1$")
        text = figure.get_supxlabel()
        assert "4 training cases, 3 test cases; K = 2 of D = 8 channels, chance level K / D = 0.25" in text
        assert "channel indices mean nothing in another network" in text
        assert "at most 20,000 voxels of background and 200,000 of another class count in a case" in text
        whiskers = [container for axes in figure.axes for container in axes.containers if hasattr(container, "has_yerr")]
        assert bool(whiskers) == ("95 % CI by bootstrap over cases" in text)
        assert figure.get_suptitle().startswith(r"run \$1\$: ")


@pytest.mark.parametrize(
    ("training", "test", "present"),
    [(0, 0, None), (2, 0, None), (1, 1, 2)],
    ids=["nothing", "no test", "one case each without a class"],
)
def test_files_are_written_whatever_is_missing(tmp_path, training, test, present):
    observer = seen(("background", "edema", "core"), training, test, present)
    for path in write_embeddings(tmp_path, observer):
        assert path.stat().st_size > 0
    empty = [row for row in table(tmp_path / "embeddings.csv") if row["n"] == "0"]
    assert len(empty) >= 12
    assert {row[cell] for row in empty for cell in ("H", "PR", "share_K", "J", "r", "gap", "recall")} == {""}


def test_headlines_are_of_all_voxels_and_the_recognized_ones_are_hollow_beside_them(usual):
    comparison = usual.compare()
    matches = {group: [comparison.matches["centered", group, index] for index in range(3)] for group in ("all", "tp")}
    assert matches["all"][1].ratio != matches["tp"][1].ratio
    figure = FIGURES["gap_vs_recall"](comparison, "run")
    left, right = figure.axes
    for axes, field in ((left, "ratio"), (right, "range_gap")):
        dots = [line for line in axes.get_lines() if line.get_marker() == "o"]
        filled, hollow = (
            [line.get_ydata()[0] for line in dots if (line.get_markerfacecolor() == "none") is side] for side in (False, True)
        )
        assert filled == [getattr(match, field) for match in matches["all"]]
        assert hollow == [getattr(match, field) for match in matches["tp"]]
    assert "r of tp may be near 1 where r of all is not" in figure.get_supxlabel()
    assert "grows as training cases get fewer, even where nothing is wrong" in figure.get_supxlabel()
    titles = [axes.get_title() for axes in FIGURES["train_test_magnitude"](comparison, "run").axes]
    for structure, every, recognized in zip(comparison.classes, matches["all"], matches["tp"], strict=True):
        (title,) = [each for each in titles if each.startswith(f"{structure}: 4 and 3 cases")]
        assert f"r of all voxels = {every.ratio:.2f} [" in title
        assert f"of tp {recognized.ratio:.2f}\n" in title


@pytest.mark.parametrize(("training", "test", "few"), [(6, 6, False), (5, 6, True), (6, 5, True), (6, 1, False)])
def test_intervals_of_few_cases_are_said_to_be_less(training, test, few):
    comparison = seen(("background", "edema"), training, test).compare()
    for stem in ("train_test_magnitude", "gap_vs_recall"):
        figure = FIGURES[stem](comparison, "run")
        assert ("95 % CI by bootstrap over cases (few cases: less than 95 %)" in figure.get_supxlabel()) is few
    titles = [axes.get_title() for axes in FIGURES["train_test_magnitude"](comparison, "run").axes]
    assert sum("] (few cases: less than 95 %), of tp" in title for title in titles) == 2 * few
