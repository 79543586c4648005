"""Anybody's text in Markdown and LaTeX: on one line, and nothing of it read as markup."""

import re

_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")  # line ends of every kind, and what no text holds
_MARKUP = re.compile(
    r"[\\`*<\[|~$]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # but between two letters or digits, where it is no emphasis: tumor_core
    r"|&(?=#?\w+;)"  # a character by its name
    r"|(?<!\w)#"  # a heading, its end, or a reference
    r"|^[>+=-]"  # a quotation, a list, a rule
)
_NUMBERED = re.compile(r"^(\d+)(?=[.)](\s|$))")  # a list
_TEX = str.maketrans(
    {
        "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
        "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}",
        "`": "\\textasciigrave{}", "±": "$\\pm$", "†": "$\\dagger$",
    }
)  # fmt: skip


def one_line(text: str) -> str:
    """The words of a text with single spaces between them; control characters count as spaces."""
    return _SPACE.sub(" ", text).strip()


def in_markdown(text: str) -> str:
    """As it has to stand in a heading, a list or a cell of a pipe table (CommonMark, and GitHub's tables, math and references)."""
    return _NUMBERED.sub(r"\1\\", _MARKUP.sub(r"\\\g<0>", one_line(text)))


def in_latex(text: str) -> str:
    """As it has to stand in running text or a cell of a tabular, at its beginning too, where a command before it looks for * or [."""
    line = one_line(text).translate(_TEX)
    return "{}" + line if line.startswith(("*", "[")) else line
