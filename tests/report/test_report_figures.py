"""Figures and tables of analyses: found by name, shown as they are."""

import base64

import pytest

from segkit.config.errors import InputError
from segkit.engine.run import Run
from segkit.report.figures import FIGURES, PNG, ROWS, TABLES, figures, tables


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
