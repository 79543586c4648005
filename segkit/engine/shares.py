"""Prediction of a cohort by several workers: each takes a share of the cases, this process alone writes the index."""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from segkit.config.errors import InputError, SegkitError, WorkError
from segkit.engine.budget import Budget, plan
from segkit.engine.device import choose_device
from segkit.engine.index import Facts
from segkit.engine.infer import Outcome, Prediction, Predictor, Way, begin, failed, open_index, skipped, worked_through, written
from segkit.launch.event import Launch, Lost
from segkit.volume.case import CaseFiles


@dataclass(frozen=True)
class Share:
    """What a worker is asked to predict, and how: plain data. The options are those of `Predictor.load` and `predict_all`.

    budget: of each worker. mark: of the index; where the models have become others, a worker refuses.
    """

    models: tuple[Path, ...]
    output: Path
    device: str
    mirror: bool | None = None
    accept_sform: bool = False
    with_probabilities: bool = False
    roi: Path | None = None
    budget: Budget | None = None
    cases: tuple[CaseFiles, ...] = ()
    mark: str = ""


def predict_shares(
    predictor: Predictor, cases: Sequence[CaseFiles], asked: Share, launch: Launch, workers: int, overwrite: bool = False
) -> Generator[Outcome, None, None]:
    """As `predict_all`, with the cases divided among workers, in turn. predictor: of the same models and settings; it predicts nothing.

    A worker that is lost costs the cases that it has not written: they fail, and the next call predicts them. asked: without cases.
    """
    index, todo = begin(predictor, cases, asked.output, asked.with_probabilities, asked.roi, overwrite)
    yield from skipped(cases, todo)
    count = min(workers, len(todo))
    shares = [replace(asked, cases=tuple(todo[first::count]), mark=index.mark) for first in range(count)]
    waiting = {files.id for files in todo}
    with closing(launch(predict_share, shares)) as events:
        for event in events:
            if isinstance(event, Lost):
                error: SegkitError = WorkError(
                    "SK-I040",
                    "the worker that had this case ended before it was done",
                    where=asked.output,
                    got=event.got,
                    remedy="run the same command again: what was written is kept",
                )
                said = [failed(files.id, error) for files in event.task.cases if files.id in waiting]
            elif isinstance(event.message, SegkitError):
                said = [failed(files.id, event.message) for files in event.task.cases if files.id in waiting]
            else:
                said = [event.message]
            for outcome, facts in said:
                index.note(outcome.case, facts)
                waiting.discard(outcome.case)
            index.write()
            yield from (outcome for outcome, _ in said)


def predict_share(share: Share) -> Iterator[tuple[Outcome, Facts]]:
    """In a worker: the outcome of each case and its entry in the index. The models are loaded once."""
    device = choose_device(share.device)
    predictor = Predictor.load(share.models, device, mirror=share.mirror, accept_sform=share.accept_sform)
    index = open_index(predictor, share.output, share.roi)
    if index.mark != share.mark:
        raise InputError(
            "SK-I041",
            "a worker finds other models than the command did",
            where=f"{os.uname().nodename}: {', '.join(map(str, share.models))}",
            remedy="run the same command again when nothing writes these models",
        )

    def write(files: CaseFiles, result: Prediction | SegkitError) -> tuple[Outcome, Facts]:
        return written(index, predictor, files, result)

    way = Way()
    if share.budget is not None:
        found = plan(predictor, share.cases, share.budget, with_probabilities=share.with_probabilities)
        predictor.views, way = found.views, found.way
    yield from worked_through(predictor, share.cases, write, share.roi, way, with_probabilities=share.with_probabilities)
