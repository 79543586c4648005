"""Anybody's text in Markdown and LaTeX: by hand, and as a Markdown parser reads it."""

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from segkit.table.cells import fill
from segkit.table.escape import in_latex, in_markdown, one_line
from segkit.table.render import latex, markdown

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HOSTILE = st.text(st.sampled_from("a1 \n\t\\`*_<>[]()|~$&#;:!+-=.{}%^\"'é"), max_size=12)
MANY = settings(max_examples=300, deadline=None)


class Read(HTMLParser):
    """What a reader of a page sees: the text of each heading, list entry and cell, and which tags there are."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self.tags: set[str] = set()
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag in ("h2", "li", "td", "th"):
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        if self._open and tag == self._open[-1]:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]][-1] += data


def read(text: str) -> Read:
    return Read(PARSER.render(text))


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", "a\\|b"),
        ("a\\|b", "a\\\\\\|b"),
        ("two\nlines\r\n and\u2028more", "two lines and more"),
        ("\x00bell\x07 ", "bell"),
        ("`code`", "\\`code\\`"),
        ("<script>alert(1)</script>", "\\<script>alert(1)\\</script>"),
        ("*bold* ~~gone~~ $x$", "\\*bold\\* \\~\\~gone\\~\\~ \\$x\\$"),
        ("[here](javascript:x)", "\\[here](javascript:x)"),
        ("tumor_core", "tumor_core"),
        ("_a_ __b__", "\\_a\\_ \\_\\_b\\_\\_"),
        ("&lt; & R&D", "\\&lt; & R&D"),
        ("# one, C# and #2", "\\# one, C# and \\#2"),
        ("- not a list", "\\- not a list"),
        ("1. not a list", "1\\. not a list"),
        ("1.5 mm, a > b - c", "1.5 mm, a > b - c"),
    ],
)
def test_markdown_by_hand(text, escaped):
    assert in_markdown(text) == escaped


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a & b", "a \\& b"),
        ("5 %", "5 \\%"),
        ("a_b", "a\\_b"),
        ("#1", "\\#1"),
        ("\\input{x}", "\\textbackslash{}input\\{x\\}"),
        ("$x^2$", "\\$x\\textasciicircum{}2\\$"),
        ("~ < > | `", "\\textasciitilde{} \\textless{} \\textgreater{} \\textbar{} \\textasciigrave{}"),
        ("1 ± 2†", "1 $\\pm$ 2$\\dagger$"),
        ("two\n\nparagraphs", "two paragraphs"),  # an empty line ends a caption
        ("[t] * [b]", "{}[t] * [b]"),
        ("* a", "{}* a"),
    ],
)
def test_latex_by_hand(text, escaped):
    assert in_latex(text) == escaped


@MANY
@given(HOSTILE)
def test_a_reader_of_the_page_sees_the_text_itself_wherever_it_stands(text):
    shown, escaped = one_line(text), in_markdown(text)
    page = read(f"## t {escaped}\n\n| x | {escaped} |\n|---|---|\n| {escaped} | *{escaped}x* |\n\n- {escaped}\n")
    texts = {tag: [one_line(each) for each in found] for tag, found in page.texts.items()}
    assert texts == {"h2": [one_line(f"t {shown}")], "th": ["x", shown], "td": [shown, f"{shown}x"], "li": [shown]}
    assert page.tags <= {"h2", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "em"}


@MANY
@given(HOSTILE)
def test_latex_has_no_special_character_left_that_is_not_a_command(text):
    rest = in_latex(text)
    for command in ("\\textbackslash{}", "\\textasciitilde{}", "\\textasciicircum{}", "\\textless{}", "\\textgreater{}", "\\textbar{}"):
        rest = rest.replace(command, "")
    for command in ("\\textasciigrave{}", *("\\" + sign for sign in "&%$#_{}"), "{}"):
        rest = rest.replace(command, "")
    assert not set(rest) & set("\\&%$#_{}~^<>|`\n")


LABEL = "a|b `x` <b> \\"
CHANGES = (
    ("title: Tiny", "title: 'T | `t` <i> #'"),
    ("plain: {}", "plain: {label: 'a|b `x` <b> \\', group: '|g* _g_'}"),
    ("against: plain\n", "against: plain\n    label: \"[two]\\nlines & 5 % of_ #1\"\n"),
    ("seeds: [0, 1]", "seeds: [0]\nnotes: ['> quoted | `n` <u>', '1. numbered']\npublished:\n"
     "  - {source: '<S> | [s](t)', values: [{row: focal, fraction: 0.5, structure: core, scores: {dice: 50.4}}]}"),
)  # fmt: skip


@pytest.fixture
def hostile(planted):
    """A table whose every text means mischief."""
    return fill(*planted({"plain": [[0.5] * 6], "focal": [[0.6] * 6]}, *CHANGES))


def test_a_hostile_table_is_a_table_of_its_texts_in_markdown(hostile):
    page = read(markdown(hostile))
    assert page.texts["h2"] == ["T | `t` <i> #"]
    assert page.texts["th"] == ["", "50 %: dice (%)"]
    assert page.texts["td"] == ["|g* _g_", "", LABEL, "50.0", "[two] lines & 5 % of_ #1", "60.0* (50.4†)"]
    assert "> quoted | `n` <u>" in page.texts["li"]
    assert "1. numbered" in page.texts["li"]
    assert any(entry.endswith("not verified: <S> | [s](t).") for entry in page.texts["li"])
    assert any(entry.endswith(f"[two] lines & 5 % of_ #1 against {LABEL}.") for entry in page.texts["li"])
    assert not page.tags & {"i", "b", "u", "a", "code", "ol", "blockquote"}


def test_a_hostile_table_is_a_table_of_its_texts_in_latex(hostile):
    lines = latex(hostile).splitlines()
    assert "\\caption{T \\textbar{} \\textasciigrave{}t\\textasciigrave{} \\textless{}i\\textgreater{} \\#: core, test cases.}" in lines
    assert "\\multicolumn{2}{l}{\\emph{\\textbar{}g* \\_g\\_}} \\\\" in lines
    assert "a\\textbar{}b \\textasciigrave{}x\\textasciigrave{} \\textless{}b\\textgreater{} \\textbackslash{} & 50.0 \\\\" in lines
    assert "{}[two] lines \\& 5 \\% of\\_ \\#1 & \\textbf{60.0}$^{*}$ (50.4$^{\\dagger}$) \\\\" in lines
    assert "\\item{} \\textgreater{} quoted \\textbar{} \\textasciigrave{}n\\textasciigrave{} \\textless{}u\\textgreater{}" in lines
