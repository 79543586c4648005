"""Numbers from a beta law, drawn from a given generator on the device it is on."""

import torch
from torch import Generator, Tensor


def beta_draws(beta: tuple[float, float], count: int, rng: Generator) -> Tensor:
    """Numbers from Beta(a, b), float64 [count], on the generator's device; the host does not wait for them.

    X / (X + Y) with X from Gamma(a) and Y from Gamma(b): of these laws torch draws only the gamma from a generator. In logarithms, by
    Gamma(a) = Gamma(a + 1) U^(1 / a), U uniform: where a and b are small, X and Y underflow together and leave 0 / 0.
    """
    logarithms = []
    for shape in beta:
        above = torch.full((count,), shape + 1, dtype=torch.float64, device=rng.device)
        logarithms.append(torch._standard_gamma(above, generator=rng).log() - torch.empty_like(above).exponential_(generator=rng) / shape)
    return (logarithms[0] - logarithms[1]).sigmoid()
