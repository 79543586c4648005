"""Validation: whole volumes through the network, scored on their native grids."""

from collections.abc import Sequence

import torch

from segkit.engine.device import Precision
from segkit.engine.evaluate import DiceMeans, Row, Scoring
from segkit.engine.infer import predict_case, view_of
from segkit.engine.processes import ALONE, Processes
from segkit.metrics.overlap import Dice
from segkit.models.base import Network
from segkit.recipe import Recipe
from segkit.volume import nifti
from segkit.volume.case import CaseFiles
from segkit.volume.store import Store


def validate(
    network: Network,
    recipe: Recipe,
    cases: Sequence[CaseFiles],
    store: Store,
    device: torch.device,
    precision: Precision,
    processes: Processes = ALONE,
) -> DiceMeans:
    """Mean Dice per class and region over labelled cases, which the processes share; all get the means over all cases.

    The labels are read from the data set itself: nothing cropped or resampled takes part.
    """
    scoring, view = Scoring.of(recipe).only(Dice()), view_of(network, recipe, device, mirror=False)
    own: list[list[Row]] = []
    for files in cases[processes.rank :: processes.count]:
        assert files.label is not None, "validation cases have labels: the split checks it"
        prediction = predict_case([view], recipe, store.case(files.id).as_case(), device, precision)
        label = nifti.read_label(files.label, accept_sform=recipe.dataset.accept_sform)
        truth = recipe.dataset.class_map.encode(label.array, str(files.label))
        own.append(scoring.rows(files.id, prediction.indices, truth, label.spacing_mm))
    shares = processes.gather(own)
    rows = [row for index in range(len(cases)) for row in shares[index % processes.count][index // processes.count]]
    return DiceMeans.over(rows, recipe.train.best or recipe.class_names()[1:])
