"""The README keeps its word: its commands run as they stand, its links lead somewhere, its tree is the tree."""

import ast
import re
import shlex
import shutil
from pathlib import Path

import pytest

from segkit.cli.demo import recipes
from segkit.cli.main import app
from segkit.config.yaml import load
from segkit.phantom.write import write

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TINY = {  # what is added to a command so that it is quick
    "train": ["train.steps=2", "train.batch_size=2", "sampling.patch_shape=[9, 9, 9]", "model=deepmedic_tiny"],
    "demo": ["--steps", "2"],
}


def blocks(language: str) -> list[str]:
    """The README's code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """The shell commands of the README, word by word."""
    return [shlex.split(line) for block in blocks("bash") + blocks("console") for line in block.splitlines()]


def run(command: list[str]) -> None:
    """Run a segkit command in this process; it ends with status 0."""
    program, verb, *rest = command
    assert program == "segkit"
    assert app([verb, *rest, *TINY.get(verb, []), "--quiet"], standalone_mode=False) in (None, 0)


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """A working directory with the scans and the recipe that the README speaks of."""
    for case in write("brats", tmp_path / "phantom", cases=5, shape=(32, 32, 32)):
        for channel, role in (("t1ce", "t1c"), ("flair", "flair"), ("seg", "label")):
            for folder in ("scans", "new_scans")[: 1 if role == "label" else 2]:
                place = tmp_path / folder / case.name.removeprefix("Phantom_")
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(case / f"{case.name}_{channel}.nii.gz", place / f"{role}.nii.gz")
    (recipe,) = blocks("yaml")
    (tmp_path / "mine.yaml").write_text(recipe, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_for_own_scans_lead_from_scans_to_label_maps_and_scores(scans):
    done = [command for command in commands() if command[0] == "segkit" and command[1] != "demo"]
    assert [command[1] for command in done] == ["check", "train", "predict", "evaluate", "analyze", "report", "predict"]
    for command in done:
        run(command)
    assert sorted(path.name for path in (scans / "label_maps").glob("*.nii.gz")) == [f"00{i}.nii.gz" for i in range(5)]
    assert (scans / "runs" / "mine" / "scores.csv").read_text(encoding="utf-8").startswith("case,class,metric,value,unit,state\n")


@pytest.mark.slow
def test_the_demo_ends_with_scores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (demo,) = [command for command in commands() if command[:2] == ["segkit", "demo"]]
    run(demo)
    assert list(tmp_path.rglob("scores.csv"))


def test_every_command_is_make_or_segkit():
    assert {command[0] for command in commands()} == {"make", "segkit"}


def test_the_make_targets_exist():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert {"demo", "test", "help"} <= named <= set(targets)


def test_the_python_example_runs(scans):
    (code,) = blocks("python")
    asked = '{"train.steps": 500}'
    assert asked in code
    tiny = {"train.steps": 2, "train.batch_size": 2, "sampling.patch_shape": [9, 9, 9], "model": "deepmedic_tiny"}
    for folder in ("label_maps", "labels"):
        (scans / folder).mkdir()
        shutil.copy(scans / "scans" / "000" / "label.nii.gz", scans / folder / "000.nii.gz")
    names = {}
    exec(code.replace(asked, repr(tiny)), names)
    assert names["label_map"].array.shape == (32, 32, 32)
    assert {row.value for row in names["rows"] if row.metric == "dice"} == {1.0}


def test_the_numbers_of_the_demo_are_those_of_its_recipe():
    dataset = load(recipes() / "phantom" / "demo.yaml").value["dataset"]
    cases, test, validation = dataset["cases"], dataset["split"]["test"], dataset["split"]["validation"]
    assert f"writes {cases} synthetic brain scans" in README
    assert f"on {cases - test - validation} of them" in README
    assert f"the {test} test scans" in README


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md", "docs/analysis.md"])
def test_relative_links_lead_to_files(page):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []


def listed() -> dict[str, str]:
    """Path below the repository -> phrase, from the README's tree; two spaces a level."""
    (tree,) = blocks("text")
    found, folders = {}, []
    for line in tree.splitlines():
        indent, name, phrase = re.fullmatch(r"( *)(\S+) +(.+)", line).groups()
        folders = folders[: len(indent) // 2]
        found["".join(folders) + name] = phrase
        folders.append(name)
    return found


def phrase_of(path: Path) -> str:
    """First docstring line of a module or of a package."""
    module = path / "__init__.py" if path.is_dir() else path
    return ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))).splitlines()[0]


def test_the_tree_lists_every_folder_of_the_package():
    folders = {f"{path.parent.relative_to(ROOT)}/" for path in (ROOT / "segkit").rglob("__init__.py")}
    assert folders - set(listed()) == set()


def test_the_phrases_of_the_tree_are_the_first_lines_of_the_files():
    phrases = {path: phrase for path, phrase in listed().items() if path.startswith("segkit/")}
    assert phrases == {path: phrase_of(ROOT / path) for path in phrases}


def test_what_the_tree_lists_beside_the_package_is_there():
    assert [path for path in listed() if not (ROOT / path).exists()] == []
