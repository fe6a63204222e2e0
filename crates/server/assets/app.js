// Everything works without this file. With it, a job's page changes by itself, a password can be looked at, and a
// button is pressed once. No dependencies, no build.
"use strict";

// Show and hide a password.
for (const button of document.querySelectorAll("button.peek")) {
  const input = document.getElementById(button.getAttribute("aria-controls"));
  const label = document.querySelector(`label[for="${input.id}"]`).textContent;
  const set = (shown) => {
    input.type = shown ? "text" : "password";
    button.textContent = shown ? "Hide" : "Show";
    button.setAttribute("aria-pressed", String(shown));
    button.setAttribute("aria-label", `${button.textContent}: ${label}`);
  };
  set(false);
  button.hidden = false;
  button.addEventListener("click", () => set(input.type === "password"));
  // Sent as a password, so that no browser remembers it as an ordinary text.
  input.form.addEventListener("submit", () => set(false));
}

// A second press does nothing. Coming back by the browser's Back frees the button again.
for (const form of document.forms) {
  const button = form.querySelector("button[type=submit]");
  form.addEventListener("submit", (event) => {
    if (button.getAttribute("aria-disabled") === "true") event.preventDefault();
    button.setAttribute("aria-disabled", "true");
  });
  addEventListener("pageshow", () => button.removeAttribute("aria-disabled"));
}

// A page that waits for something short looks again.
const waiting = document.querySelector("[data-reload]");
if (waiting) setTimeout(() => location.replace(waiting.dataset.reload), Number(waiting.dataset.after));

// A job, live.
const job = document.getElementById("job");
if (job) {
  // The form's address would send the form again when the page is reloaded; the job's own does not.
  if (location.pathname !== job.dataset.page) history.replaceState(null, "", job.dataset.page);
  if (job.dataset.events) follow(job);
}

function follow(job) {
  const organisation = document.title.slice(document.title.lastIndexOf(" · "));
  const events = new EventSource(job.dataset.events);
  let state = "";
  events.addEventListener("job", (event) => {
    const told = JSON.parse(event.data);
    const key = told.state + told.html;
    if (key !== state) {
      state = key;
      job.innerHTML = told.html; // our own template, escaped by the server
      document.title = told.title + organisation;
    }
    if (!told.open) {
      events.close();
      job.querySelector("h1").focus();
    }
  });
  // Closed for good (the ticket ended, or a proxy cannot stream): look the ordinary way.
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) setTimeout(() => location.replace(job.dataset.page), 2000);
  });
}
