"""A case as it lies on disk: the files that are there, what is wrong with them, and the words to say so."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segkit.config.errors import InputError
from segkit.volume.case import CaseFiles

ENDINGS = (".nii.gz", ".nii")
LISTED = 12  # names written out in a message before "and N more"


@dataclass(frozen=True)
class Candidate:
    """What a layout makes of some files: a case if there are no problems, else the lines that tell the user what is wrong.

    problems: with the image, so that the case is of no use. training_problems: with label or ROI; it can still be predicted.
    """

    files: CaseFiles
    where: Path
    problems: tuple[str, ...] = ()
    training_problems: tuple[str, ...] = ()

    def for_training(self, roi: str | None) -> "Candidate":
        """The same, held to what training needs: a sound label, and an ROI file where `roi` names one."""
        missing = (f"ROI: looked for {roi}, there is no such file",) if roi and self.files.roi is None else ()
        return replace(self, problems=(*self.problems, *self.training_problems, *missing))


def complete(candidates: Sequence[Candidate], where: Path) -> list[CaseFiles]:
    """The cases, sorted by id. Raises InputError with every problem of every case at once, or with the ids that occur twice."""
    bad = [candidate for candidate in candidates if candidate.problems]
    if bad:
        lines = [f"\n  {candidate.files.id}: {problem}" for candidate in sorted(bad, key=_id) for problem in candidate.problems]
        raise InputError(
            "SK-D003",
            f"{_counted(len(bad), 'case')} of {len(candidates)} cannot be used{''.join(lines)}",
            where=where,
            remedy="complete these cases, or take their folders away",
        )
    places: dict[str, list[Path]] = {}
    for candidate in candidates:
        places.setdefault(candidate.files.id, []).append(candidate.where)
    twice = {case: found for case, found in sorted(places.items()) if len(found) > 1}
    if twice:
        lines = [f"\n  {case}: {', '.join(str(place) for place in found)}" for case, found in twice.items()]
        raise InputError(
            "SK-D004", f"{_counted(len(twice), 'case id')} found more than once{''.join(lines)}", where=where, remedy="rename all but one"
        )
    return sorted((candidate.files for candidate in candidates), key=lambda files: files.id)


def _id(candidate: Candidate) -> str:
    return candidate.files.id


def existing(role: str, path: Path | None) -> tuple[Path | None, tuple[str, ...]]:
    """The path where it is a file, and the problem where it is not; neither where there is no path."""
    if path is None or path.is_file():
        return path, ()
    return None, (f"{role}: looked for {path}, there is no such file",)


def only(role: str, found: Sequence[Path], sought: str, folder: Path) -> tuple[Path | None, tuple[str, ...]]:
    """The one file that plays a role (`channel t1c`), and the problem where there is none or more than one.

    sought: the names that were looked for. folder: where; what is there instead goes into the message.
    """
    if len(found) == 1:
        return found[0], ()
    if found:
        return None, (f"{role}: expected one file {sought}, got {', '.join(sorted(path.name for path in found))}",)
    return None, (f"{role}: looked for {sought}, there is {listing(folder)}",)


def stem(path: Path) -> str | None:
    """The name without .nii or .nii.gz; None for other files and for hidden ones (archives made on a Mac are full of `._name.nii.gz`)."""
    for ending in ENDINGS:
        if path.name.lower().endswith(ending) and not path.name.startswith("."):
            return path.name[: -len(ending)]
    return None


def volumes(folder: Path) -> list[tuple[str, Path]]:
    """The NIfTI files of a folder with their stems, sorted by name. Empty where there is no such folder."""
    if not folder.is_dir():
        return []
    named = ((stem(path), path) for path in sorted(folder.iterdir()) if path.is_file())
    return [(name, path) for name, path in named if name]


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted by name, hidden ones left out."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def folder_name(folder: Path) -> str:
    """What a folder is called, also where the path is `.` or ends in `..`."""
    return folder.resolve().name if folder.name in ("", "..") else folder.name


def nameable(text: str) -> bool:
    """Whether an id or a class name can be a part of a file's name: not hidden, and never a path."""
    return text.isprintable() and not text.startswith(".") and not any(sign in text for sign in "/\\") and text.strip() != ""


def listing(folder: Path) -> str:
    """What is in a folder, in a line: the first names, folders with a slash."""
    if not folder.is_dir():
        return f"no folder {folder}"
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    if not names:
        return "nothing"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
