// Under the pointer a chart tells its values. Without this script the page says all it has to say.
for (const figure of document.querySelectorAll(".chart")) {
  const data = JSON.parse(figure.dataset.chart);
  const area = figure.querySelector(".area");
  const cursor = Object.assign(document.createElement("div"), { className: "cursor", hidden: true });
  const tip = Object.assign(document.createElement("div"), { className: "tip", hidden: true });
  area.append(cursor, tip);
  area.addEventListener("pointermove", (event) => {
    const box = area.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * data.until;
    let index = 0;
    while (index + 1 < data.x.length && data.x[index + 1] <= at) index += 1;
    const left = (data.x[index] / data.until) * box.width;
    tip.replaceChildren(Object.assign(document.createElement("b"), { textContent: data.times[index] }));
    for (const series of data.series) {
      const value = series.values[index];
      if (value === null || value === undefined) continue;
      const row = document.createElement("div");
      row.className = series.colour;
      row.append(document.createElement("i"), `${series.name} ${value}`);
      tip.append(row);
    }
    cursor.hidden = tip.hidden = false;
    cursor.style.left = `${left}px`;
    tip.style.left = left > box.width / 2 ? "auto" : `${left + 10}px`;
    tip.style.right = left > box.width / 2 ? `${box.width - left + 10}px` : "auto";
  });
  area.addEventListener("pointerleave", () => { cursor.hidden = tip.hidden = true; });
}
