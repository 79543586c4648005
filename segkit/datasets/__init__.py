"""Shelf of data sets: where cases lie, in the folders their providers chose."""
