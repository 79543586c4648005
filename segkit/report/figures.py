"""Figures and tables of analyses, found in the folder of a run, each with how to read it."""

import base64
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segkit.analysis.mark import noted_weights
from segkit.config.errors import InputError
from segkit.engine.run import Run
from segkit.engine.weights import stored_sha256

Age = Literal["fresh", "outdated", "unknown"]

PNG = b"\x89PNG\r\n\x1a\n"
ROWS = 60  # of a table that are shown


@dataclass(frozen=True)
class Kind:
    """pattern: of paths in a run's folder. caption: how to read it. of_weights: whether it shows the network that the run keeps."""

    pattern: str
    title: str
    caption: str
    of_weights: bool = True


FIGURES = (
    Kind(
        "analysis/logits.png",
        "Logits on training and test cases",
        "Voxels of a class (above) and of the background (below), in the plane of both logits; contours hold 50 and 90 % of them, the arrow"
        " goes from the mean on training cases to the mean on test cases. An arrow of a class towards the dashed line, and over it into the"
        " shaded side, is overfitting: its voxels are lost on new cases.",
    ),
    Kind(
        "analysis/performance.png",
        "Scores on training and test cases",
        "The same scores on cases that were trained on (dashed, open) and on cases that were not (solid, filled). The gap between the two"
        " is what was learned by heart; where sensitivity falls and precision stays, a class is missed rather than confused.",
    ),
    Kind(
        "analysis/embeddings_topk_magnitude.png",
        "Channels that a class rests on",
        "A bar is the evidence for a class, a segment the share of one feature channel. A bar of few large segments rests on few channels.",
    ),
    Kind(
        "analysis/embeddings_topk_frequency.png",
        "How often these channels lead",
        "Left: in how many voxels of the class each of its channels is among the strongest; right: the same in the voxels of other classes."
        " High values off the diagonal are features that two classes share.",
    ),
    Kind(
        "analysis/embeddings_train_test_magnitude.png",
        "Features on training and test cases",
        "What each channel adds to the evidence for its class on training and on test cases, and the difference. Where test bars are"
        " shorter for one class and not for others, the features of this class do not carry over to new cases.",
    ),
    Kind(
        "analysis/embeddings_diversity.png",
        "Diversity of the features",
        "How many channels lead in the voxels of a class, and in how many directions its features vary. A class with low values is"
        " recognized by one narrow pattern.",
    ),
    Kind(
        "analysis/embeddings_gap_vs_recall.png",
        "Features that do not carry over, and lost recall",
        "A dot a class: how well its features match between training and test cases, against the recall that it loses on the latter."
        " Filled dots are of all its voxels, hollow ones of those that were recognized. The share beyond the training range grows as"
        " training cases get fewer even where nothing is wrong, so only runs with the same numbers of cases compare.",
    ),
    Kind(
        "analysis/progress_curves.png",
        "Progress of the classes",
        "The share of the voxels of each class that is recognized in training batches, and the share that the large classes take, over the"
        " steps; lines of small classes are thick. Lines that rise late are classes that are learned last.",
        of_weights=False,
    ),
    Kind(
        "analysis/feature_grad.png",
        "Gradients of the classes",
        "How hard a voxel of each class pulls at the features, over the steps, on logarithmic axes. A class whose line has sunk no longer"
        " teaches the network much; the lowest panel compares small classes with large ones.",
        of_weights=False,
    ),
    Kind(
        "sweep.png",
        "Decision thresholds",
        "Mean sensitivity against mean precision when the logits of the rare classes are shifted after training; the large dot is the run"
        " as it predicts. What moves along a curve is a matter of the threshold, what moves the curve is a matter of training.",
        of_weights=False,  # but of predictions
    ),
)
TABLES = (
    Kind(
        "analysis/shift.csv",
        "Logit shift",
        "Means over training and over test cases, and their difference with its interval. A claim can rest on the centered logits, the"
        " margins and the share over the boundary only: a number added to all logits of a voxel changes nothing that is predicted.",
    ),
)


@dataclass(frozen=True)
class Figure:
    """An image of the run's folder as a data URI. known: whether it is known to be of the run's weights, or is not of weights at all."""

    name: str
    title: str
    caption: str
    source: str
    known: bool


@dataclass(frozen=True)
class Table:
    """The first rows of a CSV file as text; `left_out` more are in the file. numeric: columns whose cells are numbers. known: as above."""

    name: str
    title: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int
    numeric: tuple[bool, ...]
    known: bool


def figures(run: Run) -> list[Figure]:
    """Those that are there, in the order of FIGURES, but for outdated ones. Raises InputError where one is no PNG image."""
    return [_figure(path, kind, age == "fresh") for path, kind, age in _found(run, FIGURES) if age != "outdated"]


def tables(run: Run) -> list[Table]:
    """Those that are there, but for outdated ones. Raises InputError where one is no table."""
    return [_table(path, kind, age == "fresh") for path, kind, age in _found(run, TABLES) if age != "outdated"]


def outdated(run: Run) -> list[str]:
    """Names of figures and tables that were made from other weights than the run has now."""
    return [path.name for path, _, age in _found(run, (*FIGURES, *TABLES)) if age == "outdated"]


def _found(run: Run, kinds: Sequence[Kind]) -> Iterator[tuple[Path, Kind, Age]]:
    now, noted = stored_sha256(run), noted_weights(run.analysis)
    for kind in kinds:
        for path in sorted(run.path.glob(kind.pattern)):
            then = noted.get(path.name)
            if not kind.of_weights:
                yield path, kind, "fresh"
            elif then is None or now is None:
                yield path, kind, "unknown"
            else:
                yield path, kind, "fresh" if then == now else "outdated"


def _figure(path: Path, kind: Kind, known: bool) -> Figure:
    content = path.read_bytes()
    if not content.startswith(PNG):
        raise InputError("SK-W013", "a figure is damaged", where=path, expected="a PNG image", remedy="make it again, or remove it")
    return Figure(path.name, kind.title, kind.caption, "data:image/png;base64," + base64.b64encode(content).decode("ascii"), known)


def _table(path: Path, kind: Kind, known: bool) -> Table:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file, strict=True)
        if any(len(row) != len(header) for row in rows):
            raise ValueError("rows of different lengths")
    except (ValueError, csv.Error) as error:
        remedy = "make it again, or remove it"
        raise InputError("SK-W014", "a table is damaged", where=path, expected="CSV", got=str(error), remedy=remedy) from None
    numeric = tuple(any(column) and all(_is_number(cell) for cell in column if cell) for column in zip(*rows, strict=True))
    shown = tuple(tuple(_short(cell) for cell in row) for row in rows[:ROWS])
    return Table(
        path.name, kind.title, kind.caption, tuple(header), shown, max(0, len(rows) - ROWS), numeric or (False,) * len(header), known
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _short(cell: str) -> str:
    """Numbers with a fraction to four digits; others as they are."""
    return f"{float(cell):.4g}" if _is_number(cell) and not cell.lstrip("+-").isdigit() else cell
