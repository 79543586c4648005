"""Label values as experts wrote them <-> class indices as the network counts them."""

from collections import Counter
from typing import Literal

import numpy as np

from segkit.config.compiled import compiled
from segkit.config.errors import InputError

IGNORED = 255  # class index of a voxel that is in no class: it trains nothing and is not scored
SMALLEST, LARGEST = -(2**31), 2**31 - 1  # that a written label map holds


class ClassMap:
    """Which source values make which class. Index 0 is the background, then the classes in the order of the recipe.

    classes: name -> source label values. background: source values that are background, or "rest" for all that are named nowhere.
    ignore: source values that belong to no class. Raises InputError where a value would have two meanings (SK-V021) or is no 32-bit
    integer (SK-V024), where a class has none (SK-V022), or where the indices do not fit a byte (SK-V023).
    """

    def __init__(
        self,
        classes: dict[str, tuple[int, ...]],
        background: tuple[int, ...] | Literal["rest"] = (0,),
        ignore: tuple[int, ...] = (),
    ) -> None:
        self.classes, self.background, self.ignore = dict(classes), background, tuple(ignore)
        lists = [*self.classes.items(), ("ignore", self.ignore)]
        lists += [] if background == "rest" else [("background", background)]
        uses = Counter(value for _, values in lists for value in values)
        large = [(name, value) for name, values in lists for value in values if not SMALLEST <= value <= LARGEST]
        if large:
            got = ", ".join(f"{value} in {name}" for name, value in large)
            raise InputError("SK-V024", "a label value too large", where="dataset.classes", expected="32-bit integers", got=got)
        twice = [value for value, count in uses.items() if count > 1]
        if twice:
            names = [name for name, values in lists if twice[0] in values]
            got = f"{twice[0]} in {' and '.join(names)}"
            raise InputError("SK-V021", "a label value with two meanings", where="dataset.classes", expected="each value once", got=got)
        empty = [name for name, values in lists if not values and name != "ignore"]
        if empty:
            raise InputError("SK-V022", "a class without a label value", where=f"dataset.classes.{empty[0]}", expected="at least one value")
        if len(self.names) > IGNORED:
            raise InputError("SK-V023", "too many classes", where="dataset.classes", expected="at most 254", got=str(len(self.classes)))

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by index, the background first."""
        return ("background", *self.classes)

    @property
    def written_values(self) -> tuple[int, ...]:
        """The source value a class is written as, by index: the first of its list.

        The background is written as its first value; `rest` as 0, or where 0 is in a list as the next value that is in none.
        """
        return (self._written_background, *(values[0] for values in self.classes.values()))

    @property
    def _written_background(self) -> int:
        if self.background != "rest":
            return self.background[0]
        taken = {*self.ignore, *(value for values in self.classes.values() for value in values)}
        return next(value for value in range(len(taken) + 1) if value not in taken)

    def encode(self, label: np.ndarray, where: str) -> np.ndarray:
        """Source values [X, Y, Z] (integers) -> class indices uint8, IGNORED where a value is to be ignored.

        Raises InputError (SK-V020) naming the values that stand in no list. `where` is the file to name.
        """
        index_of = {value: i for i, group in enumerate(self.classes.values(), start=1) for value in group}
        index_of |= dict.fromkeys(self.ignore, IGNORED)
        if self.background != "rest":
            index_of |= dict.fromkeys(self.background, 0)
        order = _memory_order(label)
        flat = label.ravel(order)
        if flat.dtype == np.uint64:  # int64 holds every value of the lists
            flat = np.minimum(flat, np.iinfo(np.int64).max).astype(np.int64)
        values = np.array(sorted(index_of), dtype=np.int64)
        encoded, foreign = _encoded(flat, values, np.array([index_of[value] for value in values.tolist()], dtype=np.uint8))
        if foreign and self.background != "rest":
            unknown, counts = np.unique(label[~np.isin(label, values)], return_counts=True)
            raise InputError(
                "SK-V020",
                "label values outside the class map",
                where=where,
                expected=f"values among {sorted(index_of)}",
                got=", ".join(f"{value} ({count} voxels)" for value, count in zip(unknown, counts, strict=True)),
                remedy="name them under dataset.classes, dataset.background or dataset.ignore (or `background: rest`)",
            )
        return encoded.reshape(label.shape, order=order)

    def decode(self, indices: np.ndarray) -> np.ndarray:
        """Class indices -> source values, in the smallest of uint8, uint16, int32 that holds every written value."""
        values = np.array(self.written_values)
        kinds = (np.iinfo(kind) for kind in (np.uint8, np.uint16, np.int32))
        fits = next(kind.dtype for kind in kinds if values.min() >= kind.min and values.max() <= kind.max)
        if indices.size and indices.max() >= len(values):
            raise IndexError(f"class index {indices.max()} of {len(values)} classes")
        order = _memory_order(indices)
        return _decoded(indices.ravel(order), values.astype(fits)).reshape(indices.shape, order=order)


def _memory_order(array: np.ndarray) -> Literal["C", "F"]:
    """In which order a pass over all voxels reads neighbors one after the other; files hold F, arrays that are made C."""
    return "F" if array.flags.f_contiguous else "C"


@compiled
def _encoded(label: np.ndarray, values: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, int]:
    """(indices[k] where a voxel is values[k], else 0; how many are none of them). values ascend; two may lie 2^32 apart, so no table."""
    encoded = np.empty(len(label), np.uint8)
    foreign, count = 0, len(values)
    known, value, index = False, np.int64(0), np.uint8(0)  # of the voxel before: most are like it
    for voxel in range(len(label)):
        if voxel == 0 or label[voxel] != label[voxel - 1]:
            value = np.int64(label[voxel])
            place = int(np.searchsorted(values, value))
            known = place < count and bool(values[place] == value)
            index = indices[place] if known else np.uint8(0)
        encoded[voxel] = index
        foreign += not known
    return encoded, foreign


@compiled
def _decoded(indices: np.ndarray, values: np.ndarray) -> np.ndarray:
    """values[indices]; numpy would first make eight bytes of every index."""
    decoded = np.empty(len(indices), values.dtype)
    for voxel in range(len(indices)):
        decoded[voxel] = values[indices[voxel]]
    return decoded
