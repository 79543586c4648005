"""A user's own plug-ins: one Python file, named on the command line, run once."""

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from segkit.config.errors import InputError

PREFIX = "segkit_plugin_"  # of the modules' names
# All that Python, pydantic and torch raise for a fault in a plug-in.
FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


def load_plugin(path: Path) -> ModuleType:
    """Run the file as module `segkit_plugin_<stem>`, so that its `@registry.register(...)` classes are on their shelves.

    The same file again is not run again. Errors: SK-R050 to SK-R053, with the line of the user's file.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError("SK-R050", "the plug-in file does not exist", where=path)
    if path.suffix != ".py":
        raise InputError("SK-R051", "a plug-in is a Python file", where=path, expected="a name that ends with .py")
    name, file = f"{PREFIX}{path.stem}", str(path.resolve())
    if name in sys.modules:
        module = sys.modules[name]
        if module.__file__ != file:
            got = f"{module.__file__} is loaded already"
            raise InputError("SK-R052", "two plug-in files have one name", where=path, got=got, remedy="rename one")
        return module
    return _run(name, file, path)


def blame(error: BaseException) -> InputError | None:
    """The error as a plug-in's fault (SK-R054), with the deepest line of a plug-in file it came through; None: it came through none."""
    files = {str(module.__file__) for name, module in list(sys.modules.items()) if name.startswith(PREFIX)}
    lines = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    if not lines:
        return None
    got = f"{type(error).__name__}: {error}".splitlines()[0]
    remedy = "mend the plug-in; --debug shows the whole traceback"
    return InputError("SK-R054", "a plug-in fails", where=lines[-1], got=got, remedy=remedy)


def _run(name: str, file: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None  # the suffix is .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as an import does: dataclasses and pydantic look their module up
    try:
        spec.loader.exec_module(module)
    except FAULTS as error:
        del sys.modules[name]
        got = f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"
        raise InputError("SK-R053", "the plug-in file fails", where=_place(error, file, path), got=got) from error
    return module


def _place(error: BaseException, file: str, path: Path) -> str:
    """The deepest line of the user's own file, as far as there is one."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"{path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{path}:{lines[-1]}" if lines else str(path)
