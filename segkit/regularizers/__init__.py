"""Shelf of regularizers: what else a step trains on, or under what handicap."""

from segkit.regularizers.base import Regularizer, regularizers

__all__ = ["Regularizer", "regularizers"]
