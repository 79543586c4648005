"""Shelf of optimizers: how a gradient becomes an update."""
