"""Why a network fails: what its logits, features and training say about rare classes, on cases it knows and cases it does not."""
