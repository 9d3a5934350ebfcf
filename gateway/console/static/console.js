// What every page has: parts that refresh themselves, and values to copy.

const lost = document.getElementById("lost");

/** Tell, or no longer tell, that the gateway does not answer. */
export function tellLost(text) {
  if (!lost) return;
  lost.hidden = !text;
  if (lost.textContent !== text) lost.textContent = text;
}

const wait = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

// <div data-refresh="URL" data-every="seconds">: its content is what the URL answers, again and again, until the answer
// says `X-Refresh: no`. Not while the page is hidden, nor while somebody is in it with the keyboard.
async function refresh(part) {
  const every = Number(part.dataset.every);
  for (;;) {
    await wait(every);
    if (document.hidden || (part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea"))) continue;
    try {
      const answer = await fetch(part.dataset.refresh, { headers: { Accept: "text/html" } });
      if (answer.redirected && new URL(answer.url).pathname === "/sign-in") {
        location.reload();
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      part.innerHTML = await answer.text();
      if (focused) part.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
      addCopyButtons(part);
      tellLost("");
      if (answer.headers.get("X-Refresh") === "no") return;
    } catch {
      tellLost("The gateway does not answer. It may be restarting; this page goes on as soon as it is back.");
    }
  }
}

function addCopyButtons(root) {
  for (const text of root.querySelectorAll(".copyable:not([data-has-button])")) {
    text.dataset.hasButton = "";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy ${text.dataset.copy || text.textContent}`);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
      await wait(2);
      button.textContent = "Copy";
    });
    text.after(button);
  }
}

// The menu of a phone is a closed <details>; on a wide screen it is always open.
const menu = document.querySelector(".menu");
if (menu) {
  const wide = matchMedia("(min-width: 60rem)");
  const fit = () => (menu.open = wide.matches);
  wide.addEventListener("change", fit);
  fit();
}

// A session may end in the middle of a form: what was typed waits in this tab until its form is there again. Never keys,
// files, or what is hidden; and a form that was taken is forgotten with the next page that is not the sign-in.
const TYPED = "typed";
const SECRET = /key|credential|token|password/i;
const typedIn = (form) => [...form.elements].filter((field) => field.name && !SECRET.test(field.name) && field.matches("input:not([type=hidden], [type=file], [type=password]), select, textarea"));

function restoreTyped() {
  const kept = JSON.parse(sessionStorage.getItem(TYPED) ?? "null");
  if (!kept || location.pathname === "/sign-in") return;
  sessionStorage.removeItem(TYPED);
  const form = [...document.forms].find((each) => each.getAttribute("action") === kept.action);
  if (!form || location.pathname !== kept.page || !document.referrer.includes("/sign-in")) return;
  for (const field of typedIn(form)) {
    const value = kept.fields[field.name];
    if (value === undefined) continue;
    if (field.matches("[type=checkbox], [type=radio]")) field.checked = value.includes(field.value);
    else field.value = value[0];
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  const action = form.getAttribute("action"); // not form.action: a field may have that name
  if (form.getAttribute("method") !== "post" || location.pathname === "/sign-in" || action === "/sign-out") return;
  const fields = {};
  for (const field of typedIn(form)) {
    fields[field.name] ??= [];
    if (!field.matches("[type=checkbox], [type=radio]") || field.checked) fields[field.name].push(field.value);
  }
  sessionStorage.setItem(TYPED, JSON.stringify({ page: location.pathname, action, fields }));
});
restoreTyped();

for (const all of document.querySelectorAll("[data-tick-all]")) {
  all.addEventListener("change", () => {
    for (const box of document.querySelectorAll(`input[name="${CSS.escape(all.dataset.tickAll)}"]`)) box.checked = all.checked;
  });
}
for (const part of document.querySelectorAll("[data-refresh]")) refresh(part);
addCopyButtons(document);
