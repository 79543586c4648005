"""Shelf of regularizers: what else a step trains on, or under what handicap."""

from segkit.regularizers.adversarial import Adversarial
from segkit.regularizers.base import Regularizer, regularizers
from segkit.regularizers.feature_weakening import FeatureWeakening
from segkit.regularizers.large_margin import LargeMargin
from segkit.regularizers.logit_adjustment import LogitAdjustment
from segkit.regularizers.mixup import Mixup

__all__ = ["Adversarial", "FeatureWeakening", "LargeMargin", "LogitAdjustment", "Mixup", "Regularizer", "regularizers"]
