"""What benchmarks of networks compute on: BRATS 2015 in DeepMedic's example layout, or phantoms of the same size."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from segkit.recipe import Recipe, read

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
PHANTOM = "dataset={{name: phantom, kind: brats, cases: 2, shape: {shape}, root: {root}, channels: [flair, t1c], split: {{test: 0}}}}"
SHAPE = (240, 240, 155)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What says where the scans are."""
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="BRATS 2015; without it phantoms are drawn")
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPE, metavar="VOXELS", help="of the phantoms")
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)  # where another process has drawn them


@contextmanager
def scratch_of(arguments: argparse.Namespace) -> Iterator[list[str]]:
    """Sets `arguments.scratch` to a folder that goes at the end. Yields arguments with which another process finds the same scans."""
    with TemporaryDirectory() as temporary:
        arguments.scratch = arguments.scratch or Path(temporary)
        yield [
            *(["--data", os.fspath(arguments.data)] if arguments.data else []),
            *("--shape", *map(str, arguments.shape), "--scratch", os.fspath(arguments.scratch)),
        ]


def recipe_of(arguments: argparse.Namespace, *changes: str) -> Recipe:
    """`configs/brats/2015.yaml` on these scans, with `key.path=value` changes. All cases are for training."""
    if arguments.data:
        source = (f"dataset.root={arguments.data.resolve()}", "dataset.split={test: 0}")
    else:
        root = arguments.scratch / "phantom"
        source = (PHANTOM.format(shape=list(arguments.shape), root=root), "evaluate.regions={}", "infer.keep_largest=[]")
    return read(CONFIGS / "brats" / "2015.yaml", (*source, f"preprocess.store={arguments.scratch / 'store'}", *changes))
