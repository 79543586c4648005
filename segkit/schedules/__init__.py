"""Shelf of schedules: the learning rate as a fraction of its start, over the course of a training."""
