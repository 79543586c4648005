"""Predictions inside a stated memory: how cases are worked on so that none takes more, decided before the first is read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import torch

from segkit.config.errors import InputError, SegkitError
from segkit.engine.device import device_named
from segkit.engine.infer import Predictor, Way
from segkit.engine.memory import Extent, Need, held_by_device, held_by_process, need_of, parse_bytes, shown
from segkit.engine.slabs import View
from segkit.volume.case import CaseFiles

Views = tuple[View, ...]


@dataclass(frozen=True)
class Budget:
    """Bytes that may be taken. host: by the process, with what it holds already. device: of a device with memory of its own."""

    host: int | None = None
    device: int | None = None

    @classmethod
    def of(cls, ram: str | None, vram: str | None, device: str) -> "Budget | None":
        """From `--ram-budget`, `--vram-budget` and `--device`; None where neither budget is given. Raises InputError."""
        if ram is None and vram is None:
            return None
        host, memory = (
            None if text is None else parse_bytes(text, option) for text, option in ((ram, "--ram-budget"), (vram, "--vram-budget"))
        )
        budget = cls(host, memory)
        budget.check(device_named(device)[0])
        return budget

    def check(self, kind: str) -> None:
        """Raises InputError (SK-I051) for a budget of a device's memory where this kind of device computes, which has none of its own."""
        if self.device is not None and kind == "cpu":
            what = "a budget for the memory of a device that computes nothing"
            raise InputError("SK-I051", what, where="--vram-budget", got=f"{shown(self.device)} on the CPU", remedy="use --ram-budget")


@dataclass(frozen=True)
class Plan:
    """How a cohort is worked on. need: of a case as large as the largest of those that are not refused, if there are any."""

    views: Views
    way: Way
    need: Need | None


def plan(predictor: Predictor, cases: Sequence[CaseFiles], budget: Budget, *, with_probabilities: bool = False) -> Plan:
    """The fastest way that stays inside the budget.

    First one case after the other, then with memory freed at once (`Way.frugal`), then lighter views (`View.lighter`); a case that does
    not fit then is refused. One whose header cannot be read is left to the reader, who says why. Raises InputError for a budget of a
    device where the CPU computes.
    """
    budget.check(predictor.device.type)
    host = None if budget.host is None else budget.host - held_by_process()
    device = None if budget.device is None else budget.device - held_by_device(predictor.device)
    extents = readable_extents(predictor, cases)

    def need(extent: Extent, views: Views, frugal: bool) -> Need:
        model = predictor.recipe, views, predictor.device, predictor.precision
        return need_of(extent, *model, frugal=frugal, with_probabilities=with_probabilities)

    def fits(need: Need) -> bool:
        return (host is None or need.alone <= host) and (device is None or need.device <= device)

    def planned(views: Views, frugal: bool, largest: Need, refused: dict[str, InputError]) -> Plan:
        return Plan(views, Way(host is None or largest.overlapped <= host, frugal, refused), largest)

    if not extents:
        return Plan(predictor.views, Way(), None)
    largest = reduce(Extent.beside, extents.values())  # first as one, which is quick where there are many
    for views, frugal in lighter_and_lighter(predictor.views, predictor.device):
        if fits(found := need(largest, views, frugal)):
            return planned(views, frugal, found, {})
    needs = {extent: need(extent, views, frugal) for extent in dict.fromkeys(extents.values())}
    admitted = [each for each in needs.values() if fits(each)]
    unfit = {case: needs[extent] for case, extent in extents.items() if not fits(needs[extent])}
    refused = {case: too_large(case, each, budget, predictor.device) for case, each in unfit.items()}
    return planned(views, frugal, reduce(Need.beside, admitted), refused) if admitted else Plan(predictor.views, Way(refused=refused), None)


def lighter_and_lighter(views: Views, device: torch.device) -> Iterator[tuple[Views, bool]]:
    """The views and whether memory is freed at once, with less and less memory. Only on the CPU are the tensors in the heap."""
    yield views, False
    frugal = device.type == "cpu"
    if frugal:
        yield views, True
    while any(view.lighter() for view in views):
        views = tuple(view.lighter() or view for view in views)
        yield views, frugal


def readable_extents(predictor: Predictor, cases: Sequence[CaseFiles]) -> dict[str, Extent]:
    """By case, where the header can be read."""
    found = {}
    for files in cases:
        try:
            found[files.id] = Extent.of(files, predictor.recipe)
        except SegkitError:  # said when the case is read
            continue
    return found


def too_large(case: str, need: Need, budget: Budget, device: torch.device) -> InputError:
    """The refusal of a case, before it is read."""
    on_device = need.device + held_by_device(device)
    if budget.device is not None and on_device > budget.device:
        limit, least, option = budget.device, on_device, "--vram-budget"
    else:
        limit, least, option = budget.host or 0, need.alone + held_by_process(), "--ram-budget"
    return InputError(
        "SK-I052",
        "a case that may take more memory than the budget",
        where=f"case {case}",
        expected=f"at most {shown(limit)}",
        got=f"up to {shown(least)}, as small as it can be made",
        remedy=f"raise {option}; a coarser preprocess.spacing_mm takes less in a model to be trained",
    )


def described(plan: Plan, budget: Budget, before: Views) -> str:
    """A line for people: what will be taken, of how much, and what was done to stay below."""
    if plan.need is None:
        return "no case fits into the budget" if plan.way.refused else "no header can be read: the budget is not checked"
    host = held_by_process() + (plan.need.overlapped if plan.way.overlapped else plan.need.alone)
    parts = [f"at most {shown(host)} of memory" + (f", of {shown(budget.host)}" if budget.host else "")]
    if plan.need.device:
        parts.append(f"{shown(plan.need.device)} of the device's" + (f", of {shown(budget.device)}" if budget.device else ""))
    if not plan.way.overlapped:
        parts.append("one case after the other")
    if plan.way.frugal:
        parts.append("memory freed at once")
    for view, other in zip(plan.views, before, strict=True):
        if view != other:
            tile = "x".join(map(str, view.tile))
            parts.append(f"tiles of {tile}, {view.batch} at once")
    return "; ".join(parts)
