"""`segkit bench`: the table on the screen, the numbers as JSON."""

import json


def test_the_command_prints_the_table_and_writes_the_numbers(place, segkit):
    recipe = place.recipe()
    said = segkit("bench", recipe, "--steps", "2", "--device", "cpu", "--output", place / "bench.json", "--quiet")
    assert (said.status, said.err) == (0, "")
    lines = said.out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["device", "step"]
    assert any(line.startswith("cost ") and line.endswith(")") for line in lines)
    assert json.loads((place / "bench.json").read_text())["flops"] > 0


def test_a_bench_needs_two_steps(place, segkit):
    assert segkit("bench", place.recipe(), "--steps", "1").status == 2
