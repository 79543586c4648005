"""Training progress by class: recall, absorption into large classes and feature gradients, over windows of steps."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d

from segkit.engine.log import Record
from segkit.losses.base import full_precision
from segkit.recipe import Monitor

KINDS = ("clean", "train")  # of gradients, as they stand in `moments`


class RunningMonitor(nn.Module):
    """Sums over the clean batches of a window of steps. They lie in the checkpoint: a window goes on after an interruption.

    What is seen of a step is its clean batch, before any technique touches features or logits, with the weights before its update; views
    are not. A voxel is predicted as the class of its largest logit. Large (major) classes are those that are not rare, the background
    included; where no class is rare, the one with the most voxels in the window. Of the voxels v with features h_v and class y_v:

        recall        share of a class's voxels predicted as the class
        absorbed      share of a class's voxels predicted as a major class that is another one; so 0 for the only major class
        grad_clean    mean over a class's voxels of ||W^T (p_v - y_v)||, p_v = softmax(W h_v + b): what plain cross-entropy would pull
        grad_train    mean of N ||d loss / d h_v||, from the backward pass of the loss that is trained on: weights of the losses, margins,
                      blending and all. N: voxels of the batch, ignored ones included, by which losses that are means have divided

    With cross-entropy alone the two gradients are equal. `top_k` divides by fewer voxels than N, so its gradients are larger by that. In a
    loss by region N undoes no mean, and only classes compare. With deep
    supervision h_v gets the share of the loss that the finest logits have; coarser ones do not depend on it. An ignored voxel has no class.

    Features, and the gradient of the backward pass, are as training has them; logits and norms are made of them in float32 or better:
    among logits rounded to bfloat16 ties are common, and all would go to the background. Nothing is drawn, and nothing that training
    computes is changed. A step costs a 1x1x1 convolution and some C^2 products a voxel and, while these last, the memory of the features in
    float32 (unless they are) and of some five sets of logits. The host waits for the device once a window.
    Source of the quantities: after Ye, Zhan, Chao, ICCV 2021, "Procrustean Training for Imbalanced Deep Learning"; definitions are ours.

    confusion: int64 [C, C], voxels by true and predicted class.
    moments: float64 [2, 3, C], of each kind of gradient the number of voxels, the sum of norms, and that of their squares.
    """

    confusion: Tensor
    moments: Tensor

    def __init__(self, settings: Monitor, names: Sequence[str], rare: Sequence[str]) -> None:
        super().__init__()
        self.every, self.gradients = settings.every, settings.gradients
        self.names, self.rare = tuple(names), frozenset(rare)
        self.register_buffer("confusion", torch.zeros((len(names), len(names)), dtype=torch.int64))
        self.register_buffer("moments", torch.zeros((len(KINDS), 3, len(names)), dtype=torch.float64))

    def watch(self, features: Tensor, classifier: nn.Conv3d, target: Tensor) -> None:
        """A clean batch: features [B, D, X, Y, Z] as the network gave them, target [B, C, X, Y, Z] one-hot, 0 where ignored.

        The gradient of training is met when the loss is differentiated; there is none where features depend on no parameter.
        """
        with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
            seen, weight, bias = full_precision(features.detach()), classifier.weight, classifier.bias
            logits = conv3d(seen, weight.to(seen), None if bias is None else bias.to(seen))
            self._count(logits, target)
            if self.gradients:
                self._add("clean", clean_norms(logits, weight, target), target)
        if self.gradients and features.requires_grad:
            features.register_hook(partial(self._meet, target))

    def window(self, step: int) -> Record:
        """The line of `progress.jsonl` for the steps since the last call; the next window begins.

        By class name `n` (voxels), `recall`, `absorbed`, and with gradients `grad_clean`, `grad_train` and their standard deviations over
        voxels, `grad_clean_sd`, `grad_train_sd`; None where there was no voxel. `major`: names. `confusion`: [true][predicted].
        """
        counts, *moments = self._taken()
        n = [sum(row) for row in counts]
        major = [index for index, name in enumerate(self.names) if name not in self.rare] if self.rare else [n.index(max(n))]
        absorbed = [sum(row[other] for other in major if other != index) for index, row in enumerate(counts)]
        facts: Record = {
            "n": self._named(n),
            "recall": self._named([_share(row[index], n[index]) for index, row in enumerate(counts)]),
            "absorbed": self._named([_share(voxels, n[index]) for index, voxels in enumerate(absorbed)]),
        }
        for kind, (voxels, sums, squares) in zip(KINDS, moments, strict=True) if self.gradients else ():
            means = [_share(total, count) for total, count in zip(sums, voxels, strict=True)]
            facts[f"grad_{kind}"] = self._named(means)
            facts[f"grad_{kind}_sd"] = self._named([_deviation(*each) for each in zip(means, squares, voxels, strict=True)])
        return {"step": step, "major": [self.names[index] for index in major], "confusion": counts} | facts

    def forget(self) -> None:
        """The window begins anew."""
        self.confusion.zero_()
        self.moments.zero_()

    def _count(self, logits: Tensor, target: Tensor) -> None:
        known, label = target.max(dim=1)  # several times as fast as argmax
        pairs = label * len(self.names) + logits.max(dim=1).indices
        self.confusion.view(-1).index_add_(0, pairs.flatten(), known.flatten().long())

    def _meet(self, target: Tensor, gradient: Tensor) -> None:
        """The gradient of the loss at the features, [B, D, X, Y, Z]."""
        wide = torch.promote_types(gradient.dtype, torch.float32)
        norms = torch.linalg.vector_norm(gradient, dim=1, keepdim=True, dtype=wide)
        self._add("train", norms * target[:, 0].numel(), target)

    def _add(self, kind: str, norms: Tensor, target: Tensor) -> None:
        """norms: [B, 1, X, Y, Z]."""
        for total, values in zip(self.moments[KINDS.index(kind)], (torch.ones_like(norms), norms, norms.square()), strict=True):
            total += (target * values).sum((0, 2, 3, 4), dtype=torch.float64)

    def _taken(self) -> tuple[list, ...]:
        """Confusion and moments as plain numbers, in one transfer; they begin at 0 again."""
        classes = len(self.names)
        numbers = torch.cat((self.confusion.double().flatten(), self.moments.flatten())).cpu()
        self.forget()
        counts, moments = numbers[: classes**2].long(), numbers[classes**2 :]
        return counts.view(classes, classes).tolist(), *moments.view(len(KINDS), 3, classes).tolist()

    def _named(self, values: Sequence[object]) -> dict[str, object]:
        return dict(zip(self.names, values, strict=True))


def clean_norms(logits: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """||W^T (p_v - y_v)|| of each voxel, [B, 1, X, Y, Z], p_v = softmax(logits_v); y_v one-hot. weight: W, [C, D, 1, 1, 1].

    It is sqrt(r^T W W^T r) with r = p_v - y_v: C^2 products a voxel, however many features there are.
    """
    rows = weight.flatten(1).double()
    rows = rows - rows.mean(dim=0)  # r sums to 0, so what all rows share has no effect; kept, it would leave a rounding error
    gram = (rows * rows.unsqueeze(1)).sum(dim=2).to(logits.dtype)  # a matrix product on CUDA is none of the deterministic operations
    others = logits.softmax(dim=1) * (1 - target)
    residual = others - target * others.sum(dim=1, keepdim=True)  # p - y; 1 - p by itself is 0 as soon as p rounds to 1
    products = residual * conv3d(residual, gram[:, :, None, None, None])
    return products.sum(dim=1, keepdim=True).clamp(min=0).sqrt()


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _deviation(mean: float | None, squares: float, voxels: float) -> float | None:
    return None if mean is None else math.sqrt(max(0.0, squares / voxels - mean**2))
