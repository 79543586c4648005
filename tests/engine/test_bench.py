"""The bench: phases and costs of steps that are really taken."""

from dataclasses import replace

import pytest
import torch

from segkit.engine.bench import MATMUL, Bench, Operations, Stopwatch, bench, peak, table, with_plain_objective
from segkit.engine.cohort import gather, make_loader
from segkit.engine.console import Console
from segkit.engine.progress import Progress
from segkit.engine.step import step

QUIET, CPU = Console("quiet"), torch.device("cpu")
PHASES = ["views", "forward", "backward", "update"]
TECHNIQUES = {
    "plain": {},
    "mixup": {"regularizers": [{"name": "mixup", "asymmetric": False}]},
    "adversarial": {"regularizers": [{"name": "adversarial", "asymmetric": False}]},
}
RESULT = Bench(
    device="a device", precision="fp32", batch_size=4, step=0.2, plain=0.1, cost=2.0, spread=(1.9, 2.2), data=0.5,
    phases={"views": 0.05, "forward": 0.05, "backward": 0.1, "update": 0.0}, trained=0.25, flops=10**9, peak=10.0**11, memory=None,
)  # fmt: skip


def a_step(recipe):
    """Progress and a batch of a recipe, and what takes a step."""
    progress = Progress.begin(recipe, CPU)
    batch = make_loader(gather(recipe, progress.network, QUIET), recipe, progress.network, CPU, QUIET).batch(0)
    return progress, lambda state, **options: step(state, recipe.train, batch, torch.Generator(), **options)


def counted(recipe) -> int:
    progress, take = a_step(recipe)
    with Operations() as operations:
        take(progress)
    return operations.count


def test_rates_by_hand():
    assert RESULT.patches_per_second == 4 / 0.25
    assert RESULT.share_of_peak == pytest.approx(0.05)


def test_the_table_says_shares_and_costs():
    lines = dict(table(RESULT))
    assert lines["step"] == "200.0 ms"
    assert [lines[f"  {phase}"] for phase in PHASES] == ["25 %", "25 %", "50 %", "0 %"]
    assert lines["cost"] == "2.000 plain steps (quartiles 1.900 to 2.200)"
    assert lines["training"] == "250.0 ms a step, the next batch made meanwhile: 16.0 patches/s"
    assert lines["share of peak"] == "5.0 % of 100 GFLOP/s, a matrix product's"
    assert "memory" not in lines
    assert dict(table(replace(RESULT, memory=2**21)))["memory"] == "2 MiB, steps alone"


def test_the_operations_of_a_convolution_by_hand():
    conv, x = torch.nn.Conv3d(2, 3, 3, bias=False), torch.randn(1, 2, 5, 6, 7)
    with Operations() as forward:
        out = conv(x)
    assert forward.count == 2 * out.numel() * 2 * 27
    with Operations() as backward:
        out.sum().backward()
    assert backward.count == forward.count  # to the weights alone: the image takes no gradient


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_recipe_is_measured_in_all_its_phases(tiny, name):
    result = bench(tiny(**TECHNIQUES[name]), "cpu", 2, QUIET)
    assert min(result.step, result.plain, result.cost, result.data, result.trained, result.flops, result.peak) > 0
    assert result.spread[0] <= result.cost <= result.spread[1]
    assert list(result.phases) == PHASES
    assert result.memory is None


def test_views_cost_their_operations(tiny):
    plain, mixup, adversarial = (counted(tiny(**values)) for values in TECHNIQUES.values())
    assert mixup == 2 * plain
    assert 2.5 * plain < adversarial <= 3.1 * plain


def test_the_plain_objective_is_cross_entropy_alone_on_the_same_network(tiny):
    recipe = tiny(losses=[{"name": "dice"}], **TECHNIQUES["mixup"])
    progress, take = a_step(recipe)
    plain = with_plain_objective(progress, recipe)
    assert plain.network is progress.network
    terms = {id(state): {"loss", *take(state)} for state in (progress, plain)}
    assert terms[id(progress)] == {"loss", "dice", "mixup/dice"}
    assert terms[id(plain)] == {"loss", "cross_entropy"}


def test_a_stopwatch_adds_up_what_a_phase_took():
    watch = Stopwatch(CPU)
    for _ in range(2):
        with watch("forward"):
            pass
    with watch("backward"):
        pass
    assert list(watch.seconds) == ["forward", "backward"]
    assert watch.seconds["forward"] > 0


def test_nothing_but_the_store_is_written(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    bench(tiny(), "cpu", 2, QUIET)
    assert {path.name for path in set(tmp_path.iterdir()) - before} == {"store"}


def test_the_peak_is_that_of_a_product_of_the_size_asked_for(monkeypatch):
    monkeypatch.setitem(MATMUL, "cpu", 64)
    with Operations() as operations:
        assert peak(CPU, torch.float32, repeats=3) > 0
    assert operations.count == 3 * 2 * 64**3
