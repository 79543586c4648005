"""Several processes: they train what one trains, stop and go on together, in any number, and fail together."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from segkit.config.errors import InputError
from segkit.config.parse import dump
from segkit.engine import train as module
from segkit.engine.batchwide import BatchwideDropout, batchwide
from segkit.engine.console import Console
from segkit.engine.processes import ALONE, Processes, joined
from segkit.engine.run import Run
from segkit.engine.train import train

QUIET = Console("quiet")
COMMON = {
    "dataset__split": {"test": 0, "validation": 3},
    "dataset__rare_classes": ["tumor"],
    "train__batch_size": 4,
    "train__steps": 4,
    "train__validate_every": None,
    "train__checkpoint_every": 3,
    "train__keep": "last",
}
WEAKENING = {"regularizers": ["logit_adjustment", {"name": "feature_weakening", "bank": 64}]}
WATCHED = {"regularizers": ["mixup"], "train__monitor": {"every": 4}}
RECIPES = {
    "weights": {
        "losses": [{"name": "cross_entropy", "class_weights": "inverse_frequency", "anneal": [0.0, 0.8]}],
        "model": {"name": "deepmedic", "widths": [4, 4], "residual_after": [], "hidden": [6, 6], "dropout": 0.3},
    },
    "dice": {
        "losses": ["dice", "cross_entropy"],
        "regularizers": ["logit_adjustment"],
        "model": {"name": "unet3d", "widths": [4, 8], "norm": "batch", "dropout": 0.2},
        "sampling__patch_shape": [16, 16, 16],
        "train__average": 0.9,
        "train__clip_gradient": 0.5,
        "train__regularization": {"l1": 1e-4, "l2": 1e-3},
    },
    "combination": {
        "losses": ["focal", "focal_dice"],
        "regularizers": ["large_margin", "adversarial", "mixup"],
        "train__update": "sequential",
        "train__monitor": {"every": 2},
        # of 12 runs with other seeds and masks of dropout, ten had losses that differ by 2e-7 to 7e-7, and two, at a kink, by 1e-4 and 3e-4
        "train__seed": 3,
        # other optimizers divide by the gradient's size: where it vanishes, that is rounding
        "train__optimizer": {"name": "sgd", "learning_rate": 0.01},
    },
    "begun_alone": WATCHED,
    "stopped": WATCHED,
    "weakening": WEAKENING,
    "stopped_weakening_resumed": WEAKENING,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_with, torchrun) -> Path:
    """Runs of one process in `alone`, of two in `together`; one that was begun alone, and one to be ended alone."""
    folder = tmp_path_factory.mktemp("processes")
    recipes = {name: tiny_with(folder / "store", **COMMON, **values) for name, values in RECIPES.items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the two: with more, torch convolves another way, and dropout is drawn in the order of its result
    for name, recipe in recipes.items():
        folder.joinpath(f"{name}.yaml").write_text(dump(recipe), encoding="utf-8")
        if name in ("weights", "dice", "combination", "begun_alone"):
            train(recipe, Run(folder / "alone" / name), device_name="cpu", console=QUIET)
    begin_and_fail(recipes["begun_alone"], Run(folder / "together" / "begun_alone"))
    done = torchrun("train", folder)
    assert done.returncode == 0, done.stderr
    train(recipes["stopped"], Run(folder / "together" / "stopped"), resumed=True, device_name="cpu", console=QUIET)
    torch.set_num_threads(threads)
    return folder


def begin_and_fail(recipe, run: Run) -> None:
    """Train up to the fourth step; the last checkpoint is that of the third."""

    def step(progress, *arguments):
        if progress.step == 3:
            raise KeyboardInterrupt
        return original(progress, *arguments)

    original, module.step = module.step, step
    try:
        with pytest.raises(KeyboardInterrupt):
            train(recipe, run, device_name="cpu", console=QUIET)
    finally:
        module.step = original


def flat(record: dict) -> dict[str, float]:
    """Its numbers by the path of their names, but for the clock."""
    found = {}
    for name, value in record.items():
        if isinstance(value, dict):
            found |= {f"{name} {inner}": number for inner, number in flat(value).items()}
        elif isinstance(value, int | float) and name != "seconds":
            found[name] = value
    return found


def numbers(run: Run, event: str) -> list[dict[str, float]]:
    return [flat(record) for record in run.records() if record["event"] == event]


def checkpoint(run: Run) -> dict:
    return torch.load(run.checkpoints / "last.pt", weights_only=True)


@pytest.mark.parametrize(
    ("alone", "together", "rounding"),
    [
        ("weights", "weights", 1e-5),
        ("dice", "dice", 1e-3),  # torch's batch normalization sums channels-last tensors less exactly than ours
        ("combination", "combination", 1e-5),
        ("begun_alone", "begun_alone", 1e-5),  # by one process, and gone on with by two
        ("begun_alone", "stopped", 1e-5),  # the other way round
    ],
)
def test_two_processes_train_what_one_trains(folder, alone, together, rounding):
    ours, theirs = Run(folder / "together" / together), Run(folder / "alone" / alone)
    for record, expected in zip(numbers(ours, "step"), numbers(theirs, "step"), strict=True):
        assert record == pytest.approx(expected, rel=rounding)
    for record, expected in zip(numbers(ours, "validate"), numbers(theirs, "validate"), strict=True):
        assert record == pytest.approx(expected, abs=1e-3)  # a voxel may tie
    for record, expected in zip(map(flat, ours.windows()), map(flat, theirs.windows()), strict=True):
        assert record == pytest.approx(expected, rel=1e-3, abs=1e-3)
    assert [record["event"] for record in ours.records()].count("end") == 1
    ended, expected = checkpoint(ours), checkpoint(theirs)
    for part in ("network", "average", "objective"):
        torch.testing.assert_close(ended[part], expected[part], rtol=rounding, atol=rounding / 10)
    assert torch.equal(ended["sampled"], expected["sampled"])


def test_two_processes_go_on_exactly_with_what_is_common_to_them(folder):
    whole, resumed = (Run(folder / "together" / name) for name in ("weakening", "stopped_weakening_resumed"))
    assert numbers(resumed, "step") == numbers(whole, "step")
    assert resumed.weights.read_bytes() == whole.weights.read_bytes()
    ours, theirs = (checkpoint(run)["objective"] for run in (resumed, whole))
    assert ours["running.regularizers feature_weakening.bank.filled"].min() > 0
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_a_signal_that_reaches_one_process_stops_all_after_the_same_step(folder):
    assert [folder.joinpath(f"stopped.{rank}").read_text() for rank in (0, 1)] == 2 * ["143 stopped after step 3; a checkpoint was written"]


def test_a_run_says_how_many_processes_trained_it(folder):
    facts = json.loads(Run(folder / "together" / "stopped").provenance.read_text(encoding="utf-8"))
    assert facts["processes"] == 2
    assert [later["processes"] for later in facts["resumed"]] == [1]


BROKEN = """
from torch import distributed as dist

from segkit.regularizers.base import Regularizer, regularizers

calls = []


@regularizers.register("broken")
class Broken(Regularizer):
    '''Fails in the second step of the last process; the first call is the rehearsal.'''

    def adjust(self, logits, target, rare):
        calls.append(1)
        if len(calls) == 3 and dist.get_rank() == 1:
            raise OSError("nothing there")
        return logits
"""


def ended(folder: Path) -> list[str]:
    """The exit status of each process."""
    return [folder.joinpath(f"status.{rank}").read_text() for rank in (0, 1)]


def test_a_process_that_fails_ends_all_with_its_status_and_its_message_once(tiny_with, tmp_path, torchrun):
    plugin, recipe = tmp_path / "broken.py", tmp_path / "r.yml"
    plugin.write_text(BROKEN)
    recipe.write_text(dump(tiny_with(tmp_path / "store")).replace("regularizers: []", "regularizers: [broken]"), encoding="utf-8")
    done = torchrun("call", tmp_path, "train", recipe, "--plugin", plugin, f"--run={tmp_path / 'run'}", "--device", "cpu")
    assert ended(tmp_path) == ["2", "2"]
    assert done.stderr.count("SK-") == 1
    assert f"SK-R054: a plug-in fails\n  where:    {plugin}:16\n  got:      OSError: nothing there\n" in done.stderr
    assert done.stdout.startswith("2 processes, 1 samples each\n")


def test_a_bad_case_ends_those_that_wait_for_the_store(tiny_with, tiny_root, tmp_path, torchrun):
    data, recipe = Path(shutil.copytree(tiny_root, tmp_path / "data")), tmp_path / "r.yml"
    scan = next(data.rglob("*flair*"))
    scan.write_bytes(scan.read_bytes()[:1000])
    recipe.write_text(dump(tiny_with(tmp_path / "store", dataset__root=str(data), dataset__split={"test": 0})), encoding="utf-8")
    done = torchrun("call", tmp_path, "train", recipe, f"--run={tmp_path / 'run'}", "--device", "cpu")
    assert ended(tmp_path) == ["2", "2"]
    assert done.stderr.count("SK-V070: 1 of 4 cases cannot be used") == 1
    assert not (tmp_path / "run").exists()


def test_a_batch_that_cannot_be_divided_evenly_is_refused():
    with pytest.raises(InputError) as error:
        Processes(1, 4).slice_of(10)
    assert str(error.value) == (
        "SK-T060: the batch cannot be divided evenly among the processes\n"
        "  where:    train.batch_size\n"
        "  expected: a multiple of 4, the number of processes\n"
        "  got:      10\n"
        "  remedy:   train.batch_size=8 or 12, or another --nproc-per-node"
    )
    with pytest.raises(InputError, match=r"remedy:   train.batch_size=4, or another"):
        Processes(1, 4).slice_of(2)


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_slices_are_the_batch(count):
    assert [sample for rank in range(count) for sample in Processes(rank, count).slice_of(10)] == list(range(10))


def test_several_processes_do_not_share_a_device():
    with pytest.raises(InputError) as error:
        Processes(1, 2).device("cuda:1")
    assert str(error.value) == (
        "SK-T061: several processes cannot share one device\n"
        "  where:    --device\n"
        "  expected: auto, cpu or cuda: each process takes a device of its own\n"
        "  got:      cuda:1\n"
        "  remedy:   choose devices with CUDA_VISIBLE_DEVICES"
    )


def test_where_torchrun_has_started_nobody_a_process_is_alone():
    with joined() as processes:
        assert processes is ALONE
    network = nn.Sequential(nn.BatchNorm3d(2), nn.Dropout())
    assert batchwide(network, ALONE, torch.device("cpu")) is network
    assert [type(module) for module in network] == [nn.BatchNorm3d, nn.Dropout]


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout3d])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d], ids=["contiguous", "channels last"])
def test_slices_are_dropped_as_in_the_whole_batch(kind, layout):
    dropout = kind(0.4)

    def dropped(layer, part):
        torch.manual_seed(3)
        return layer(part)

    x = torch.randn(6, 8, 3, 4, 5).contiguous(memory_format=layout)
    parts = [dropped(BatchwideDropout(dropout, index, 3), part) for index, part in enumerate(x.split(2))]
    torch.testing.assert_close(torch.cat(parts), dropped(dropout, x))
    assert (torch.cat(parts) == 0).any()
    layer = BatchwideDropout(dropout, 1, 3).eval()
    assert layer(x) is x


def test_batchwide_layers_keep_the_names_of_parameters_and_buffers():
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2), nn.Sequential(nn.BatchNorm3d(2), nn.Dropout(0.5)))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    after = batchwide(network, Processes(0, 2), torch.device("cpu")).state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
