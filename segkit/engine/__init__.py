"""The engine: objective, training, inference, scoring, and the folder a run leaves behind."""
