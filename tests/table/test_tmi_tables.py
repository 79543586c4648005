"""The tables of TMI 2020: the metrics and the baselines that are known of the paper, and what is not known of them."""

from pathlib import Path

import pytest

from segkit.table.spec import Table, read

FOLDER = Path(__file__).parents[2] / "configs" / "tables"
TABLES = {path.stem: path for path in sorted(FOLDER.glob("*tmi2020.yaml"))}
BASELINES = {"atlas_tmi2020": "cross_entropy", "brats_core_tmi2020": "cross_entropy", "kits_tmi2020": "baseline"}


@pytest.fixture(params=TABLES)
def table(request) -> Table:
    """Each of them."""
    return read(TABLES[request.param], ("dataset.root=/nowhere",))


def test_specificity_and_a_hausdorff_distance_are_scored_without_a_published_number(table):
    assert table.spec.metrics == ("dice", "sensitivity", "precision", "specificity", "hd95")
    told = {metric for published in table.spec.published for value in published.values for metric in value.scores}
    assert told <= {"dice", "sensitivity", "precision"}
    assert any("above 99.9 %" in note for note in table.spec.notes)


@pytest.mark.parametrize(("name", "baseline"), BASELINES.items())
def test_there_is_a_row_of_the_f_score_beside_the_baseline_and_its_beta_is_said_to_be_ours(name, baseline):
    table = read(TABLES[name], ("dataset.root=/nowhere",))
    assert table.spec.rows["f_score"].against == baseline
    loss = table.recipes["f_score"].losses[-1]
    assert (loss.name, loss.beta) == ("f_beta", 2.0)
    assert any("not verified; a beta of 2 is ours" in note for note in table.spec.notes)
