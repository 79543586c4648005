"""The class map: both ways, and every value without a meaning."""

import tracemalloc

import numpy as np
import pytest

from segkit.config.errors import InputError
from segkit.volume.labels import IGNORED, ClassMap

CORE = ClassMap({"core": (1, 3, 4), "edema": (2,)}, background=(0, 7), ignore=(99,))


def row(*values, dtype=np.int32):
    return np.array(values, dtype=dtype).reshape(-1, 1, 1)


def test_values_become_indices():
    encoded = CORE.encode(row(0, 1, 2, 3, 4, 7, 99), "a.nii.gz")
    assert encoded.dtype == np.uint8
    assert encoded.ravel().tolist() == [0, 1, 2, 1, 1, 0, IGNORED]


def test_names_and_written_values_are_by_index():
    assert CORE.names == ("background", "core", "edema")
    assert CORE.written_values == (0, 1, 2)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
def test_every_integer_type_encodes_alike(dtype):
    assert CORE.encode(row(0, 4, 2, dtype=dtype), "a").ravel().tolist() == [0, 1, 2]


def test_the_rest_is_background_however_far_away():
    core = ClassMap({"core": (1,)}, background="rest")
    assert core.encode(row(-(2**31), -1, 0, 1, 2, 2**31 - 1), "a").ravel().tolist() == [0, 0, 0, 1, 0, 0]


def test_foreign_values_are_named_with_their_voxels():
    with pytest.raises(InputError) as error:
        CORE.encode(row(0, 5, 5, -1, 255), "case/label.nii.gz")
    assert str(error.value) == (
        "SK-V020: label values outside the class map\n"
        "  where:    case/label.nii.gz\n"
        "  expected: values among [0, 1, 2, 3, 4, 7, 99]\n"
        "  got:      -1 (1 voxels), 5 (2 voxels), 255 (1 voxels)\n"
        "  remedy:   name them under dataset.classes, dataset.background or dataset.ignore (or `background: rest`)"
    )


ZERO_IS_A_CLASS = ClassMap({"a": (0,), "b": (1, 3)}, background="rest")
ZERO_IS_IGNORED = ClassMap({"a": (1,), "b": (2,)}, background="rest", ignore=(0,))


@pytest.mark.parametrize("classes", [CORE, ZERO_IS_A_CLASS, ZERO_IS_IGNORED], ids=["listed", "class 0", "ignored 0"])
def test_what_is_written_reads_as_the_same_classes(classes):
    indices = row(0, 1, 2, 1, dtype=np.uint8)
    np.testing.assert_array_equal(classes.encode(classes.decode(indices), "a"), indices)


def test_a_rest_is_written_as_the_first_value_in_no_list():
    assert ClassMap({"a": (4,)}, background="rest").written_values == (0, 4)
    assert ZERO_IS_A_CLASS.written_values == (2, 0, 1)
    assert ZERO_IS_IGNORED.written_values == (3, 1, 2)


def test_values_far_apart_take_no_memory_for_what_lies_between():
    far = ClassMap({"low": (-(2**31),), "high": (2**31 - 1,)})
    label = row(-(2**31), 0, 2**31 - 1)
    far.encode(label, "a")  # the compiler's own memory is not meant
    tracemalloc.start()
    assert far.encode(label, "a").ravel().tolist() == [1, 0, 2]
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()
    assert far.decode(row(0, 1, 2, dtype=np.uint8)).ravel().tolist() == [0, -(2**31), 2**31 - 1]


def test_a_value_beyond_64_bits_with_a_sign_is_no_negative_one():
    assert ClassMap({"a": (-1,)}, background="rest").encode(row(2**64 - 1, dtype=np.uint64), "a").ravel().tolist() == [0]


@pytest.mark.parametrize(("value", "dtype"), [(255, np.uint8), (256, np.uint16), (70000, np.int32), (-1, np.int32)])
def test_predictions_take_the_smallest_type_that_holds_all_values(value, dtype):
    decoded = ClassMap({"a": (value,)}).decode(row(0, 1, dtype=np.uint8))
    assert decoded.dtype == dtype
    assert decoded.ravel().tolist() == [0, value]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (({"a": (1,), "b": (2, 1)},), "SK-V021: a label value with two meanings"),
        (({"a": (0,)},), "got:      0 in a and background"),
        (({"a": (1,)}, (0,), (1,)), "got:      1 in a and ignore"),
        (({"a": ()},), "SK-V022: a class without a label value"),
        (({f"c{i}": (i,) for i in range(1, 256)},), "SK-V023: too many classes"),
        (({"a": (1, 2**31)},), "SK-V024: a label value too large"),
        (({"a": (1,)}, (0,), (-(2**31) - 1,)), "got:      -2147483649 in ignore"),
    ],
)
def test_a_map_that_cannot_be_is_refused(arguments, text):
    with pytest.raises(InputError) as error:
        ClassMap(*arguments)
    assert text in str(error.value)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_map_keeps_its_order_in_memory(order):
    values = np.random.default_rng(0).choice([0, 1, 2, 3, 4, 7, 99], (4, 5, 6)).astype(np.int16)
    encoded = CORE.encode(np.asarray(values, order=order), "a")
    expected = {0: 0, 1: 1, 2: 2, 3: 1, 4: 1, 7: 0, 99: IGNORED}
    np.testing.assert_array_equal(encoded, np.vectorize(expected.get)(values))
    assert encoded.flags.f_contiguous is (order == "F")
    every_other = np.asarray(values, order=order)[::2, :, ::2]
    np.testing.assert_array_equal(CORE.encode(every_other, "a"), encoded[::2, :, ::2])


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_written_map_keeps_its_order_in_memory(order):
    indices = np.asarray(np.arange(24, dtype=np.uint8).reshape(2, 3, 4) % 3, order=order)
    written = ClassMap({"a": (300,), "b": (-7,)}).decode(indices)
    np.testing.assert_array_equal(written, np.array([0, 300, -7], np.int32)[indices])
    assert written.flags.f_contiguous is (order == "F")


def test_an_index_of_no_class_is_a_bug():
    with pytest.raises(IndexError, match="class index 3 of 3 classes"):
        CORE.decode(row(0, 3, dtype=np.uint8))
