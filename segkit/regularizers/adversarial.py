"""Adversarial training: the batch moved a fixed distance up its own loss; the asymmetric form goes up the loss of rare voxels."""

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from segkit.regularizers.base import Regularizer, full_precision, regularizers
from segkit.regularizers.statistics import running_statistics_kept


@regularizers.register("adversarial")
class Adversarial(Regularizer):
    """Adversarial training: a view x + l g / ||g||, g the gradient at x of the rare voxels' cross-entropy; symmetric: of all voxels'.

    The cross-entropy is -sum over voxels, sum over classes j, of r_j y_j log p_j: p = softmax(logits) without margin or blend, y the
    target, r_j = 1 for the rare classes (symmetric: for all). l = `magnitude`. The labels stay, and no gradient flows through g.

    l is an L2 norm over the channels and voxels of one sample on one lattice; each lattice of a network has the whole of it. How loud it
    is depends on the patch: its root mean square over M channels of n voxels is l / sqrt(M n), 0.022 for 10 on 4 channels of 37^3
    voxels. A magnitude without its patch shape means little.

    A sample without rare voxels stays as it is to the bit, also where batch normalization lets the loss of others reach it; so does one
    without any gradient. The papers start from noise of norm 1e-5, which float32 does not resolve, and which is left out.
    It costs a forward pass and a backward pass to the image, which leave parameters' gradients and running statistics alone. They are
    made in the mode the network is in: while training dropout is on, and draws masks that the view is not trained with.
    Sources: Li, Kamnitsas, Glocker, IEEE TMI 2020, for the asymmetric form; Miyato et al., IEEE TPAMI 2019, "Virtual Adversarial Training".
    """

    magnitude: float = Field(10.0, ge=0, le=10_000, description="L2 norm of the step, per sample and lattice, in preprocessed intensities")
    asymmetric: bool = Field(True, description="up the loss of rare voxels alone; false: of all voxels")

    def view(
        self, network: nn.Module, image: tuple[Tensor, ...], target: Tensor, rare: Tensor, rng: Generator
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """The moved image, and the target as it is."""
        climbed = target * rare.view(1, -1, 1, 1, 1) if self.asymmetric else target
        leaves = tuple(x.detach().requires_grad_() for x in image)
        with running_statistics_kept(network):
            log_probability = full_precision(network(leaves)).log_softmax(dim=1)
        with torch.autocast(target.device.type, enabled=False):  # a backward pass takes the types its forward pass took
            gradients = torch.autograd.grad(-(climbed * log_probability).sum(), leaves)
        concerned = climbed.amax((1, 2, 3, 4), keepdim=True) > 0
        return tuple(moved(x, g, self.magnitude, concerned) for x, g in zip(image, gradients, strict=True)), target


def moved(x: Tensor, gradient: Tensor, distance: float, concerned: Tensor) -> Tensor:
    """x + distance g / ||g||, each sample by itself: [B, M, x, y, z]. x where g is zero or not `concerned`: bool [B, 1, 1, 1, 1]."""
    axes = (1, 2, 3, 4)
    largest = gradient.abs().amax(axes, keepdim=True)
    scaled = gradient / largest  # the squares of small gradients would underflow
    step = scaled * (distance / torch.linalg.vector_norm(scaled, dim=axes, keepdim=True))
    return torch.where(concerned & (largest != 0), x + step, x)
