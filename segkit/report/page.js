"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // what only works with this script is hidden until it runs
  for (const element of all(".interactive")) element.hidden = false;

  // tables: a click on a column's head puts the worst first, the next one the best; cases without the class stay last
  const sort = (table, head) => {
    const worst = head.dataset.turn !== "worst";
    for (const other of all("thead th", table)) {
      other.removeAttribute("aria-sort");
      delete other.dataset.turn;
    }
    head.dataset.turn = worst ? "worst" : "best";
    head.setAttribute("aria-sort", worst === (head.dataset.better !== "low") ? "ascending" : "descending");
    const cell = (row) => row.cells[head.cellIndex];
    const rank = (row) => ("rank" in cell(row).dataset ? Number(cell(row).dataset.rank) : null);
    const names = (a, b) => cell(a).textContent.localeCompare(cell(b).textContent, undefined, { numeric: true });
    const order = (a, b) => {
      if (head.dataset.better === "name") return worst ? names(a, b) : names(b, a);
      const [first, second] = [rank(a), rank(b)];
      if (first === null || second === null) return (first === null) - (second === null);
      return worst ? second - first : first - second;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  };
  for (const button of all("th button")) {
    button.addEventListener("click", () => sort(button.closest("table"), button.closest("th")));
  }

  // one table of cases at a time
  const choose = (metric) => {
    for (const table of all("[data-metric]")) table.hidden = table.dataset.metric !== metric;
  };
  for (const radio of all("input[name=metric]")) {
    radio.addEventListener("change", () => choose(radio.value));
    if (radio.checked) choose(radio.value);
  }

  // planes: the slider moves the strip of slices and puts the outlines of the slice on it
  for (const plane of all(".plane")) {
    const content = JSON.parse(plane.querySelector("script").textContent);
    const slider = plane.querySelector("input");
    const show = () => {
      const index = Number(slider.value);
      for (const image of all("image", plane)) image.setAttribute("y", -1 - index * Number(image.dataset.step));
      for (const layer of ["label", "prediction"]) {
        all(`.${layer} path`, plane).forEach((path, order) => path.setAttribute("d", content[layer][index][order]));
      }
      plane.querySelector("output").textContent = content.numbers[index];
      slider.setAttribute("aria-valuetext", `slice ${content.numbers[index]}`);
    };
    slider.addEventListener("input", show);
    show();
  }

  // layers and classes on and off, and the channel that lies beneath
  const visible = (selector, shown) => {
    for (const element of all(selector)) element.setAttribute("display", shown ? "inline" : "none");
  };
  for (const box of all("input[data-shows]")) {
    box.addEventListener("change", () => visible(box.dataset.shows, box.checked));
    visible(box.dataset.shows, box.checked); // a browser may keep a box as it was before the page was loaded again
  }
  for (const select of all("select[data-channels]")) {
    const change = () => {
      for (const image of all("image", select.closest(".case"))) {
        image.setAttribute("display", image.dataset.channel === select.value ? "inline" : "none");
      }
    };
    select.addEventListener("change", change);
    change();
  }

  // on paper everything is open
  const closed = [];
  addEventListener("beforeprint", () => {
    closed.push(...all("details:not([open])"));
    for (const element of closed) element.open = true;
  });
  addEventListener("afterprint", () => {
    for (const element of closed.splice(0)) element.open = false;
  });
})();
