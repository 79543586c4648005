"""A tiny experiment: phantom scans, the smallest networks, a handful of steps."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from segkit.config.overrides import apply_values
from segkit.config.yaml import loads
from segkit.phantom.write import write
from segkit.recipe import Recipe, resolve

TINY = """
dataset:
  name: phantom
  root: {root}
  cases: 4
  shape: [32, 32, 32]
  channels: [flair, t1c]
  classes: {{tumor: [1, 2, 4]}}
  split: {{test: 1, validation: 1}}
preprocess: {{store: {store}}}
sampling: {{patch_shape: [12, 12, 12], augment: {{flip: [x], rotation: 10, intensity: {{noise: 0.1}}}}}}
model: {{name: deepmedic_tiny}}
losses: [cross_entropy]
train: {{steps: 6, batch_size: 2, validate_every: 3, checkpoint_every: 2, precision: fp32}}
"""


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory) -> Path:
    """Four phantom scans of 32^3 voxels."""
    root = tmp_path_factory.mktemp("phantom")
    write("brats", root, 4, (32, 32, 32))
    return root


@pytest.fixture
def tiny_yaml(tiny_root, tmp_path) -> str:
    """The tiny recipe as text."""
    return TINY.format(root=tiny_root, store=tmp_path / "store")


@pytest.fixture(scope="session")
def torchrun():
    """`torchrun("train", folder)` is `together.py train folder` in two processes with a thread each. None of them is left behind."""

    def started(*arguments: object) -> subprocess.CompletedProcess:
        script = Path(__file__).with_name("together.py")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), "--"]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen([*command, *map(str, arguments)], env=os.environ | {"OMP_NUM_THREADS": "1"}, **streams) as process:
            try:
                out, error = process.communicate(timeout=400)
            except subprocess.TimeoutExpired:
                process.terminate()  # torchrun ends those it has started
                out, error = process.communicate()
                pytest.fail(f"the processes have not ended:\n{out}\n{error}")
        return subprocess.CompletedProcess(command, process.returncode, out, error)

    return started


@pytest.fixture(scope="session")
def tiny_with(tiny_root):
    """Makes the tiny recipe with a store and values set on top."""

    def make(store: Path, **values) -> Recipe:
        document = loads(TINY.format(root=tiny_root, store=store), "tiny.yaml")
        return resolve(apply_values(document, {key.replace("__", "."): value for key, value in values.items()}))

    return make


@pytest.fixture
def tiny(tiny_with, tmp_path):
    """Makes the tiny recipe with values set on top."""
    return partial(tiny_with, tmp_path / "store")
