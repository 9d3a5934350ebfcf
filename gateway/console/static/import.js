// The CSV file goes up as it is, with a bar; then on to its job. A failure leaves the form as it was.

const form = document.querySelector("[data-import]");
const problem = form.querySelector(".problem");
const bar = form.querySelector("progress");
const button = form.querySelector("button");

function fail(text) {
  problem.textContent = text;
  problem.hidden = false;
  bar.hidden = true;
  button.disabled = false;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const asked = new URLSearchParams();
  for (const box of form.querySelectorAll("input[type=checkbox]:checked")) asked.set(box.name, "true");
  const request = new XMLHttpRequest(); // fetch does not tell how far an upload is
  request.open("POST", `${form.dataset.import}?${asked}`);
  request.setRequestHeader("Content-Type", "text/csv");
  request.setRequestHeader("X-CSRF-Token", document.querySelector("meta[name=csrf]").content);
  request.upload.addEventListener("progress", (sent) => (bar.value = sent.loaded / sent.total));
  request.addEventListener("load", () => {
    if (request.status === 200 && request.responseText.startsWith("/jobs/")) {
      location.assign(request.responseText);
      return;
    }
    const page = new DOMParser().parseFromString(request.responseText, "text/html");
    fail(page.querySelector(".card p")?.textContent || `The gateway answered ${request.status}.`);
  });
  request.addEventListener("error", () => fail("The gateway does not answer. Nothing is lost: try again when it is back."));
  problem.hidden = true;
  bar.hidden = false;
  button.disabled = true;
  request.send(form.querySelector("input[type=file]").files[0]);
});
