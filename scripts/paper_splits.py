"""Writes the split file of a paper's data set from the names of its cases, for configs/tables.

python scripts/paper_splits.py brats /data/MICCAI_BraTS17_Data_Training data/brats_core_split.json
python scripts/paper_splits.py atlas /data/atlas/images data/atlas_split.json

Li, Kamnitsas and Glocker (MICCAI 2019, IEEE TMI 2020) publish lists of cases in part; these rules continue them.

brats   case folders under HGG and then LGG, each sorted by name: numbers 0, 3, 6, ... are test cases, the others train, in this order.
        210 and 75 folders give 95 test and 190 training cases. Smaller training sets are its beginning, so 10 and 20 % are all HGG.
        Checked: on the first 57 names of HGG, those that the authors' list of 20 % spans, the rule gives their lists. Inferred: all
        beyond, LGG among it, and 5 % as the first 10.
atlas   cases sorted by name: the last 75 are test cases, the others train, in this order. 220 files give 145 training cases.
        Known: the authors' numbers of 50 % (the first 73) and of the test cases. Inferred: 100 % as all but these, 30 % as the first 44.

A folder with another number of cases is refused, since other cases would train and test under the papers' name.
The file says so itself, under `rule` and `inferred`, which segkit does not read.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from segkit.config.atomic import atomic

Split = dict[str, str | list[str]]
GRADES = {"HGG": 210, "LGG": 75}  # cases of BraTS 2017, and of 2018, which are the same
ATLAS = 220  # 031768 to 031987
ATLAS_TEST = 75


def brats(grades: Sequence[Sequence[str]]) -> Split:
    """grades: case names of HGG, then of LGG, in any order."""
    ordered = [sorted(names) for names in grades]
    return {
        "rule": "HGG, then LGG, each sorted by name: every third from the first on is a test case; smaller training sets are the beginning",
        "inferred": "all beyond the first 57 names of HGG, LGG among it, and 5 % as the first 10 to train on",
        "test": [name for names in ordered for name in names[::3]],
        "train_order": [name for names in ordered for position, name in enumerate(names) if position % 3],
    }


def atlas(names: Sequence[str]) -> Split:
    """names: of all cases, in any order."""
    ordered = sorted(names)
    return {
        "rule": "sorted by name: the last 75 are test cases; smaller training sets are the beginning",
        "inferred": "100 % as all cases but the test cases, and 30 % as its beginning",
        "test": ordered[-ATLAS_TEST:],
        "train_order": ordered[:-ATLAS_TEST],
    }


def folders(root: Path) -> list[str]:
    """Names of the folders in a folder."""
    return [path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]


def volumes(root: Path) -> list[str]:
    """Names of the NIfTI files in a folder, without suffix."""
    names = [path.name.removesuffix(".gz") for path in root.iterdir() if path.name.endswith((".nii", ".nii.gz"))]
    return [name.removesuffix(".nii") for name in names if not name.startswith(".")]


def main() -> None:
    """Read the command line, look at the names, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rule", choices=["brats", "atlas"])
    parser.add_argument("root", type=Path, help="brats: the folder of HGG and LGG; atlas: the folder of the images")
    parser.add_argument("output", type=Path, help="the split file")
    asked = parser.parse_args()
    needed = {asked.root / grade: count for grade, count in GRADES.items()} if asked.rule == "brats" else {asked.root: ATLAS}
    for folder in needed:
        if not folder.is_dir():
            parser.error(f"no such folder: {folder}")
    found = {folder: (folders if asked.rule == "brats" else volumes)(folder) for folder in needed}
    for folder, count in needed.items():
        if len(found[folder]) != count:
            parser.error(f"not the paper's cases: {folder}: expected {count}, got {len(found[folder])}")
    split = brats(list(found.values())) if asked.rule == "brats" else atlas(found[asked.root])
    with atomic(asked.output) as temporary:
        temporary.write_text(json.dumps(split, indent=1) + "\n", encoding="utf-8")
    print(f"{len(split['test'])} test and {len(split['train_order'])} training cases; inferred: {split['inferred']}")


if __name__ == "__main__":
    main()
