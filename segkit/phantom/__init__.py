"""Synthetic volumes that behave like BraTS (brain MR) and BTCV (abdominal CT)."""
