"""Five phantom scans, a tiny recipe, a trained run, and a way to call the command line in this process."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from segkit.cli.main import app

RECIPE = """\
dataset:
  name: brats
  root: data
  channels: [flair, t1c]
  classes: {tumor: [1, 2, 4]}
  split: {test: 1, validation: 1}
sampling: {patch_shape: [9, 9, 9], augment: {flip: [x]}}
model: deepmedic_tiny
losses: [cross_entropy]
train: {steps: 3, batch_size: 2, validate_every: 2, precision: fp32}
"""


@dataclass(frozen=True)
class Said:
    """What a command left behind. out and err are its streams."""

    status: int
    out: str
    err: str


def called(*arguments: object) -> Said:
    """Call the command line in this process. What is no exit (a bug's traceback) is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


@dataclass(frozen=True)
class Place:
    """A working directory with `data`, a BraTS folder of its own, and the recipe `r.yaml`."""

    path: Path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def scan(self, case: int, name: str) -> Path:
        """A file of a case: flair, t1ce, seg."""
        return self.path / f"data/Phantom_00{case}/Phantom_00{case}_{name}.nii.gz"

    def edit(self, path: Path, change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray | None = None) -> None:
        """Write a scan again with other voxels, or elsewhere in space."""
        image = nibabel.load(path)
        array = change(np.asarray(image.dataobj))
        nibabel.Nifti1Image(array, image.affine if affine is None else affine).to_filename(path)

    def recipe(self, old: str = "", new: str = "", name: str = "r.yaml") -> Path:
        """The tiny recipe, with a part of its text replaced."""
        assert old in RECIPE
        path = self.path / name
        path.write_text(RECIPE.replace(old, new) if old else RECIPE)
        return path


@pytest.fixture(scope="session")
def segkit() -> Callable[..., Said]:
    """`segkit("train", recipe)` is the command `segkit train recipe`, in this process."""
    return called


@pytest.fixture(scope="session")
def scans(tmp_path_factory) -> Path:
    """Five phantom scans of 32^3 voxels, written by the command."""
    folder = tmp_path_factory.mktemp("phantom") / "data"
    assert called("phantom", "brats", "--output", folder, "--cases", 5, "--shape", 32, 32, 32).status == 0
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory, scans) -> Path:
    """The run of the tiny recipe, trained once by the command. Tests read it."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(scans, folder / "data")
    recipe = Place(folder).recipe()
    assert called("train", recipe, "--run", folder / "run", "--device", "cpu").status == 0
    return folder / "run"


@pytest.fixture
def place(tmp_path, scans, monkeypatch) -> Place:
    """A fresh working directory with its own copy of the scans."""
    shutil.copytree(scans, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    Place(tmp_path).recipe()
    return Place(tmp_path)


@pytest.fixture
def run(trained, place) -> Path:
    """A copy of the trained run in the working directory; its recipe names the data it was trained on."""
    return Path(shutil.copytree(trained, place / "run"))
