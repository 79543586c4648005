"""Cases for prediction in folders that follow no data set's layout: channels by number, or one file a case."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from segkit.config.errors import InputError
from segkit.datasets.candidate import Candidate, complete, listing, only, stem, volumes
from segkit.volume.case import CaseFiles, Source

_NUMBERED = re.compile(r"(?P<case>.+)_(?P<position>[0-9]{4})")


def numbered(folder: Path, positions: Mapping[str, int], count: int) -> list[Candidate]:
    """Cases `<case>_0000.nii.gz`, `<case>_0001.nii.gz`, ... of one folder; empty where no file has such a name.

    positions: the number each wanted channel has in the file names. count: how many channels a case has on disk; a case with more is
    not what the network was trained on, and reported.
    """
    cases: dict[str, dict[int, list[Path]]] = {}
    for name, path in volumes(folder):
        if match := _NUMBERED.fullmatch(name):
            cases.setdefault(match["case"], {}).setdefault(int(match["position"]), []).append(path)
    return [_numbered_case(folder, case, files, positions, count) for case, files in sorted(cases.items())]


def _numbered_case(folder: Path, case: str, files: dict[int, list[Path]], positions: Mapping[str, int], count: int) -> Candidate:
    channels = {}
    problems: list[str] = []
    for channel, position in positions.items():
        path, problem = only(f"channel {channel}", files.get(position, ()), f"{case}_{position:04}.nii.gz", folder)
        problems += problem
        if path is not None:
            channels[channel] = Source(path)
    surplus = [path.name for position, paths in sorted(files.items()) if position >= count for path in paths]
    if surplus:
        problems.append(f"expected {count} channels, got also {', '.join(surplus)}")
    return Candidate(CaseFiles(case, channels), folder, tuple(problems))


def in_folder(folder: Path, channels: tuple[str, ...], tree: str, case_id: Callable[[str], str]) -> list[CaseFiles]:
    """The cases of a folder that is not in the data set's own layout: numbered channels, else single files of a one-channel model.

    tree: the own layout in words, for the message. case_id: of a single file's stem. Raises InputError where neither fits.
    """
    found = numbered(folder, {channel: position for position, channel in enumerate(channels)}, len(channels))
    if found:
        return complete(found, folder)
    files = volumes(folder)
    if files and len(channels) > 1:
        raise InputError(
            "SK-D012",
            f"the files of this folder do not say which channel they are; the model takes {len(channels)}: {', '.join(channels)}",
            where=folder,
            expected=f"{tree}; or <case>_0000.nii.gz to <case>_{len(channels) - 1:04}.nii.gz in the order {', '.join(channels)}",
            got=listing(folder),
        )
    if not files:
        raise InputError(
            "SK-D013",
            "no case in this folder",
            where=folder,
            expected=f"{tree}; or <case>_0000.nii.gz ...; or NIfTI files of a one-channel model",
            got=listing(folder),
        )
    return complete([Candidate(CaseFiles(case_id(name), {channels[0]: Source(path)}), path) for name, path in files], folder)


def single(path: Path, channels: tuple[str, ...], case_id: Callable[[str], str]) -> CaseFiles:
    """One NIfTI file as a case of a one-channel model. case_id: of its stem. Raises InputError for several channels."""
    name = stem(path)
    if name is None:
        raise InputError("SK-D014", "not a NIfTI file", where=path, expected="a name ending in .nii.gz or .nii, or a folder")
    if len(channels) > 1:
        raise InputError(
            "SK-D011",
            f"one file cannot be a case: the model takes {len(channels)} channels, {', '.join(channels)}",
            where=path,
            remedy=f"give the case's folder, or --channels {','.join(f'{channel}=FILE' for channel in channels)}",
        )
    return CaseFiles(case_id(name), {channels[0]: Source(path)})
