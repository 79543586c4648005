"""Tables and cohorts on Ray and on SLURM: the same results, what a killed worker costs, Ctrl-C, and options that make no sense."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from segkit.launch import slurm
from segkit.losses.base import losses
from segkit.models.base import models

TABLE_RECIPE = """\
dataset:
  name: brats
  root: data
  channels: [flair, t1c]
  classes: {tumor: [1, 2, 4]}
  rare_classes: [tumor]
  split: {test: 2, validation: 0}
sampling: {patch_shape: [9, 9, 9]}
model: deepmedic_tiny
losses: [cross_entropy]
train: {steps: 1, batch_size: 2, precision: fp32}
"""
SPEC = """\
title: Two losses
recipe: small.yaml
rows:
  plain: {}
  focal: {overrides: {losses: [{name: focal, gamma: 2.0}]}, against: plain}
fractions: [1.0]
classes: [tumor]
seeds: [0]
"""
DEADLY = """\
import os
import signal
from pathlib import Path

from segkit.losses.base import losses
from segkit.losses.cross_entropy import CrossEntropy
from segkit.models.base import models
from segkit.models.deepmedic import DeepMedicTiny


def die_once():
    try:
        Path(__file__).with_name("died").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


@losses.register("deadly")
class Deadly(CrossEntropy):
    def __call__(self, logits, target, rare):
        die_once()
        return super().__call__(logits, target, rare)


def kill_where_a_map_is_written(module, inputs):
    if list(Path("out").glob("*.nii.gz")):
        die_once()


@models.register("mortal")
class Mortal(DeepMedicTiny):
    def build(self, in_channels, classes):
        network = super().build(in_channels, classes)
        network.classifier.register_forward_pre_hook(kill_where_a_map_is_written)
        return network
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on how many threads share them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def on_ray(ray_address) -> list[str]:
    return ["--launcher", "ray", "--workers", "2", "--address", ray_address]


@pytest.fixture
def on_slurm(slurm_here, monkeypatch) -> list[str]:
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.1)
    return ["--launcher", "slurm", "--workers", "2", "--slurm", "time=1:00:00,cpus=1"]


@pytest.fixture(params=["ray", "slurm"])
def launcher(request) -> list[str]:
    """The options of each launcher, with two workers."""
    return request.getfixturevalue(f"on_{request.param}")


@pytest.fixture(params=["local", "ray", "slurm"])
def predicting(request) -> list[str]:
    """Likewise, with processes of this machine."""
    return ["--workers", "2"] if request.param == "local" else request.getfixturevalue(f"on_{request.param}")


@pytest.fixture
def two_items(place) -> Path:
    """The file of a table of two items."""
    (place / "small.yaml").write_text(TABLE_RECIPE)
    (place / "table.yaml").write_text(SPEC)
    return place / "table.yaml"


@pytest.fixture
def deadly(place, monkeypatch) -> Iterator[Path]:
    """A plug-in with a loss and a network that kill their process, once."""
    assert list(losses)  # filled
    assert list(models)
    monkeypatch.setattr(losses, "_plugins", dict(losses._plugins))
    monkeypatch.setattr(models, "_plugins", dict(models._plugins))
    (place / "deadly.py").write_text(DEADLY)
    yield place / "deadly.py"
    sys.modules.pop("segkit_plugin_deadly", None)


def test_a_launched_table_is_the_table(two_items, launcher, segkit):
    alone = segkit("table", two_items, "--run", "--output", "alone")
    launched = segkit("table", two_items, "--run", "--output", "launched", *launcher)
    assert (alone.status, launched.status) == (0, 0), launched.err
    assert launched.out == alone.out
    assert {path.name.rpartition("_")[0] for path in Path("launched").iterdir()} == {"plain_1_0", "focal_1_0"}


def test_a_killed_worker_costs_one_item_and_the_next_call_makes_it(two_items, deadly, launcher, segkit):
    two_items.write_text(SPEC.replace("{losses: [{name: focal, gamma: 2.0}]}", "{losses: [deadly]}"))
    command = ["table", two_items, "--run", "--plugin", deadly, *launcher]
    said = segkit(*command)
    assert said.status == 1
    lines = said.err.splitlines()
    at = lines.index("case focal, 100 %, seed 0: SK-B021: the process of an item ended before it was done")
    assert lines[at + 3] == "  remedy:   run the same command again"
    assert f"  remedy:   {' '.join(map(str, ['segkit', 'table', two_items, '--plugin', deadly, *launcher, '--run']))}" in lines
    assert "SK-C040: 1 of 2 items are missing" in lines
    assert "| plain | - |" not in said.out
    assert "raylet" not in said.out
    said = segkit(*command)
    assert (said.status, said.err.splitlines()[0]) == (0, "1 of 2 items are done")


def entries(folder: str) -> dict[str, dict[str, object]]:
    """Of the index, without times."""
    cases = json.loads(Path(folder, "predictions.json").read_text())["cases"]
    return {case: {key: value for key, value in facts.items() if key != "seconds"} for case, facts in cases.items()}


def maps(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.nii.gz")}


def test_a_launched_cohort_is_the_cohort_to_the_bit_and_a_bad_case_is_told_alike(run, place, segkit, predicting):
    flair = place.scan(2, "flair")
    flair.write_bytes(flair.read_bytes()[:2000])
    alone = segkit("predict", "run", "--input", "data", "--output", "alone", "--device", "cpu")
    launched = segkit("predict", "run", "--input", "data", "--output", "out", "--device", "cpu", *predicting)
    assert (alone.status, launched.status) == (1, 1)
    assert launched.err == alone.err.replace("alone", "out")
    assert launched.out.splitlines()[-1] == "4 of 5 cases predicted: out"
    assert maps("out") == maps("alone")
    assert entries("out") == entries("alone")
    assert not Path("out/slurm").exists()
    again = segkit("predict", "run", "--input", "data", "--output", "out", "--device", "cpu", *predicting)
    assert again.out.splitlines()[-1] == "0 of 5 cases predicted, 4 were there already (--overwrite predicts them again): out"


def test_a_killed_worker_costs_the_cases_that_it_has_not_written(place, segkit, deadly, predicting):
    plugin = ["--plugin", deadly]
    assert segkit("train", place.recipe("deepmedic_tiny", "mortal"), *plugin, "--run", "run", "--device", "cpu").status == 0
    command = ["predict", "run", "--input", "data", "--output", "out", "--device", "cpu", *plugin, *predicting]
    said = segkit(*command)
    assert said.status == 1
    lost = re.findall("^case (.*): SK-I040: the worker that had this case ended before it was done$", said.err, re.MULTILINE)
    assert lost
    facts = entries("out")
    assert sorted(facts) == [f"Phantom_00{i}" for i in range(5)]
    assert {case for case, fact in facts.items() if "error" in fact} == set(lost)
    kept = {path: path.stat().st_mtime_ns for case in facts if case not in lost for path in [place / f"out/{case}.nii.gz"]}
    assert kept
    said = segkit(*command)
    assert said.status == 0
    assert f"{len(lost)} of 5 cases predicted, {len(kept)} were there already" in said.out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_job_asks_for_what_the_options_say_and_for_a_gpu_where_the_partition_has_any(run, place, segkit, slurm_here, monkeypatch):
    monkeypatch.setenv("FAKE_GRES", "gpu:a100:4")
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.1)
    command = ["predict", "run", "--input", "data/Phantom_000", "--launcher", "slurm"]
    wishes = "partition=long,account=lab,time=1-00:00:00,mem=8G,cpus=2,exclude=n[1,3]"
    assert segkit(*command, "--output", "one", "--slurm", wishes).status == 0
    assert segkit(*command, "--output", "two", "--device", "cpu").status == 0
    assert segkit(*command, "--output", "three", "--slurm", "gpus=a100:2").status == 0
    one, two, three = (
        {line.removeprefix("#SBATCH --") for line in (slurm_here / f"{number}.sh").read_text().splitlines() if line.startswith("#SBATCH")}
        for number in (1, 2, 3)
    )
    assert {"partition=long", "account=lab", "time=1-00:00:00", "mem=8G", "cpus-per-task=2", "exclude='n[1,3]'", "gres=gpu:1"} <= one
    assert {flag.partition("=")[0] for flag in two} == {"job-name", "nodes", "signal", "output", "open-mode"}
    assert "gres=gpu:a100:2" in three
    assert "--cpus-per-task=2" in (slurm_here / "1.sh").read_text().split("srun")[1]


def test_what_sbatch_refuses_is_said(run, place, segkit, slurm_here, capfd):
    said = segkit("predict", "run", "--split", "test", "--launcher", "slurm", "--slurm", "partition=nowhere")
    assert said.status == 2
    assert said.err.endswith(
        "SK-C077: SLURM does not take the jobs\n"
        "  where:    sbatch\n"
        "  got:      sbatch: error: invalid partition specified: nowhere\n"
        "  remedy:   see --slurm\n"
    )


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (
            ["--address", "auto"],
            "SK-C080: --address belongs to another launcher\n  where:    --address\n  expected: --launcher ray\n  got:      local\n",
        ),
        (
            ["--launcher", "ray", "--slurm", "time=5"],
            "SK-C080: --slurm belongs to another launcher\n  where:    --slurm\n  expected: --launcher slurm\n  got:      ray\n",
        ),
        (
            ["--launcher", "slurm", "--slurm", "gpu=1,time=5,queue=long"],
            "SK-C075: unknown key\n  where:    --slurm\n"
            "  expected: partition, account, qos, constraint, exclude, time, mem, cpus, gpus\n  got:      gpu, queue\n",
        ),
        (
            ["--launcher", "slurm", "--slurm", "time"],
            "SK-C074: --slurm cannot be read\n  where:    --slurm\n  expected: partition=gpu,time=24:00:00\n  got:      time\n",
        ),
        (
            ["--launcher", "slurm", "--slurm", "cpus=many"],
            "SK-C076: not a number of CPUs\n  where:    --slurm\n  expected: 1 or more\n  got:      cpus=many\n",
        ),
        (
            ["--launcher", "ray", "--address", "head"],
            "SK-C072: not the address of a Ray cluster\n  where:    --address\n  expected: auto or HOST:PORT\n  got:      head\n",
        ),
        (
            ["--launcher", "ray", "--address", "127.0.0.1:1"],
            "SK-C073: no Ray cluster answers\n  where:    --address 127.0.0.1:1\n  got:      [Errno 111] Connection refused\n"
            "  remedy:   start one with `ray start --head`, or leave --address out for one on this machine\n",
        ),
        (["--workers", "2", "--device", "tpu"], "SK-T001: no such device\n"),
        (
            ["--launcher", "ray", "--device", "cuda:1"],
            "SK-C081: a cluster gives each worker a device of its own\n  where:    --device\n"
            "  expected: auto, cpu or cuda with --launcher ray\n  got:      cuda:1\n",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error, run, segkit):
    pytest.importorskip("ray", reason="needs the extra `ray`")
    said = segkit("predict", "run", "--split", "test", "--output", "out", *options)
    assert said.status == 2
    assert said.err.startswith(error)
    assert not list(Path("out").glob("*.nii.gz"))


def test_a_machine_without_slurm_is_named(run, segkit, monkeypatch):
    pytest.importorskip("submitit", reason="needs the extra `slurm`")
    monkeypatch.setenv("PATH", "/nowhere")
    said = segkit("predict", "run", "--split", "test", "--launcher", "slurm")
    assert (said.status, said.err) == (
        2,
        "SK-C078: SLURM is not here\n  where:    --launcher slurm\n  got:      no sbatch, srun, sacct, scancel, sinfo\n"
        "  remedy:   start the command on a machine of the cluster that submits jobs\n",
    )


class Refusing:
    """An importer to which two packages are unknown."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in ("ray", "submitit"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(("launcher", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_package_that_is_not_installed_is_named_with_its_extra(launcher, package, run, two_items, segkit, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [Refusing(), *sys.meta_path])
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    error = f'SK-C071: {package} is not installed\n  where:    --launcher {launcher}\n  remedy:   pip install "segkit[{launcher}]"\n'
    for command in (["predict", "run", "--split", "test"], ["table", two_items, "--run"]):
        said = segkit(*command, "--launcher", launcher)
        assert (said.status, said.err) == (2, error)


def heed_interrupts() -> None:
    """A suite that runs in the background ignores SIGINT, and its children would too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def begin(*words: str) -> subprocess.Popen:
    """A command in a process of its own, the first of its group."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "segkit", *words]
    return subprocess.Popen(command, **pipes, start_new_session=True, preexec_fn=heed_interrupts)


@pytest.mark.parametrize("kind", ["ray", "slurm"])
def test_ctrl_c_ends_the_workers_with_a_checkpoint_of_every_training(kind, two_items, request, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    pytest.importorskip("ray", reason="needs the extra `ray`") if kind == "ray" else request.getfixturevalue("slurm_here")
    process = begin("table", "table.yaml", "train.steps=1000000", "--run", "--launcher", kind, "--workers", "2")
    logs = Path("runs/tables/table")
    while sum('"event": "step"' in path.read_text() for path in logs.glob("*/run/log.jsonl")) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does on a terminal
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert ['"event": "checkpoint"' in path.read_text() for path in logs.glob("*/run/log.jsonl")] == [True, True], err
    before = {path: path.read_text() for path in logs.glob("*/run/log.jsonl")}
    time.sleep(1)
    assert {path: path.read_text() for path in before} == before  # nobody trains any more
