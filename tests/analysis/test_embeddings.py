"""Class embeddings: they add up to logits, every voxel counts once, samples are bounded and fair, failed cases leave nothing."""

import tracemalloc

import numpy as np
import pytest
import torch

from segkit.analysis.embeddings import BACKGROUND, FOREGROUND, Embeddings
from segkit.analysis.observe import Voxels, case_keys
from segkit.config.yaml import loads
from segkit.engine.tap import tapped
from segkit.engine.weights import Trained
from segkit.models.deepmedic import DeepMedicTiny
from segkit.models.monai_net import MonaiNet
from segkit.models.unet3d import UNet3D
from segkit.recipe import resolve

WEIGHT = np.array([[1.0, 0, 2], [0, 1, 0]], dtype=np.float32)
BIAS = np.array([0.25, -0.5], dtype=np.float32)


def embeddings(weight=WEIGHT, bias=BIAS, **settings):
    return Embeddings(weight, bias, [f"class_{index}" for index in range(len(weight))], **settings)


def voxels(label, features, key, weight=WEIGHT, bias=BIAS):
    features = torch.as_tensor(features, dtype=torch.float32)
    logits = features @ torch.from_numpy(weight).T + torch.from_numpy(bias)
    return Voxels(torch.as_tensor(label), features, logits, torch.as_tensor(key, dtype=torch.float64))


def random_voxels(n, seed=0, foreground=0.3):
    rng = np.random.default_rng(seed)
    return (rng.random(n) < foreground).astype(np.int64), rng.normal(size=(n, 3)), rng.random(n)


def shown(observer, split, case, *facts, parts=1):
    """Show a case in parts."""
    observer.begin(split, case)
    for part in zip(*(np.array_split(fact, parts) for fact in facts), strict=True):
        observer.see(voxels(*part))
    observer.end()
    return observer


def same_state(first, second):
    assert first.cases == second.cases
    for (name, ours), theirs in zip(first.arrays().items(), second.arrays().values(), strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    for place, ours in first.populations().items():
        theirs = second.populations()[place]
        np.testing.assert_array_equal(ours.leads, theirs.leads)
        np.testing.assert_array_equal(ours.reservoir.rows()[1], theirs.reservoir.rows()[1])


def test_voxels_go_to_their_class_and_outcome():
    # logits (x + 2 z + 1/4, y - 1/2)
    label = [0, 0, 1, 1, 1]
    features = [[1, 0, 0], [0, 1, 0], [0, 2, 0], [0, 3, 0], [0, 0, 1]]
    observer = shown(embeddings(), "training", "a", label, features, np.arange(5) / 5)
    means = {
        (group, index): list(observer.population("training", group, index).moments.mean)
        for group in ("tp", "fn", "all")
        for index in (0, 1)
    }
    assert means == {
        ("tp", 0): [1, 0, 0],
        ("fn", 0): [0, 1, 0],
        ("all", 0): [0.5, 0.5, 0],
        ("tp", 1): [0, 2.5, 0],
        ("fn", 1): [0, 0, 1],
        ("all", 1): [0, 5 / 3, 1 / 3],
    }
    assert observer.population("test", "all", 1).moments.count == 0


def test_parts_and_their_order_do_not_matter_to_the_bit():
    facts = random_voxels(30_000)
    once = shown(embeddings(reservoir=64), "test", "a", *facts)
    order = np.random.default_rng(1).permutation(30_000)
    parts = shown(embeddings(reservoir=64), "test", "a", *(fact[order] for fact in facts), parts=37)
    assert once.arrays()["voxels"].sum() > 0
    same_state(once, parts)


def test_a_case_that_does_not_end_leaves_nothing():
    whole, broken = embeddings(), embeddings()
    broken.begin("training", "bad")
    broken.see(voxels(*random_voxels(50, seed=5)))
    for observer in (whole, broken):
        shown(observer, "training", "good", *random_voxels(40, seed=6))
    same_state(whole, broken)
    assert broken.cases == {"training": ["good"], "test": []}


def test_a_case_counts_its_background_and_foreground_up_to_a_limit():
    rng = np.random.default_rng(0)
    label = rng.permutation(np.repeat([0, 1], [3 * BACKGROUND, FOREGROUND + 7]))
    features, key = rng.normal(size=(len(label), 3)), rng.permutation(len(label)) / len(label)
    observer = shown(embeddings(), "training", "a", label, features, key, parts=20)
    for index, limit in ((0, BACKGROUND), (1, FOREGROUND)):
        kept = observer.population("training", "all", index)
        lowest = features[label == index][np.argsort(key[label == index])[:limit]].astype(np.float32)
        assert kept.moments.count == limit
        np.testing.assert_allclose(kept.moments.mean, lowest.mean(axis=0, dtype=np.float64), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("classes", "channels", "most"),
    [
        (3, 32, (20_000, 200_000, 200_000)),
        (2, 250, (20_000, 134_217)),  # 2^28 / (4 * 2 * 250)
        (14, 250, (19_173,) * 14),  # 2^28 / (4 * 14 * 250), also of the background
    ],
)
def test_fewer_voxels_count_where_features_are_wide(classes, channels, most):
    assert embeddings(np.zeros((classes, channels)), np.zeros(classes)).most == most


def test_wide_features_take_no_more_memory_than_they_may():
    channels, parts, n = 1000, 60, 250  # 60 MB pass by
    memory = 4 * 2 * channels * 100
    weight = np.ones((2, channels), dtype=np.float32)
    observer = embeddings(weight, BIAS, reservoir=10, memory=memory)
    observer.begin("training", "a")
    rng, seen = np.random.default_rng(0), []
    tracemalloc.start()
    for _ in range(parts):
        key = rng.random(n)
        label = (rng.random(n) < 0.5).astype(np.int64)
        seen.append((key, label))
        features = torch.from_numpy(key).float()[:, None].expand(n, channels)  # no memory of its own
        observer.see(Voxels(torch.from_numpy(label), features, torch.zeros(n, 2), torch.from_numpy(key)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    observer.end()
    # held: twice what counts; beside it the new part, and a copy of one class while it is cut
    assert peak < 5 * memory < 4 * channels * n * parts / 10
    key, label = map(np.concatenate, zip(*seen, strict=True))
    for index in range(2):
        kept = observer.population("training", "all", index)
        lowest = np.sort(key[label == index])[:100].astype(np.float32)
        assert kept.moments.count == observer.most[index] == 100
        np.testing.assert_allclose(kept.moments.mean, np.full(channels, lowest.mean(dtype=np.float64)), rtol=1e-9)


def test_cases_share_the_reservoir_by_voxels_that_count_not_by_their_size():
    observer = embeddings(reservoir=2000)
    for case, n in (("small", BACKGROUND), ("large", 8 * BACKGROUND)):
        rng = np.random.default_rng(n)
        features = np.full((n, 3), [1.0, 0, float(case == "large")])  # logits (5/4 or 13/4, -1/2): all tp
        shown(observer, "training", case, np.zeros(n, dtype=np.int64), features, rng.random(n))
    large = observer.population("training", "tp", 0).reservoir.rows()[1][:, 2].sum()
    assert abs(large - 1000) < 4 * np.sqrt(2000) / 2


def test_the_reservoir_of_all_voxels_is_that_of_both_outcomes_together():
    observer = shown(embeddings(reservoir=50), "training", "a", *random_voxels(5000))
    parts = [observer.population("training", group, 1).reservoir.rows() for group in ("tp", "fn")]
    key, rows = (np.concatenate(column) for column in zip(*parts, strict=True))
    expected = rows[np.argsort(key)[:50]]
    np.testing.assert_array_equal(observer.population("training", "all", 1).reservoir.rows()[1], expected)
    assert min(map(len, (part[0] for part in parts))) == 50


def test_the_seed_draws_the_reservoir():
    first, again, other = (
        shown(embeddings(reservoir=9, seed=seed), "test", "a", *random_voxels(500)).population("test", "all", 0).reservoir.rows()[1]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_two_cases_of_the_same_voxels_do_not_share_keys():
    observer = embeddings()
    for case in ("a", "b"):
        shown(observer, "training", case, *random_voxels(100))
    keys = observer.population("training", "all", 0).reservoir.rows()[0]
    assert len(np.unique(keys)) == len(keys) > 100


def test_a_vector_added_to_all_weights_changes_raw_weights_only():
    moved = WEIGHT + np.array([3.0, -1.0, 2.0], dtype=np.float32)
    plain, other = embeddings(), embeddings(moved)
    features = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    probabilities = [(features @ torch.from_numpy(weight).T).softmax(1) for weight in (WEIGHT, moved)]
    torch.testing.assert_close(*probabilities)
    np.testing.assert_allclose(plain.weights[1], other.weights[1], atol=1e-6)
    assert np.abs(plain.weights[0] - other.weights[0]).min() > 0.5


SHAPE = (21, 18, 17)
NETWORKS = {
    "deepmedic": DeepMedicTiny(),
    "unet": UNet3D(widths=(4, 6), blocks=1),
    "monai": MonaiNet(network="SegResNet", arguments={"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}),
}


@pytest.mark.parametrize("settings", NETWORKS.values(), ids=NETWORKS)
def test_embeddings_of_every_voxel_once_add_up_to_its_logit(settings):
    torch.manual_seed(0)
    network = settings.build(2, 3).eval()
    label = torch.randint(3, SHAPE, generator=torch.Generator().manual_seed(1))
    image, everywhere = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(2)), torch.ones(SHAPE, dtype=torch.bool)
    keys = torch.from_numpy(case_keys("a", SHAPE))
    weight, bias = (value.detach().flatten(1).numpy() for value in (network.classifier.weight, network.classifier.bias[:, None]))
    observer = embeddings(weight, bias[:, 0])
    observer.begin("test", "a")
    seen = torch.full((3, *SHAPE), torch.nan)
    for tap in tapped(network, image, everywhere, (16, 6, 20), 0.5, "fp32"):
        box = tap.box.slices
        seen[:, *box] = tap.logits
        features, logits = (field.flatten(1).T for field in (tap.features, tap.logits))
        observer.see(Voxels(label[box].flatten(), features, logits, keys[box].flatten()))
    observer.end()
    for index in range(3):
        kept, own = observer.population("test", "all", index), label == index
        assert kept.moments.count == own.sum()
        assert observer.population("test", "tp", index).moments.count == (own & (seen.argmax(0) == index)).sum()
        embedding = kept.moments.mean * observer.weights[0, index]
        assert embedding.sum() + observer.bias[index] == pytest.approx(seen[index][own].double().mean().item(), abs=1e-5)
        centered = kept.moments.mean * observer.weights[1, index]
        logit = (seen[index] - seen.mean(0))[own].double().mean().item()
        assert centered.sum() + observer.bias[index] - observer.bias.mean() == pytest.approx(logit, abs=1e-5)


RECIPE = """
dataset:
  name: phantom
  root: nowhere
  cases: 2
  shape: [32, 32, 32]
  channels: [flair, t1c]
  classes: {tumor: [1, 2, 4]}
  split: {test: 1, validation: 0}
sampling: {patch_shape: [12, 12, 12]}
model: deepmedic_tiny
losses: [cross_entropy]
train: {steps: 1}
"""


def test_a_trained_network_gives_its_classifier_and_class_names():
    recipe = resolve(loads(RECIPE, "tiny.yaml"))
    network = recipe.model.build(2, 2).eval()
    observer = Embeddings.of(Trained("tiny", network, recipe, 1, ""))
    np.testing.assert_array_equal(observer.weights[0], network.classifier.weight.detach()[:, :, 0, 0, 0].numpy())
    np.testing.assert_array_equal(observer.bias, network.classifier.bias.detach().numpy())
    assert (observer.classes, observer.name) == (("background", "tumor"), "tiny")


@pytest.mark.gpu
def test_voxels_on_a_device_leave_the_same():
    facts = random_voxels(30_000)
    host, device = shown(embeddings(), "test", "a", *facts), embeddings()
    device.begin("test", "a")
    there = voxels(*facts)
    device.see(Voxels(*(field.cuda() for field in (there.label, there.features, there.logits, there.key))))
    device.end()
    same_state(host, device)
