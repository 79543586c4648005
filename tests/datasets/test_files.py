"""Any list of files: a CSV table or templates."""

import pytest
from pydantic import ValidationError

from segkit.config.errors import InputError

CLASSES = {"lesion": 1}
TABLE = "case,t1,t2,label,patient\na,img/a1.nii.gz,img/a2.nii.gz,seg/a.nii.gz,P\nb,img/b1.nii.gz,img/b2.nii.gz,,P\n"
FILES = ("img/a1.nii.gz", "img/a2.nii.gz", "img/b1.nii.gz", "img/b2.nii.gz", "seg/a.nii.gz")


@pytest.fixture
def table(build, tree):
    """A data set from the text of a table."""

    def make(text, **fields):
        (tree(*FILES) / "cases.csv").write_text(text, encoding="utf-8")
        return build("files", table="cases.csv", classes=CLASSES, **fields)

    return make


def test_a_row_is_a_case_with_paths_from_the_table_s_folder(table, tmp_path):
    dataset = table(TABLE)
    one, two = dataset.find()
    assert dataset.channel_names == ("t1", "t2")
    assert {name: source.path for name, source in one.channels.items()} == {
        "t1": tmp_path / "img/a1.nii.gz",
        "t2": tmp_path / "img/a2.nii.gz",
    }
    assert (one.label, one.patient, two.label) == (tmp_path / "seg/a.nii.gz", "P", None)


def test_spreadsheets_with_a_byte_order_mark_and_blank_rows_are_read(table):
    assert [case.id for case in table("\ufeff" + TABLE + ",,,,\n\n").find()] == ["a", "b"]


def test_channels_of_the_table_can_be_chosen(table):
    assert list(table(TABLE, channels=["t2"]).find()[0].channels) == ["t2"]


def test_every_bad_cell_is_named(table, tmp_path):
    with pytest.raises(InputError) as error:
        table("case,t1,t2,label,roi\na,img/a1.nii.gz,,seg/x.nii.gz,\nb,img/x.nii.gz,img/b2.nii.gz,,\n", roi="file").find()
    assert str(error.value) == (
        "SK-D003: 2 cases of 2 cannot be used\n"
        "  a: channel t2: the cell is empty\n"
        f"  a: label: looked for {tmp_path}/seg/x.nii.gz, there is no such file\n"
        "  a: ROI: looked for a path in the column roi, there is no such file\n"
        f"  b: channel t1: looked for {tmp_path}/img/x.nii.gz, there is no such file\n"
        "  b: ROI: looked for a path in the column roi, there is no such file\n"
        f"  where:    {tmp_path}\n  remedy:   complete these cases, or take their folders away"
    )


@pytest.mark.parametrize(
    ("text", "first", "got"),
    [
        ("id,t1\na,b\n", "SK-D051: the table's header cannot be used", "id, t1"),
        ("case,label\na,b\n", "SK-D051: the table's header cannot be used", "case, label"),
        ("case,t1,t1\na,b,c\n", "SK-D051: the table's header cannot be used", "case, t1, t1"),
        ("", "SK-D051: the table's header cannot be used", "an empty file"),
        ("case,t1\na\n,b\nc,d\n", "SK-D052: rows of the table cannot be used", "row 2, row 3"),
        (
            "case,t1\n../evil,b\na/b,b\n.hidden,b\na\\b,b\na..b,b\n",
            "SK-D052: rows of the table cannot be used",
            "row 2, row 3, row 4, row 5",
        ),
        ('case,t1\n"a\n', "SK-D050: cannot read the table: unexpected end of data", None),
    ],
)
def test_a_malformed_table_is_refused(table, text, first, got):
    with pytest.raises(InputError) as error:
        table(text).find()
    assert (str(error.value).splitlines()[0], error.value.got) == (first, got)


def test_a_table_that_is_not_there_or_no_text_is_refused(build, tree):
    root = tree("img/a1.nii.gz")
    dataset = build("files", table="cases.csv", classes=CLASSES)
    with pytest.raises(InputError, match="SK-D050: cannot read the table: No such file or directory"):
        dataset.find()
    (root / "cases.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="SK-D050: cannot read the table: not UTF-8 text"):
        dataset.find()


def test_a_channel_without_a_column_is_refused(table):
    with pytest.raises(InputError, match="SK-D053: channels: no channel is named 't3'; there are t1, t2"):
        table(TABLE, channels=["t3"]).find()


def test_a_case_that_stands_twice_in_the_table_is_refused(table):
    with pytest.raises(InputError, match="SK-D004: 1 case id found more than once\n  a: "):
        table("case,t1\na,img/a1.nii.gz\na,img/b1.nii.gz\n").find()


def test_templates_find_the_cases_of_the_first_channel(build, tree):
    root = tree(
        "x/a/a_t1.nii.gz", "x/a/a_t2.nii.gz", "x/b/b_t1.nii.gz", "x/b/b_t2.nii.gz", "x/b/c_t1.nii.gz", "seg/a.nii.gz", "mask/a.nii.gz"
    )
    images = {"t1": "x/{case}/{case}_t1.nii.gz", "t2": "x/{case}/{case}_t2.nii.gz"}
    dataset = build("files", images=images, labels="seg/{case}.nii.gz", rois="mask/{case}.nii.gz", classes=CLASSES)
    one, two = dataset.find()
    assert (dataset.channel_names, one.id, two.id) == (("t1", "t2"), "a", "b")
    assert (one.channels["t2"].path, one.label, one.roi) == (root / "x/a/a_t2.nii.gz", root / "seg/a.nii.gz", root / "mask/a.nii.gz")
    assert (two.label, two.roi) == (None, None)


def test_a_template_that_names_no_file_is_a_problem_of_its_case(build, tree):
    root = tree("t1/a[1].nii.gz")
    dataset = build("files", images={"t1": "t1/{case}.nii.gz", "t2": "t2/{case}.nii.gz"}, classes=CLASSES)
    with pytest.raises(InputError, match="SK-D003: 1 case of 1 cannot be used") as error:
        dataset.find()
    assert f"\n  a[1]: channel t2: looked for {root}/t2/a[1].nii.gz, there is no such file\n" in str(error.value)


def test_input_follows_the_templates_or_the_table_or_neither(build, table, tree):
    root = tree("in/t1/a.nii.gz", "flat/b.nii.gz")
    templates = build("files", images={"t1": "t1/{case}.nii.gz"}, classes=CLASSES)
    assert [[case.id for case in templates.find_input(root / folder)] for folder in ("in", "flat")] == [["a"], ["b"]]
    rows = table(TABLE, channels=["t1"])
    assert [[case.id for case in rows.find_input(root / folder)] for folder in (".", "flat")] == [["a", "b"], ["b"]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": CLASSES}, "expected either table, or images with perhaps labels and rois"),
        ({"classes": CLASSES, "table": "a.csv", "labels": "{case}.nii"}, "expected either table, or images with perhaps labels and rois"),
        ({"table": "a.csv"}, "classes: missing; expected {name: source label values}"),
        ({"classes": CLASSES, "images": {"t1": "a.nii"}}, "images.t1: expected a path below root with {case} in it, got 'a.nii'"),
        (
            {"classes": CLASSES, "images": {"t1": "/{case}.nii"}},
            "images.t1: expected a path below root with {case} in it, got '/{case}.nii'",
        ),
        (
            {"classes": CLASSES, "images": {"t1": "{case}_{id}.nii"}},
            "images.t1: expected a path below root with {case} in it, got '{case}_{id}.nii'",
        ),
        (
            {"classes": CLASSES, "images": {"t1": "{case}.nii"}, "labels": "../{case}.nii"},
            "labels: expected a path below root with {case} in it, got '../{case}.nii'",
        ),
        (
            {"classes": CLASSES, "images": {"t1": "{case}.nii"}, "channels": ["t2"]},
            "channels: no channel is named 't2'; there are t1",
        ),
        (
            {"classes": CLASSES, "images": {"t1": "{case}.nii"}, "roi": "file"},
            "roi: expected nonzero, body or none, since this layout has no ROI files, got 'file'",
        ),
    ],
)
def test_a_mistake_in_the_recipe_is_named(build, fields, message):
    with pytest.raises(ValidationError) as error:
        build("files", **fields)
    assert str(error.value.errors()[0]["ctx"]["error"]) == message
