"""On a CUDA device: the same batches, the same probabilities, and training that learns."""

import numpy as np
import pytest
import torch

from segkit.config.parse import dump
from segkit.engine.bench import bench
from segkit.engine.cohort import gather, make_loader
from segkit.engine.console import Console
from segkit.engine.progress import Progress
from segkit.engine.run import Run
from segkit.engine.slabs import View, probabilities
from segkit.engine.step import step
from segkit.engine.train import train
from segkit.models.deepmedic import DeepMedicTiny
from segkit.models.unet3d import UNet3D

pytestmark = pytest.mark.gpu
QUIET = Console("quiet")


def test_batches_cut_on_the_device_are_those_of_the_host(tiny, tmp_path):
    batches = []
    for residence, device in (("host", "cpu"), ("device", "cuda")):
        recipe = tiny(sampling__residence=residence, sampling__augment={"flip": ["x"], "rotation": 10, "elastic": {}})
        network = recipe.model.build(2, 2)
        cohort = gather(recipe, network, QUIET)
        batches.append(make_loader(cohort, recipe, network, torch.device(device), QUIET).batch(3))
    for ours, theirs in zip(batches[0].image, batches[1].image, strict=True):
        torch.testing.assert_close(theirs.cpu(), ours, atol=1e-3, rtol=1e-3)
    assert (batches[0].label == batches[1].label.cpu()).float().mean() > 0.999  # a nearest voxel may tie


@pytest.mark.parametrize("settings", [DeepMedicTiny(), UNet3D(widths=(4, 8))], ids=["deepmedic_tiny", "unet3d"])
def test_probabilities_agree_with_the_cpu(settings):
    torch.manual_seed(0)
    network, image, roi = settings.build(2, 3), torch.randn(2, 30, 31, 32), np.ones((30, 31, 32), dtype=bool)
    host = probabilities([View(network, (16, 16, 16), 0.5)], image, roi, "fp32")
    device = probabilities([View(network.cuda(), (16, 16, 16), 0.5)], image.cuda(), roi, "fp32")
    torch.testing.assert_close(device.cpu(), host, atol=1e-4, rtol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_on_the_device_learns(tiny, tmp_path, precision):
    recipe = tiny(train__steps=60, train__precision=precision, train__validate_every=None, train__checkpoint_every=None)
    run = train(recipe, Run(tmp_path / "run"), device_name="cuda", console=QUIET)
    losses = [record["loss"] for record in run.records() if record["event"] == "step"]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


@pytest.mark.parametrize(
    "values",
    [
        {"losses": ["focal", "focal_dice"], "regularizers": ["large_margin", "adversarial", "mixup"]},
        {"regularizers": ["feature_weakening", "logit_adjustment"]},
        {"losses": [{"name": "cross_entropy", "class_weights": "inverse_frequency", "anneal": [0.0, 0.5]}]},
    ],
    ids=["combination", "stateful", "weights"],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_never_waits_for_the_device(tiny, values, precision):
    recipe = tiny(train__precision=precision, dataset__rare_classes=["tumor"], **values)
    device = torch.device("cuda")
    progress = Progress.begin(recipe, device)
    batch = make_loader(gather(recipe, progress.network, QUIET), recipe, progress.network, device, QUIET).batch(0)
    rng = torch.Generator(device).manual_seed(0)
    step(progress, recipe.train, batch, rng)  # chooses kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        terms = step(progress, recipe.train, batch, rng)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(value) for value in terms.values())


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_processes_with_a_device_each_train_what_one_trains(tiny, tmp_path, torchrun):
    recipe = tiny(regularizers=["mixup"], train__batch_size=4, train__steps=4, train__validate_every=None, train__monitor={"every": 4})
    tmp_path.joinpath("r.yml").write_text(dump(recipe), encoding="utf-8")
    alone, together = Run(tmp_path / "alone"), Run(tmp_path / "together")
    train(recipe, alone, device_name="cuda", console=QUIET)
    done = torchrun("call", tmp_path, "train", tmp_path / "r.yml", f"--run={together.path}", "--device", "cuda")
    assert done.returncode == 0, done.stderr
    losses, expected = ([record["loss"] for record in run.records() if record["event"] == "step"] for run in (together, alone))
    assert losses == pytest.approx(expected, rel=1e-3)
    assert next(together.windows())["n"] == next(alone.windows())["n"]


def test_the_bench_measures_a_backward_pass_on_the_device(tiny):
    result = bench(tiny(), "cuda", 4, QUIET)
    assert result.phases["backward"] > 0.1 * sum(result.phases.values())
    assert result.memory > 0
