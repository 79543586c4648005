"""What a training begins with."""

import pytest
from torch import nn

from segkit.config.errors import InputError
from segkit.engine.progress import check_classifier
from segkit.models.base import Network


def headed(head: nn.Module) -> Network:
    network = Network()
    network.classifier = head
    return network


def test_a_classifier_of_one_voxel_is_accepted():
    check_classifier(headed(nn.Conv3d(4, 2, 1)))


@pytest.mark.parametrize("head", [nn.Conv3d(4, 2, 3, padding=1), nn.Conv3d(4, 2, 1, stride=2), nn.Sequential(nn.Conv3d(4, 2, 1))])
def test_a_network_without_a_classifier_of_one_voxel_is_refused_with_the_remedy(head):
    with pytest.raises(InputError) as error:
        check_classifier(headed(head))
    assert error.value.block() == (
        "SK-T052: the network has no 1x1x1 classifier\n"
        "  where:    model\n"
        "  expected: an attribute `classifier`, a Conv3d with a kernel and a stride of 1\n"
        f"  got:      {head}\n"
        "  remedy:   add a 1x1x1 convolution as the network's last layer; `features` returns what it reads"
    )


def test_a_network_without_any_classifier_is_refused():
    with pytest.raises(InputError, match="got:      None"):
        check_classifier(nn.Conv3d(1, 1, 1))
