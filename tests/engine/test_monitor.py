"""The monitor: counts and gradients by hand and by autograd, windows that outlive a kill, a training that does not know it is watched."""

import json
import math

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from segkit.config.errors import InputError
from segkit.config.overrides import apply
from segkit.config.yaml import loads
from segkit.engine.console import Console
from segkit.engine.device import autocast
from segkit.engine.monitor import RunningMonitor, clean_norms
from segkit.engine.objective import Objective, target_of
from segkit.engine.progress import Progress
from segkit.engine.run import Run
from segkit.engine.step import step
from segkit.engine.train import train
from segkit.losses.base import Loss
from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.dice import Dice
from segkit.losses.focal import Focal
from segkit.models.base import Lattice, Network
from segkit.models.unet3d import UNet3D
from segkit.optimizers.sgd import SGD
from segkit.recipe import Monitor, Train, resolve
from segkit.regularizers.base import Regularizer
from segkit.regularizers.feature_weakening import FeatureWeakening
from segkit.regularizers.large_margin import LargeMargin
from segkit.sampling.loader import Batch
from segkit.volume.labels import IGNORED

QUIET = Console("quiet")
NAMES = ("background", "organ", "lesion")
RARE = torch.tensor([False, False, True])


class Small(Network):
    """Four features of a voxel and a classifier, in float64, so that sums can be compared."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.classifier = nn.Conv3d(2, 4, 1).double(), nn.Conv3d(4, 3, 1).double()

    def lattices(self, output_shape):
        return (Lattice(1, output_shape, (0, 0, 0)),)

    def features(self, image):
        return self.first(image[0]).tanh()


def batch(seed: int = 1) -> Batch:
    """Two patches of 27 voxels, some of them ignored."""
    torch.manual_seed(seed)
    label = torch.randint(4, (2, 3, 3, 3), dtype=torch.uint8)
    label[label == 3] = IGNORED
    return Batch((torch.randn(2, 2, 3, 3, 3, dtype=torch.float64),), label, ("a", "b"), ((0, 0, 0),) * 2, (0, 1), (False, False))


def monitor(rare=("lesion",), **settings) -> RunningMonitor:
    return RunningMonitor(Monitor(every=2, **settings), NAMES, rare)


def objective(*losses: Loss, regularizers: tuple[Regularizer, ...] = ()) -> Objective:
    return Objective(losses or (CrossEntropy(),), regularizers, RARE, features=4, steps=1)


def by_class(values: Tensor, label: Tensor) -> dict[str, float]:
    """Mean of a value of each voxel over the voxels of each class."""
    return {name: values[label == index].mean().item() for index, name in enumerate(NAMES)}


def voxels_in_a_row(*logits: tuple[float, ...], label: tuple[int, ...]) -> tuple[Tensor, nn.Conv3d, Tensor]:
    """Features that are the logits themselves, the classifier that leaves them so, and the target."""
    classifier = nn.Conv3d(3, 3, 1).double()
    with torch.no_grad():
        classifier.weight.copy_(torch.eye(3).view(3, 3, 1, 1, 1))
        classifier.bias.zero_()
    features = torch.tensor(logits, dtype=torch.float64).T.reshape(1, 3, -1, 1, 1)
    return features, classifier, target_of(torch.tensor(label, dtype=torch.uint8).view(1, -1, 1, 1), 3)


def watched(rare=("lesion",), **settings) -> tuple[RunningMonitor, tuple[Tensor, nn.Conv3d, Tensor]]:
    """Six voxels: 2 background (one called organ), 3 lesion (one each), 1 ignored."""
    zero, one, two = (3.0, 0.0, 0.0), (0.0, 3.0, 0.0), (0.0, 0.0, 3.0)
    seen, features = monitor(rare, **settings), voxels_in_a_row(zero, one, zero, one, two, two, label=(0, 0, 2, 2, 2, IGNORED))
    seen.watch(*features)
    return seen, features


def test_counts_by_hand():
    facts = watched()[0].window(7)
    assert facts["step"] == 7
    assert facts["confusion"] == [[1, 1, 0], [0, 0, 0], [1, 1, 1]]
    assert facts["n"] == {"background": 2, "organ": 0, "lesion": 3}
    assert facts["recall"] == {"background": 1 / 2, "organ": None, "lesion": 1 / 3}
    assert facts["major"] == ["background", "organ"]
    assert facts["absorbed"] == {"background": 1 / 2, "organ": None, "lesion": 2 / 3}


def test_without_rare_classes_the_most_frequent_class_of_the_window_is_the_major_one():
    facts = watched(rare=())[0].window(7)
    assert facts["major"] == ["lesion"]
    assert facts["absorbed"] == {"background": 0, "organ": None, "lesion": 0}


def test_where_all_classes_are_rare_nothing_is_absorbed():
    facts = watched(rare=NAMES)[0].window(7)
    assert facts["major"] == []
    assert facts["absorbed"] == {"background": 0, "organ": None, "lesion": 0}


def test_a_window_is_the_sum_of_its_batches_and_the_next_one_begins_at_zero():
    seen, features = watched()
    once = seen.window(1)
    seen.watch(*features)
    seen.watch(*features)
    twice, nothing = seen.window(3), seen.window(4)
    assert twice["n"] == {"background": 4, "organ": 0, "lesion": 6}
    for rate in ("recall", "absorbed"):
        assert twice[rate] == once[rate]
    for gradient in ("grad_clean", "grad_clean_sd"):
        assert {name: value and round(value, 12) for name, value in twice[gradient].items()} == {
            name: value and round(value, 12) for name, value in once[gradient].items()
        }
    assert nothing["confusion"] == [[0] * 3] * 3
    for fact in ("recall", "absorbed", "grad_clean", "grad_clean_sd", "grad_train", "grad_train_sd"):
        assert nothing[fact] == dict.fromkeys(NAMES)


def test_clean_gradients_by_hand():
    # the classifier is the identity, so the gradient is p - y: with logits (3, 0, 0), p = (e^3, 1, 1) / (e^3 + 2)
    most, least = math.e**3 / (math.e**3 + 2), 1 / (math.e**3 + 2)
    right, wrong = math.hypot(1 - most, least, least), math.hypot(most, 1 - least, least)
    facts = watched()[0].window(1)
    assert facts["grad_clean"] == pytest.approx({"background": (right + wrong) / 2, "organ": None, "lesion": (right + 2 * wrong) / 3})
    assert facts["grad_clean_sd"]["background"] == pytest.approx((wrong - right) / 2)
    assert facts["grad_clean_sd"]["lesion"] == pytest.approx((wrong - right) * math.sqrt(2) / 3)


def test_the_clean_gradient_is_that_of_each_voxels_cross_entropy():
    network, example = Small(), batch()
    target = target_of(example.label, 3)
    features = network.features(example.image).detach()

    def terms(features: Tensor) -> Tensor:
        """Cross-entropy of each voxel, summed over voxels: no voxel's term depends on another's features."""
        return -(target * network.classifier(features).log_softmax(1)).sum()

    norms = clean_norms(network.classifier(features).detach(), network.classifier.weight.detach(), target)[:, 0]
    known = example.label != IGNORED
    torch.testing.assert_close(norms[known], jacobian(terms, features).norm(dim=1)[known])


def test_a_saturated_voxel_still_has_its_gradient():
    # p = e^-40 / (1 + e^-40) of the wrong class, which 1 - p could not hold; the residual is (-p, p)
    logits, weight = torch.tensor([40.0, 0.0]).view(1, 2, 1, 1, 1), torch.eye(2).view(2, 2, 1, 1, 1)
    target = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1, 1)
    assert clean_norms(logits, weight, target).item() == pytest.approx(math.sqrt(2) * math.exp(-40), rel=1e-5, abs=0)


def test_what_all_rows_of_the_classifier_share_has_no_effect():
    torch.manual_seed(0)
    weight, logits = torch.randn(3, 8, 1, 1, 1, dtype=torch.float64), torch.randn(1, 3, 5, 1, 1)
    target = target_of(torch.tensor([0, 1, 2, 0, 1], dtype=torch.uint8).view(1, 5, 1, 1), 3)
    plain = clean_norms(logits, weight, target)
    torch.testing.assert_close(clean_norms(logits, weight + 1e6 * torch.randn(8, 1, 1, 1, dtype=torch.float64), target), plain)


OBJECTIVES = {
    "cross_entropy": ((CrossEntropy(),), ()),
    "weighted": ((CrossEntropy(weight=3.0, class_weights=(1.0, 2.0, 5.0)),), ()),
    "dice": ((Dice(),), ()),
    "margin": ((Focal(asymmetric=True), Dice(weight=0.5)), (LargeMargin(margin=1.0),)),
    "blended": ((CrossEntropy(),), (FeatureWeakening(),)),
    "blended_and_apart": ((CrossEntropy(), Dice()), (FeatureWeakening(preset="literal"), LargeMargin(margin=0.5))),
}


@pytest.mark.parametrize(("losses", "regularizers"), OBJECTIVES.values(), ids=OBJECTIVES)
def test_the_train_gradient_is_autograds_of_the_whole_objective_at_the_features(losses, regularizers):
    network, example, seen = Small(), batch(), monitor()
    target = target_of(example.label, 3)
    mine, theirs = (objective(*losses, regularizers=regularizers) for _ in range(2))
    for each in (mine, theirs):
        each.see(target)
    mine.loss(network, example.image, target, torch.Generator().manual_seed(0), clean=True, monitor=seen)["total"].backward()

    features = network.features(example.image).detach().requires_grad_()
    network.features = lambda image: features  # the same objective, differentiated at a leaf
    theirs.loss(network, example.image, target, torch.Generator().manual_seed(0), clean=True)["total"].backward()
    norms = 2 * 27 * features.grad.norm(dim=1)
    facts = seen.window(1)
    assert facts["grad_train"] == pytest.approx(by_class(norms, example.label))
    known = {name: norms[example.label == index] for index, name in enumerate(NAMES)}
    assert facts["grad_train_sd"] == pytest.approx({name: values.std(correction=0).item() for name, values in known.items()})


def test_with_cross_entropy_alone_the_two_gradients_are_equal_and_with_class_weights_they_are_not():
    facts = {}
    for weights in (None, (1.0, 2.0, 5.0)):
        network, example, seen = Small(), batch(), monitor()
        terms = objective(CrossEntropy(class_weights=weights)).loss(
            network, example.image, target_of(example.label, 3), torch.Generator(), clean=True, monitor=seen
        )
        terms["total"].backward()
        facts[weights] = seen.window(1)
    assert facts[None]["grad_train"] == pytest.approx(facts[None]["grad_clean"])
    assert facts[None]["grad_train_sd"] == pytest.approx(facts[None]["grad_clean_sd"])
    weighted = facts[1.0, 2.0, 5.0]
    assert weighted["grad_clean"] == facts[None]["grad_clean"]
    plain = weighted["grad_clean"]
    assert weighted["grad_train"] == pytest.approx({name: w * plain[name] for name, w in zip(NAMES, (1, 2, 5), strict=True)})


def test_counts_and_clean_gradient_are_of_features_and_logits_that_no_technique_has_touched():
    facts = []
    for regularizers in ((), (FeatureWeakening(), LargeMargin(margin=9.0))):
        network, example, seen = Small(), batch(), monitor()
        target, part = target_of(example.label, 3), objective(regularizers=regularizers)
        part.see(target)
        part.loss(network, example.image, target, torch.Generator(), clean=True, monitor=seen)["total"].backward()
        facts.append(seen.window(1))
    for fact in ("confusion", "grad_clean"):
        assert facts[0][fact] == facts[1][fact]
    assert facts[0]["grad_train"] != facts[1]["grad_train"]


def test_deep_supervision_leaves_the_finest_logits_their_share_of_the_loss():
    torch.manual_seed(0)
    network = UNet3D(widths=(4, 6, 8), deep_supervision=1).build(1, 3).double().train()
    image = (torch.randn(1, 1, 8, 8, 8, dtype=torch.float64),)
    label, seen = torch.randint(3, (1, 8, 8, 8), dtype=torch.uint8), monitor()
    objective().loss(network, image, target_of(label, 3), torch.Generator(), clean=True, monitor=seen)["total"].backward()
    facts = seen.window(1)
    share = 1 / (1 + 1 / 2)  # weights 1 and 1/2, normalized
    assert facts["grad_train"] == pytest.approx({name: share * value for name, value in facts["grad_clean"].items()})


def stepped(update: str, seen: RunningMonitor | None, *regularizers: Regularizer) -> Progress:
    network = Small()
    optimizer = SGD(learning_rate=0.5, momentum=0.0, weight_decay=0.0).build(network.parameters())
    sampled = torch.zeros(2, 3, dtype=torch.int64)
    state = Progress(network, objective(regularizers=regularizers), optimizer, None, sampled, pinned={"precision": "fp32"}, monitor=seen)
    for seed in (1, 2):
        step(state, Train(steps=2, update=update), batch(seed), torch.Generator().manual_seed(seed))
        state.step += 1
    return state


class Negative(Regularizer):
    """A view of the negative image."""

    def view(self, network, image, target, rare, rng):
        return tuple(-x for x in image), target


Negative.name = "negative"


@pytest.mark.parametrize("update", ["joint", "sequential"])
def test_a_view_is_not_watched(update):
    seen = monitor()
    state = stepped(update, seen, Negative())
    facts = seen.window(2)
    assert facts["n"] == {name: sum((batch(seed).label == index).sum().item() for seed in (1, 2)) for index, name in enumerate(NAMES)}
    assert facts["grad_train"] == pytest.approx(facts["grad_clean"])  # of cross-entropy on the clean batch, whatever the view adds
    assert state.updates == (2 if update == "joint" else 4)


@pytest.mark.parametrize("update", ["joint", "sequential"])
def test_the_weights_are_those_before_the_steps_update(update):
    network, example, seen = Small(), batch(), monitor()
    seen.watch(network.features(example.image), network.classifier, target_of(example.label, 3))
    before = seen.window(0)
    optimizer = SGD(learning_rate=0.5, momentum=0.0, weight_decay=0.0).build(network.parameters())
    state = Progress(network, objective(), optimizer, None, torch.zeros(2, 3), pinned={"precision": "fp32"}, monitor=seen)
    step(state, Train(steps=1, update=update), example, torch.Generator())
    after = seen.window(1)
    assert after["confusion"] == before["confusion"]
    assert after["grad_clean"] == before["grad_clean"]


def test_logits_of_features_in_bfloat16_are_not_rounded_again():
    # 8 + 1/64 and 8 are one number in bfloat16, and a tie would be called background
    features, classifier, target = voxels_in_a_row((1.0, 0.0, 0.0), label=(1,))
    classifier = classifier.float()
    with torch.no_grad():
        classifier.weight[:2, 0, 0, 0, 0] = torch.tensor([8.0, 8 + 1 / 64])
    seen = monitor()
    with autocast(torch.device("cpu"), "bf16"):
        features = features.bfloat16()
        assert classifier(features)[0, :2].flatten().tolist() == [8, 8]
        seen.watch(features, classifier, target)
    assert seen.window(1)["confusion"] == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_in_bfloat16_the_gradients_are_those_of_float32_to_its_precision():
    facts = {}
    for precision in ("fp32", "bf16"):
        network, example, seen = Small().float(), batch(), monitor()
        with autocast(torch.device("cpu"), precision):
            terms = objective().loss(
                network, (example.image[0].float(),), target_of(example.label, 3), torch.Generator(), clean=True, monitor=seen
            )
        terms["total"].backward()
        facts[precision] = seen.window(1)
    for gradient in ("grad_clean", "grad_train"):
        assert facts["bf16"][gradient] == pytest.approx(facts["fp32"][gradient], rel=0.03)
        assert facts["bf16"][gradient] != facts["fp32"][gradient]


def test_features_that_depend_on_no_parameter_have_no_train_gradient():
    seen, _ = watched()
    facts = seen.window(1)
    assert facts["grad_train"] == facts["grad_train_sd"] == dict.fromkeys(NAMES)
    assert facts["grad_clean"]["lesion"] > 0


def test_without_gradients_a_line_says_nothing_of_them():
    facts = watched(gradients=False)[0].window(1)
    assert set(facts) == {"step", "major", "confusion", "n", "recall", "absorbed"}


def test_a_number_that_is_not_finite_is_null_in_the_file(tmp_path):
    features, classifier, target = voxels_in_a_row((math.nan, 0.0, 0.0), label=(1,))
    seen, run = monitor(), Run(tmp_path)
    seen.watch(features, classifier, target)
    run.note_window(seen.window(1))
    assert "NaN" not in run.progress.read_text()
    (line,) = run.windows()
    assert line["n"]["organ"] == 1
    assert line["grad_clean"]["organ"] is None


COMBINATION = {
    "dataset__rare_classes": ["tumor"],
    "losses": [{"name": "focal"}, {"name": "focal_dice"}],
    "regularizers": [{"name": "large_margin"}, {"name": "adversarial"}, {"name": "mixup"}],
}
DROPOUT = {"model": {"name": "unet3d", "widths": [4, 6], "dropout": 0.2}, "sampling__patch_shape": [16, 16, 16]}  # drawn for views, too
DEEP = {
    "model": {"name": "unet3d", "widths": [4, 6, 8], "dropout": 0.2, "deep_supervision": 1},
    "sampling__patch_shape": [16, 16, 16],
    "losses": [{"name": "cross_entropy"}, {"name": "dice"}],
    "regularizers": [{"name": "feature_weakening"}],
    "train__average": 0.9,
}
TRAININGS = {
    "plain": {},
    "joint": COMBINATION,
    "sequential": COMBINATION | DROPOUT | {"train__update": "sequential"},
    "deep_supervision": DEEP,
    "bf16": DEEP | {"train__precision": "bf16"},
    "deterministic": {"train__deterministic": True},
}


def trained(recipe, folder, *, resumed: bool = False) -> Run:
    try:
        return train(recipe, Run(folder / "run"), resumed=resumed, device_name="cpu", console=QUIET)
    finally:
        torch.use_deterministic_algorithms(False)


def logged(run: Run) -> list[dict]:
    """The log, but for the clock."""
    return [{fact: value for fact, value in record.items() if fact != "seconds"} for record in run.records()]


def checkpointed(run: Run) -> dict:
    """All tensors and numbers of the last checkpoint, but for the monitor's own."""
    state = torch.load(run.checkpoints / "last.pt", weights_only=True)
    return {key: value for key, value in state.items() if key != "monitor"}


def equal(ours: object, theirs: object) -> bool:
    if isinstance(ours, Tensor):
        return torch.equal(ours, theirs)
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(equal(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list | tuple):
        return len(ours) == len(theirs) and all(equal(*pair) for pair in zip(ours, theirs, strict=True))
    return ours == theirs


@pytest.mark.parametrize("values", TRAININGS.values(), ids=TRAININGS)
def test_a_watched_training_is_the_same_to_the_bit(tiny, tmp_path, values):
    values = {"train__steps": 4} | values
    plain = trained(tiny(**values), tmp_path / "plain")
    watched = trained(tiny(**values, train__monitor={"every": 1}), tmp_path / "watched")
    assert not plain.progress.exists()
    assert [line["step"] for line in watched.windows()] == [1, 2, 3, 4]
    assert logged(watched) == logged(plain)
    assert equal(checkpointed(watched), checkpointed(plain))
    assert watched.weights.read_bytes() == plain.weights.read_bytes()


def test_the_counts_of_a_run_are_the_voxels_its_log_tells_of(tiny, tmp_path):
    run = trained(tiny(train__monitor={"every": 3}), tmp_path)
    shares = [record["sampled"]["voxels"] for record in run.records() if record["event"] == "validate"]
    for line, share in zip(run.windows(), shares, strict=True):  # validated every 3 steps, too
        total = sum(line["n"].values())
        assert {name: n / total for name, n in line["n"].items()} == pytest.approx(share)
        assert [sum(row) for row in line["confusion"]] == list(line["n"].values())


def test_the_last_window_is_as_long_as_the_training_leaves_it(tiny, tmp_path):
    long, whole = (list(trained(tiny(train__monitor={"every": n}), tmp_path / str(n)).windows()) for n in (4, 6))
    assert [line["step"] for line in long] == [4, 6]
    (line,) = whole
    assert line["step"] == 6
    assert line["n"] == {name: sum(part["n"][name] for part in long) for name in line["n"]}


def test_a_window_longer_than_the_training_ends_with_it(tiny, tmp_path):
    assert [line["step"] for line in trained(tiny(train__monitor={"every": 1000}), tmp_path).windows()] == [6]


class Killed(BaseException):
    """As sudden as a kill."""


@pytest.mark.parametrize("every", [1, 3, 4])
@pytest.mark.parametrize("done", [1, 3, 5])
def test_a_run_that_was_killed_and_resumed_leaves_the_file_of_an_undisturbed_one(tiny, tmp_path, monkeypatch, every, done):
    """Checkpoints after steps 2 and 4: the windows of 3 and 4 steps span one. done: steps before the kill."""
    recipe = tiny(train__monitor={"every": every}, train__validate_every=None, **COMBINATION)
    whole, broken = trained(recipe, tmp_path / "whole"), Run(tmp_path / "broken" / "run")
    calls = iter(range(100))

    def killed(*arguments):
        if next(calls) == done:
            raise Killed
        return step(*arguments)

    monkeypatch.setattr("segkit.engine.train.step", killed)
    with pytest.raises(Killed):
        trained(recipe, tmp_path / "broken")
    monkeypatch.undo()
    assert [line["step"] for line in broken.windows()] == [n for n in range(1, done + 1) if n % every == 0]
    with broken.progress.open("a") as file:
        file.write('{"step": 6, "n": {"backgr')  # half a line, as a kill leaves it
    trained(recipe, tmp_path / "broken", resumed=True)
    assert broken.progress.read_text() == whole.progress.read_text()
    assert broken.weights.read_bytes() == whole.weights.read_bytes()


def test_resuming_a_finished_run_leaves_its_windows(tiny, tmp_path):
    recipe = tiny(train__monitor={"every": 4})
    before = trained(recipe, tmp_path).progress.read_text()
    assert trained(recipe, tmp_path, resumed=True).progress.read_text() == before


def test_another_window_is_another_recipe(tiny, tmp_path):
    trained(tiny(train__monitor={"every": 4}), tmp_path)
    with pytest.raises(InputError) as error:
        trained(tiny(train__monitor={"every": 5}), tmp_path, resumed=True)
    assert (error.value.code, error.value.got) == ("SK-T012", "train.monitor.every: 4 -> 5")


def test_a_cut_drops_later_windows_and_half_a_line(tmp_path):
    run = Run(tmp_path)
    run.log.write_text("")
    run.progress.write_text('{"step": 2}\n{"step": 4}\n{"step": 6}\n{"ste')
    assert run.cut_log(4) == 0
    assert run.progress.read_text() == '{"step": 2}\n{"step": 4}\n'


def test_the_monitor_is_switched_on_by_one_word_on_the_command_line(tiny_yaml):
    document = loads(tiny_yaml, "tiny.yaml")
    assert resolve(document).train.monitor is None
    recipe = resolve(apply(document, ("train.monitor={every: 50, gradients: true}",)))
    assert recipe.train.monitor == Monitor(every=50, gradients=True)


def test_a_line_is_one_strict_json_object(tiny, tmp_path):
    def refused(constant: str) -> None:
        raise AssertionError(constant)

    run = trained(tiny(train__monitor={"every": 6}), tmp_path)
    (line,) = run.progress.read_text().splitlines()
    facts = json.loads(line, parse_constant=refused)
    assert list(facts) == [
        "step", "major", "confusion", "n", "recall", "absorbed", "grad_clean", "grad_clean_sd", "grad_train", "grad_train_sd",
    ]  # fmt: skip
    assert facts["grad_train"] == pytest.approx(facts["grad_clean"], rel=1e-4)  # of cross-entropy alone, in float32


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_watched_step_never_waits_for_the_device(tiny, precision):
    from segkit.engine.cohort import gather, make_loader

    recipe, device = tiny(train__precision=precision, train__monitor={"every": 9}), torch.device("cuda")
    progress = Progress.begin(recipe, device)
    batch = make_loader(gather(recipe, progress.network, QUIET), recipe, progress.network, device, QUIET).batch(0)
    rng = torch.Generator(device).manual_seed(0)
    step(progress, recipe.train, batch, rng)  # chooses kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(progress, recipe.train, batch, rng)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    facts = progress.monitor.window(2)
    assert sum(facts["n"].values()) > 0
    assert facts["grad_train"] == pytest.approx(facts["grad_clean"], rel=0.05)
