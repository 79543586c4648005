"""The pass over a run's cases: every labeled voxel once, and keys that depend on the case alone."""

import numpy as np
import pytest
import torch

from segkit.analysis.observe import case_keys, observe
from segkit.config.overrides import apply_values
from segkit.config.yaml import loads
from segkit.engine.cohort import preparer, reach
from segkit.engine.console import Console
from segkit.engine.weights import Trained
from segkit.phantom.write import write
from segkit.recipe import resolve
from segkit.volume.labels import IGNORED

RECIPE = """
dataset:
  name: phantom
  root: {root}
  cases: 3
  shape: [32, 32, 32]
  channels: [flair, t1c]
  classes: {{tumor: [1, 2]}}
  ignore: [4]
  split: {{test: 1, validation: 0}}
sampling: {{patch_shape: [12, 12, 12]}}
model: {{name: deepmedic_tiny}}
losses: [cross_entropy]
train: {{steps: 1, batch_size: 1, precision: fp32}}
"""
CPU = torch.device("cpu")


class Collector:
    """Keeps everything, by case."""

    def __init__(self):
        self.seen, self.ended, self.order = {}, [], []

    def begin(self, split, case):
        self.order.append((split, case))
        self.seen[case] = []

    def see(self, voxels):
        self.seen[self.order[-1][1]].append(voxels)

    def end(self):
        self.ended.append(self.order[-1][1])

    def field(self, case, name):
        return torch.cat([getattr(voxels, name) for voxels in self.seen[case]])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom")
    write("brats", root, 3, (32, 32, 32))
    recipe = resolve(apply_values(loads(RECIPE.format(root=root), "tiny.yaml"), {}))
    torch.manual_seed(0)
    return Trained("tiny", recipe.model.build(2, 2).eval(), recipe, 1, "")


def seen(trained, cases, tile=None):
    recipe = trained.recipe
    if tile:
        recipe = recipe.model_copy(update={"infer": recipe.infer.model_copy(update={"tile_shape": tile})})
    collector = Collector()
    failed = observe(Trained("tiny", trained.network, recipe, 1, ""), cases, [collector], CPU, Console("quiet"))
    return collector, failed


def splits_of(trained):
    splits = trained.recipe.dataset.splits()
    return {"training": splits.training, "test": splits.test}


def test_every_labeled_voxel_of_the_roi_is_seen_once_with_its_class(trained):
    cases = splits_of(trained)
    collector, failed = seen(trained, cases)
    assert failed == []
    prepare = preparer(trained.recipe, reach(trained.network, (12, 12, 12)))
    for files in (*cases["training"], *cases["test"]):
        case = prepare(files)
        counted = case.roi & (case.label != IGNORED)
        assert (case.label[case.roi] == IGNORED).any(), "otherwise this shows less than it says"
        keys = collector.field(files.id, "key").numpy()
        order = np.argsort(keys)
        expected = case_keys(files.id, case.label.shape)[counted]
        np.testing.assert_array_equal(keys[order], np.sort(expected))
        np.testing.assert_array_equal(collector.field(files.id, "label").numpy()[order], case.label[counted][np.argsort(expected)])


def test_cases_come_with_their_split_and_end(trained):
    cases = splits_of(trained)
    collector, _ = seen(trained, cases)
    assert collector.order == [("training", files.id) for files in cases["training"]] + [("test", cases["test"][0].id)]
    assert collector.ended == [case for _, case in collector.order]


def test_tiles_change_nothing_of_what_is_seen_of_an_exact_network(trained):
    cases = {"test": splits_of(trained)["test"]}
    case = cases["test"][0].id
    views = [seen(trained, cases, tile)[0] for tile in ((32, 32, 32), (9, 10, 11))]
    sorted_logits = [view.field(case, "logits")[view.field(case, "key").argsort()] for view in views]
    torch.testing.assert_close(*sorted_logits, atol=1e-4, rtol=1e-4)


def test_logits_belong_to_their_features(trained):
    cases = {"test": splits_of(trained)["test"]}
    collector, _ = seen(trained, cases)
    head = trained.network.classifier
    for voxels in collector.seen[cases["test"][0].id]:
        expected = voxels.features @ head.weight[:, :, 0, 0, 0].T.detach() + head.bias.detach()
        torch.testing.assert_close(voxels.logits, expected, atol=1e-4, rtol=1e-4)


def test_a_case_that_cannot_be_read_is_reported_and_the_others_are_seen(trained, tmp_path):
    cases = splits_of(trained)
    first, *others = cases["training"]
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no scan")
    channels = {name: type(source)(broken, source.component) for name, source in first.channels.items()}
    bad = type(first)(first.id, channels, first.label, first.roi, first.patient)
    collector, failed = seen(trained, {"training": (bad, *others)})
    assert [case for case, _ in failed] == [first.id]
    assert collector.ended == [files.id for files in others]


def test_keys_are_uniform_and_differ_between_cases():
    keys = case_keys("a", (20, 20, 20))
    assert 0 <= keys.min() < 0.01
    assert 0.99 < keys.max() < 1
    assert abs(keys.mean() - 0.5) < 4 / np.sqrt(12 * keys.size)
    assert not np.array_equal(keys, case_keys("b", (20, 20, 20)))
    np.testing.assert_array_equal(keys, case_keys("a", (20, 20, 20)))
