"""Validation: whole volumes through the network, scored on their native grids."""

from collections.abc import Sequence

import torch

from segkit.engine.device import Precision
from segkit.engine.evaluate import DiceMeans, Row, Scoring
from segkit.engine.infer import predict_case
from segkit.metrics.overlap import Dice
from segkit.models.base import Network
from segkit.recipe import Recipe
from segkit.volume import nifti
from segkit.volume.case import CaseFiles
from segkit.volume.store import Store


def validate(
    network: Network, recipe: Recipe, cases: Sequence[CaseFiles], store: Store, device: torch.device, precision: Precision
) -> DiceMeans:
    """Mean Dice per class and region over labelled cases.

    The labels are read from the data set itself: nothing cropped or resampled takes part.
    """
    scoring = Scoring.of(recipe).only(Dice())
    rows: list[Row] = []
    for files in cases:
        assert files.label is not None, "validation cases have labels: the split checks it"
        prediction = predict_case([(network, recipe)], store.case(files.id).as_case(), device, precision, mirror=False)
        label = nifti.read_label(files.label, accept_sform=recipe.dataset.accept_sform)
        rows += scoring.rows(files.id, prediction.indices, recipe.dataset.class_map.encode(label.array, str(files.label)), label.spacing_mm)
    return DiceMeans.over(rows, recipe.train.best or recipe.class_names()[1:])
