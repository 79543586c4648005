"""Augmentation: what is drawn for a patch. Geometry moves the lattice, intensity acts on the sampled values."""

import math
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import grid_sample

from segkit.config.settings import Settings

Axis = Literal["x", "y", "z"]


class Elastic(Settings):
    """Smooth random displacement: normal at control points, interpolated in between."""

    magnitude: float = Field(2.0, gt=0, description="standard deviation, voxels")
    spacing: float = Field(16.0, gt=0, description="distance of control points, voxels")


class Intensity(Settings):
    """Gamma, then I' = (I + shift) * scale, per channel, then noise. 0 turns a part off.

    One draw for all lattices of a patch, but for the noise, which differs from sample to sample.
    """

    shift: float = Field(0.0, ge=0, description="standard deviation of the shift")
    scale: float = Field(0.0, ge=0, description="standard deviation of the factor around 1")
    gamma: float = Field(0.0, ge=0, lt=1, description="exponent in [1 - gamma, 1 / (1 - gamma)], on values scaled to 0..1")
    noise: float = Field(0.0, ge=0, description="largest standard deviation of the voxel noise")

    @property
    def active(self) -> bool:
        """Whether anything can change."""
        return bool(self.shift or self.scale or self.gamma or self.noise)


class Augment(Settings):
    """What may happen to a patch; the defaults do nothing.

    asymmetric: patches centered on a rare class are always augmented, all others with probability `other_probability`, which is then
    below 1 (Li, Kamnitsas, Glocker, TMI 2020).
    """

    flip: tuple[Axis, ...] = Field((), description="axes mirrored with probability 1/2 each")
    rotation: float = Field(0.0, ge=0, le=180, description="largest angle about each axis, degrees")
    scale: float = Field(0.0, ge=0, lt=1, description="zoom in [1 - scale, 1 + scale], all axes alike")
    elastic: Elastic | None = None
    probability: float = Field(1.0, ge=0, le=1, description="of rotation, zoom and elastic together; flips and intensity have their own")
    intensity: Intensity = Intensity()
    asymmetric: bool = False
    other_probability: float = Field(1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _asymmetry_is_a_difference(self) -> Self:
        if self.asymmetric and self.other_probability == 1:
            raise ValueError("other_probability: expected a number < 1, since asymmetric augmentation with 1 augments every patch, got 1")
        if not self.asymmetric and self.other_probability < 1:
            raise ValueError(f"other_probability: expected 1 without asymmetric: true, got {self.other_probability:g}")
        if self.asymmetric and not self.active:
            raise ValueError("asymmetric: expected an augmentation to withhold from other patches, got none: all of them are off")
        return self

    @property
    def active(self) -> bool:
        """Whether anything can happen."""
        geometry = self.probability and (self.rotation or self.scale or self.elastic)
        return bool(self.flip or geometry or self.intensity.active)


@dataclass(frozen=True)
class Warp:
    """A change of geometry: output coordinate u from the patch's center -> offset from the center voxel, `matrix @ u + field(u)`.

    field: displacements [3, a, b, c] at control points `spacing` voxels apart around the center, held constant beyond them.
    """

    matrix: np.ndarray
    field: Tensor | None = None
    spacing: float = 1.0

    def displacement(self, points: Tensor) -> Tensor:
        """The field at points [..., 3] (voxels from the center), trilinear: [..., 3]."""
        assert self.field is not None
        half = (torch.tensor(self.field.shape[1:]) - 1) / 2 * self.spacing
        unit = (points / half.to(points)).flip(-1)  # grid_sample counts the last axis first
        sampled = grid_sample(self.field[None].to(points), unit.reshape(1, 1, 1, -1, 3), align_corners=True, padding_mode="border")
        return sampled.reshape(3, -1).T.reshape(points.shape)


@dataclass(frozen=True)
class Drawn:
    """What was drawn for one patch: flipped axes, a warp or None, and the intensity law per channel or None."""

    flip: tuple[bool, bool, bool] = (False, False, False)
    warp: Warp | None = None
    tone: "Tone | None" = None


@dataclass(frozen=True)
class Tone:
    """One draw of `Intensity`: a value per channel, and the standard deviation of the voxel noise."""

    shift: np.ndarray
    scale: np.ndarray
    gamma: np.ndarray
    noise: float

    def __call__(self, image: Tensor, low: Tensor, high: Tensor, generator: torch.Generator) -> Tensor:
        """image [M, x, y, z] float; low, high [M]: each channel's range over all lattices, which gamma maps to 0..1 and back."""
        column = (-1, 1, 1, 1)
        if (self.gamma != 1).any():
            span = (high - low).clamp(min=1e-6).view(column)
            unit = ((image - low.view(column)) / span).clamp(0, 1)
            image = unit ** torch.as_tensor(self.gamma).to(image).view(column) * span + low.view(column)
        image = (image + torch.as_tensor(self.shift).to(image).view(column)) * torch.as_tensor(self.scale).to(image).view(column)
        if self.noise:
            image = image + self.noise * torch.randn(image.shape, generator=generator, device=image.device)
        return image


def draw(
    settings: Augment, rng: np.random.Generator, channels: int, output_shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> Drawn:
    """What happens to one patch. Angles and zoom act in millimetres, so anisotropic voxels do not shear the anatomy.

    All numbers are drawn in one fixed order, whatever is switched on: switching one part on leaves the others as they were.
    """
    if not settings.active:
        return Drawn()
    coins = rng.random(4)
    x, y, z = (bool(coin < 0.5) and axis in settings.flip for axis, coin in zip("xyz", coins[:3], strict=True))
    flip = (x, y, z)
    angles = np.deg2rad(rng.uniform(-1, 1, 3) * settings.rotation)
    zoom = 1 + rng.uniform(-1, 1) * settings.scale
    tone = _tone(settings.intensity, rng, channels)
    moves = settings.rotation or settings.scale or settings.elastic
    if not moves or coins[3] >= settings.probability:
        return Drawn(flip, None, tone)
    to_mm = np.diag(spacing_mm)
    matrix = np.linalg.inv(to_mm) @ _rotation(angles) @ to_mm / zoom
    if settings.elastic is None:
        return Drawn(flip, Warp(matrix), tone)
    points = [max(2, math.ceil(n / settings.elastic.spacing) + 1) for n in output_shape]
    field = torch.from_numpy(rng.standard_normal((3, *points), dtype=np.float32) * settings.elastic.magnitude)
    return Drawn(flip, Warp(matrix, field, settings.elastic.spacing), tone)


def _tone(settings: Intensity, rng: np.random.Generator, channels: int) -> Tone | None:
    shift, scale, exponent = rng.standard_normal(channels), rng.standard_normal(channels), rng.uniform(-1, 1, channels)
    noise = rng.random() * settings.noise
    if not settings.active:
        return None
    gamma = (1 - settings.gamma) ** exponent
    return Tone(shift * settings.shift, 1 + scale * settings.scale, gamma, float(noise))


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Rz @ Ry @ Rx for angles in radians about x, y, z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[a, b], [a, b]] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    return matrix
