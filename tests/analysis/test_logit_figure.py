"""The figure of logits: panels, common axes, and what it says where something is missing."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from segkit.analysis.logit_figure import COLORS, Panel, View, arranged, draw_logits, draw_panel, edges
from segkit.analysis.logits import CaseLogits, LogitSample
from segkit.analysis.shift import shifts

CLASSES = ("background", "edema", "core")


def view_of(name="run", offset=0.0, splits=(("training", 3), ("test", 2)), without=()):
    cases = []
    for split, count in splits:
        for number in range(count):
            rng = np.random.default_rng(number)
            label = np.repeat(np.setdiff1d([0, 1, 2], without), 40).astype(np.uint8)
            logits = rng.normal(size=(len(label), 3)) + 4 * np.eye(3)[label] + offset
            logits[:, 2] -= 3.0 * (split == "test")
            cases.append(CaseLogits(split, f"{split}{number}", label, logits.astype(np.float32)))
    sample = LogitSample(CLASSES, 40, tuple(cases))
    return View(name, sample, shifts(sample))


def test_of_one_model_a_column_is_a_class_over_the_background():
    grid = arranged([view_of()], ["edema", "core"])
    assert [[(panel.rival, panel.structure) for panel in row] for row in grid] == [
        [("edema", "edema"), ("core", "core")],
        [("edema", "background"), ("core", "background")],
    ]


def test_many_classes_of_one_model_take_several_pairs_of_rows():
    names = tuple(f"c{index}" for index in range(6))
    cases = [CaseLogits("test", "a", np.repeat(np.arange(6, dtype=np.uint8), 5), np.random.default_rng(0).normal(size=(30, 6)))]
    sample = LogitSample(names, 5, tuple(cases))
    view = View("a", sample, shifts(sample))
    grid = arranged([view], names[1:])
    assert [[panel.rival for panel in row] for row in grid] == [["c1", "c2", "c3", "c4"]] * 2 + [["c5"]] * 2
    assert [row[0].structure for row in grid] == ["c1", "background", "c5", "background"]


def test_of_several_models_a_column_is_a_model():
    grid = arranged([view_of("a"), view_of("b")], ["core"])
    assert [[(panel.view.name, panel.rival, panel.structure) for panel in row] for row in grid] == [
        [("a", "core", "core"), ("b", "core", "core")],
        [("a", "core", "background"), ("b", "core", "background")],
    ]


def test_all_panels_have_the_same_axes_and_hold_nearly_all_voxels():
    panels = [panel for row in arranged([view_of("a"), view_of("b", offset=7.0)], ["core"]) for panel in row]
    x, y = edges(panels)
    figure = Figure()
    for panel in panels:
        axes = figure.add_subplot()
        draw_panel(axes, panel, x, y)
        assert (axes.get_xlim(), axes.get_ylim()) == ((x[0], x[-1]), (y[0], y[-1]))
        points = np.concatenate([points for split in ("training", "test") for points in panel.points(split)])
        inside = (points >= (x[0], y[0])).all(axis=1) & (points <= (x[-1], y[-1])).all(axis=1)
        assert inside.mean() > 0.98


def test_the_means_and_the_boundary_are_where_they_belong():
    panel = Panel(view_of(), "core", "core")
    figure = Figure()
    axes = figure.add_subplot()
    draw_panel(axes, panel, *edges([panel]))
    boundary, *dots = axes.get_lines()
    np.testing.assert_array_equal(boundary.get_xdata(), boundary.get_ydata())
    for dot, split in zip(dots, ("training", "test"), strict=True):
        expected = np.mean([points.mean(axis=0) for points in panel.points(split)], axis=0)
        np.testing.assert_allclose(dot.get_xydata()[0], expected, atol=1e-6)
        assert dot.get_color() == COLORS[split]
    (arrow,) = axes.texts
    np.testing.assert_allclose(arrow.xyann, dots[0].get_xydata()[0])
    np.testing.assert_allclose(arrow.xy, dots[1].get_xydata()[0])


def test_without_a_shift_there_is_no_arrow():
    panel = Panel(view_of(), "edema", "edema")
    axes = Figure().add_subplot()
    draw_panel(axes, panel, *edges([panel]))
    assert list(axes.texts) == []


def test_the_caption_says_how_much_is_behind_it():
    view = view_of()
    margin, right = (view.shift("core", quantity) for quantity in ("margin", "over_boundary"))
    low, high = margin.interval.low, margin.interval.high
    assert Panel(view, "core", "core").caption().splitlines() == [
        "voxels of core",
        "training: 3 cases, 120 voxels",
        "test: 2 cases, 80 voxels",
        f"over the boundary {right.training.mean:.3f} → {right.test.mean:.3f}",
        f"margin {margin.training.mean:.2f} → {margin.test.mean:.2f}",
        f"shift of the margin {margin.difference:+.2f} (95 %: {low:+.2f} to {high:+.2f})",
        "(few cases: less than 95 %)",
    ]


@pytest.mark.parametrize(("training", "test", "few"), [(6, 6, False), (5, 6, True), (6, 5, True), (6, 1, False)])
def test_an_interval_of_few_cases_is_said_to_be_less(training, test, few):
    caption = Panel(view_of(splits=[("training", training), ("test", test)]), "core", "core").caption()
    assert caption.endswith("\n(few cases: less than 95 %)") is few


@pytest.mark.parametrize(
    ("view", "lines"),
    [
        (view_of(splits=[("training", 2), ("test", 1)]), ["test: 1 case, 40 voxels", "(no interval of one case)"]),
        (view_of(splits=[("training", 2)]), ["test: 0 cases, 0 voxels", "→ n/a", "shift of the margin n/a"]),
        (view_of(without=[2]), ["training: 0 cases, 0 voxels", "margin n/a → n/a", "shift of the margin n/a"]),
        (view_of(splits=[]), ["training: 0 cases, 0 voxels", "over the boundary n/a → n/a"]),
    ],
    ids=["one test case", "no test case", "an empty class", "nothing at all"],
)
def test_what_is_missing_is_said_and_the_rest_is_drawn(view, lines, tmp_path):
    caption = Panel(view, "core", "core").caption()
    assert [line for line in lines if line not in caption] == []
    draw_logits(tmp_path / "logits.png", [view], ["core"])
    assert (tmp_path / "logits.png").read_bytes().startswith(b"\x89PNG")


def test_names_that_look_like_mathematics_are_drawn_as_they_are(tmp_path):
    view = view_of("run$_1$\\frac")
    sample = LogitSample(("background", "$x", "core$_2"), 40, view.sample.cases)
    shown = shifts(sample)
    draw_logits(tmp_path / "logits.png", [View("a$", sample, shown), View("$b", sample, shown)], ["core$_2"])
    assert (tmp_path / "logits.png").is_file()


def test_probabilities_are_called_so_on_the_axes():
    view = view_of()
    sample = LogitSample(CLASSES, 40, view.sample.cases, "log_probability")
    panel = Panel(View("a", sample, shifts(sample)), "core", "core")
    axes = Figure().add_subplot()
    draw_panel(axes, panel, *edges([panel]))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("log probability of background", "log probability of core")
