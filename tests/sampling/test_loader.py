"""Batches: the same for a step whatever came before, and honest about what was sampled."""

import numpy as np
import pytest
import torch

from segkit.models.base import Lattice
from segkit.sampling.augment import Augment, Elastic, Intensity
from segkit.sampling.balance import Balance, Voxels
from segkit.sampling.loader import Loader, Resident, Sampling
from segkit.volume.labels import IGNORED

SHAPE = (24, 20, 16)
LATTICES = (Lattice(1, (8, 8, 8), (0, 0, 0)), Lattice(3, (7, 7, 7), (-5, -5, -5)))
FLIPS = Augment(flip=("x", "y", "z"))
BUSY = Augment(flip=("x",), rotation=15, scale=0.1, elastic=Elastic(), intensity=Intensity(shift=0.1, scale=0.1, gamma=0.2, noise=0.1))


def volumes(count: int = 3, classes: int = 2) -> tuple[list[Resident], list[Voxels]]:
    """Background, a lesion, and with a third class an organ."""
    rng = np.random.default_rng(0)
    residents, voxels = [], []
    for number in range(count):
        label = np.zeros(SHAPE, dtype=np.uint8)
        label[4 + number : 10, 5:9, 6:9] = 1
        label[14:20, 10:16, 2 : 2 + 5 * (classes - 2)] = 2
        image = rng.standard_normal((2, *SHAPE)).astype(np.float16)
        flat = np.argsort(label, axis=None, kind="stable").astype(np.uint32)
        offsets = (0, *np.bincount(label.ravel(), minlength=classes).cumsum().tolist())
        residents.append(Resident(f"case{number}", torch.from_numpy(image), torch.from_numpy(label), (1.0, 1.0, 1.0)))
        voxels.append(Voxels(flat, offsets, SHAPE))
    return residents, voxels


PLAIN = Augment()


def loader(
    augment: Augment = PLAIN, count: int = 4, first: int = 0, rare: frozenset[int] = frozenset(), threads: int | None = None, **options
) -> Loader:
    residents, voxels = volumes()
    settings = Sampling(patch_shape=(8, 8, 8), augment=augment, **options)
    balance = Balance(voxels, ("background", "lesion"), {"background": 0.5, "lesion": 0.5})
    cpu = torch.device("cpu")
    return Loader(settings, residents, balance, LATTICES, rare=rare, seed=7, count=count, first=first, device=cpu, threads=threads)


def assert_same(ours, theirs):
    assert ours.cases == theirs.cases
    assert torch.equal(ours.label, theirs.label)
    assert all(torch.equal(a, b) for a, b in zip(ours.image, theirs.image, strict=True))


def test_a_step_has_one_batch_whatever_happened_before():
    straight = list(loader(BUSY).batches(0, 6))
    late = list(loader(BUSY).batches(4, 6))
    assert_same(straight[4], late[0])
    assert_same(straight[5], late[1])
    assert not torch.equal(straight[4].image[0], straight[5].image[0])


def test_slices_of_the_global_batch_are_the_global_batch():
    whole, low, high = loader(BUSY, 4).batch(3), loader(BUSY, 2, 0).batch(3), loader(BUSY, 2, 2).batch(3)
    assert whole.cases == low.cases + high.cases
    assert torch.equal(whole.image[1], torch.cat([low.image[1], high.image[1]]))


def test_the_number_of_threads_changes_no_bit():
    for one, three in zip(loader(BUSY, threads=1).batches(0, 5), loader(BUSY, threads=3).batches(0, 5), strict=True):
        assert_same(one, three)


def test_a_batch_stays_what_it_was_while_others_are_made():
    maker = loader(BUSY)
    kept = maker.batch(0)
    copies = [view.clone() for view in kept.image]
    for step in range(1, 4):
        maker.batch(step)
    assert all(torch.equal(a, b) for a, b in zip(kept.image, copies, strict=True))


def test_the_center_of_a_patch_is_a_voxel_of_its_class():
    for batch in loader().batches(0, 10):
        assert batch.label[:, 4, 4, 4].tolist() == list(batch.classes)


def test_both_lattices_show_the_same_place():
    batch = loader().batch(0)
    # sample 3 of the context is at output coordinate 3 * 3 - 5 = 4
    torch.testing.assert_close(batch.image[1][:, :, 3, 3, 3], batch.image[0][:, :, 4, 4, 4])


def test_kept_inside_no_voxel_is_ignored():
    for batch in loader(keep_inside=True, offset=5).batches(0, 10):
        assert not (batch.label == IGNORED).any()


def test_a_volume_smaller_than_the_patch_is_centered_in_it():
    residents, voxels = volumes(1)
    settings = Sampling(patch_shape=(28, 20, 20), keep_inside=True)
    balance = Balance(voxels, ("background", "lesion"), {"background": 0.5, "lesion": 0.5})
    lattices = (Lattice(1, (28, 20, 20), (0, 0, 0)),)
    batch = Loader(settings, residents, balance, lattices, seed=0, count=1, device=torch.device("cpu")).batch(0)
    assert torch.equal(batch.label[0, 2:26, :, 2:18], residents[0].label)
    assert (batch.label[0, :2] == IGNORED).all()


def test_realised_shares_count_every_labelled_voxel():
    batch = loader().batch(0)
    assert batch.class_voxels(2).tolist() == [int((batch.label == 0).sum()), int((batch.label == 1).sum())]


def test_asymmetric_augmentation_always_reaches_the_rare_class():
    augment = Augment(rotation=20, asymmetric=True, other_probability=0.25)
    batches = list(loader(augment, rare=frozenset({1})).batches(0, 200))
    augmented = np.array([flag for batch in batches for flag in batch.augmented])
    rare = np.array([index == 1 for batch in batches for index in batch.classes])
    assert augmented[rare].all()
    assert augmented[~rare].mean() == pytest.approx(0.25, abs=0.07)


def test_a_rare_voxel_drawn_as_foreground_counts_as_rare():
    augment = Augment(rotation=20, asymmetric=True, other_probability=0.0)
    residents, voxels = volumes()
    balance = Balance(voxels, ("background", "lesion"), {"background": 0.5, "foreground": 0.5})
    settings = Sampling(patch_shape=(8, 8, 8), augment=augment)
    rare = Loader(settings, residents, balance, LATTICES, rare=frozenset({1}), seed=7, count=4, device=torch.device("cpu"))
    for batch in rare.batches(0, 10):
        assert batch.augmented == tuple(index == 1 for index in batch.classes)


@pytest.mark.parametrize("probability", [0.0, 0.25, 0.75])
def test_a_common_foreground_class_is_augmented_as_seldom_as_the_background(probability):
    augment = Augment(rotation=20, asymmetric=True, other_probability=probability)
    residents, voxels = volumes(classes=3)
    balance = Balance(voxels, ("background", "lesion", "organ"), {"background": 0.3, "lesion": 0.3, "organ": 0.4})
    settings = Sampling(patch_shape=(8, 8, 8), augment=augment)
    three = Loader(settings, residents, balance, LATTICES, rare=frozenset({1}), seed=7, count=4, device=torch.device("cpu"))
    drawn = [(index, flag) for batch in three.batches(0, 200) for index, flag in zip(batch.classes, batch.augmented, strict=True)]
    background, lesion, organ = (np.array([flag for index, flag in drawn if index == wanted]) for wanted in range(3))
    assert lesion.all()
    margin = 0.11 if 0 < probability < 1 else 0  # four standard deviations of 240 draws
    assert [background.mean(), organ.mean()] == pytest.approx([probability] * 2, abs=margin)


@pytest.mark.parametrize("probability", [0.0, 0.5])
@pytest.mark.parametrize("augment", [FLIPS, BUSY], ids=["flips", "busy"])
def test_a_patch_that_is_not_augmented_is_the_plain_cut_to_the_bit_flips_included(augment, probability):
    asymmetric = augment.model_copy(update={"asymmetric": True, "other_probability": probability})
    changed, kept = 0, 0
    for plain, batch in zip(loader().batches(0, 20), loader(asymmetric, rare=frozenset({1})).batches(0, 20), strict=True):
        pairs = list(zip((*plain.image, plain.label), (*batch.image, batch.label), strict=True))
        for sample, (index, augmented) in enumerate(zip(batch.classes, batch.augmented, strict=True)):
            same = all(torch.equal(cut[sample], shown[sample]) for cut, shown in pairs)
            assert same is not augmented
            assert same or index == 1 or probability > 0
            changed, kept = changed + (not same), kept + (same and index == 0)
    assert changed > 10
    assert kept > 10


def test_gamma_leaves_the_range_of_the_context_as_it_is():
    augment = Augment(intensity=Intensity(gamma=0.5))
    for plain, changed in zip(loader().batches(0, 5), loader(augment).batches(0, 5), strict=True):
        for sample in range(4):
            views = [torch.cat([view[sample].flatten(1) for view in batch.image], 1) for batch in (plain, changed)]
            torch.testing.assert_close(views[0].amin(1), views[1].amin(1), atol=1e-4, rtol=0)
            torch.testing.assert_close(views[0].amax(1), views[1].amax(1), atol=1e-4, rtol=0)


def test_an_error_in_the_sampler_reaches_the_caller():
    broken = loader()
    broken.volumes = []
    with pytest.raises(IndexError):
        list(broken.batches(0, 2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"proportions": {"background": 0.5, "lesion": 0.4}}, "proportions: expected shares that sum to 1, got a sum of 0.9"),
        ({"patch_shape": (0, 8, 8)}, "patch_shape: expected 3 voxel counts > 0, got [0, 8, 8]"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        Sampling(**({"patch_shape": (8, 8, 8)} | fields))
