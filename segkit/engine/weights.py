"""What a trained model is on disk: safetensors and JSON, no code."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from segkit.config.atomic import atomic
from segkit.config.document import Document, Origin
from segkit.config.errors import InputError
from segkit.config.parse import parse
from segkit.engine.device import placed
from segkit.engine.run import Run
from segkit.models.base import Network
from segkit.recipe import Recipe

FORMAT = 1


@dataclass(frozen=True)
class Trained:
    """A trained network in evaluation mode, with the recipe it was trained by. sha256: of the weights."""

    name: str
    network: Network
    recipe: Recipe
    step: int
    sha256: str


def describe_model(run: Run, recipe: Recipe) -> None:
    """Everything prediction needs besides the weights, once per run, before the first weights."""
    run.write_json(
        run.description,
        {
            "format": FORMAT,
            "channels": list(recipe.dataset.channel_names),
            "classes": list(recipe.class_names()),
            "recipe": recipe.model_dump(mode="json"),
        },
    )


def save_weights(run: Run, network: Network, step: int) -> None:
    """The network's weights into the run, with their own checksum inside the file."""
    state = {name: tensor.detach().contiguous().cpu() for name, tensor in network.state_dict().items()}
    # one key: safetensors writes several in no fixed order, and the same weights shall give the same bytes
    content = save(state, metadata={"segkit": json.dumps({"step": step, "sha256": _digest(state)})})
    with atomic(run.weights) as temporary:
        temporary.write_bytes(content)


def load_weights(folder: Path, device: torch.device) -> Trained:
    """The trained model of a run folder. Raises InputError where it is missing, damaged, foreign or of another format."""
    run = Run(folder)
    for path in (run.description, run.weights):
        if not path.is_file():
            raise InputError(
                "SK-I001",
                "no trained model here",
                where=folder,
                expected=f"a run folder with {run.weights.name} and {run.description.name}",
                got=f"no {path.name}",
                remedy="give the folder of a run that has validated or ended once",
            )
    try:
        description = json.loads(run.description.read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise InputError(
                "SK-I002", "the model is of another format", where=run.description, expected=f"{FORMAT}", got=f"{description['format']}"
            )
        recipe = _recipe(description["recipe"], run.description)
        with safe_open(run.weights, framework="pt") as stored:
            facts = json.loads((stored.metadata() or {})["segkit"])
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
        if _digest(state) != facts["sha256"]:
            raise InputError(
                "SK-I003",
                "the weights are damaged: their checksum differs",
                where=run.weights,
                expected=facts["sha256"],
                got=_digest(state),
            )
        network = recipe.model.build(len(description["channels"]), len(description["classes"]))
        network.load_state_dict(state)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
        raise InputError("SK-I004", "the model cannot be read", where=folder, got=str(error).splitlines()[0]) from error
    return Trained(folder.resolve().name, placed(network, device).eval(), recipe, facts["step"], facts["sha256"])


def stored_sha256(run: Run) -> str | None:
    """Of the weights that a run has now, as their file says; None where there are none, or none that can be read."""
    if not run.weights.is_file():
        return None
    try:
        with safe_open(run.weights, framework="pt") as stored:
            return str(json.loads((stored.metadata() or {})["segkit"])["sha256"])
    except (json.JSONDecodeError, KeyError, TypeError, SafetensorError):
        return None


def _recipe(value: dict[str | int, Any], path: Path) -> Recipe:
    try:
        return parse(Recipe, Document(value, {(): Origin(str(path), None, path.parent)}))
    except InputError as error:
        remedy = "was it trained with a plug-in of your own? name it with --plugin FILE"
        got = error.what.splitlines()[-1]
        raise InputError("SK-I005", "the model's recipe cannot be used", where=path, got=got, remedy=remedy) from error


def _digest(state: Mapping[str, Tensor]) -> str:
    """sha256 over names and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
