"""Benchmarks can be asked what they take, and what they compare computes the same. How fast it is, no test says."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = ("sampling", "reading", "metrics", "export", "inference", "step")
NARROW = "model.widths=[4,5,6,6] model.residual_after=[4] model.hidden=[8,8]"
TINY = {
    "inference": f"--shape 32 32 32 --deepmedic {NARROW} --tile 15 15 15 --widths 4 8 --volume 24 24 16 "
    "--stitched 24 24 16 --window 16 16 16",
    "step": f"--shape 32 32 32 --deepmedic {NARROW} train.batch_size=2 sampling.patch_shape=[9,9,9] "
    "--unet model.widths=[4,8] sampling.patch_shape=[16,16,16]",
}


@pytest.fixture
def script(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", [f"{request.param}.py", "--help"])
    return importlib.import_module(request.param)


def test_every_benchmark_is_run_by_make():
    with_main = {path.stem for path in BENCHMARKS.glob("*.py") if "def main()" in path.read_text(encoding="utf-8")}
    assert with_main == set(SCRIPTS)
    assert f"for work in {' '.join(SCRIPTS)};" in (BENCHMARKS.parent / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", SCRIPTS, indirect=True)
def test_a_benchmark_says_what_it_takes(script, capsys):
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 0
    assert "--repeats" in capsys.readouterr().out


@pytest.mark.parametrize("script", ["inference"], indirect=True)
@pytest.mark.parametrize("part", ["deepmedic", "unet", "stitching"])
def test_the_ways_of_a_volume_through_a_network_agree(script, part):
    arguments = script.asked(TINY["inference"].split())
    with script.scratch_of(arguments):
        works = script.PARTS[part](arguments)  # raises AssertionError where they do not
    assert all(len(work.ways) > 1 and "segkit" in work.ways for work in works)


@pytest.mark.parametrize("script", ["step"], indirect=True)
@pytest.mark.parametrize("part", ["deepmedic", "unet"])
def test_the_ways_of_a_training_step_agree(script, part):
    arguments = script.asked(TINY["step"].split())
    with script.scratch_of(arguments):
        recipe, _, batch = script.batches_of(part, arguments)
        works = script.works_of(part, recipe, batch, measured=False)
    assert all(len(work.ways) > 1 and work.operations > 0 for work in works)
