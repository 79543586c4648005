"""What an analysis of a run was made from, as a hash: the same mark, the same result."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from segkit.analysis.observe import Split
from segkit.engine.cohort import reach, store_settings
from segkit.engine.device import choose_precision
from segkit.engine.weights import Trained
from segkit.volume.case import CaseFiles
from segkit.volume.store import Store

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
