"""Training: it learns, it writes down the truth, and a killed run goes on as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from segkit.config.errors import InputError, WorkError
from segkit.engine.console import Console
from segkit.engine.interruption import Interrupted
from segkit.engine.progress import Progress, save
from segkit.engine.run import Run
from segkit.engine.train import train
from segkit.engine.weights import load_weights

QUIET = Console("quiet")


def trained(recipe, folder: Path, *, resumed: bool = False) -> Run:
    return train(recipe, Run(folder / "run"), resumed=resumed, device_name="cpu", console=QUIET)


def steps_of(run: Run) -> list[dict]:
    """What the log says of each step, but for the clock."""
    return [{fact: value for fact, value in record.items() if fact != "seconds"} for record in run.records() if record["event"] == "step"]


def validations_of(run: Run) -> list[tuple]:
    return [(record["step"], record["dice"], record["sampled"]) for record in run.records() if record["event"] == "validate"]


def test_a_run_leaves_the_files_it_promises(tiny, tmp_path):
    run = trained(tiny(), tmp_path)
    names = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file() and "tensorboard" not in str(path)}
    assert names == {
        "recipe.yaml", "provenance.json", "log.jsonl", "model.json", "model.safetensors",
        "checkpoints/last.pt", "checkpoints/last.pt.sha256", "checkpoints/best.pt", "checkpoints/best.pt.sha256",
    }  # fmt: skip
    events = [record["event"] for record in run.records()]
    assert events.count("step") == 6
    assert events.count("validate") == 2
    assert events[-1] == "end"


def test_the_loss_falls(tiny, tmp_path):
    run = trained(tiny(train__steps=60, train__validate_every=None, train__checkpoint_every=None), tmp_path)
    losses = [record["loss"] for record in steps_of(run)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_the_same_seed_gives_the_same_losses_and_weights(tiny, tmp_path):
    ours, theirs = trained(tiny(), tmp_path / "a"), trained(tiny(), tmp_path / "b")
    assert steps_of(ours) == steps_of(theirs)
    assert ours.weights.read_bytes() == theirs.weights.read_bytes()


def test_another_seed_gives_other_losses(tiny, tmp_path):
    assert steps_of(trained(tiny(), tmp_path / "a")) != steps_of(trained(tiny(train__seed=1), tmp_path / "b"))


def test_the_kept_weights_are_those_of_the_best_validation(tiny, tmp_path):
    run = trained(tiny(train__steps=9), tmp_path)
    validations = {record["step"]: record["mean"] for record in run.records() if record["event"] == "validate"}
    assert load_weights(run.path, torch.device("cpu")).step == max(validations, key=lambda step: (validations[step], -step))


def test_keep_last_keeps_the_last(tiny, tmp_path):
    assert load_weights(trained(tiny(train__keep="last"), tmp_path).path, torch.device("cpu")).step == 6


def test_a_running_mean_is_what_is_saved(tiny, tmp_path):
    run = trained(tiny(train__average=0.9, train__keep="last"), tmp_path)
    state = torch.load(run.checkpoints / "last.pt", weights_only=True)
    kept = load_weights(run.path, torch.device("cpu")).network.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in state["average"].items())
    assert not all(torch.equal(kept[name], value) for name, value in state["network"].items())


def test_realised_sampling_is_logged_with_each_validation(tiny, tmp_path):
    record = next(record for record in trained(tiny(), tmp_path).records() if record["event"] == "validate")
    assert set(record["sampled"]) == {"centers", "voxels"}
    assert sum(record["sampled"]["centers"].values()) == pytest.approx(1)
    assert record["sampled"]["voxels"]["tumor"] > 0


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"model": {"name": "unet3d", "widths": [4, 8], "dropout": 0.2}, "sampling__patch_shape": [16, 16, 16], "train__average": 0.9},
        {"model": {"name": "deepmedic", "widths": [4, 4], "residual_after": [], "hidden": [6, 6]}, "train__optimizer": {"name": "adamw"}},
        {
            "losses": [{"name": "cross_entropy", "class_weights": [1, 4], "anneal": [0.2, 0.9]}],
            "regularizers": [{"name": "logit_adjustment"}, {"name": "feature_weakening", "bank": 64}],
        },
        {
            "dataset__rare_classes": ["tumor"],
            "losses": [{"name": "focal"}, {"name": "focal_dice"}],
            "regularizers": [{"name": "large_margin"}, {"name": "adversarial"}, {"name": "mixup"}],
            "train__update": "sequential",
        },
    ],
    ids=["deepmedic_tiny", "unet3d", "deepmedic", "stateful", "combination"],
)
def test_resuming_is_exact(tiny, tmp_path, extra):
    whole = trained(tiny(train__steps=6, **extra), tmp_path / "whole")
    broken = Run(tmp_path / "broken" / "run")
    # stop after the checkpoint of step 4, two log lines later, as a kill would
    recipe = tiny(train__steps=6, **extra)
    stop_at = 5

    class Killed(BaseException):
        pass

    def kill(run: Run) -> None:
        from segkit.engine import train as module

        original = module.step
        calls = iter(range(100))

        def step(*arguments):
            if next(calls) == stop_at:
                raise Killed
            return original(*arguments)

        module.step = step
        try:
            train(recipe, run, device_name="cpu", console=QUIET)
        except Killed:
            pass
        finally:
            module.step = original

    kill(broken)
    train(recipe, broken, resumed=True, device_name="cpu", console=QUIET)
    assert steps_of(broken) == steps_of(whole)
    remembered = [torch.load(run.checkpoints / "last.pt", weights_only=True)["objective"] for run in (broken, whole)]
    assert remembered[0].keys() == remembered[1].keys()
    assert all(torch.equal(remembered[0][name], value) for name, value in remembered[1].items())
    assert bool(remembered[1]) == ("logit_adjustment" in str(extra))
    assert broken.weights.read_bytes() == whole.weights.read_bytes()
    assert validations_of(broken) == validations_of(whole)


def test_a_loss_that_is_not_finite_stops_and_names_the_cases(tiny, tmp_path):
    recipe = tiny(train__optimizer={"name": "sgd", "learning_rate": 1e30}, train__checkpoint_every=None, train__validate_every=None)
    with pytest.raises(WorkError) as error:
        trained(recipe, tmp_path)
    assert error.value.code == "SK-T050"
    assert "on a batch of cases Phantom_0" in str(error.value)


def test_the_last_good_checkpoint_survives_a_loss_that_is_not_finite(tiny, tmp_path):
    recipe = tiny(train__steps=4)
    run = trained(recipe, tmp_path)
    before = (run.checkpoints / "last.pt").read_bytes()
    state = torch.load(run.checkpoints / "last.pt", weights_only=True)
    assert state["step"] == 4
    from segkit.engine import checkpoint

    next(iter(state["network"].values())).fill_(float("nan"))
    checkpoint.save(run.checkpoints / "last.pt", state | {"step": 2})
    poisoned = (run.checkpoints / "last.pt").read_bytes()
    assert poisoned != before
    with pytest.raises(WorkError, match="not finite"):
        trained(recipe, tmp_path, resumed=True)
    assert (run.checkpoints / "last.pt").read_bytes() == poisoned


def test_resuming_a_finished_run_changes_nothing(tiny, tmp_path):
    run = trained(tiny(), tmp_path)
    weights = run.weights.read_bytes()
    trained(tiny(), tmp_path, resumed=True)
    assert run.weights.read_bytes() == weights


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_last_step_is_told_to_the_caller_after_the_run_is_complete(tiny, tmp_path, monkeypatch, number, status):
    from segkit.engine import train as module

    def signaled(progress, *arguments):
        if progress.step == 5:
            signal.raise_signal(number)
        return step(progress, *arguments)

    step = module.step
    with monkeypatch.context() as patch:
        patch.setattr(module, "step", signaled)
        with pytest.raises(Interrupted) as stop:
            trained(tiny(), tmp_path)
    assert stop.value.exit_status == status
    assert stop.value.block().splitlines() == [
        "SK-T040: stopped after step 6, the last one; the run is complete",
        f"  where:    {tmp_path}/run",
    ]
    run, undisturbed = Run(tmp_path / "run"), trained(tiny(), tmp_path / "other")
    assert steps_of(run) == steps_of(undisturbed)
    assert run.weights.read_bytes() == undisturbed.weights.read_bytes()
    assert [record["event"] for record in run.records()][-1] == "end"


def test_a_run_folder_in_use_is_refused(tiny, tmp_path):
    trained(tiny(), tmp_path)
    with pytest.raises(InputError, match="SK-T010: this run folder is in use"):
        trained(tiny(), tmp_path)


def test_a_changed_recipe_is_not_resumed(tiny, tmp_path):
    trained(tiny(), tmp_path)
    with pytest.raises(InputError) as error:
        trained(tiny(train__batch_size=3), tmp_path, resumed=True)
    assert error.value.got == "train.batch_size: 2 -> 3"


def test_a_run_of_a_version_that_knew_fewer_keys_goes_on(tiny, tmp_path):
    run = trained(tiny(), tmp_path)
    text = run.recipe.read_text(encoding="utf-8")
    assert "  monitor: null\n" in text
    run.recipe.write_text(text.replace("  monitor: null\n", ""), encoding="utf-8")
    trained(tiny(), tmp_path, resumed=True)


def launch(recipe: Path, run: Path, resume: bool) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "segkit",
        "train",
        str(recipe),
        "--run",
        str(run),
        "--device",
        "cpu",
        "--quiet",
        *(["--resume"] if resume else []),
    ]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})


def killed_between_writes(process: subprocess.Popen, run: Run, steps: int) -> None:
    """SIGKILL a few steps on, wherever that falls."""
    before = len(steps_of(run))
    while len(steps_of(run)) < before + steps:
        assert process.poll() is None, "the run ended before it was killed"
        time.sleep(0.002)
    process.kill()
    process.wait()


def killed_inside_a_write(process: subprocess.Popen, folder: Path, suffix: str) -> None:
    """SIGKILL with a half-done write on the disk: stopped when its temporary file appears, the process is killed if that is still there."""
    while True:
        assert process.poll() is None, "the run ended before a write was met"
        if not list(folder.glob(f".tmp-*{suffix}")):
            continue
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        if list(folder.glob(f".tmp-*{suffix}")):
            process.kill()
            process.wait()
            return
        process.send_signal(signal.SIGCONT)


@pytest.mark.slow
def test_a_run_killed_between_and_inside_its_writes_gives_the_losses_of_an_undisturbed_one(tiny_yaml, tmp_path):
    """kill -9 seven times: inside the writes of a checkpoint, of its checksum and of the weights, and between them; then the end."""
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(tiny_yaml.replace("steps: 6", "steps: 80, keep: last").replace("validate_every: 3", "validate_every: 20"))
    assert launch(recipe, tmp_path / "whole", False).wait() == 0
    broken = Run(tmp_path / "broken")
    for suffix in (".pt", ".sha256", None, ".safetensors", None, ".pt", None):
        process = launch(recipe, broken.path, resume=broken.exists())
        if suffix is None:
            killed_between_writes(process, broken, steps=5)
        else:
            killed_inside_a_write(process, broken.path if suffix == ".safetensors" else broken.checkpoints, suffix)
            assert list(broken.path.rglob(f".tmp-*{suffix}")), "no half-done write was left"
    assert launch(recipe, broken.path, resume=True).wait() == 0
    assert not list(broken.path.rglob(".tmp-*"))
    ours, theirs = steps_of(broken), steps_of(Run(tmp_path / "whole"))
    assert ours == theirs
    assert len(ours) == 80
    assert validations_of(broken) == validations_of(Run(tmp_path / "whole"))
    assert broken.weights.read_bytes() == Run(tmp_path / "whole").weights.read_bytes()
    assert json.loads(broken.provenance.read_text())["versions"]["segkit"]


def test_provenance_keeps_how_a_run_began_and_adds_how_it_went_on(tiny, tmp_path):
    recipe = tiny(train__steps=4)
    run = trained(recipe, tmp_path)
    began = json.loads(run.provenance.read_text())
    splits = recipe.dataset.splits()
    assert began["cases"] == {"training": [files.id for files in splits.training], "validation": [files.id for files in splits.validation]}
    assert run.note_origin(began) is True
    assert run.note_origin(began | {"data": "other"}) is False
    facts = json.loads(run.provenance.read_text())
    assert {key: facts[key] for key in began} == began
    assert [resumed["data"] for resumed in facts["resumed"]] == [began["data"], "other"]


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_kill_after_the_weights_and_before_the_last_checkpoint_is_made_good(tiny, tmp_path, keep):
    recipe = tiny(train__keep=keep, train__checkpoint_every=3)
    run = trained(recipe, tmp_path)
    weights, losses = run.weights.read_bytes(), steps_of(run)
    state = torch.load(run.checkpoints / "last.pt", weights_only=True)
    early = trained(recipe.model_copy(update={"train": recipe.train.model_copy(update={"steps": 3})}), tmp_path / "early")
    assert torch.load(early.checkpoints / "last.pt", weights_only=True)["step"] == 3
    for name in ("last.pt", "last.pt.sha256"):
        (run.checkpoints / name).write_bytes((early.checkpoints / name).read_bytes())
    trained(recipe, tmp_path, resumed=True)
    assert state["step"] == 6
    assert run.weights.read_bytes() == weights
    assert steps_of(run) == losses


def test_the_end_is_logged_even_if_a_kill_came_before_it(tiny, tmp_path):
    run = trained(tiny(), tmp_path)
    lines = run.log.read_text().splitlines(keepends=True)
    run.log.write_text("".join(lines[:-1]))
    trained(tiny(), tmp_path, resumed=True)
    assert [record["event"] for record in run.records()][-1] == "end"


@pytest.mark.parametrize("which", ["network", "average"])
def test_weights_that_are_not_finite_are_never_written(tiny, tmp_path, which):
    run = Run(tmp_path / "run")
    run.create("{}")
    progress = Progress.begin(tiny(train__average=0.9), torch.device("cpu"))
    with torch.no_grad():
        next(getattr(progress, which).parameters()).fill_(float("nan"))
    with pytest.raises(WorkError, match="SK-T051: the weights of step 0 are not finite, and were not written"):
        save(progress, run, keep_these=True)
    assert list(run.checkpoints.iterdir()) == []
    assert not run.weights.exists()


def test_a_loss_that_does_not_fit_the_classes_leaves_no_run_behind(tiny, tmp_path):
    with pytest.raises(InputError, match="SK-L001"):
        trained(tiny(losses=[{"name": "cross_entropy", "class_weights": [1.0, 1.0, 1.0]}]), tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_tile_that_does_not_suit_the_network_is_refused_before_training(tiny, tmp_path):
    recipe = tiny(model={"name": "unet3d", "widths": [4, 8]}, sampling__patch_shape=[16, 16, 16], infer__tile_shape=[9, 9, 9])
    with pytest.raises(InputError, match="SK-M001"):
        trained(recipe, tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_where_its_data_were_moved(tiny, tmp_path):
    recipe = tiny(train__steps=4)
    trained(recipe, tmp_path)
    moved = recipe.model_copy(update={"preprocess": recipe.preprocess.model_copy(update={"store": tmp_path / "elsewhere"})})
    run = trained(moved, tmp_path, resumed=True)
    assert len(steps_of(run)) == 4
    assert "elsewhere" not in run.recipe.read_text()


def test_the_order_of_classes_is_part_of_a_recipe(tiny, tmp_path):
    recipe = tiny(dataset__classes={"core": [1, 4], "edema": [2]})
    trained(recipe, tmp_path)
    with pytest.raises(InputError) as error:
        trained(tiny(dataset__classes={"edema": [2], "core": [1, 4]}), tmp_path, resumed=True)
    assert error.value.got == "dataset.classes: ['core', 'edema'] -> ['edema', 'core']"


def test_leftovers_of_killed_writes_are_cleared(tiny, tmp_path):
    run = trained(tiny(), tmp_path)
    leftover = run.checkpoints / ".tmp-99999-abcd.pt"
    leftover.write_bytes(b"half")
    trained(tiny(), tmp_path, resumed=True)
    assert not leftover.exists()
