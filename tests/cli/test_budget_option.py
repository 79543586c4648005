"""`segkit predict --ram-budget`: what is said, what is refused, and that what is predicted stays the same."""

import json

import pytest


def test_a_budget_is_said_and_kept(run, place, segkit):
    assert segkit("predict", "run", "--input", "data", "--output", "free", "--device", "cpu").status == 0
    said = segkit("predict", "run", "--input", "data", "--output", "out", "--ram-budget", "100GB", "--device", "cpu")
    assert said.status == 0
    first, *_ = said.out.splitlines()
    assert first.startswith("at most ")
    assert first.endswith(" GB of memory, of 100.00 GB")
    for path in (place / "free").glob("*.nii.gz"):
        assert path.read_bytes() == (place / "out" / path.name).read_bytes()


def test_what_does_not_fit_is_refused_case_by_case(run, place, segkit):
    said = segkit("predict", "run", "--input", "data", "--output", "out", "--ram-budget", "1M", "--device", "cpu")
    assert said.status == 1
    assert said.out.startswith("no case fits into the budget\n")
    assert "case Phantom_000: SK-I052: a case that may take more memory than the budget\n  where:    case Phantom_000\n" in said.err
    assert "  expected: at most 0.00 GB\n" in said.err
    assert said.err.endswith("  got:      Phantom_000, Phantom_001, Phantom_002, Phantom_003, Phantom_004\n")
    assert [path.name for path in (place / "out").iterdir()] == ["predictions.json"]
    entries = json.loads((place / "out/predictions.json").read_text())["cases"]
    assert {entry["error"] for entry in entries.values()} == {"SK-I052"}


def test_a_budget_that_cannot_be_read(run, segkit):
    said = segkit("predict", "run", "--input", "data", "--output", "out", "--ram-budget", "8 apples", "--device", "cpu")
    assert said.status == 2
    assert said.err == (
        "SK-I050: an amount of memory that cannot be read\n"
        "  where:    --ram-budget\n"
        "  expected: such as 8G or 7.5GiB\n"
        "  got:      8 apples\n"
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_budget_for_no_device(run, place, segkit, workers):
    budget = ["--vram-budget", "8G", "--device", "cpu", "--workers", workers]
    said = segkit("predict", "run", "--input", "data", "--output", "out", *budget)
    assert not (place / "out").exists()
    assert said.status == 2
    assert said.err == (
        "SK-I051: a budget for the memory of a device that computes nothing\n"
        "  where:    --vram-budget\n"
        "  got:      8.00 GB on the CPU\n"
        "  remedy:   use --ram-budget\n"
    )
