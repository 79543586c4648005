"""Writing a file so that it is either whole or not there: beside it, flushed to the disk, then renamed."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segkit.config.errors import WorkError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path`; when the block ends well, that file replaces `path` at once.

    The temporary file is removed when the block fails, and `path` keeps what it held. Two writers of one path do not disturb each other:
    the last one to finish stands. The block should do nothing but write: its OSErrors (disk full, read-only folder) become a WorkError
    (SK-R090).
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        got = error.strerror or str(error)
        raise WorkError("SK-R090", "cannot write", where=path, got=got, remedy="free space or choose another folder") from None
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file's bytes (or a folder's entries) are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
