"""A file is whole or not there."""

import pytest

from segkit.config.atomic import atomic
from segkit.config.errors import WorkError


def test_the_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "scores.csv"
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("old")

    def fail_halfway() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_work_error_naming_the_file(tmp_path):
    path = tmp_path / "scores.csv"
    with pytest.raises(WorkError) as error, atomic(path):
        raise OSError(28, "No space left on device")
    assert error.value.exit_status == 1
    assert str(error.value).startswith(f"SK-R090: cannot write\n  where:    {path}\n  got:      No space left on device")


def test_a_missing_folder_is_a_work_error(tmp_path):
    with pytest.raises(WorkError, match="No such file"), atomic(tmp_path / "absent" / "a.txt") as temporary:
        temporary.write_text("")
