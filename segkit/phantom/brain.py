"""A brain with a glioma in four MR channels, as BraTS shows it: skull-stripped, 1 mm, 0 outside the brain."""

import numpy as np
from scipy import ndimage

from segkit.phantom.fields import Shape, ellipsoid, filaments, fill, points, smooth, spread, stream, tube
from segkit.phantom.tissue import CHANNELS, CODES, LABELS, signals
from segkit.phantom.tumor import grow

SEMI_AXES = (0.76, 0.86, 0.82)  # of half the field of view: Right, Anterior, Superior
GAIN = (250.0, 700.0)  # scanner units per signal, log-uniform by channel
BIAS = 0.12  # deviation of the log of the multiplicative bias field
NOISE = (0.02, 0.06)  # deviation of the complex noise, in signal


def draw(seed: int, index: int, shape: Shape) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The volumes of patient `index`, int16 images [X, Y, Z] by channel (LPS axes) and uint8 `seg`, and their affine."""
    rng = stream(seed, index, 0)
    at = points(shape, (2, 2, 2), "LPS")
    healthy, inside = _anatomy(rng, at)
    tumor = grow(rng, at, inside, healthy == CODES["white"], spread(seed, index))
    means = _signal(rng, healthy, tumor)
    images = {name: _scan(stream(seed, index, 1 + c), means[c], inside) for c, name in enumerate(CHANNELS)}
    return images | {"seg": LABELS[tumor]}, _affine(shape)


def _affine(shape: Shape) -> np.ndarray:
    """Voxel -> RAS+ mm [4, 4]: 1 mm, axes LPS, the origin on BraTS' corner."""
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0])
    matrix[1, 3] = shape[1] - 1
    return matrix


def _anatomy(rng: np.random.Generator, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tissue codes without the tumor, uint8 [X, Y, Z], and the brain, bool. Later lines paint over earlier ones."""
    shape = at.shape[1:]
    size = np.clip(1 + 0.03 * rng.standard_normal(3), 0.94, 1.06)
    warped = at + 0.02 * np.stack([smooth(rng, shape, 5) for _ in range(3)])
    reach = np.sqrt(np.square(warped / (np.array(SEMI_AXES) * size).reshape(3, 1, 1, 1).astype(np.float32)).sum(axis=0))
    depth = 1 - reach * (1 + 0.02 * smooth(rng, shape, 7))  # 0 on the surface, 1 in the middle
    inside = depth > 0
    half = np.abs(warped[:1])  # both hemispheres at once
    at = np.concatenate([half, warped[1:]])
    age = rng.uniform(0.6, 1.6)  # widens what is filled with CSF

    tissue = np.full(shape, CODES["white"], np.uint8)
    cortex = _pial_distance(rng, at, depth)
    tissue[cortex < 0.055] = CODES["gray"]
    tissue[cortex < 0.013 * age] = CODES["csf"]
    for center, radii in (((0.24, 0.10, 0.02), (0.10, 0.22, 0.15)), ((0.10, -0.10, 0.02), (0.09, 0.15, 0.11))):
        tissue[ellipsoid(at, center, radii) < 0] = CODES["deep gray"]
    _paint_hindbrain(rng, at, tissue)
    ventricle = tube(
        at, np.array([[0.08, 0.38, 0.10], [0.09, 0.0, 0.20], [0.20, -0.42, 0.06], [0.33, -0.15, -0.15]]), (0.05, 0.06, 0.075, 0.03)
    )
    ventricle = np.minimum(ventricle, ellipsoid(at, (0, 0, 0), (0.02, 0.16, 0.12))) < 0.035 * (age - 1)
    tissue[ventricle] = CODES["csf"]
    _paint_distractors(rng, at, tissue, ventricle, depth)
    tissue[~inside] = CODES["outside"]
    return tissue, inside


def _pial_distance(rng: np.random.Generator, at: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Rough distance to the folded surface: the outside, the fissure between the hemispheres, and sulci where a noise changes sign."""
    fold = smooth(rng, depth.shape, 19)
    reaches = 0.20 + 0.07 * smooth(rng, depth.shape, 8)  # how deep a sulcus goes
    sulcus = 0.055 * np.abs(fold) + np.maximum(0, depth - reaches)
    callosum = ellipsoid(at, (0, 0, 0.0), (0.5, 0.5, 0.30))  # the hemispheres are joined around the middle
    fissure = at[0] + np.maximum(0, -callosum)
    return np.minimum(np.minimum(depth, sulcus), fissure)


def _paint_hindbrain(rng: np.random.Generator, at: np.ndarray, tissue: np.ndarray) -> None:
    """Brain stem, and a cerebellum of thin leaves under a layer of CSF."""
    tissue[tube(at, np.array([[0, -0.1, -0.2], [0, -0.25, -0.9]]), (0.13, 0.12)) < 0] = CODES["white"]
    cerebellum = ellipsoid(at, (0.18, -0.50, -0.52), (0.38, 0.34, 0.24))
    leaves = np.sin(45 * np.hypot(at[1] + 0.25, at[2] + 0.35) + 1.5 * smooth(rng, tissue.shape, 8))
    tissue[cerebellum < 0.03] = CODES["csf"]
    tissue[cerebellum < 0] = CODES["gray"]
    tissue[(cerebellum < -0.03) & (leaves > 0.55)] = CODES["csf"]
    tissue[(cerebellum < -0.06) & (leaves < -0.1)] = CODES["white"]


def _paint_distractors(rng: np.random.Generator, at: np.ndarray, tissue: np.ndarray, ventricle: np.ndarray, depth: np.ndarray) -> None:
    """What resembles tumor and has no label: white-matter spots, vessels, the sagittal sinus, choroid plexus."""
    shape = tissue.shape
    spots = np.exp(rng.uniform(np.log(0.0003), np.log(0.006))) * (depth > 0).sum()
    near = smooth(rng, shape, 16) - 2.5 * np.abs(depth - 0.55)
    tissue[fill(-near, tissue == CODES["white"], round(spots))] = CODES["spot"]
    vessel = filaments(rng, shape, 9, 0.012) & ((tissue == CODES["gray"]) | (tissue == CODES["csf"]))
    sinus = (at[0] < 0.035) & (depth < 0.06) & (at[2] > 0.1 - at[1])
    tissue[vessel | sinus] = CODES["vessel"]
    plexus = fill(smooth(rng, shape, 18) + 3 * at[1], ventricle, round(rng.uniform(0.05, 0.25) * ventricle.sum()))
    tissue[plexus] = CODES["choroid plexus"]


def _signal(rng: np.random.Generator, healthy: np.ndarray, tumor: np.ndarray) -> np.ndarray:
    """Noise-free brightness [channel, X, Y, Z]. Edema is uneven and fades out across its border; the core is blotchy."""
    table = signals(rng)
    core = (tumor != 0) & (tumor != CODES["edema"])
    reach = ndimage.uniform_filter((tumor != 0).astype(np.float32), 5)  # 1 inside the tumor, 1/2 on its border
    water = np.clip(rng.uniform(0.6, 1.0) * reach * (1 + 0.3 * smooth(rng, tumor.shape, 12)), 0, 1)
    blotches = 1 + 0.10 * smooth(rng, tumor.shape, 10)[core]
    mean = np.moveaxis(table[healthy], -1, 0)
    mean = mean + water * (table[CODES["edema"]].reshape(-1, 1, 1, 1) - mean)
    mean[:, core] = table[tumor[core]].T * blotches
    return mean


def _scan(rng: np.random.Generator, mean: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """What the scanner makes of one channel: partial volume, bias field, contrast, gain, Rician noise; int16, at least 1 inside the brain.

    Rician: |signal + complex noise|, hence never negative and biased where the signal is weak.
    """
    gain, noise = np.exp(rng.uniform(*np.log(GAIN))), rng.uniform(*NOISE)
    contrast = rng.uniform(0.85, 1.2)
    image = ndimage.gaussian_filter(mean, 0.55, truncate=3)[inside]
    field = BIAS * smooth(rng, mean.shape, 3)[inside] + 0.03 * smooth(rng, mean.shape, 30)[inside]
    image = image**contrast * np.exp(field)
    real, imaginary = noise * rng.standard_normal((2, image.size), np.float32)
    scan = np.zeros(mean.shape, np.int16)
    scan[inside] = np.clip(np.rint(gain * np.hypot(image + real, imaginary)), 1, 32767)
    return scan
