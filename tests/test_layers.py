"""What imports what: downwards only, as docs/architecture.md draws it, and nothing heavy before it is needed."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "segkit"
MODULES = sorted(PACKAGE.rglob("*.py"))
FRONT = {"__init__", "__main__"}  # the two doors: above all layers


def drawn_layers(page: str) -> dict[str, int]:
    """Part of the package -> its layer, from the numbered lines of a page: `    2  losses  metrics`."""
    return {part: int(number) for number, parts in re.findall(r"^ {4}(\d)  ([a-z ]+)$", page, re.MULTILINE) for part in parts.split()}


LAYERS = drawn_layers((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))


def part_of(module: str) -> str:
    """`segkit.volume.nifti` -> `volume`; the package itself -> `__init__`."""
    return module.split(".")[1] if "." in module else "__init__"


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import in a file, wherever it stands; `from a import b` counts as `a.b`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def imports_at_load(path: Path) -> set[str]:
    """Top-level packages that a file imports outside functions."""
    found, nodes = set(), list(ast.parse(path.read_text(encoding="utf-8")).body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes += ast.iter_child_nodes(node)
    return found


def violations(path: Path, layers: dict[str, int]) -> list[str]:
    """Imports of one file that do not point downwards."""
    here = part_of(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
    if here in FRONT:
        return []
    targets = [(line, part_of(module)) for line, module in imports(path) if module.split(".")[0] == "segkit"]
    wrong = [(line, there) for line, there in targets if there != here and (there not in layers or layers[there] >= layers[here])]
    return [f"{path.relative_to(PACKAGE.parent)}:{line}: {here} imports {there}" for line, there in wrong]


def test_every_part_of_the_package_has_a_layer_and_every_layer_is_there():
    parts = {
        path.stem if path.is_file() else path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert set(LAYERS) == parts - FRONT, "docs/architecture.md draws other layers than the package has"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    assert violations(path, LAYERS) == []


@pytest.mark.parametrize(
    "code",
    [
        "import segkit.engine.run",
        "from segkit.engine import run",
        "from segkit import engine",
        "from segkit.engine.run import Run",
        "def late() -> None:\n    from segkit.engine.run import Run",
        "if TYPE_CHECKING:\n    import segkit.engine.run",
    ],
)
def test_an_import_upwards_is_found_however_it_is_written(code, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "segkit")
    path = tmp_path / "segkit" / "volume" / "case.py"
    path.parent.mkdir(parents=True)
    path.write_text(code, encoding="utf-8")
    assert [violation.partition(": ")[2] for violation in violations(path, LAYERS)] == ["volume imports engine"]


def test_parts_of_one_layer_do_not_know_one_another(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "segkit")
    path = tmp_path / "segkit" / "losses" / "dice.py"
    path.parent.mkdir(parents=True)
    path.write_text("from segkit.losses.base import Loss\nfrom segkit.metrics.overlap import Dice", encoding="utf-8")
    assert violations(path, LAYERS) == ["segkit/losses/dice.py:2: losses imports metrics"]


@pytest.mark.parametrize("path", sorted((PACKAGE / "config").glob("*.py")), ids=lambda path: path.name)
def test_config_knows_only_the_standard_library_yaml_and_pydantic(path):
    assert imports_at_load(path) <= {"segkit", "yaml", "pydantic", "pydantic_core", *sys.stdlib_module_names}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_large_and_optional_packages_are_imported_where_they_are_used(path):
    assert not imports_at_load(path) & {"SimpleITK", "matplotlib", "ray", "submitit"}


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent.name in ("metrics", "statistics")], ids=lambda path: path.stem)
def test_metrics_and_statistics_are_free_of_torch(path):
    assert not {module.partition(".")[0] for _, module in imports(path)} & {"torch", "monai"}


HELP_OF_ALL = """
import sys
from typer.main import get_command
from segkit.cli.main import app
for verb in [None, *get_command(app).commands]:
    try:
        app([verb, "--help"] if verb else ["--help"])
    except SystemExit as end:
        assert end.code == 0
print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_no_help_page_waits_for_torch():
    printed = subprocess.run([sys.executable, "-c", HELP_OF_ALL], capture_output=True, text=True, check=True).stdout
    loaded = printed.splitlines()[-1].split()
    assert "segkit" in loaded
    assert {"torch", "numpy", "monai", "scipy", "nibabel", "matplotlib"} & set(loaded) == set()
