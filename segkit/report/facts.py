"""What a run is, in words: its task, network, objective and training."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from segkit.config.emission import flow
from segkit.config.errors import InputError
from segkit.config.settings import Settings
from segkit.datasets.document import read_object
from segkit.datasets.split import Splits
from segkit.engine.log import Record
from segkit.engine.run import Run
from segkit.recipe import Recipe


@dataclass(frozen=True)
class Part:
    """A plug-in of the recipe: its name, what it is in a sentence, and its settings: `gamma 2.0, asymmetric true`."""

    name: str
    words: str
    settings: str

    @classmethod
    def of(cls, plugin: Settings) -> "Part":
        """words: the first line of the plug-in's file; of a file without one, of its class."""
        text = sys.modules[type(plugin).__module__].__doc__ or type(plugin).__doc__ or ""
        settings = [f"{name} {flow(value)}" for name, value in plugin.model_dump(mode="json").items() if value is not None]
        return cls(getattr(plugin, "name", ""), text.strip().partition("\n")[0].replace("`", ""), ", ".join(settings))


@dataclass(frozen=True)
class Objective:
    """What a step minimizes, and under what handicap."""

    losses: tuple[Part, ...]
    regularizers: tuple[Part, ...]

    @classmethod
    def of(cls, recipe: Recipe) -> "Objective":
        """In the recipe's order."""
        return cls(tuple(map(Part.of, recipe.losses)), tuple(map(Part.of, recipe.regularizers)))


@dataclass(frozen=True)
class Origin:
    """Where a result comes from; empty text where it is not known."""

    started: str
    device: str
    machine: str
    python: str
    versions: dict[str, str]
    commit: str
    cuda: str
    data: str
    command: str
    resumed: tuple[str, ...]


def read_origin(run: Run) -> Origin | None:
    """From `provenance.json`; None where there is none. Raises InputError where it cannot be read."""
    if not run.provenance.exists():
        return None
    facts = read_object(run.provenance)
    try:
        known = {name: str(facts.get(name) or "") for name in ("device", "machine", "python", "commit", "cuda", "data")}
        return Origin(
            started=moment(facts.get("started") or ""),
            versions=dict(facts.get("versions") or {}),
            command=shlex.join(map(str, facts.get("command") or ())),
            resumed=tuple(moment(again["started"]) for again in facts.get("resumed", ())),
            **known,
        )
    except (TypeError, ValueError, KeyError) as error:
        expected = "what segkit train writes"
        raise InputError("SK-W012", "the provenance is damaged", where=run.provenance, expected=expected, got=str(error)) from None


def moment(text: str) -> str:
    """`2026-11-21T11:34:27+0000` -> `2026-11-21 11:34 UTC`; a time without a zone has none, empty text stays."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M %Z}".rstrip() if text else ""


def duration(seconds: float) -> str:
    """`42 s`, `6 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def predicted_by(run: Run) -> list[str]:
    """The models that made the run's predictions: `run, step 1430, sha256 fa1b7d43...`; none where nothing says so.

    Raises InputError where the list is damaged.
    """
    path = run.predictions / "predictions.json"
    try:
        makers: Iterable[Record] = read_object(path).get("makers", {}).values() if path.exists() else ()
        models = [model for maker in makers for model in maker.get("models", ())]
        return [f"{model.get('name')}, step {model.get('step')}, sha256 {str(model.get('sha256'))[:12]}" for model in models]
    except (TypeError, AttributeError) as error:
        expected = "what segkit predict writes"
        raise InputError("SK-W015", "the list of predictions is damaged", where=path, expected=expected, got=str(error)) from None


def not_scored(run: Run) -> list[tuple[str, str]]:
    """Cases that could not be scored, and why, as `summary.json` has them. Raises InputError where that is damaged."""
    path = run.summary
    try:
        failed = read_object(path).get("failed", {}) if path.exists() else {}
        return [(case, f"{facts.get('error')}: {facts.get('message')}") for case, facts in failed.items()]
    except AttributeError as error:
        expected = "what segkit evaluate writes"
        raise InputError("SK-W016", "the summary of the scores is damaged", where=path, expected=expected, got=str(error)) from None


def whose(cases: Sequence[str], splits: Splits | None) -> str:
    """`45 of the 45 test cases`, for every side of the split that has some; empty text where the split is not known."""
    if splits is None:
        return ""
    sides = {"training": splits.training, "validation": splits.validation, "test": splits.test}
    counts = {side: (len({files.id for files in known} & set(cases)), len(known)) for side, known in sides.items()}
    parts = [f"{scored} of the {count} {side} cases" for side, (scored, count) in counts.items() if scored]
    elsewhere = len(set(cases)) - sum(scored for scored, _ in counts.values())
    return ", ".join([*parts, *[f"{elsewhere} of no split"] * bool(elsewhere)])
