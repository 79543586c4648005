"""Intensities as the network sees them: a channel of a scan -> values around zero."""

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from segkit.config.errors import InputError
from segkit.config.registry import Registry
from segkit.config.settings import Settings

CONSTANT = 1e-7  # a standard deviation below this share of the mean is rounding, not contrast
PIECE = 2**20  # voxels at once where numbers between are float64
NORMAL_QUARTILES = 1.349  # distance of the quartiles of a normal distribution, in standard deviations


class Intensity(Settings):
    """Base: a map of one channel [X, Y, Z] to another, given the region of interest."""

    name: ClassVar[str]

    def __call__(self, image: np.ndarray, roi: np.ndarray) -> np.ndarray:
        """image: float32 [X, Y, Z]; roi: bool [X, Y, Z], with at least one voxel. Returns a new float32 array.

        Raises InputError where the channel has no contrast; it knows no file, the caller does.
        """
        raise NotImplementedError


intensities: Registry[Intensity] = Registry("intensity", "segkit.volume.intensity")


@intensities.register("zscore")
class ZScore(Intensity):
    """(image - mean) / std, both in float64 over the chosen voxels; voxels outside the ROI become 0."""

    inside: Literal["roi", "nonzero", "all"] = Field("roi", description="the voxels that mean and std are taken over")

    def __call__(self, image: np.ndarray, roi: np.ndarray) -> np.ndarray:
        if self.inside == "all":
            return _standardized(image, image.ravel(), roi)
        return _standardized(image, image[roi if self.inside == "roi" else image != 0], roi)


@intensities.register("robust")
class Robust(Intensity):
    """(image - median) / (interquartile range / 1.349) over the ROI; voxels outside the ROI become 0.

    For normally distributed intensities the same as `zscore`. A large lesion moves mean and std with it, and healthy tissue of two scans
    ends at different values; median and quartiles it hardly moves.
    """

    def __call__(self, image: np.ndarray, roi: np.ndarray) -> np.ndarray:
        low, median, high = np.percentile(image[roi].astype(np.float64), (25, 50, 75))
        return _shifted_and_scaled(image, median, (high - low) / NORMAL_QUARTILES, roi)


@intensities.register("window")
class Window(Intensity):
    """low..high -> -1..1, clipped (a CT window in HU); voxels outside the ROI become -1, as air does."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        return self

    def __call__(self, image: np.ndarray, roi: np.ndarray) -> np.ndarray:
        clipped = np.clip(image, self.low, self.high, dtype=np.float32)
        return np.where(roi, 2 * (clipped - self.low) / (self.high - self.low) - 1, np.float32(-1))


@intensities.register("percentile_clip")
class PercentileClip(Intensity):
    """Clipped to two percentiles of the ROI, then (image - mean) / std over the ROI; voxels outside the ROI become 0."""

    low: float = Field(0.5, ge=0, le=100, description="percent")
    high: float = Field(99.5, ge=0, le=100, description="percent")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        return self

    def __call__(self, image: np.ndarray, roi: np.ndarray) -> np.ndarray:
        low, high = np.percentile(image[roi], (self.low, self.high))
        clipped = np.clip(image, np.float32(low), np.float32(high))
        return _standardized(clipped, clipped[roi], roi)


def _standardized(image: np.ndarray, voxels: np.ndarray, roi: np.ndarray) -> np.ndarray:
    return _shifted_and_scaled(image, *_mean_and_std(voxels), roi)


def _mean_and_std(voxels: np.ndarray) -> tuple[float, float]:
    """In float64, some voxels at a time: as float64 all of them would take more memory than the scan."""
    if not voxels.size:
        return 0.0, 0.0
    pieces = np.array_split(voxels, -(-voxels.size // PIECE))
    mean = sum(float(piece.sum(dtype=np.float64)) for piece in pieces) / voxels.size
    squares = sum(float(np.square(piece - np.float64(mean)).sum()) for piece in pieces)
    return mean, float(np.sqrt(squares / voxels.size))


def _shifted_and_scaled(image: np.ndarray, center: float, spread: float, roi: np.ndarray) -> np.ndarray:
    if spread <= CONSTANT * abs(center) or spread == 0:
        what = "a constant channel cannot be normalized"
        raise InputError("SK-V040", what, expected="contrast inside the ROI", got=f"nearly all voxels at about {center:.6g}")
    out = np.empty(image.shape, dtype=np.float32)
    for plane, inside, values in zip(out, roi, image, strict=True):  # a plane at a time, since numbers between are float64
        plane[...] = np.where(inside, (values - np.float64(center)) / spread, 0)
    return out
