"""Everything a recipe may say, typed. The one place where the shelves meet."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from segkit.config.document import Document
from segkit.config.errors import InputError
from segkit.config.overrides import apply
from segkit.config.parse import parse
from segkit.config.settings import Settings
from segkit.config.yaml import load
from segkit.datasets.base import Dataset, datasets
from segkit.losses.base import Loss
from segkit.losses.base import losses as loss_shelf  # the section `losses` hides the name while its annotation is read
from segkit.metrics.base import Metric, metrics
from segkit.models.base import Model, models
from segkit.optimizers.base import Optimizer, optimizers
from segkit.optimizers.rmsprop import RMSProp
from segkit.regularizers.base import Regularizer
from segkit.regularizers.base import regularizers as regularizer_shelf
from segkit.regularizers.feature_weakening import FeatureWeakening
from segkit.regularizers.mixup import Mixup
from segkit.sampling.balance import FOREGROUND
from segkit.sampling.loader import Sampling
from segkit.schedules.base import Schedule, schedules
from segkit.schedules.constant import Constant
from segkit.volume.preprocess import Preprocess


class Penalty(Settings):
    """l1 * sum |w| + l2 * sum w^2 over convolution kernels, added to the loss (no half, no biases, no normalizations)."""

    l1: float = Field(0.0, ge=0)
    l2: float = Field(0.0, ge=0)


class Monitor(Settings):
    """Progress by class, into `progress.jsonl`: recall, absorption into large classes, feature gradients. Training stays as it is."""

    every: int = Field(gt=0, description="steps that a line sums up; the last line may sum up fewer")
    gradients: bool = Field(True, description="norms of the loss's gradient with respect to each voxel's features, too")


Compiling = Literal["kernels", "graphs"]


class Train(Settings):
    """How long and how fast. One step = one clean batch with all its views."""

    steps: int = Field(gt=0)
    batch_size: int = Field(10, gt=0, description="patches per step, over all processes")
    update: Literal["joint", "sequential"] = Field("joint", description="one update on the sum over views, or one update a view")
    optimizer: Annotated[Optimizer, optimizers] = RMSProp()
    schedule: Annotated[Schedule, schedules] = Constant()
    regularization: Penalty = Penalty()
    clip_gradient: float | None = Field(None, gt=0, description="largest norm of the whole gradient")
    average: float | None = Field(
        None, gt=0, lt=1, description="decay per step of a running mean of the weights, which is then validated and kept"
    )
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Compiling | None = Field(
        None, description="the step as torch.compile makes it, or recorded as CUDA graphs besides; where that fails, a line says so"
    )
    validate_every: int | None = Field(None, gt=0, description="steps; null: only at the end")
    checkpoint_minutes: float | None = Field(10.0, gt=0)
    checkpoint_every: int | None = Field(None, gt=0, description="steps")
    keep: Literal["best", "last"] | None = Field(None, description="weights that predict loads; null: best if there are validation cases")
    best: tuple[str, ...] | None = Field(
        None, min_length=1, description="classes or regions whose mean Dice is the best one's; null: all classes"
    )
    monitor: Monitor | None = Field(None, description="what each class has learned, while it is learned; null: not recorded")
    seed: int = Field(0, ge=0, lt=2**63)
    deterministic: bool = False


class Infer(Settings):
    """How a whole volume is predicted."""

    tile_shape: tuple[PositiveInt, PositiveInt, PositiveInt] | Literal["auto"] = Field("auto", description="output voxels of a tile")
    overlap: float = Field(0.5, ge=0, lt=1, description="share of a tile that its neighbor covers again; blended networks only")
    mirror: bool = Field(False, description="mean over mirrored passes, along every subset of the axes of sampling.augment.flip")
    keep_largest: tuple[str, ...] = Field((), description="classes or regions of which only the largest connected part is written")


class Evaluate(Settings):
    """What is scored. regions: unions of classes, scored like a class."""

    metrics: tuple[str, ...] = Field(
        ("dice", "sensitivity", "precision", "hd95", "assd", "nsd"), description="names of the shelf `metrics`"
    )
    nsd_tolerance_mm: float = Field(1.0, gt=0)
    regions: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    convention: Literal["segkit", "brats"] = Field("segkit", description="what an empty mask scores")

    @field_validator("metrics")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            metrics.build(name)
        return names

    def scorers(self) -> tuple[Metric, ...]:
        """The metrics, ready to score."""
        return tuple(
            metrics.build({"name": name, "tolerance_mm": self.nsd_tolerance_mm} if name == "nsd" else name) for name in self.metrics
        )


class Recipe(Settings):
    """One experiment: data, preprocessing, sampling, network, objective, training, inference, scoring."""

    dataset: Annotated[Dataset, datasets]
    preprocess: Preprocess = Preprocess()
    sampling: Sampling
    model: Annotated[Model, models]
    losses: tuple[Annotated[Loss, loss_shelf], ...] = Field(min_length=1)
    regularizers: tuple[Annotated[Regularizer, regularizer_shelf], ...] = ()
    train: Train
    infer: Infer = Infer()
    evaluate: Evaluate = Evaluate()

    @model_validator(mode="after")
    def _asymmetry_needs_rare_classes(self) -> "Recipe":
        plugins: tuple[Loss | Regularizer, ...] = (*self.losses, *self.regularizers)
        asked = [plugin.name for plugin in plugins if getattr(plugin, "asymmetric", False)]
        if self.sampling.augment.asymmetric:
            asked.append("sampling.augment")
        if asked and not self.dataset.rare_classes:
            raise ValueError(f"dataset.rare_classes: expected the rare classes, since {', '.join(asked)} is asymmetric, got none")
        return self

    @model_validator(mode="after")
    def _mixup_has_partners_of_its_own(self) -> "Recipe":
        mixes = any(isinstance(regularizer, Mixup) for regularizer in self.regularizers)
        if mixes and self.train.batch_size < 2:
            raise ValueError("train.batch_size: expected at least 2, since mixup pairs the patches of a batch, got 1")
        weakened = [regularizer for regularizer in self.regularizers if isinstance(regularizer, FeatureWeakening)]
        if mixes and weakened and not weakened[0].allow_combination:
            raise ValueError(
                "regularizers: expected mixup or feature_weakening, since each mixes what the other means to keep apart, got both"
                " (feature_weakening: {allow_combination: true} permits it)"
            )
        if weakened and all(loss.by_region for loss in self.losses):
            names = ", ".join(loss.name for loss in self.losses)
            raise ValueError(
                f"losses: expected a mean over voxels such as cross_entropy, since feature_weakening acts on no other, got {names}"
            )
        return self

    @model_validator(mode="after")
    def _mirrored_passes_need_mirrored_training(self) -> "Recipe":
        if self.infer.mirror and not self.sampling.augment.flip:
            raise ValueError("sampling.augment.flip: expected the axes to mirror, since infer.mirror averages over them, got none")
        return self

    @model_validator(mode="after")
    def _plugins_stand_once(self) -> "Recipe":
        for shelf, names in (
            ("losses", [loss.name for loss in self.losses]),
            ("regularizers", [regularizer.name for regularizer in self.regularizers]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{shelf}: expected each plug-in once, got {', '.join(twice)} more than once")
        return self

    def class_names(self) -> tuple[str, ...]:
        """Class names by index, the background first."""
        return self.dataset.class_map.names

    def check_names(self, source: str) -> None:
        """The names that stand in several sections agree. Raises InputError listing all that do not.

        Apart from parsing, since some data sets say their classes only in a file of their own.
        """
        names, mistakes = self.class_names(), []
        proportions = self.sampling.proportions
        if proportions is not None and set(proportions) not in (set(names), {"background", FOREGROUND}):
            missing, foreign = sorted(set(names) - set(proportions)), sorted(set(proportions) - set(names))
            got = "; ".join(part for part in (f"missing {missing}" * bool(missing), f"unknown {foreign}" * bool(foreign)) if part)
            mistakes.append(
                f"sampling.proportions: expected a share for each of {list(names)}, or for background and foreground, got {got}"
            )
        for region, members in self.evaluate.regions.items():
            mistakes += [f"evaluate.regions.{region}: no class is named {name!r}" for name in members if name not in names]
            if region in names:
                mistakes.append(f"evaluate.regions.{region}: a class has this name already")
        if FOREGROUND in names:
            mistakes.append(f"dataset.classes.{FOREGROUND}: expected another name: sampling.proportions means all classes together by it")
        scored = (*names[1:], *self.evaluate.regions)
        mistakes += [f"train.best: no class or region is named {name!r}" for name in self.train.best or () if name not in scored]
        mistakes += [f"infer.keep_largest: no class or region is named {name!r}" for name in self.infer.keep_largest if name not in scored]
        if mistakes:
            raise InputError(
                "SK-R060",
                "the recipe's sections disagree" + "".join(f"\n  {mistake}" for mistake in mistakes),
                where=source,
                expected=f"names among {list(names)}",
                remedy="classes are named once, under dataset.classes",
            )

    def structures(self) -> dict[str, tuple[int, ...]]:
        """Class indices of all that is scored: every class but the background, then the regions."""
        names = self.class_names()
        classes = {name: (index,) for index, name in enumerate(names) if index}
        return classes | {region: tuple(names.index(member) for member in members) for region, members in self.evaluate.regions.items()}

    def proportions(self) -> dict[str, float]:
        """Share of centers per class: as given, or equal."""
        names = self.class_names()
        return self.sampling.proportions or {name: 1 / len(names) for name in names}


def read(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """The recipe of a YAML file with `key.path=value` overrides. Raises InputError with every mistake at once."""
    return resolve(read_document(path, overrides))


def read_document(path: Path, overrides: tuple[str, ...] = ()) -> Document:
    """The same before it is typed, each value with its origin."""
    return apply(load(path), overrides)


def resolve(document: Document) -> Recipe:
    """The typed recipe of a document, with what else it depends on written out: the data set's own channels and classes, and the store.

    A resolved recipe can be trained again from anywhere.
    """
    recipe, origin = parse(Recipe, document), document.origins[()]
    store = recipe.preprocess.store or origin.directory / ".segkit" / "store"
    preprocess = recipe.preprocess.model_copy(update={"store": store})
    recipe = recipe.model_copy(update={"dataset": recipe.dataset.resolved(), "preprocess": preprocess})
    recipe.check_names(origin.source)
    return recipe
