"""segkit: 3D medical image segmentation under class imbalance.

run = segkit.train("recipe.yaml", {"train.steps": 500})
model = segkit.load(run.path)
label_map = model.predict("scan.nii.gz")
scores = segkit.evaluate("predictions/", "labels/")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segkit.api import Model, evaluate, load, train

__all__ = ["Model", "evaluate", "load", "train"]


def __getattr__(name: str) -> Any:
    """The public names come on first use: `segkit --help` must not wait for torch."""
    if name in __all__:
        from segkit import api

        return getattr(api, name)
    raise AttributeError(f"module 'segkit' has no attribute {name!r}")
