"""An abdomen in contrast-enhanced CT with the thirteen organs of BTCV, in Hounsfield units and true millimeters."""

import numpy as np
from scipy import ndimage

from segkit.phantom.body import LUNG, Body, body
from segkit.phantom.fields import Shape, Vector, ellipsoid, filaments, fill, points, smooth, stream, tube
from segkit.phantom.organs import ORGANS, near, reach, voxels

FIELD_OF_VIEW_MM = (360.0, 360.0, 320.0)
NOISE = (10.0, 26.0)  # deviation, HU
VEIN = (100.0, 155.0)  # HU, early and late
COLON = (  # Right, Anterior, Superior, radius in mm; around the small bowel
    ((96, -30, -130, 24), (98, -20, -60, 22), (88, 10, -20, 20)),
    ((88, 10, -20, 20), (20, 72, -35, 17), (-50, 66, -20, 17), (-98, -12, 22, 16)),
    ((-98, -12, 22, 16), (-106, -34, -60, 15), (-90, -30, -150, 16)),
)


def draw(seed: int, index: int, shape: Shape) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The volumes of patient `index`, `img` int16 HU [X, Y, Z] (LAS axes) and `label` uint8, and their affine.

    Every organ has at least one voxel, an adrenal at the default shape about a hundred, at 64 x 64 x 32 about a dozen.
    """
    rng = stream(seed, index, 0)
    field_mm = _field_of_view(seed, index)
    still = points(shape, field_mm, "LAS")
    at = _deform(rng, still)
    frame = body(rng, at, still)
    label = _place(rng, at, still, frame.cavity)
    return {"img": _scan(stream(seed, index, 1), _density(rng, at, frame, label)), "label": label}, _affine(field_mm, shape)


def _field_of_view(seed: int, index: int) -> tuple[float, float, float]:
    """Size of the scanned box in mm along X, Y, Z: it differs between patients, so the voxel's size does too."""
    within, through = stream(seed, index, 2).uniform(0.96, 1.08, 2)
    x, y, z = FIELD_OF_VIEW_MM
    return x * within, y * within, z * through


def _affine(field_mm: Vector, shape: Shape) -> np.ndarray:
    """Voxel -> RAS+ mm [4, 4]: axes LAS, the box centered on the origin."""
    step = np.array(field_mm) / shape * (-1, 1, 1)
    matrix = np.diag([*step, 1.0])
    matrix[:3, 3] = -step * (np.array(shape) - 1) / 2
    return matrix


def _deform(rng: np.random.Generator, still: np.ndarray) -> np.ndarray:
    """Points of the mean patient under each point of this one: another size, and bent in two scales."""
    shape = still.shape[1:]
    size = np.clip(1 + 0.05 * rng.standard_normal(3), 0.9, 1.05).reshape(3, 1, 1, 1).astype(np.float32)
    return still / size + np.stack([5 * smooth(rng, shape, 4) + 1.5 * smooth(rng, shape, 13) for _ in range(3)])


def _place(rng: np.random.Generator, at: np.ndarray, still: np.ndarray, cavity: np.ndarray) -> np.ndarray:
    """BTCV label values, uint8 [X, Y, Z]: each organ takes its volume of the cavity that is still free, nearest to its shape."""
    spacing = (abs(still[0, 1, 0, 0] - still[0, 0, 0, 0]), still[1, 0, 1, 0] - still[1, 0, 0, 0], still[2, 0, 0, 1] - still[2, 0, 0, 0])
    label = np.zeros(cavity.shape, np.uint8)
    for name, organ in ORGANS.items():
        box = near(name, still)
        volume_ml, level = reach(rng, name, at[(slice(None), *box)])
        chosen = fill(level, cavity[box] & (label[box] == 0), voxels(volume_ml, spacing))
        label[box][chosen] = organ.value
    return label


def _density(rng: np.random.Generator, at: np.ndarray, frame: Body, label: np.ndarray) -> np.ndarray:
    """Noise-free HU float32 [X, Y, Z] of this patient in this phase of the contrast medium."""
    phase = float(rng.random())  # 0 early: bright arteries; 1 late: bright veins and liver
    vein = _mixed(VEIN, phase)
    hu = frame.hu.copy()
    free = frame.cavity & (label == 0)
    _paint_bowel(rng, at, hu, free & ~frame.chest)
    hu[filaments(rng, label.shape, 14, 0.012) & free] = vein
    lung = free & frame.chest
    hu[lung] = LUNG
    hu[lung & filaments(rng, label.shape, 16, 0.03)] = vein
    hu[lung & ((ellipsoid(at, (-22, 28, 168), (58, 46, 46)) < 0) | (np.abs(at[0]) < 22))] = _mixed((200, 140), phase)
    texture = smooth(rng, label.shape, 24)
    for name, organ in ORGANS.items():
        mask = label == organ.value
        hu[mask] = _mixed(organ.hu, phase) + 7 * rng.standard_normal() + (4 + 6 * ("kidney" in name)) * texture[mask]
    hu[(label == ORGANS["liver"].value) & filaments(rng, label.shape, 9, 0.03)] = 0.6 * vein + 50
    _paint_stomach(rng, at, hu, label == ORGANS["stomach"].value)
    return hu


def _paint_bowel(rng: np.random.Generator, at: np.ndarray, hu: np.ndarray, free: np.ndarray) -> None:
    """Unlabeled loops of the organs' density: small bowel and duodenum, then the colon with gas and stool."""
    loops = filaments(rng, free.shape, 10, 0.35) & free & (at[2] < 10 + 8 * smooth(rng, free.shape, 4))
    content = smooth(rng, free.shape, 10)
    hu[loops] = 45 + 30 * content[loops]
    hu[loops & (content > 1.7)] = -600.0
    bowel = free & (np.minimum.reduce([tube(at, np.array(piece, float)[:, :3], [knot[3] for knot in piece]) for piece in COLON]) < 0)
    hu[bowel] = np.where(content[bowel] > 0.2, -750.0, 40 + 40 * content[bowel])


def _paint_stomach(rng: np.random.Generator, at: np.ndarray, hu: np.ndarray, stomach: np.ndarray) -> None:
    """Gas rises to the front of a patient who lies on the back; food is lumpy, and sometimes a contrast medium that was drunk is in it."""
    gas, drunk = rng.uniform(0, 0.4), 150 * (rng.random() < 0.25)
    food = smooth(rng, stomach.shape, 20)[stomach]
    height = at[1][stomach]
    surface = np.quantile(height, 1 - gas)
    hu[stomach] = np.where(height > surface, -850.0, hu[stomach] + 14 * food + drunk)
    lumen = ndimage.binary_erosion(stomach)
    hu[stomach & ~lumen] = 60.0


def _scan(rng: np.random.Generator, hu: np.ndarray) -> np.ndarray:
    """Partial volume, grainy noise, rounding: int16 HU, never below -1024 (the scanner's floor)."""
    image = ndimage.gaussian_filter(hu, 0.55, truncate=3)
    image += rng.uniform(*NOISE) * rng.standard_normal(hu.shape, np.float32)
    return np.clip(np.rint(image), -1024, 3071).astype(np.int16)


def _mixed(hu: Vector, phase: float) -> float:
    return hu[0] + (hu[1] - hu[0]) * phase
