"""Lent memory: used again when nothing reads it, and never before."""

import gc

import torch

from segkit.sampling.memory import Memory

SHAPE = (3, 5)


def test_memory_that_nothing_reads_is_lent_again():
    memory = Memory()
    first = memory.lend(SHAPE, "float32")
    place = first.data_ptr()
    del first
    assert memory.lend(SHAPE, "float32").data_ptr() == place


def test_memory_that_is_read_is_not_lent():
    memory = Memory()
    first = memory.lend(SHAPE, "float32").fill_(1)
    second = memory.lend(SHAPE, "float32").fill_(2)
    assert (first == 1).all()
    assert (second == 2).all()


def test_a_part_a_graph_and_an_array_keep_it():
    memory = Memory()
    part = memory.lend(SHAPE, "float32").fill_(3)[1:, 2]
    factor = torch.ones(SHAPE, requires_grad=True)
    product = (memory.lend(SHAPE, "float32").fill_(5) * factor).sum()
    array = memory.lend(SHAPE, "float32").fill_(7).numpy()
    gc.collect()
    others = [memory.lend(SHAPE, "float32").fill_(0) for _ in range(4)]
    assert (part == 3).all()
    product.backward()
    assert (factor.grad == 5).all()
    assert (array == 7).all()
    assert all((other == 0).all() for other in others)


def test_shapes_and_kinds_have_memory_of_their_own():
    memory = Memory()
    memory.lend(SHAPE, "float32")
    assert memory.lend((5, 3), "float32").shape == (5, 3)
    assert memory.lend(SHAPE, "uint8").dtype == torch.uint8
