"""A compiled step: the losses of one that is not; and where it cannot be compiled, one line and the training."""

import json
import os
import subprocess
import sys

import pytest
import torch

from segkit.engine import checkpoint
from segkit.engine.compile import choose_compiled, compile_network
from segkit.engine.console import Console
from segkit.engine.processes import Processes
from segkit.engine.progress import Progress
from segkit.engine.run import Run
from segkit.engine.train import train

pytestmark = [  # torch's own, of its compiler
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:<class 'torch.autograd.function.Function'>:DeprecationWarning"),
]
CPU = torch.device("cpu")
UNET = {"model": {"name": "unet3d", "widths": [4, 8], "norm": "batch"}, "sampling": {"patch_shape": [16, 16, 16]}}
TRAIN = """
import sys
from pathlib import Path
from segkit.config.yaml import load
from segkit.engine.console import Console
from segkit.engine.run import Run
from segkit.engine.train import train
from segkit.recipe import resolve
train(resolve(load(Path(sys.argv[1]))), Run(Path(sys.argv[2])), device_name="cpu", console=Console())
"""


def losses(run):
    return [record["loss"] for record in run.records() if record["event"] == "step"]


def trained(recipe, folder, **options):
    return train(recipe, Run(folder), device_name="cpu", console=Console(), **options)


@pytest.mark.parametrize(
    "changes",
    [
        UNET,
        {"model": {"name": "unet3d", "widths": [4, 8]}, "sampling": UNET["sampling"], "regularizers": ["adversarial", "mixup"]},
        {"model": {"name": "deepmedic_tiny", "dropout": 0.0}},
    ],
)
def test_a_compiled_step_has_the_losses_of_one_that_is_not(tiny, tmp_path, changes):
    rare = {"dataset__rare_classes": ["tumor"]}
    plain = losses(trained(tiny(**rare, **changes), tmp_path / "plain"))
    run = trained(tiny(**rare, **changes, train__compile="kernels"), tmp_path / "compiled")
    assert checkpoint.load(run.checkpoints / "last.pt", CPU)["pinned"]["compile"] == "kernels"
    assert losses(run) == pytest.approx(plain, abs=1e-3)


def test_a_compiled_network_runs_what_the_compiler_made(tiny):
    recipe = tiny(**UNET)
    progress = Progress.begin(recipe, CPU)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    assert compile_network(progress, recipe, CPU, "kernels") is None
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1


def test_several_processes_are_not_compiled(tiny):
    recipe = tiny()
    progress = Progress.begin(recipe, CPU)
    progress.processes = Processes(0, 2, 0, 2)
    assert compile_network(progress, recipe, CPU, "kernels") == "it is for one process: several would not agree where it fails"


@pytest.mark.gpu
@pytest.mark.parametrize("how", ["kernels", "graphs"])
def test_a_compiled_step_on_a_gpu(tiny, tmp_path, how):
    plain = train(tiny(**UNET), Run(tmp_path / "plain"), device_name="cuda", console=Console())
    run = train(tiny(**UNET, train__compile=how), Run(tmp_path / how), device_name="cuda", console=Console())
    assert checkpoint.load(run.checkpoints / "last.pt", CPU)["pinned"]["compile"] == how
    assert losses(run) == pytest.approx(losses(plain), abs=1e-3)


def test_compiling_leaves_weights_gradients_and_statistics(tiny):
    recipe = tiny(**UNET)
    progress = Progress.begin(recipe, CPU)
    before = {name: value.clone() for name, value in progress.network.state_dict().items()}
    assert compile_network(progress, recipe, CPU, "kernels") is None
    assert "features_and_auxiliary" in vars(progress.network)
    for name, value in progress.network.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0)
    assert all(parameter.grad is None for parameter in progress.network.parameters())


def test_graphs_need_a_device_that_has_them(tiny, tmp_path, capsys):
    plain = losses(trained(tiny(), tmp_path / "plain"))
    run = trained(tiny(train__compile="graphs"), tmp_path / "graphs")
    assert "train.compile: training goes on without it (CUDA graphs need a CUDA device)\n" in capsys.readouterr().out
    assert losses(run) == plain


def test_without_a_compiler_a_line_says_so_and_training_goes_on(tiny_yaml, tmp_path):
    recipe, folder = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(tiny_yaml.replace("precision: fp32", "precision: fp32, compile: kernels"), encoding="utf-8")
    settings = {"CXX": "/bin/false", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TRAIN, str(recipe), str(folder)]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=True)
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if "train.compile" in line]
    assert line.startswith("train.compile: training goes on without it (InductorError: InvalidCxxCompiler: No working C++ compiler found")
    assert "Traceback" not in done.stderr
    assert [json.loads(text)["event"] for text in (folder / "log.jsonl").read_text().splitlines()].count("step") == 6


def test_a_resumed_run_says_that_it_was_compiled_elsewhere(tiny, capsys):
    recipe = tiny(train__compile="graphs")
    progress = Progress.begin(recipe, CPU)
    progress.step, progress.pinned["compile"] = 3, "graphs"
    choose_compiled(progress, recipe, CPU, Console())
    assert capsys.readouterr().out == (
        "train.compile: training goes on without it (CUDA graphs need a CUDA device)\n"
        "train.compile: None, before graphs: what follows is the same up to rounding only\n"
    )
    assert progress.pinned["compile"] is None
