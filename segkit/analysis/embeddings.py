"""Class embeddings: through which channels of the last features a network speaks for each class, in training cases and in test cases."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from segkit.analysis.accumulator import Accumulator, CaseMean
from segkit.analysis.channels import top_count
from segkit.analysis.embedding_comparison import GROUPS, Comparison, Group, Populations, compare
from segkit.analysis.embedding_figures import draw_all
from segkit.analysis.embedding_tables import write_arrays, write_channels, write_classes
from segkit.analysis.lowest import Lowest
from segkit.analysis.observe import SPLITS, Split, Voxels
from segkit.engine.weights import Trained

BACKGROUND = 20_000  # voxels of a case that are counted at most, those with the lowest keys
FOREGROUND = 200_000  # the same of every other class
MEMORY = 256 * 2**20  # bytes of their features at most, shared by all classes alike; fewer voxels count where that is less


class Embeddings:
    """Watches the pass over a run's cases, and keeps what its class embeddings are described by.

    The embedding of a voxel v of true class c is  e_v = h_v * W_c  [D], element by element: h_v what the classifier reads, W_c its row for
    class c. So  sum_d e_vd + b_c  is the voxel's logit of its own class, split by channel. Voxels are told apart by split, class and
    outcome: `tp` (predicted as c), `fn` (as another class), `all`. Of a case at most 20,000 background voxels and 200,000 of another
    class count, drawn at random; fewer where their features, 4 D bytes a voxel, would take more than 256 MiB for all C classes together:
    with D = 250 and C = 14 at most 19,173 of any class. `most` says how many, and stands in what is written.

    What such numbers do not say:

    1. A vector added to all rows of W changes embeddings and logits, but no prediction. Everything is therefore told for the weights as
       they are (`raw`) and for `centered` ones, W_c minus the mean over classes, on which such a vector has no effect; centered embeddings
       add up to the logit of the class minus the mean over all logits, both without their bias.
    2. A channel may be scaled up before the classifier and down in it: embeddings, and so all that is said about leading channels, stay as
       they are; means, covariances and participation ratios of the features do not.
    3. Channel 7 of one trained network has nothing to do with channel 7 of another. Between networks compare counts and sorted values;
       indices only within a network, between its classes or its splits.
    4. Voxels that were recognized (`tp`) are those whose features carried over: where a class is lost in test cases, they match
       all the same. How well a class matches is told by the ratio r of `all` its voxels; that of `tp` tells of the survivors alone.
    5. The range gap grows as training cases get fewer, see `channels.range_gap`.

    What is kept does not grow with the number of volumes, but for the mean feature vector of every case, class and outcome: 4 D bytes each.
    While a case is looked at, up to twice as many of its voxels as count are in memory, so at most 512 MiB.

    Source: Dablain, Jacobson, Bellinger, Roberts, Chawla, "Understanding CNN fragility when learning with imbalanced data", Machine
    Learning 2023 (arXiv 2210.09465), on images: features, embeddings and their top K. Voxels, groups, readings of the weights, samples and
    intervals are ours, and so is every definition that the abstract leaves open.
    """

    def __init__(
        self,
        weight: np.ndarray,
        bias: np.ndarray,
        classes: Sequence[str],
        name: str = "",
        k: int = 10,
        reservoir: int = 4096,
        seed: int = 0,
        memory: int = MEMORY,
    ) -> None:
        """weight: [C, D] and bias: [C] of the classifier. classes: names, background first. name: of the run, for titles.

        k: channels that count as a class's own; a quarter of all where there are less than 4 k. reservoir: voxels of a class, split and
        outcome that are kept whole, at random, for what depends on their number. seed: of that draw and of the intervals. memory: bytes
        that the features of a case's voxels may take, where all of them count.
        """
        raw = weight.astype(np.float64)
        self.weights = np.stack([raw, raw - raw.mean(axis=0)])  # [W, C, D], as READINGS
        self.bias, self.classes, self.name = bias.astype(np.float64), tuple(classes), name
        self.k = top_count(weight.shape[1], k)
        room = max(1, memory // (4 * weight.size))  # voxels of each class
        self.most = tuple(min(BACKGROUND if index == 0 else FOREGROUND, room) for index in range(len(self.classes)))
        self.cases: dict[Split, list[str]] = {split: [] for split in SPLITS}
        self._reservoir, self._seed = reservoir, seed
        self._kept: dict[tuple[Split, Group, int], Accumulator] = {}
        self._case: tuple[Split, str] = ("training", "")
        self._drawn: list[Lowest] = []

    @classmethod
    def of(cls, trained: Trained) -> "Embeddings":
        """For a trained network."""
        head = trained.network.classifier
        weight = head.weight.detach().float().flatten(1).cpu().numpy()
        bias = np.zeros(len(weight)) if head.bias is None else head.bias.detach().float().cpu().numpy()
        return cls(weight, bias, trained.recipe.class_names(), trained.name)

    def begin(self, split: Split, case: str) -> None:
        """A case comes; what was seen of one that did not end is forgotten."""
        self._case = split, case
        self._drawn = [Lowest(most) for most in self.most]

    def see(self, voxels: Voxels) -> None:
        """A part of the case."""
        limits = torch.tensor([drawn.limit for drawn in self._drawn], dtype=torch.float64, device=voxels.key.device)
        near = voxels.key < limits[voxels.label]
        label, features, key = (field[near].cpu().numpy() for field in (voxels.label, voxels.features, voxels.key))
        hit = (voxels.logits[near].argmax(dim=1) == voxels.label[near]).cpu().numpy()
        for index in np.unique(label):
            own = label == index
            self._drawn[index].add(key[own], features[own], hit[own])

    def end(self) -> None:
        """The case is whole: it joins the others."""
        split, case = self._case
        for index, drawn in enumerate(self._drawn):
            if drawn.empty:
                continue
            _, features, hit = drawn.rows()
            # other keys for the reservoir: of voxels that were drawn, those of a large case have the lower keys and would fill it alone
            key = _generator(self._seed, split, case, index).random(len(features))
            outcomes: tuple[tuple[Group, np.ndarray], ...] = (("tp", hit), ("fn", ~hit))
            for outcome, own in outcomes:
                if own.any():
                    new = Accumulator.of(case, features[own], key[own], self.weights[:, index], self.k, self._reservoir)
                    self._kept[split, outcome, index] = self.population(split, outcome, index) + new
        self.cases[split].append(case)
        self._drawn = []

    def population(self, split: Split, group: Group, index: int) -> Accumulator:
        """The voxels of a true class (by index) in a split with an outcome."""
        if group == "all":
            return self.population(split, "tp", index) + self.population(split, "fn", index)
        return self._kept.get((split, group, index)) or Accumulator.empty(self.weights[:, index], self._reservoir)

    def populations(self) -> Populations:
        """All of them, by split, group and class index."""
        indices = range(len(self.classes))
        return {(split, group, index): self.population(split, group, index) for split in SPLITS for group in GROUPS for index in indices}

    def compare(self) -> Comparison:
        """Training and test side by side."""
        cases = {split: len(seen) for split, seen in self.cases.items()}
        return compare(self.populations(), self.weights, self.classes, self.k, cases, self.most, self._seed)

    def arrays(self) -> dict[str, np.ndarray]:
        """What all is computed from, over S splits, G groups, C classes, D channels, n cases of a split; NaN where there is no voxel.

        weights [W, C, D] (raw, centered) and bias [C] of the classifier. voxels [S, G, C]; feature_mean, feature_variance [S, G, C, D]:
        over all these voxels. SPLIT_cases [n]: ids; SPLIT_case_voxels [G, C, n], SPLIT_case_means [G, C, n, D]: of each case. A mean
        embedding is the mean of the features times the weights.
        """
        found, indices, channels = self.populations(), range(len(self.classes)), self.weights.shape[2]
        moments = [[[found[split, group, index].moments for index in indices] for group in GROUPS] for split in SPLITS]
        absent = np.full(channels, np.nan)
        arrays = {
            "weights": self.weights,
            "bias": self.bias,
            "voxels": np.array([[[one.count for one in row] for row in each] for each in moments]),
            "feature_mean": np.array([[[one.mean if one.count else absent for one in row] for row in each] for each in moments]),
            "feature_variance": np.array([[[one.variance for one in row] for row in each] for each in moments]),
        }
        nothing = CaseMean(0, absent.astype(np.float32))
        for split, seen in self.cases.items():
            cases = [[found[split, group, index].cases for index in indices] for group in GROUPS]
            every = [[[one.get(case, nothing) for case in sorted(seen)] for one in row] for row in cases]
            shape = len(GROUPS), len(self.classes), len(seen)
            arrays[f"{split}_cases"] = np.array(sorted(seen), dtype=str)
            arrays[f"{split}_case_voxels"] = np.array([[[one.count for one in each] for each in row] for row in every]).reshape(shape)
            means = np.array([[[one.mean for one in each] for each in row] for row in every], dtype=np.float32)
            arrays[f"{split}_case_means"] = means.reshape(*shape, channels)
        return arrays


def write_embeddings(folder: Path, embeddings: Embeddings) -> list[Path]:
    """`embeddings.npz`, `embeddings.csv`, `embeddings_channels.csv` and five figures into a folder, each at once. Returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    comparison = embeddings.compare()
    arrays, classes, channels = (folder / name for name in ("embeddings.npz", "embeddings.csv", "embeddings_channels.csv"))
    write_arrays(arrays, embeddings.arrays() | comparison.arrays())
    write_classes(classes, comparison)
    write_channels(channels, comparison)
    return [arrays, classes, channels, *draw_all(folder, comparison, embeddings.name)]


def _generator(*key: object) -> np.random.Generator:
    """Random numbers of their own for every key."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.Philox(int.from_bytes(digest[:8], "big")))
