"""What an analysis of a run was made from, as a hash: the same mark, the same result."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from segkit.analysis.observe import Split
from segkit.config.atomic import atomic
from segkit.config.errors import InputError
from segkit.datasets.document import read_object
from segkit.engine.cohort import reach, store_settings
from segkit.engine.device import choose_precision
from segkit.engine.weights import Trained
from segkit.volume.case import CaseFiles
from segkit.volume.store import Store

MADE_FROM = "made_from.json"
FORMAT = 1  # of what analyses write and how they reckon: raised when the same facts give other results


def mark_of(trained: Trained, cases: Mapping[Split, Sequence[CaseFiles]], device: torch.device, *settings: object) -> str:
    """12 hexadecimal digits over weights, cases of each split, preprocessing, files (path, size, time of change), inference and scoring.

    settings: plain data, all that the analysis depends on beside these.
    """
    recipe, network = trained.recipe, trained.network
    files = [one for each in cases.values() for one in each]
    data = Store.locate(files, Path(), store_settings(recipe, reach(network, recipe.sampling.patch_shape))).digest
    facts = [
        FORMAT,
        trained.sha256,
        {split: [one.id for one in each] for split, each in cases.items()},
        data,
        recipe.infer.model_dump(mode="json"),
        recipe.evaluate.model_dump(mode="json"),
        recipe.sampling.patch_shape,
        choose_precision(recipe.train.precision, device),
        *settings,
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def note_weights(paths: Sequence[Path], sha256: str | None) -> None:
    """Into `made_from.json` beside files just written: the weights that they were made from; what it says of other files stays.

    sha256: None for files that are not of a single network; what was noted of files in their place is taken out.
    """
    for folder in dict.fromkeys(path.parent for path in paths):
        names = {path.name for path in paths if path.parent == folder}
        before = noted_weights(folder)
        after = {name: weights for name, weights in before.items() if name not in names}
        after |= {} if sha256 is None else dict.fromkeys(sorted(names), sha256)
        if after != before:
            with atomic(folder / MADE_FROM) as temporary:
                temporary.write_text(json.dumps(after, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def noted_weights(folder: Path) -> dict[str, str]:
    """By name of a file in the folder, the sha256 of the weights it was made from. Raises InputError where that is damaged."""
    path = folder / MADE_FROM
    noted = read_object(path) if path.exists() else {}
    wrong = [name for name, weights in noted.items() if not isinstance(weights, str)]
    if wrong:
        raise InputError(
            "SK-A020",
            "what files were made from is damaged",
            where=path,
            expected="{file name: sha256 of the weights}",
            got=f"{type(noted[wrong[0]]).__name__} for {wrong[0]}",
            remedy="remove it, and make the analysis again",
        )
    return noted
