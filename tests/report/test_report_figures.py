"""Figures and tables of analyses: found by name, shown as they are."""

import base64

import pytest
import torch

from segkit.analysis.mark import note_weights
from segkit.config.errors import InputError
from segkit.engine.run import Run
from segkit.engine.weights import save_weights, stored_sha256
from segkit.report.figures import FIGURES, PNG, ROWS, TABLES, figures, outdated, tables


@pytest.fixture
def run(tmp_path) -> Run:
    (tmp_path / "analysis").mkdir()
    return Run(tmp_path)


def test_figures_come_in_the_order_of_their_kinds_as_they_lie_in_the_folder(run):
    for name in ("sweep.png", "analysis/performance.png", "analysis/logits.png", "analysis/else.png"):
        (run.path / name).write_bytes(PNG + name.encode())
    found = figures(run)
    assert [figure.name for figure in found] == ["logits.png", "performance.png", "sweep.png"]
    assert base64.b64decode(found[0].source.removeprefix("data:image/png;base64,")) == PNG + b"analysis/logits.png"


def test_a_run_without_analyses_has_no_figures(tmp_path):
    assert (figures(Run(tmp_path)), tables(Run(tmp_path))) == ([], [])


def test_every_kind_says_how_to_read_it_in_one_or_two_sentences():
    for kind in (*FIGURES, *TABLES):
        assert 1 <= kind.caption.count(". ") + kind.caption.count(": ") + 1 <= 4
        assert kind.caption.endswith(".")


def test_a_figure_that_is_no_image_is_named(run):
    path = run.path / "sweep.png"
    path.write_bytes(b"<svg onload=alert(1)>")
    with pytest.raises(InputError) as error:
        figures(run)
    assert str(error.value) == (
        f"SK-W013: a figure is damaged\n  where:    {path}\n  expected: a PNG image\n  remedy:   make it again, or remove it"
    )


def test_numbers_of_a_table_have_four_digits_and_words_and_counts_stay(run):
    (run.path / "analysis/shift.csv").write_text("run,class,voxels,shift\nmine,organ,123456,-0.123456\nmine,lesion,7,\n")
    (table,) = tables(run)
    assert table.header == ("run", "class", "voxels", "shift")
    assert table.rows == (("mine", "organ", "123456", "-0.1235"), ("mine", "lesion", "7", ""))
    assert table.numeric == (False, False, True, True)


def test_of_a_long_table_the_first_rows_are_shown_and_the_others_counted(run):
    (run.path / "analysis/shift.csv").write_text("a\n" + "1\n" * (ROWS + 3))
    (table,) = tables(run)
    assert (len(table.rows), table.left_out) == (ROWS, 3)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ("", "not enough values to unpack (expected at least 1, got 0)"),
        ("a,b\n1\n", "rows of different lengths"),
        ('a\n"1\n', "unexpected end of data"),
    ],
)
def test_a_table_that_is_none_is_named(run, content, got):
    path = run.path / "analysis/shift.csv"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        tables(run)
    assert str(error.value) == (
        f"SK-W014: a table is damaged\n  where:    {path}\n  expected: CSV\n  got:      {got}\n  remedy:   make it again, or remove it"
    )


def test_a_table_of_a_header_alone_is_shown_empty(run):
    (run.path / "analysis/shift.csv").write_text("a,b\n")
    (table,) = tables(run)
    assert (table.rows, table.numeric) == ((), (False, False))


@pytest.fixture
def weighted(run) -> Run:
    """A run with weights, a figure of each kind's place, and a table."""
    torch.manual_seed(0)
    save_weights(run, torch.nn.Linear(2, 2), 1)
    for name in ("logits.png", "embeddings_diversity.png", "progress_curves.png"):
        (run.analysis / name).write_bytes(PNG)
    (run.analysis / "shift.csv").write_text("a\n1\n")
    return run


def shown(run: Run) -> dict[str, bool]:
    return {each.name: each.known for each in (*figures(run), *tables(run))}


def test_where_nothing_says_what_files_were_made_from_they_are_shown_as_unknown(weighted):
    assert shown(weighted) == {"logits.png": False, "embeddings_diversity.png": False, "progress_curves.png": True, "shift.csv": False}
    assert outdated(weighted) == []


def test_files_of_other_weights_are_left_out_until_they_are_made_again(weighted):
    made = [weighted.analysis / name for name in ("logits.png", "shift.csv")]
    note_weights(made, stored_sha256(weighted))
    assert shown(weighted) == {"logits.png": True, "embeddings_diversity.png": False, "progress_curves.png": True, "shift.csv": True}
    save_weights(weighted, torch.nn.Linear(2, 2), 2)
    assert shown(weighted) == {"embeddings_diversity.png": False, "progress_curves.png": True}
    assert outdated(weighted) == ["logits.png", "shift.csv"]
    note_weights(made[:1], stored_sha256(weighted))
    assert shown(weighted) == {"logits.png": True, "embeddings_diversity.png": False, "progress_curves.png": True}
    assert outdated(weighted) == ["shift.csv"]
    note_weights(made[1:], None)  # of several runs, in its place
    assert shown(weighted)["shift.csv"] is False


def test_of_a_run_without_readable_weights_nothing_is_outdated(weighted):
    note_weights([weighted.analysis / "logits.png"], "0123")
    assert outdated(weighted) == ["logits.png"]
    weighted.weights.write_bytes(b"no weights")
    assert (outdated(weighted), shown(weighted)["logits.png"]) == ([], False)
    weighted.weights.unlink()
    assert (outdated(weighted), shown(weighted)["logits.png"]) == ([], False)


def test_files_that_were_never_noted_leave_no_note(run):
    note_weights([run.analysis / "logits.png"], None)
    assert list(run.analysis.iterdir()) == []


def test_a_damaged_note_is_named(weighted):
    path = weighted.analysis / "made_from.json"
    path.write_text('{"logits.png": 3}')
    with pytest.raises(InputError) as error:
        figures(weighted)
    assert str(error.value) == (
        f"SK-A020: what files were made from is damaged\n  where:    {path}\n  expected: {{file name: sha256 of the weights}}\n"
        "  got:      int for logits.png\n  remedy:   remove it, and make the analysis again"
    )
