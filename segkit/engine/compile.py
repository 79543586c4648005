"""torch.compile and CUDA graphs for the training step, tried before the first: where they fail, a line says so."""

from typing import Literal

import torch

from segkit.engine.device import autocast, laid_out
from segkit.engine.progress import Progress
from segkit.models.base import Network
from segkit.recipe import Recipe
from segkit.regularizers.statistics import running_statistics_kept

How = Literal["kernels", "graphs"]
MODES = {"kernels": "default", "graphs": "reduce-overhead"}


def compile_network(progress: Progress, recipe: Recipe, device: torch.device, how: How) -> str | None:
    """Let the network's `features_and_auxiliary` run as torch.compile makes it; None where that works, else why it does not.

    kernels: layers become kernels of their own, several in one. graphs: they are recorded as CUDA graphs besides, started as a whole.
    Results are those of the network as it was up to rounding, but for the masks of dropout, which are other draws. What fails leaves it
    as it was. The compiler sees a batch of zeros, forwards and backwards; weights, gradients and running statistics stay.
    """
    if how == "graphs" and device.type != "cuda":
        return "CUDA graphs need a CUDA device"
    network = progress.network.train()
    statistics = [buffer.clone() for buffer in network.buffers()]
    try:
        network.features_and_auxiliary = torch.compile(network.features_and_auxiliary, mode=MODES[how], dynamic=False)  # type: ignore[method-assign]
        with running_statistics_kept(network):  # as for the views of regularizers
            _pass(network, progress, recipe, device)
        _pass(network, progress, recipe, device)
    except (RuntimeError, ImportError, OSError) as error:  # RuntimeError: all of torch's own; OSError: no compiler, no folder for its files
        vars(network).pop("features_and_auxiliary", None)  # the class's own is seen again
        return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"
    finally:
        network.zero_grad(set_to_none=True)
        for buffer, before in zip(network.buffers(), statistics, strict=True):
            buffer.copy_(before)
    return None


def _pass(network: Network, progress: Progress, recipe: Recipe, device: torch.device) -> None:
    lattices, samples = network.lattices(recipe.sampling.patch_shape), len(progress.processes.slice_of(recipe.train.batch_size))
    image = tuple(torch.zeros((samples, len(recipe.dataset.channel_names), *lattice.shape), device=device) for lattice in lattices)
    with autocast(device, progress.pinned["precision"]):
        features, auxiliary = network.features_and_auxiliary(laid_out(image, network))
    torch.stack([each.float().square().mean() for each in (features, *auxiliary)]).sum().backward()
