// A table of log events that grows at its head: <table data-live="URL of server-sent events">.

import { tellLost } from "./console.js";

const MAX_ROWS = 500;
const HIDDEN_FACTS = new Set(["timestamp", "level", "event", "device_id"]);

function cell(row, text, name = "") {
  const made = row.insertCell();
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

function facts(event) {
  return Object.entries(event)
    .filter(([name, value]) => !HIDDEN_FACTS.has(name) && value !== null && value !== "")
    .map(([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join("  ");
}

function follow(table) {
  const body = table.tBodies[0];
  const none = document.querySelector("[data-live-none]");
  const pause = document.querySelector("[data-live-pause]");
  const only = document.querySelector("[data-live-only]");
  let waiting = []; // what came while the view was paused

  function add(event) {
    const row = body.insertRow(0);
    row.className = `${event.level} ${event.event.replaceAll(".", "-")}`;
    row.dataset.event = event.event;
    cell(row, event.timestamp.slice(11, 23), "time").title = event.timestamp;
    cell(row, event.event, "event");
    const device = cell(row, "", "device");
    if (event.device_id) {
      const link = document.createElement("a");
      link.href = `/device/${encodeURIComponent(event.device_id)}`;
      link.textContent = event.device_id;
      device.append(link);
    }
    cell(row, facts(event), "facts");
    while (body.rows.length > MAX_ROWS) body.deleteRow(-1);
    if (none) none.hidden = true;
  }

  const source = new EventSource(table.dataset.live);
  source.addEventListener("message", (message) => {
    const event = JSON.parse(message.data);
    if (pause?.getAttribute("aria-pressed") === "true") {
      waiting.push(event);
      if (waiting.length > MAX_ROWS) waiting.shift();
      pause.textContent = `Go on (${waiting.length} new)`;
    } else {
      add(event);
    }
  });
  source.addEventListener("dropped", (message) => {
    const row = body.insertRow(0);
    const said = cell(row, `${JSON.parse(message.data).count} events were left out: this page was too slow`);
    said.colSpan = 4;
  });
  source.addEventListener("open", () => tellLost(""));
  source.addEventListener("error", () => {
    tellLost("The live view is cut. It goes on as soon as the gateway is back.");
    // A browser gives up after an answer that is not a stream (a gateway behind a proxy that restarts).
    if (source.readyState === EventSource.CLOSED) setTimeout(() => follow(table), 3000);
  });

  pause?.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    if (!paused) {
      waiting.forEach(add);
      waiting = [];
    }
  });
  only?.addEventListener("change", () => table.classList.toggle(`only-${only.dataset.liveOnly}`, only.checked));
}

for (const table of document.querySelectorAll("[data-live]")) follow(table);
