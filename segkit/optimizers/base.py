"""An optimizer of the shelf: settings that build a torch optimizer."""

from collections.abc import Iterable
from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from segkit.config.registry import Registry
from segkit.config.settings import Settings


class Optimizer(Settings):
    """Settings of an optimizer. `build` makes the torch optimizer."""

    name: ClassVar[str]
    learning_rate: float = Field(1e-3, gt=0, description="at the start; the schedule multiplies it")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh optimizer over these parameters."""
        raise NotImplementedError


optimizers: Registry[Optimizer] = Registry("optimizer", "segkit.optimizers")
