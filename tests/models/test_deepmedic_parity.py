"""DeepMedic against numbers of the original network: same parameters, same inputs, same maps, value by value."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from segkit.models import DeepMedic, DeepMedicTiny
from segkit.models.blocks import repeat_cells

FILES = {"standard": DeepMedic(dropout=0.0), "tiny": DeepMedicTiny(dropout=0.0)}
KEEP = {"standard": {("fc", 2): 0.5, ("fc", 3): 0.5}, "tiny": {("fc", 1): 0.5}}  # the original multiplies by 1 - rate at inference
CASES = [
    ("standard", "infer45", 5e-5),
    ("standard", "inferbox", 5e-5),
    ("standard", "trainbox", 1e-4),
    ("standard", "trainfaint", 5e-4),
    ("tiny", "infer45", 5e-5),
    ("tiny", "inferbox", 5e-5),
    ("tiny", "train25", 1e-4),
    ("tiny", "trainfaint", 5e-4),
]


@pytest.fixture(scope="module")
def arrays(shared_data):
    return {name: dict(np.load(shared_data / "deepmedic_parity" / f"{name}.npz")) for name in FILES}


def places(network):
    """(path, layer) of the original -> (what comes before the convolution, the convolution)."""
    paths = {"normal" if index == 0 else f"sub{index}": pathway.layers for index, pathway in enumerate(network.pathways)}
    found = {(path, number): (layer.before, layer.conv) for path, layers in paths.items() for number, layer in enumerate(layers, 1)}
    found |= {("fc", number): (layer.before, layer.conv) for number, layer in enumerate(network.hidden, 1)}
    found["fc", len(network.hidden) + 1] = (network.before_classifier, network.classifier)
    return found


@torch.no_grad()
def loaded(name, values, *, training):
    """Our network with the original's parameters: its epsilon, and at inference its dropout factor in the weights."""
    network = FILES[name].build(2, 5)
    for (path, number), (before, conv) in places(network).items():
        prefix = f"param.{path}.{number}"
        kept = 1.0 if training else KEEP[name].get((path, number), 1.0)
        conv.weight.copy_(torch.from_numpy(values.pop(f"{prefix}.conv_weight")) * kept)
        if isinstance(conv.bias, nn.Parameter):
            conv.bias.copy_(torch.from_numpy(values.pop(f"{prefix}.class_bias")))
        if f"{prefix}.bias" in values:
            before.bias.copy_(torch.from_numpy(values.pop(f"{prefix}.bias")))
            continue
        targets = {
            "bn_gamma": before.norm.weight,
            "bn_beta": before.norm.bias,
            "bn_mean": before.norm.running_mean,
            "bn_var": before.norm.running_var,
            "prelu": before.activation.weight,
        }
        for kind, target in targets.items():
            target.copy_(torch.from_numpy(values.pop(f"{prefix}.{kind}")))
        before.norm.eps = float(np.finfo(np.float32).tiny)
    assert not [key for key in values if key.startswith("param.")]
    return network.train(training)


def prepared(arrays, name, case):
    values = arrays[name]
    network = loaded(name, dict(values), training=case.startswith("train"))
    inputs = ["normal", *(f"sub{index}" for index in range(1, len(network.pathways)))]
    return network, tuple(torch.from_numpy(values[f"{case}.input.{path}"]) for path in inputs), values


def center(x, size):
    """The original's crop `centre`: from (n - m) // 2, or the whole axis where it is shorter."""
    for axis in (2, 3, 4):
        length = min(size, x.shape[axis])
        x = x.narrow(axis, (x.shape[axis] - length) // 2, length)
    return x


def difference(ours, theirs):
    """Largest absolute difference, in standard deviations of the original's numbers."""
    theirs = torch.from_numpy(theirs)
    assert ours.shape == theirs.shape
    return ((ours - theirs).abs().max() / theirs.std()).item()


@pytest.mark.parametrize(("name", "case", "limit"), CASES)
def test_logits_are_those_of_the_original(arrays, name, case, limit):
    network, image, values = prepared(arrays, name, case)
    with torch.no_grad():
        logits = network(image)
    assert difference(logits, values[f"{case}.logits"]) < limit
    torch.testing.assert_close(logits.softmax(1), torch.from_numpy(values[f"{case}.prob"]), atol=20 * limit, rtol=0)


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, case, _ in CASES if case != "trainfaint"])
def test_the_input_of_every_layer_is_that_of_the_original(arrays, name, case):
    network, image, values = prepared(arrays, name, case)
    seen = {}
    for place, (before, _) in places(network).items():
        before.register_forward_hook(lambda module, args, output, place=place: seen.__setitem__(place, args[0]))
    with torch.no_grad():
        network(image)
    for (path, number), x in seen.items():
        assert difference(center(x, 3), values[f"{case}.probe.{path}.{number}"]) < 1e-4, f"layer {number} of {path}"


@pytest.mark.parametrize(("name", "case"), [("standard", "inferbox"), ("standard", "trainbox"), ("tiny", "inferbox"), ("tiny", "train25")])
def test_the_maps_of_the_pathways_are_those_of_the_original(arrays, name, case):
    network, image, values = prepared(arrays, name, case)
    with torch.no_grad():
        maps = [network.path_map(index, samples) for index, samples in enumerate(image)]
    assert difference(center(maps[0], 5), values[f"{case}.path.normal.centre"]) < 1e-4
    shape = tuple(maps[0].shape[2:])
    for index, cells in enumerate(maps[1:], start=1):
        assert difference(cells, values[f"{case}.path.sub{index}"]) < 1e-4
        repeated = repeat_cells(cells, network.strides[index], (0, 0, 0), shape)
        assert difference(center(repeated, 5), values[f"{case}.upsampled.sub{index}.centre"]) < 1e-4
        if f"{case}.upsampled.sub{index}.far" in values:
            assert difference(repeated[..., -5:, -5:, -5:], values[f"{case}.upsampled.sub{index}.far"]) < 1e-4


@pytest.mark.parametrize(
    ("name", "case"), [("standard", "trainbox"), ("standard", "trainfaint"), ("tiny", "train25"), ("tiny", "trainfaint")]
)
def test_batch_statistics_are_those_of_the_original(arrays, name, case):
    network, image, values = prepared(arrays, name, case)
    norms = {place: before.norm for place, (before, _) in places(network).items() if hasattr(before, "norm")}
    seen = {}
    for place, norm in norms.items():
        norm.register_forward_hook(lambda module, args, output, place=place: seen.__setitem__(place, args[0]))
    with torch.no_grad():
        network(image)
    for (path, number), x in seen.items():
        variance, mean = torch.var_mean(x.double(), (0, 2, 3, 4), correction=0)
        theirs = torch.from_numpy(values[f"{case}.batch_var.{path}.{number}"]).double()
        torch.testing.assert_close(variance, theirs, rtol=1e-3, atol=0)
        torch.testing.assert_close(
            mean, torch.from_numpy(values[f"{case}.batch_mean.{path}.{number}"]).double(), rtol=0, atol=1e-3 * math.sqrt(theirs.max())
        )


def test_running_statistics_move_by_a_sixtieth(arrays):
    network, image, values = prepared(arrays, "tiny", "train25")
    before = values["param.normal.2.bn_mean"]
    with torch.no_grad():
        network(image)
    expected = before + (values["train25.batch_mean.normal.2"] - before) / 60
    torch.testing.assert_close(network.pathways[0].layers[1].before.norm.running_mean, torch.from_numpy(expected), rtol=1e-4, atol=1e-6)
