"""torch.compile and CUDA graphs for the training step, tried before the first: where they fail, a line says so."""

import torch

from segkit.engine.console import Console
from segkit.engine.device import autocast, laid_out
from segkit.engine.progress import Progress
from segkit.models.base import Network
from segkit.recipe import Compiling, Recipe
from segkit.regularizers.base import Regularizer, RunningRegularizer
from segkit.regularizers.statistics import running_statistics_kept

MODES: dict[Compiling, str] = {"kernels": "default", "graphs": "reduce-overhead"}
CALLS: dict[Compiling, int] = {"kernels": 1, "graphs": 3}  # a function is run at the first, recorded at the second, replayed at the third


def choose_compiled(progress: Progress, recipe: Recipe, device: torch.device, console: Console) -> None:
    """Compile the step where the recipe asks for it and it can be done; say what is done, and where a resumed run did otherwise."""
    wish, before = recipe.train.compile, progress.pinned.get("compile")
    reason = compile_network(progress, recipe, device, wish) if wish else None
    if reason:
        console.say(f"train.compile: training goes on without it ({reason})")
    done = None if reason else wish
    if progress.step and done != before:
        console.say(f"train.compile: {done}, before {before}: what follows is the same up to rounding only")
    progress.pinned["compile"] = done


def compile_network(progress: Progress, recipe: Recipe, device: torch.device, how: Compiling) -> str | None:
    """Let the network's `features_and_auxiliary` run as torch.compile makes it; None where that works, else why it does not.

    kernels: layers become kernels of their own, several in one. graphs: they are recorded as CUDA graphs besides, started as a whole.
    Results are those of the network as it was up to rounding, but for the masks of dropout, which are other draws. What fails leaves it
    as it was. The compiler sees a batch of zeros, forwards and backwards; weights, gradients and running statistics stay. What a
    regularizer makes views with, such as an ascent along the image's gradient, runs as it is.
    """
    if progress.processes.count > 1:
        return "it is for one process: several would not agree where it fails"
    if how == "graphs" and device.type != "cuda":
        return "CUDA graphs need a CUDA device"
    if how == "graphs" and recipe.train.update == "joint" and makes_views(progress):
        return "CUDA graphs reuse the memory of gradients, which a joint update adds over views; see train.update"
    network = progress.network.train()
    statistics = [buffer.clone() for buffer in network.buffers()]
    try:
        network.features_and_auxiliary = torch.compile(network.features_and_auxiliary, mode=MODES[how], dynamic=False)  # type: ignore[method-assign]
        for _ in range(CALLS[how]):
            with running_statistics_kept(network):  # as for the views of regularizers
                _pass(network, progress, recipe, device)
            _pass(network, progress, recipe, device)
    except Exception as error:  # noqa: BLE001 - a compiler's faults are of many kinds, its own, its languages' and its tools'
        vars(network).pop("features_and_auxiliary", None)  # the class's own is seen again
        return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"
    finally:
        for buffer, before in zip(network.buffers(), statistics, strict=True):
            buffer.copy_(before)
    return None


def makes_views(progress: Progress) -> bool:
    """Whether a step looks at more than the clean batch."""
    none = (Regularizer.view, RunningRegularizer.view)
    return any(type(regularizer).view not in none for _, regularizer in progress.objective.regularizers)


def _pass(network: Network, progress: Progress, recipe: Recipe, device: torch.device) -> None:
    lattices, samples = network.lattices(recipe.sampling.patch_shape), len(progress.processes.slice_of(recipe.train.batch_size))
    image = tuple(torch.zeros((samples, len(recipe.dataset.channel_names), *lattice.shape), device=device) for lattice in lattices)
    with autocast(device, progress.pinned["precision"]):
        features, auxiliary = network.features_and_auxiliary(laid_out(image, network))
    torch.stack([each.float().square().mean() for each in (features, *auxiliary)]).sum().backward()
    network.zero_grad(set_to_none=True)
