"""Strict YAML: what is read, where it stood, and the exact text where it is refused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.config.errors import InputError
from segkit.config.yaml import load, loads


def refusal(text: str) -> InputError:
    with pytest.raises(InputError) as error:
        loads(text)
    return error.value


def test_every_key_and_item_has_its_line():
    document = loads("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n")
    assert document.value == {"a": 1, "b": ["x", {"c": 2, "d": 3}]}
    lines = {key: origin.line for key, origin in document.origins.items()}
    assert lines == {(): None, ("a",): 1, ("b",): 2, ("b", 0): 3, ("b", 1): 4, ("b", 1, "c"): 4, ("b", 1, "d"): 5}


def test_the_source_and_the_directory_are_in_every_origin(tmp_path):
    document = loads("a: 1", source="x.yaml", directory=tmp_path)
    assert (document.source, document.origins[("a",)].place, document.origins[("a",)].directory) == ("x.yaml", "x.yaml:1", tmp_path)


def test_quoted_numbers_are_strings():
    assert loads("""a: '1'\nb: "true"\nc: '010'\n""").value == {"a": "1", "b": "true", "c": "010"}


def test_whole_numbers_may_be_keys():
    assert loads("1: a").value == {1: "a"}


def test_an_alias_is_read_and_has_the_line_of_its_anchor():
    document = loads("a: &x\n  b: 1\nc: *x\n")
    assert document.value == {"a": {"b": 1}, "c": {"b": 1}}
    assert document.origins[("c", "b")].line == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a: 1\nb: 2\na: 3",
            InputError("SK-R010", "a key is written twice", where=3, got="'a' on line 1 and on line 3", remedy="remove one"),
        ),
        ("a: 1\n'a': 2", InputError("SK-R010", "a key is written twice", where=2, got="'a' on line 1 and on line 2", remedy="remove one")),
        ("a:\n  <<: {b: 1}", InputError("SK-R011", "merge keys are not read", where=2, remedy="inherit with `base: other.yaml`")),
        ("a:\n\tb: 1", InputError("SK-R004", "not valid YAML: a tab between values", where="2:1", got="'b: 1'", remedy="use spaces")),
        ("a: \x01", InputError("SK-R006", "a character that YAML does not allow", where=1, got="U+0001")),
        ("true: 1", InputError("SK-R016", "not a key", where=1, expected="a string or a whole number", got="'true'")),
        ("? [a]\n: 1", InputError("SK-R016", "not a key", where=1, expected="a string or a whole number", got="a list or mapping")),
        ('a: "\\ud800"', InputError("SK-R018", "a character that is none", where=1, got="'\\ud800'")),
    ],
)
def test_the_refusal_names_the_line(text, expected):
    assert str(refusal(text)) == str(expected).replace("where:    ", "where:    train.yaml:")


def test_a_leading_zero_is_refused_with_both_ways_out():
    assert str(refusal("a: 010")) == (
        "SK-R017: an ambiguous number\n"
        "  where:    train.yaml:1\n"
        "  expected: a number without leading zeros, or a quoted string\n"
        "  got:      010"
    )


def test_a_colon_in_a_value_is_explained():
    assert str(refusal("a: b: c")) == (
        "SK-R004: not valid YAML: mapping values are not allowed here\n"
        "  where:    train.yaml:1:5\n"
        "  got:      'a: b: c'\n"
        "  remedy:   check the indentation, or quote a value that holds `: `"
    )


@pytest.mark.parametrize(("text", "got"), [("- a", "a list"), ("a", "a single value"), ("", "nothing"), ("# a\n", "nothing")])
def test_the_top_level_must_be_a_mapping(text, got):
    assert str(refusal(text)) == (
        f"SK-R012: the top level is not a mapping\n  where:    train.yaml\n  expected: lines of the form `key: value`\n  got:      {got}"
    )


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system ['ls']", "!x 1", "!!binary aGk=", "!!set {a}", "!!str 1", "! 1", "!!omap [a: 1]"]
)
def test_tags_are_refused(tag):
    assert (refusal(f"b: 1\na: {tag}").code, refusal(f"b: 1\na: {tag}").where) == ("SK-R005", "train.yaml:2")


def test_an_alias_bomb_fails_at_once():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 20))
    assert refusal(bomb).code == "SK-R009"  # untamed it has 9^20 values, and this test would not end


def test_a_recipe_has_at_most_20_000_values():
    assert len(loads(f"a: [{'1,' * 19_000}]").value["a"]) == 19_000
    assert refusal(f"a: [{'1,' * 20_000}]").code == "SK-R009"


def test_an_alias_to_its_own_anchor_is_refused():
    assert refusal("a: &a [*a]").code == "SK-R008"


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}")])
def test_nesting_ends_at_32_levels(opening, closing):
    def nested(levels: int) -> str:
        return "a: " + opening * levels + closing * levels

    assert "a" in loads(nested(30)).value
    assert refusal(nested(32)).code == "SK-R008"
    assert refusal("a: " + opening * 100_000).code == "SK-R008"


@pytest.mark.parametrize("text", ["a: 1\n---\nb: 2", "a: *x", "a: [1", "a: 'x", "a: @x", "a: %x", "%YAML 3.0\n---\na: 1", "a: 1\n b: 2"])
def test_broken_syntax_is_refused(text):
    assert refusal(text).code == "SK-R004"


@pytest.mark.parametrize("text", ['a: "\\UFFFFFFFF"', f"%YAML {'9' * 5000}.1\n---\na: 1"])
def test_numbers_beyond_python_are_refused(text):
    assert refusal(text).code == "SK-R007"


@settings(deadline=None, max_examples=80)
@given(st.text(alphabet=st.sampled_from("ab01:.-[]{}&*!#|>'\"\\ \n\t,?%@<=~é\x00"), max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        document = loads(text)
    except InputError:
        return
    assert set(document.value) == {key[0] for key in document.origins if len(key) == 1}


@pytest.mark.parametrize(("data", "place"), [(b"a: \xff", "1"), (b"a: 1\nb: \xe9\n", "2"), ("a: 1".encode("utf-16"), "1")])
def test_only_utf8_is_read(tmp_path, data, place):
    path = tmp_path / "a.yaml"
    path.write_bytes(data)
    with pytest.raises(InputError) as error:
        load(path)
    assert (error.value.code, error.value.where) == ("SK-R003", f"{path}:{place}")


@pytest.mark.parametrize("data", [b"\xef\xbb\xbfa: 1\nb: 2\n", b"a: 1\r\nb: 2\r\n", b"---\na: 1\nb: 2\n...\n"])
def test_byte_order_mark_windows_lines_and_document_marks_are_read(tmp_path, data):
    path = tmp_path / "a.yaml"
    path.write_bytes(data)
    assert load(path).value == {"a": 1, "b": 2}


def test_a_large_file_is_refused_before_it_is_parsed(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: " + b"x" * 1_000_000)
    with pytest.raises(InputError, match=r"SK-R002(.|\n)*at most 1,000,000 bytes"):
        load(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InputError, match="SK-R001"):
            load(path)


def recipes(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".yaml").write_text(text)
    return folder


def test_mappings_merge_and_lists_replace(tmp_path):
    recipes(tmp_path, base="train: {steps: 1, seed: 2}\nx: [1, 2, 3]\n", child="base: base.yaml\ntrain: {steps: 5}\nx: [9]\n")
    assert load(tmp_path / "child.yaml").value == {"train": {"steps": 5, "seed": 2}, "x": [9]}


def test_values_keep_the_file_and_line_they_came_from(tmp_path, monkeypatch):
    recipes(
        tmp_path, shared__base="train: {steps: 1,\n  seed: 2}\nx: [1, 2]\n", runs__child="base: ../shared/base.yaml\ntrain: {steps: 5}\n"
    )
    monkeypatch.chdir(tmp_path)
    document = load("runs/child.yaml")
    places = {key: origin.place for key, origin in document.origins.items()}
    assert places == {
        (): "runs/child.yaml",
        ("train",): "runs/child.yaml:2",
        ("train", "steps"): "runs/child.yaml:2",
        ("train", "seed"): "shared/base.yaml:2",
        ("x",): "shared/base.yaml:3",
        ("x", 0): "shared/base.yaml:3",
        ("x", 1): "shared/base.yaml:3",
    }
    assert document.origins[("x",)].directory == tmp_path / "shared"
    assert document.origins[()].directory == tmp_path / "runs"


def test_a_chain_of_bases_is_followed_each_relative_to_its_own_file(tmp_path):
    recipes(tmp_path, a="x: 1\ny: 1\nz: 1\n", one__b="base: ../a.yaml\ny: 2\nz: 2\n", c="base: one/b.yaml\nz: 3\n")
    assert load(tmp_path / "c.yaml").value == {"x": 1, "y": 2, "z": 3}


def test_another_plugin_does_not_inherit_the_fields_of_the_first(tmp_path):
    recipes(
        tmp_path,
        base="model: {name: unet3d, widths: [8, 16]}\ntrain: {optimizer: {name: sgd, momentum: 0.9}, steps: 3}\n",
        other="base: base.yaml\nmodel: {name: deepmedic}\ntrain: {optimizer: {name: adam}}\n",
        same="base: base.yaml\nmodel: {name: unet3d, depth: 2}\ntrain: {optimizer: {momentum: 0.5}}\n",
    )
    other, same = load(tmp_path / "other.yaml"), load(tmp_path / "same.yaml")
    assert other.value == {"model": {"name": "deepmedic"}, "train": {"optimizer": {"name": "adam"}, "steps": 3}}
    assert ("model", "widths") not in other.origins
    assert same.value == {
        "model": {"name": "unet3d", "widths": [8, 16], "depth": 2},
        "train": {"optimizer": {"name": "sgd", "momentum": 0.5}, "steps": 3},
    }


def test_a_name_at_the_top_level_does_not_stop_inheritance(tmp_path):
    recipes(tmp_path, base="name: a\nx: 1\n", child="base: base.yaml\nname: b\n")
    assert load(tmp_path / "child.yaml").value == {"name": "b", "x": 1}


@pytest.mark.parametrize(("under", "over"), [("deepmedic", "{widths: [1]}"), ("{widths: [1]}", "deepmedic"), ("{a: 1}", "null")])
def test_what_is_no_mapping_on_one_side_replaces(tmp_path, under, over):
    recipes(tmp_path, base=f"model: {under}\n", child=f"base: base.yaml\nmodel: {over}\n", alone=f"model: {over}\n")
    assert load(tmp_path / "child.yaml").value == load(tmp_path / "alone.yaml").value


def test_a_circle_of_bases_is_refused_with_the_way_around(tmp_path, monkeypatch):
    recipes(tmp_path, a="base: b.yaml\n", b="x: 1\nbase: a.yaml\n", me="base: me.yaml\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        load("a.yaml")
    assert str(error.value) == (
        "SK-R015: a file is its own base\n  where:    b.yaml:2\n  got:      a.yaml -> b.yaml -> a.yaml\n  remedy:   remove one `base:`"
    )
    with pytest.raises(InputError, match=r"me.yaml -> me.yaml"):
        load("me.yaml")


def test_a_base_must_be_a_file_that_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        loads("x: 1\nbase: none.yaml")
    assert str(error.value) == "SK-R014: the base none.yaml cannot be read\n  where:    train.yaml:2\n  got:      No such file or directory"
    with pytest.raises(InputError, match="SK-R013"):
        loads("base: [a.yaml, b.yaml]")


def test_a_mistake_in_a_base_names_the_base(tmp_path, monkeypatch):
    recipes(tmp_path, base="x: 1\nx: 2\n", child="base: base.yaml\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"where: +base.yaml:2"):
        load("child.yaml")
