"""The page in a real browser: it works, complains of nothing, and asks nobody for anything."""

import base64
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imsave

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium executable to open the page with")

# before everything else on the page: what the policy refuses, and what fails
WATCH = """
window.trouble = [];
addEventListener("securitypolicyviolation", (event) => trouble.push(`${event.violatedDirective} ${event.blockedURI}`));
addEventListener("error", (event) => trouble.push(event.message));
"""
# after everything else: a result in the root element, which the browser prints with the document
REPORT = """
addEventListener("load", () => {
  const seen = (() => { %s })();
  const asked = performance.getEntriesByType("resource").map((entry) => entry.name).filter((name) => !name.startsWith("data:"));
  document.documentElement.dataset.result = JSON.stringify({ seen, asked, trouble });
});
"""


def with_scripts(page: str, script: str) -> str:
    """The page with both scripts, admitted to its policy by their hashes."""
    first, last = WATCH, REPORT % script
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in (first, last))
    page = page.replace("; script-src ", f"; script-src {hashes} ", 1)
    page = page.replace("<title>", f"<script>{first}</script><title>", 1)
    head, body, tail = page.rpartition("</body>")
    return f"{head}<script>{last}</script>{body}{tail}"


@pytest.fixture
def browse(tmp_path, parsed):
    """Opens a page and runs the body of a function in it: what it returns, what the page asked for, and what went wrong."""

    def open_page(page: str, script: str) -> dict[str, Any]:
        path: Path = tmp_path / "page.html"
        path.write_text(with_scripts(page, script), encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path}/profile"]
        ask = [str(CHROMIUM), *flags, "--enable-logging=stderr", "--window-size=1200,900", "--dump-dom", path.as_uri()]
        done = subprocess.run(ask, capture_output=True, text=True, timeout=120, check=True)
        result = json.loads(next(attributes["data-result"] for tag, attributes in parsed(done.stdout).tags if tag == "html"))
        return result | {"console": [line for line in done.stderr.splitlines() if "CONSOLE" in line]}

    return open_page


LOOK = """
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const shown = (element) => element.getClientRects().length > 0;

const dice = document.querySelector("[data-metric=dice] table");
const cases = () => all("tbody th", dice).map((cell) => cell.textContent);
const heads = all("thead th", dice);
const click = (head) => { head.querySelector("button").click(); return [head.getAttribute("aria-sort"), cases().join("")]; };
const sorted = [["start", cases().join("")], click(heads[1]), click(heads[1]), click(heads[0]), click(heads[0])];
const marked = heads.filter((head) => head.hasAttribute("aria-sort")).length;

const tables = () => all("[data-metric]").filter(shown).map((table) => table.dataset.metric).join(" ");
const metrics = [tables()];
document.querySelector("input[value=hd95]").click();
metrics.push(tables());

const plane = document.querySelector(".plane");
const slider = plane.querySelector("input");
const image = plane.querySelector("image");
const state = () => ({
  top: image.getBoundingClientRect().top - plane.querySelector("svg").getBoundingClientRect().top,
  slice: plane.querySelector("output").textContent,
  label: all(".label path", plane).map((path) => path.getAttribute("d")),
});
const before = state();
slider.value = 0;
slider.dispatchEvent(new Event("input"));
const after = state();
const content = JSON.parse(plane.querySelector("script").textContent);

const channel = () => all("image", plane).filter(shown).map((strip) => strip.dataset.channel).join(" ");
const channels = [channel()];
const select = document.querySelector("select");
select.value = "flair";
select.dispatchEvent(new Event("change"));
channels.push(channel());

const parts = [".label", ".prediction", ".prediction .class-0"];
const drawn = () => parts.map((part) => all(part, plane).filter(shown).length);
const layers = [drawn()];
for (const what of [".planes .label", ".planes .class-0"]) {
  document.querySelector(`input[data-shows="${what}"]`).click();
  layers.push(drawn());
}

const open = () => all("details").filter((element) => element.open).length;
const unfolded = [open()];
for (const moment of ["beforeprint", "afterprint"]) { dispatchEvent(new Event(moment)); unfolded.push(open()); }
const wide = document.documentElement.scrollWidth > innerWidth;
return { sorted, marked, metrics, before, after, content, channels, layers, unfolded, wide };
"""


def test_sorting_sorts_sliders_slide_and_nothing_is_asked_for(make, browse):
    made = make()
    made.run.analysis.mkdir()
    imsave(made.run.analysis / "logits.png", np.zeros((10, 3000)))  # both are wider than the window
    (made.run.analysis / "shift.csv").write_text(",".join(f"a_long_name_{index}" for index in range(30)) + "\n")
    found = browse(made.page(), LOOK)
    assert (found["asked"], found["trouble"], found["console"]) == ([], [], [])
    seen = found["seen"]
    # moved by 5 voxels c is the worst, not moved a is the best
    assert seen["sorted"] == [["start", "cba"], ["descending", "abc"], ["ascending", "cba"], ["ascending", "abc"], ["descending", "cba"]]
    assert seen["marked"] == 1
    assert seen["metrics"] == ["dice", "hd95"]
    assert seen["before"]["slice"] != seen["after"]["slice"] == str(seen["content"]["numbers"][0])
    assert seen["before"]["top"] < seen["after"]["top"] < 0  # the strip went down to its first slice, whose upper border is cut off
    assert seen["after"]["label"] == seen["content"]["label"][0] != seen["before"]["label"]
    assert seen["channels"] == ["t1", "flair"]
    assert seen["layers"] == [[1, 1, 1], [0, 1, 1], [0, 1, 0]]
    assert seen["unfolded"] == [0, 2, 0]
    assert not seen["wide"]


def test_classes_without_a_value_stay_last_however_a_column_is_sorted(make, browse):
    made = make()
    table = made.run.path / "scores.csv"
    lines = table.read_text().splitlines()
    changed = ["b,lesion,dice,,,absent" if line.startswith("b,lesion,dice") else line for line in lines]
    table.write_text("\n".join(changed) + "\n")
    script = """
    const table = document.querySelector("[data-metric=dice] table");
    const head = table.tHead.rows[0].cells[3];
    const orders = [];
    for (let turn = 0; turn < 2; turn++) {
      head.querySelector("button").click();
      orders.push([...table.tBodies[0].rows].map((row) => row.cells[0].textContent).join(""));
    }
    return [head.textContent, ...orders];
    """
    assert browse(made.page(), script)["seen"] == ["lesion", "cab", "acb"]


def test_the_policy_refuses_what_is_not_the_pages_own(make, browse):
    page = make().page().replace("<main>", '<main><img src="http://127.0.0.1:9/pixel.png"><script>trouble.push("ran")</script>', 1)
    found = browse(page, "return null;")
    assert found["trouble"] == ["img-src http://127.0.0.1:9/pixel.png", "script-src-elem inline"]


def test_an_evil_name_does_nothing(make, browse):
    evil = "<img src=x onerror=trouble.push(1)>"
    made = make(moves={evil: 1}, dataset__classes={evil: 1, "lesion": 2}, evaluate__regions={}, losses=["cross_entropy"])
    found = browse(made.page(), "return document.querySelectorAll('img').length;")
    assert (found["seen"], found["trouble"], found["asked"]) == (0, [], [])
