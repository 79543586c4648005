"""Preprocessed cases on disk: made once, found again by what they were made from.

<folder>/<key>/<case>.<sources>/  image.npy label.npy roi.npy voxels.npy case.json

key: a hash of the settings. sources: a hash of which files are which channels, label and ROI, so that data sets whose cases have the same
ids, or the same files in another order, live beside each other.

A case is written beside its place and renamed when it is whole, so that a killed process, or two at once, leave no half case.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any, Self

from segkit.config.atomic import sync
from segkit.config.errors import InputError, WorkError
from segkit.volume.case import Case, CaseFiles
from segkit.volume.entry import Fingerprint, StoredCase, damaged, intact, read_manifest, write_entry

FORMAT = 2  # part of the key: a store of another version is never read
LONGEST_NAME = 100
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Store:
    """The cases of one data set under one set of settings. places: folder by case id. digest: changes with any input file or setting."""

    folder: Path
    places: Mapping[str, Path]
    digest: str

    @classmethod
    def locate(cls, cases: Sequence[CaseFiles], folder: Path, settings: Mapping[str, Any]) -> Self:
        """The store as `build` makes it, whether its cases are there or not. Nothing is written."""
        key = _key(settings)
        fingerprints = [_fingerprint(files, key) for files in cases]
        places = {fingerprint["id"]: folder / key / _place(fingerprint) for fingerprint in fingerprints}
        return cls(folder / key, places, _hash([key, *fingerprints]))

    @classmethod
    def build(
        cls,
        cases: Sequence[CaseFiles],
        folder: Path,
        settings: Mapping[str, Any],
        prepare: Callable[[CaseFiles], Case],
        progress: Progress | None = None,
    ) -> Self:
        """Prepares the cases that are not in `folder` yet, or whose files have changed (path, size, time) since.

        settings: plain data, all that the result depends on beside the files; the order of keys counts. progress: called as (done, all)
        after each case.
        Raises one InputError (SK-V070) that lists every bad case, WorkError (SK-V071) where the disk does not take them.
        Two processes may build the same store at once.
        """
        store = cls.locate(cases, folder, settings)
        try:
            store.folder.mkdir(parents=True, exist_ok=True)
            _clear_abandoned(store.folder)
            store._fill(cases, _key(settings), prepare, progress)
        except OSError as error:
            remedy = "free space, or choose another folder as preprocess.store"
            raise WorkError(
                "SK-V071", "the store cannot be written", where=folder, got=error.strerror or str(error), remedy=remedy
            ) from None
        return store

    def case(self, case_id: str) -> StoredCase:
        """The arrays of a case, mapped from disk."""
        return StoredCase.open(self.path_of(case_id))

    def path_of(self, case_id: str) -> Path:
        """The folder of a case."""
        return self.places[case_id]

    def verify(self) -> list[Path]:
        """Reads every byte of the cases that are there: the files that are missing or are not what was written.

        `build` and `case` look at sizes only: to read all would take as long as an epoch.
        """
        return [place / name for place in self.places.values() if place.exists() for name in damaged(place)]

    def _fill(self, cases: Sequence[CaseFiles], key: str, prepare: Callable[[CaseFiles], Case], progress: Progress | None) -> None:
        """Two threads: reading and numpy release the interpreter, and more would hold more volumes in memory."""
        bad: dict[str, InputError] = {}
        with ThreadPoolExecutor(2) as pool:
            futures = {pool.submit(self._ensure, files, key, prepare): files for files in cases}
            try:
                for done, future in enumerate(as_completed(futures), start=1):
                    try:
                        future.result()
                    except InputError as error:
                        bad[futures[future].id] = error
                    if progress is not None:
                        progress(done, len(cases))
            finally:
                pool.shutdown(cancel_futures=True)
        if bad:
            listed = "".join(indent(f"\n{case_id}: {bad[case_id]}", "  ") for case_id in sorted(bad))
            remedy = "repair these cases, or take them out of the data set"
            raise InputError("SK-V070", f"{len(bad)} of {len(cases)} cases cannot be used{listed}", remedy=remedy)

    def _ensure(self, files: CaseFiles, key: str, prepare: Callable[[CaseFiles], Case]) -> None:
        place = self.path_of(files.id)
        fingerprint = _fingerprint(files, key)
        if _is_current(place, fingerprint):
            return
        case = prepare(files)
        temporary = _temporary(self.folder)
        try:
            temporary.mkdir()
            write_entry(temporary, case, fingerprint)
            _publish(temporary, place, fingerprint)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def folder_name(case_id: str) -> str:
    """A case id as the name of a folder: itself where that is safe everywhere, else its safe characters and a hash."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", case_id) and len(case_id) <= LONGEST_NAME and not case_id.endswith("."):
        return case_id
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", case_id)[: LONGEST_NAME // 2]
    return f"{safe}.{_hash(case_id)}"


def _key(settings: Mapping[str, Any]) -> str:
    return _hash({"format": FORMAT, "settings": settings})


def _place(fingerprint: Fingerprint) -> str:
    """The name of a case's folder. Size and time do not enter: the case of a changed file takes the old one's place."""
    return f"{folder_name(fingerprint['id'])}.{_hash([source[:3] for source in fingerprint['sources']])[:8]}"


def _fingerprint(files: CaseFiles, key: str) -> Fingerprint:
    """What a stored case was made from: settings, and each file's path, size and time of change. A missing file counts as such."""
    sources = {f"channel {name}": (source.path, source.component) for name, source in files.channels.items()}
    sources |= {name: (path, None) for name, path in (("label", files.label), ("roi", files.roi)) if path is not None}
    return {"key": key, "id": files.id, "sources": [[name, component, *_facts(path)] for name, (path, component) in sources.items()]}


def _facts(path: Path) -> list[str | int | None]:
    try:
        status = path.stat()
    except OSError:
        return [str(path.absolute()), None, None]
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _is_current(place: Path, fingerprint: Fingerprint) -> bool:
    manifest = read_manifest(place)
    return manifest is not None and manifest.get("fingerprint") == fingerprint and intact(place, manifest)


def _publish(temporary: Path, place: Path, fingerprint: Fingerprint) -> None:
    """Put a whole case into its place. Where another process was first with the same case, its copy stands and ours is dropped."""
    while True:
        try:
            temporary.rename(place)  # refused by the system where the place is taken
        except OSError:
            if not place.exists():
                raise
            if _is_current(place, fingerprint):
                return
            _retire(place)
        else:
            sync(place.parent)
            return


def _retire(place: Path) -> None:
    """Move an outdated case out of the way first: a reader sees the old case, no case or the new case, never half of one."""
    old = _temporary(place.parent)
    try:
        place.rename(old)
    except FileNotFoundError:  # another process did it
        return
    shutil.rmtree(old, ignore_errors=True)


def _temporary(folder: Path) -> Path:
    return folder / f".tmp-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def _clear_abandoned(folder: Path) -> None:
    """Remove what processes of this machine left that are no longer alive; of other machines nothing is known."""
    ours = re.compile(rf"\.tmp-{re.escape(socket.gethostname())}-(\d+)-[0-9a-f]+")
    for path in folder.glob(".tmp-*"):
        match = ours.fullmatch(path.name)
        if match and not _alive(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # alive, and somebody else's
        return True
    return True


def _hash(data: Any) -> str:
    """16 hexadecimal digits of plain data. The order of keys counts: that of classes and channels has a meaning."""
    return hashlib.sha256(json.dumps(data, default=list).encode()).hexdigest()[:16]
