"""A run under analysis: one pass for all observers, and a sample that is kept as long as it is this run's."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from segkit.analysis.logits import Logits
from segkit.analysis.observe import observe
from segkit.analysis.subject import Subject, drawn
from segkit.config.errors import InputError
from segkit.config.overrides import apply_values
from segkit.config.yaml import loads
from segkit.engine.console import Console
from segkit.engine.run import Run
from segkit.engine.train import train
from segkit.engine.weights import Trained
from segkit.phantom.write import write
from segkit.recipe import resolve

RECIPE = """
dataset:
  name: brats
  root: {root}
  channels: [flair, t1c]
  classes: {{edema: 2, core: [1, 4]}}
  split: {{test: 1, validation: 0}}
sampling: {{patch_shape: [12, 12, 12]}}
model: {{name: deepmedic_tiny}}
losses: [cross_entropy]
train: {{steps: 1, batch_size: 1, precision: fp32}}
"""
CPU, QUIET = torch.device("cpu"), Console("quiet")


class Witness:
    """Counts what it is shown."""

    def __init__(self):
        self.cases, self.voxels = [], 0

    def begin(self, split, case):
        self.cases.append((split, case))

    def see(self, voxels):
        self.voxels += len(voxels.label)

    def end(self):
        pass


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom")
    write("brats", root, 3, (32, 32, 32))
    return root


@pytest.fixture
def subject(scans, tmp_path):
    """A run with its own copy of the scans and a network that was never trained."""
    root = shutil.copytree(scans, tmp_path / "data")
    recipe = resolve(apply_values(loads(RECIPE.format(root=root), "tiny.yaml"), {}))
    torch.manual_seed(0)
    trained = Trained("tiny", recipe.model.build(2, 3).eval(), recipe, 1, "sha")
    splits = recipe.dataset.splits()
    (tmp_path / "run").mkdir()
    return Subject("tiny", Run(tmp_path / "run"), trained, {"training": splits.training, "test": splits.test}, CPU)


def looked(subject, voxels=50):
    """What a witness beside the sample is shown, and the sample."""
    witness = Witness()
    sample, failed = subject.look(voxels, [witness], QUIET)
    return witness, sample, failed


def passes(subject, voxels=50):
    """Whether a sample makes a pass over the cases necessary: then its file is written anew."""
    before = subject.archive.stat().st_mtime_ns if subject.archive.exists() else None
    sample, _ = subject.look(voxels, [], QUIET)
    assert sample.voxels == voxels
    return subject.archive.stat().st_mtime_ns != before


def test_one_pass_serves_the_sample_and_other_observers(subject):
    witness, sample, failed = looked(subject)
    ids = [(split, files.id) for split, each in subject.cases.items() for files in each]
    assert (failed, witness.cases) == ([], ids)
    assert witness.voxels > 0
    assert sample.classes == ("background", "edema", "core")
    assert {("training", case) for case in sample.holds("training")} | {("test", case) for case in sample.holds("test")} == set(ids)


def test_a_second_look_takes_the_sample_from_the_run(subject):
    first, _ = subject.look(50, [], QUIET)
    assert not passes(subject)
    second, _ = subject.look(50, [], QUIET)
    for one, other in zip(first.cases, second.cases, strict=True):
        np.testing.assert_array_equal(one.logits, other.logits)
        np.testing.assert_array_equal(one.label, other.label)


def test_other_observers_see_the_cases_whether_the_sample_is_there_or_not(subject):
    first, second = looked(subject)[0], looked(subject)[0]
    assert first.cases == second.cases
    assert first.voxels == second.voxels > 0


def test_without_an_observer_nothing_is_seen(subject):
    assert subject.look(None, [], QUIET) == (None, [])
    assert not subject.run.analysis.exists()


def test_other_weights_voxels_or_files_make_another_sample(subject):
    assert passes(subject)
    assert passes(subject, voxels=49)
    assert passes(subject)
    label = subject.cases["test"][0].label
    os.utime(label, ns=(1, 1))
    assert passes(subject)
    assert not passes(subject)
    assert passes(replace(subject, trained=replace(subject.trained, sha256="other")))
    cases = dict(subject.cases) | {"training": subject.cases["training"][:1]}
    assert passes(replace(subject, cases=cases))


def test_a_damaged_sample_is_made_again(subject):
    assert passes(subject)
    subject.archive.write_bytes(b"")
    assert passes(subject)


def test_a_sample_that_misses_a_case_is_made_again(subject):
    path = next(iter(subject.cases["training"][0].channels.values())).path
    path.write_bytes(b"no scan")
    for _ in range(2):
        _, sample, failed = looked(subject)
        assert [case for case, _ in failed] == [subject.cases["training"][0].id]
        assert sample.holds("training") == (subject.cases["training"][1].id,)
        assert passes(subject)


def test_the_sample_of_an_exact_network_does_not_depend_on_tiles(subject):
    recipe, samples = subject.trained.recipe, []
    for tile in ((32, 32, 32), (9, 10, 11)):
        infer = recipe.infer.model_copy(update={"tile_shape": tile})
        logits = Logits(50)
        observe(replace(subject.trained, recipe=recipe.model_copy(update={"infer": infer})), subject.cases, [logits], CPU, QUIET)
        samples.append(logits.sample(subject.classes))
    for one, other in zip(samples[0].cases, samples[1].cases, strict=True):
        np.testing.assert_array_equal(one.label, other.label)
        np.testing.assert_allclose(one.logits, other.logits, atol=1e-4)


def rare(subject, *names):
    dataset = subject.trained.recipe.dataset.model_copy(update={"rare_classes": names})
    return replace(subject, trained=replace(subject.trained, recipe=subject.trained.recipe.model_copy(update={"dataset": dataset})))


def test_rare_classes_are_drawn_or_all_where_none_is_named(subject):
    assert drawn([subject]) == ["edema", "core"]
    assert drawn([rare(subject, "core")]) == ["core"]
    assert drawn([subject, rare(subject, "core"), rare(subject, "core", "edema")]) == ["edema", "core"]


@pytest.fixture
def learned(scans, tmp_path):
    """A run that was trained on two of its own copies of three scans: `learned(test=1)`, and the folder of the scans."""
    root = shutil.copytree(scans, tmp_path / "data")

    def make(test=1):
        recipe = resolve(apply_values(loads(RECIPE.format(root=root), "tiny.yaml"), {"dataset.split.test": test}))
        return train(recipe, Run(tmp_path / "learned"), device_name="cpu", console=QUIET), root

    return make


def add(root, *names):
    """More scans, each a copy of the first."""
    for name in names:
        for path in (root / "Phantom_000").iterdir():
            (root / name).mkdir(exist_ok=True)
            shutil.copy(path, root / name / path.name.replace("Phantom_000", name))


def ids(subject, split):
    return [files.id for files in subject.cases[split]]


def note(run, **changes):
    facts = json.loads(run.provenance.read_text()) | changes
    run.provenance.write_text(json.dumps({key: value for key, value in facts.items() if value is not None}))


def loaded(run):
    return Subject.load(run.path, "tiny", CPU, Console())


def test_cases_that_came_after_the_training_are_no_training_cases(learned, capsys):
    run, root = learned()
    noted = json.loads(run.provenance.read_text())["cases"]
    assert (len(noted["training"]), noted["validation"]) == (2, [])
    before = loaded(run)
    assert ids(before, "training") == noted["training"]
    add(root, "Late_1", "Late_2", "Late_3")
    after = loaded(run)
    assert len(after.trained.recipe.dataset.splits().training) == 5
    assert ids(after, "training") == noted["training"]
    assert capsys.readouterr().out == ""


def test_a_trained_case_that_became_a_test_case_is_refused(learned):
    run, root = learned(test=0.34)
    before = loaded(run)
    add(root, "More_0", "More_1", "More_2")
    leaked = sorted({files.id for files in before.trained.recipe.dataset.splits().test} & set(ids(before, "training")))
    assert leaked == ["Phantom_002"]
    with pytest.raises(InputError) as error:
        loaded(run)
    assert str(error.value) == (
        f"SK-A017: cases that the run was trained or validated on are test cases now\n  where:    {root}\n"
        f"  expected: the split of the training\n  got:      {', '.join(leaked)}\n"
        "  remedy:   restore the data folder, or the split file, of the training"
    )


def test_a_validation_case_that_became_a_test_case_is_refused(learned):
    run, _ = learned()
    (case,) = ids(loaded(run), "test")
    note(run, cases={"training": [], "validation": [case]})
    with pytest.raises(InputError, match="SK-A017"):
        loaded(run)


def test_a_trained_case_that_is_gone_is_refused(learned):
    run, root = learned()
    note(run, cases={"training": [*ids(loaded(run), "training"), "Lost_1", "Lost_2"], "validation": []})
    with pytest.raises(InputError) as error:
        loaded(run)
    assert str(error.value) == (
        f"SK-A018: cases that the run was trained on are gone, or have no label\n  where:    {root}\n"
        "  expected: all 4 training cases\n  got:      none of the name Lost_1, Lost_2\n  remedy:   bring them back"
    )


def test_cases_of_a_resumed_run_count_too(learned):
    run, root = learned()
    first, *others = ids(loaded(run), "training")
    facts = json.loads(run.provenance.read_text())
    run.note_origin(facts | {"cases": {"training": [first, "Late_1"], "validation": []}})
    add(root, "Late_1")
    assert ids(loaded(run), "training") == [first, *others, "Late_1"]


def test_a_run_that_does_not_say_is_taken_as_before_and_changed_data_are_noticed(learned, capsys):
    run, root = learned()
    note(run, cases=None)
    assert len(ids(loaded(run), "training")) == 2
    assert capsys.readouterr().out == ""
    add(root, "Late_1", "Late_2")
    assert len(ids(loaded(run), "training")) == 4
    assert capsys.readouterr().out == (
        f"notice: {run.path} does not say which cases it was trained on, and the data or their place have changed since:"
        " those that its recipe trains on today count as its training cases\n"
    )
    run.provenance.unlink()
    loaded(run)
    assert capsys.readouterr().out.startswith("notice: ")


def test_damaged_cases_in_the_provenance_are_named(learned):
    run, _ = learned()
    note(run, cases={"training": ["a"]})
    with pytest.raises(InputError) as error:
        loaded(run)
    assert str(error.value) == (
        f"SK-A019: the provenance is damaged\n  where:    {run.provenance}\n  expected: what segkit train writes\n  got:      'validation'"
    )
