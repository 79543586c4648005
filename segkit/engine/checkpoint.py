"""Checkpoints: everything needed to go on exactly, written atomically, verified by checksum, loaded without code."""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from segkit.config.atomic import atomic
from segkit.config.errors import InputError

State = dict[str, Any]  # tensors, numbers, strings and containers of them


def save(path: Path, state: State) -> None:
    """Write a checkpoint and its checksum beside it (`<name>.sha256`). A kill at any moment leaves this or the previous one readable.

    The checksum file comes first and names both, the new content's and that of the file it replaces: one of them is true at any moment.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    digest = hashlib.sha256(content).hexdigest()
    previous = [hashlib.sha256(path.read_bytes()).hexdigest()] if path.exists() else []
    with atomic(_beside(path)) as temporary:
        temporary.write_text("\n".join([digest, *previous]) + "\n", encoding="ascii")
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def load(path: Path, device: torch.device) -> State:
    """A checkpoint written by `save`. Raises InputError where it is missing, damaged or not a plain checkpoint."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError("SK-T020", "the checkpoint cannot be read", where=path, got=error.strerror) from None
    digest, known = hashlib.sha256(content).hexdigest(), _checksums(path)
    if digest not in known:
        raise InputError(
            "SK-T021",
            "the checkpoint is damaged: its checksum differs",
            where=path,
            expected=f"sha256 {known[0] if known else '(no .sha256 file beside it)'}",
            got=f"sha256 {digest}",
            remedy="restore it from a backup, or start the run again",
        )
    try:
        return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(
            "SK-T022",
            "the checkpoint holds more than tensors and plain values",
            where=path,
            got=str(error).splitlines()[0],
            remedy="it was not written by segkit: do not use it",
        ) from None


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _checksums(path: Path) -> list[str]:
    """Checksums the file may have: the one last announced, and the one before it."""
    beside = _beside(path)
    return beside.read_text(encoding="ascii").split() if beside.exists() else []
