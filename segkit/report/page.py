"""The page: everything that lies in a run's folder, as one HTML file that loads nothing."""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from segkit.config.atomic import atomic
from segkit.config.errors import InputError, SegkitError, WorkError
from segkit.datasets.split import Splits
from segkit.engine.console import Console
from segkit.engine.evaluate import Row, read_scores
from segkit.engine.run import Run
from segkit.recipe import Recipe, read
from segkit.report import facts
from segkit.report.curves import charts
from segkit.report.figures import Figure, Table, figures, outdated, tables
from segkit.report.history import History, read_history
from segkit.report.notation import digest, number, position, strict_json
from segkit.report.overlay import MARGIN_MM, Look, Panel, look_at, panels
from segkit.report.scores import Scores, title_of
from segkit.report.size import scale_of, volume_of, within_limit

T = TypeVar("T")

HERE = Path(__file__).parent
HUES = 6  # colors of classes in page.css; further classes have them again, with dashed lines


@dataclass(frozen=True)
class Shown:
    """A case that stands for others. place: its rank in words. look: None where it cannot be shown, and `problem` says why."""

    case: str
    place: str
    dice: float
    look: Look | None
    problem: str


@dataclass(frozen=True)
class Sources:
    """What the page is made of. splits: None where the data are not there, and `data_problem` says why.

    damaged: by section of the page, files of the run that cannot be used, in words; what they would have shown is left out.
    """

    run: Run
    recipe: Recipe
    splits: Splits | None
    data_problem: str
    scores: Scores | None
    shown: Sequence[Shown]
    history: History
    origin: facts.Origin | None
    not_scored: Sequence[tuple[str, str]]
    predicted_by: Sequence[str]
    figures: Sequence[Figure]
    tables: Sequence[Table]
    outdated: Sequence[str]
    damaged: Mapping[str, Sequence[str]]


def write_report(run: Run, output: Path, console: Console) -> str:
    """Write the page of a run, and return its size in words.

    Raises InputError where there is no run, or its recipe cannot be read; WorkError (SK-W002), after the page was written, where other
    files of it are damaged: what they would have shown is left out.
    """
    sources = gather(run, console)
    page = render(sources)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic(output) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    if sources.damaged:
        got = "; ".join(dict.fromkeys(problem for each in sources.damaged.values() for problem in each))
        raise WorkError("SK-W002", "files of the run are damaged; the page was written without them", where=output, got=got)
    return volume_of(page)


def gather(run: Run, console: Console) -> Sources:
    """Everything that has to be read, from the run's folder and from the data set. A damaged file costs its section."""
    if not run.recipe.is_file():
        raise InputError(
            "SK-W001",
            "this is no run",
            where=run.path,
            expected=f"a run folder with {run.recipe.name}",
            remedy="name the folder that segkit train --run made",
        )
    recipe = read(run.recipe)
    splits, data_problem = None, ""
    try:
        splits = recipe.dataset.splits()
    except SegkitError as error:
        data_problem = in_words(error)
    damaged: dict[str, list[str]] = {}

    def whole(section: str, read: Callable[[Run], T], otherwise: T) -> T:
        try:
            return read(run)
        except InputError as error:
            damaged.setdefault(section, []).append(in_words(error))
            return otherwise

    nothing: tuple[Row, ...] = ()
    rows = whole("scores", _rows, nothing)
    averaged = tuple(dict.fromkeys(row.structure for row in rows if row.structure not in recipe.evaluate.regions))
    scores = Scores(rows, averaged) if rows else None
    shown = []
    chosen = examples(scores.ranking()) if scores is not None and splits is not None else []
    with console.track("draw", len(chosen)) as tracker:
        for place, case, dice in chosen:
            shown.append(_shown(run, recipe, splits, place, case, dice))
            tracker.advance(case)
    return Sources(
        run,
        recipe,
        splits,
        data_problem,
        scores,
        shown,
        history=whole("training", read_history, History(np.empty(0, dtype=np.int64), {})),
        origin=whole("provenance", facts.read_origin, None),
        not_scored=whole("scores", facts.not_scored, []),
        predicted_by=whole("provenance", facts.predicted_by, []),
        figures=whole("analysis", figures, []),
        tables=whole("analysis", tables, []),
        outdated=whole("analysis", outdated, []),
        damaged={section: list(dict.fromkeys(problems)) for section, problems in damaged.items()},
    )


def _rows(run: Run) -> tuple[Row, ...]:
    return tuple(read_scores(run.scores)) if run.scores.is_file() else ()


def examples(ranking: Sequence[tuple[str, float]]) -> list[tuple[str, str, float]]:
    """(place, case, mean Dice) of the worst, the median and the best case; of an even number the lower median; no case twice."""
    count = len(ranking)
    if count == 1:
        return [("only", *ranking[0])]
    places = {0: "worst", count - 1: "best"} if count else {}
    if count > 2:
        places[(count - 1) // 2] = "median"
    return [(places[index], *ranking[index]) for index in sorted(places)]


def in_words(error: SegkitError) -> str:
    """An error on one line, with its place."""
    return f"{error.code}: {error.what}" + (f" ({error.where})" if error.where is not None else "")


def render(sources: Sources) -> str:
    """The page as text."""
    fixed = _context(sources)
    return within_limit(lambda slices: _filled(fixed, [(each, panels(each.look, slices) if each.look else []) for each in sources.shown]))


def _shown(run: Run, recipe: Recipe, splits: Splits | None, place: str, case: str, dice: float) -> Shown:
    known = {files.id: files for side in (splits.training, splits.validation, splits.test) for files in side} if splits else {}
    if case not in known:
        return Shown(case, place, dice, None, "the data set has no case of this name in its split")
    try:
        return Shown(case, place, dice, look_at(run, recipe, known[case]), "")
    except SegkitError as error:
        return Shown(case, place, dice, None, in_words(error))


def _context(sources: Sources) -> dict[str, Any]:
    """Everything the template is filled with, but the pictures."""
    run, recipe, scores, splits = sources.run, sources.recipe, sources.scores, sources.splits
    history = sources.history
    names = (*recipe.class_names()[1:], *recipe.evaluate.regions)
    return {
        "name": run.name,
        "folder": run.path.resolve(),
        "recipe": recipe,
        "recipe_text": run.recipe.read_text(encoding="utf-8"),
        "splits": splits,
        "data_problem": sources.data_problem,
        "hue": {name: index for index, name in enumerate(names)},
        "network": facts.Part.of(recipe.model),
        "objective": facts.Objective.of(recipe),
        "optimizer": facts.Part.of(recipe.train.optimizer),
        "schedule": facts.Part.of(recipe.train.schedule),
        "origin": sources.origin,
        "history": history,
        "trained_for": facts.duration(history.step_seconds),
        "charts": charts(history),
        "scores": scores,
        "whose": facts.whose(scores.cases, splits) if scores else "",
        "summary": scores.summary() if scores else {},
        "score_tables": scores.tables() if scores else [],
        "not_scored": sources.not_scored,
        "predicted_by": sources.predicted_by,
        "has_predictions": run.predictions.is_dir(),
        "figures": sources.figures,
        "tables": sources.tables,
        "outdated": sources.outdated,
        "damaged": sources.damaged,
        "command": shlex.quote(str(run.path)),
        "made": time.strftime("%Y-%m-%d"),
        "version": version("segkit"),
    }


def _filled(context: Mapping[str, Any], pictures: Sequence[tuple[Shown, Sequence[Panel]]]) -> str:
    """The template with its style and script inlined; the page's own size is part of it, so it is filled twice."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "strict_json": strict_json, "title": title_of}
    environment.globals |= {"hues": HUES, "position": position, "scale_of": scale_of, "margin": f"{MARGIN_MM:g}"}
    template = environment.get_template("template.html")
    style, script = (HERE.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {digest(style)}; script-src {digest(script)}; base-uri 'none'; form-action 'none'"
    )
    inlined = {"style": Markup(style), "script": Markup(script), "policy": policy, "pictures": pictures}
    draft = template.render(context, **inlined, size="0.0 MB")
    return template.render(context, **inlined, size=volume_of(draft))
