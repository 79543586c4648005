"""Integrity of data and recipe: every finding at once, nothing trained."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from segkit.config.errors import InputError, SegkitError
from segkit.volume.case import Case, CaseFiles

Grade = Literal["error", "notice"]
TOGETHER = 2  # cases read at once: more would only hold more volumes in memory


@dataclass(frozen=True)
class Finding:
    """One thing found: what is wrong, in which case and file, what was expected and what is there, and what to do."""

    grade: Grade
    code: str
    case: str | None
    what: str
    where: str | None = None
    expected: str | None = None
    got: str | None = None
    remedy: str | None = None

    @classmethod
    def of(cls, error: SegkitError, case: str | None = None) -> "Finding":
        """An error as a finding."""
        where = None if error.where is None else str(error.where)
        return cls("error", error.code, case, error.what, where, error.expected, error.got, error.remedy)

    def block(self) -> str:
        """As errors are printed, with the case in front."""
        facts = InputError(self.code, self.what, where=self.where, expected=self.expected, got=self.got, remedy=self.remedy)
        return f"{self.grade}{f' in case {self.case}' if self.case else ''}: {facts.block()}"

    def facts(self) -> dict[str, str | None]:
        """For `integrity.json`."""
        return asdict(self)


def check_cases(cases: Sequence[CaseFiles], prepare: Callable[[CaseFiles], Case], names: Sequence[str]) -> Iterator[list[Finding]]:
    """Findings of each case, in order, then of all together: every file is read to its end and preprocessed as training would."""
    present = [0] * len(names)
    with ThreadPoolExecutor(TOGETHER) as pool:
        for files, found in zip(cases, pool.map(lambda files: _check_case(files, prepare), cases), strict=True):
            findings, counts = found
            present = [total + count for total, count in zip(present, counts or [0] * len(names), strict=True)]
            if files.label is None:
                findings.append(Finding("notice", "SK-D090", files.id, "no label: this case can be predicted, not trained on"))
            yield findings
    empty = [name for name, count in zip(names, present, strict=True) if not count]
    if empty:
        yield [
            Finding(
                "error",
                "SK-D091",
                None,
                f"no case holds a voxel of {', '.join(empty)}",
                expected="every class in at least one label, inside the ROI",
                remedy="check the class map against the label files",
            )
        ]


def _check_case(files: CaseFiles, prepare: Callable[[CaseFiles], Case]) -> tuple[list[Finding], list[int] | None]:
    try:
        case = prepare(files)
    except InputError as error:
        return [Finding.of(error, files.id)], None
    findings = [Finding("notice", "SK-V099", files.id, notice) for notice in case.notices]
    if case.label is None:
        return findings, None
    inside = case.label[case.roi]
    return findings, [int((inside == index).sum()) for index in range(case.classes)]


def default_report(path: Path) -> Path:
    """Where `integrity.json` goes by default: the working directory, since data sets are never written to."""
    return Path.cwd() / "integrity.json" if path.is_dir() else path.resolve().parent / "integrity.json"
