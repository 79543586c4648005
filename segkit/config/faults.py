"""What was raised, as an error that a user can act on."""

import errno

from segkit.config.errors import SegkitError, WorkError
from segkit.config.plugins import blame


def readable(error: BaseException) -> SegkitError | None:
    """The error as a user can act on it: a fault of a plug-in's line, of the disk or of the memory too. None: a bug of segkit."""
    if isinstance(error, SegkitError):
        return error
    if isinstance(error, BrokenPipeError):  # of `segkit ... | head`: nobody reads on, and nobody wants to be told
        return None
    if _is_of_memory(error):
        remedy = "lower train.batch_size or sampling.patch_shape to train, infer.tile_shape to predict"
        return WorkError("SK-C002", "out of memory", got=str(error).splitlines()[0] if str(error) else None, remedy=remedy)
    fault = blame(error)
    if fault is None and isinstance(error, OSError):
        return WorkError("SK-C003", "a file cannot be read or written", where=error.filename, got=error.strerror or str(error))
    return fault


def _is_of_memory(error: BaseException) -> bool:
    """Of Python, of a device, of torch on the host, or of the system."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        return True
    return isinstance(error, OSError) and error.errno == errno.ENOMEM
