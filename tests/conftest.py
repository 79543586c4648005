"""Fixtures for the whole suite: real volumes, scripts as modules, clusters, a fair share of the cores, and tests that need a GPU."""

import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a GPU are skipped with a reason where there is none: left out silently, they would seem to pass."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def share_of_the_cores(request: pytest.FixtureRequest) -> None:
    """Each of several test processes takes its part of the threads: all with all of them are slower than one alone."""
    processes = getattr(request.config, "workerinput", {"workercount": 1})["workercount"]
    torch.set_num_threads(max(1, torch.get_num_threads() // processes))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real volumes beside the checkout; tests that need it are skipped where it is not."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real volumes are not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a file of scripts/ by its name; they import one another as files of one folder do."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scripts")
    return import_module


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """Of a Ray cluster of one machine with two CPUs; commands connect to it, which is faster than to start one each time."""
    pytest.importorskip("ray", reason="needs the extra `ray`")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "num_gpus": 0, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def slurm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The commands of SLURM, on this machine, and the folder where they note what they are asked for. A lost job is found soon."""
    pytest.importorskip("submitit", reason="needs the extra `slurm`")
    from submitit.core.core import Job
    from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

    commands, notes = tmp_path / "commands", tmp_path / "notes"
    commands.mkdir()
    notes.mkdir()
    script = Path(__file__).with_name("clusters.py").read_text(encoding="utf-8").partition("\n")[2]
    for name in ("sbatch", "srun", "sacct", "scancel", "sinfo"):
        command = commands / name
        command.write_text(f"#!{sys.executable}\n{script}", encoding="utf-8")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(notes))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(Job, "_results_timeout_s", 0)
    monkeypatch.setattr(SlurmJob, "watcher", SlurmInfoWatcher(delay_s=1))
    return notes
