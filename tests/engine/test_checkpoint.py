"""Checkpoints: exact, verified, and never half written."""

import hashlib
from pathlib import Path

import pytest
import torch

from segkit.config.errors import InputError
from segkit.engine import checkpoint

CPU = torch.device("cpu")


def state(value: float) -> checkpoint.State:
    return {"network": {"weight": torch.full((1000,), value)}, "step": 7, "best": None, "pinned": {"precision": "fp32"}}


def test_what_is_saved_is_what_is_loaded(tmp_path):
    checkpoint.save(tmp_path / "last.pt", state(1.5))
    loaded = checkpoint.load(tmp_path / "last.pt", CPU)
    assert torch.equal(loaded["network"]["weight"], state(1.5)["network"]["weight"])
    assert {key: loaded[key] for key in ("step", "best", "pinned")} == {"step": 7, "best": None, "pinned": {"precision": "fp32"}}


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, state(1.5))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="SK-T021: the checkpoint is damaged: its checksum differs"):
        checkpoint.load(path, CPU)


def test_a_truncated_checkpoint_is_noticed(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, state(1.5))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="SK-T021"):
        checkpoint.load(path, CPU)


def test_a_checkpoint_without_its_checksum_is_refused(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, state(1.5))
    (tmp_path / "last.pt.sha256").unlink()
    with pytest.raises(InputError, match=r"\(no \.sha256 file beside it\)"):
        checkpoint.load(path, CPU)


def interrupted_after_checksum(path: Path, new: checkpoint.State) -> None:
    """The disk as a kill leaves it between the two renames of a save: the checksum file is new, the checkpoint old."""
    old = path.read_bytes()
    checkpoint.save(path, new)
    path.write_bytes(old)


def test_a_kill_between_the_two_renames_leaves_the_old_checkpoint_readable(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, state(1.0))
    interrupted_after_checksum(path, state(2.0))
    assert checkpoint.load(path, CPU)["network"]["weight"][0] == 1.0


def test_so_do_two_kills_in_a_row(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, state(1.0))
    interrupted_after_checksum(path, state(2.0))
    interrupted_after_checksum(path, state(3.0))
    assert checkpoint.load(path, CPU)["network"]["weight"][0] == 1.0


class Malicious:
    def __reduce__(self):
        return (print, ("code ran",))


def test_code_in_a_checkpoint_does_not_run(tmp_path, capsys):
    path = tmp_path / "last.pt"
    torch.save({"network": Malicious()}, path)
    (tmp_path / "last.pt.sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(InputError, match="SK-T022: the checkpoint holds more than tensors and plain values"):
        checkpoint.load(path, CPU)
    assert capsys.readouterr().out == ""
