"""The error a user reads: its lines, its way across processes, and what importing it costs."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from segkit.config.errors import InputError, WorkError


def test_a_block_has_one_line_a_fact_and_leaves_unknown_ones_out():
    error = InputError("SK-R999", "what is wrong", where=Path("a.yaml"), got="3")
    assert str(error) == "SK-R999: what is wrong\n  where:    a.yaml\n  got:      3"


@pytest.mark.parametrize(("kind", "status"), [(InputError, 2), (WorkError, 1)])
def test_an_error_survives_pickling(kind, status):
    error = kind("SK-R999", "what", where="a.yaml", expected="b", got="c", remedy="d")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.exit_status) == (kind, str(error), status)


def test_errors_are_imported_without_pydantic_and_yaml():
    code = "import sys, segkit.config.errors; print(sorted({'pydantic', 'yaml', 'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
