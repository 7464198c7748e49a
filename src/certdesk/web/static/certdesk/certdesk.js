// Small comforts only: every page works without this file. No eval, no inline code, no third party.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // A browser never reveals where a file lies, so a pasted path can only be answered, not opened.
  const LOOKS_LIKE_PATH = /^\s*"?(?:[A-Za-z]:[\\/]|\\\\|~?\/|\.{1,2}[\\/]|file:)[^\n]*$|^[^\n]*\.(?:csr|pem|req|p10|der|txt)"?\s*$/i;

  function answerPaths(area) {
    const answer = document.getElementById(area.dataset.pathAnswer);
    const look = () => { answer.hidden = !LOOKS_LIKE_PATH.test(area.value); };
    area.addEventListener("input", look);
  }

  function nameOfChosenFile(zone) {
    const input = zone.querySelector("input[type=file]");
    const told = zone.querySelector("[data-chosen]");
    const tell = () => {
      const file = input.files[0];
      told.textContent = file ? `Chosen: ${file.name} (${Math.max(1, Math.round(file.size / 1024))} KB)` : "";
    };
    input.addEventListener("change", tell);
    for (const name of ["dragenter", "dragover"]) {
      zone.addEventListener(name, (event) => { event.preventDefault(); zone.classList.add("over"); });
    }
    zone.addEventListener("dragleave", (event) => {
      if (!zone.contains(event.relatedTarget)) { zone.classList.remove("over"); }
    });
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      if (event.dataTransfer.files.length) { input.files = event.dataTransfer.files; tell(); }
    });
    tell();
  }

  // The button is made here, so that nobody without a script sees one that does nothing.
  function offerCopy(source) {
    if (!navigator.clipboard) { return; }
    const button = document.createElement("button");
    button.type = "button";
    button.className = "btn small";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy ${source.dataset.copy}`);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(source.textContent.trim());
      button.textContent = "Copied";
      button.setAttribute("aria-label", `Copied ${source.dataset.copy}`);
      window.setTimeout(() => {
        button.textContent = "Copy";
        button.setAttribute("aria-label", `Copy ${source.dataset.copy}`);
      }, 2000);
    });
    (source.closest("pre") || source).after(button);
  }

  // An unfinished request refreshes its status until the server's answer no longer asks for that.
  function follow(region) {
    let wait = 1000;
    // A reload would call somebody back who has just followed a link; a download is followed without leaving.
    const LEAVING = 10000;
    let left = -LEAVING;
    window.addEventListener("beforeunload", () => { left = performance.now(); });
    const ask = async () => {
      if (document.hidden || performance.now() - left < LEAVING) { window.setTimeout(ask, wait); return; }
      let answer;
      try {
        answer = await fetch(region.dataset.poll, { headers: { "X-Requested-With": "fetch" } });
      } catch { wait = 15000; window.setTimeout(ask, wait); return; }
      if (!answer.ok || answer.redirected) { return; }
      if (answer.headers.get("X-Request-Changed") !== region.dataset.version) {
        if (performance.now() - left < LEAVING) { window.setTimeout(ask, wait); return; }
        window.location.reload();
        return;
      }
      wait = Math.min(wait * 1.5, 15000);
      window.setTimeout(ask, wait);
    };
    window.setTimeout(ask, wait);
  }

  // One click, one request: the server holds to that too.
  function once(form) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) { event.preventDefault(); return; }
      form.dataset.sent = "yes";
    });
    window.addEventListener("pageshow", () => { delete form.dataset.sent; });
  }

  function closeMenu(menu) {
    document.addEventListener("click", (event) => { if (!menu.contains(event.target)) { menu.open = false; } });
    menu.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { menu.open = false; menu.querySelector("summary").focus(); }
    });
  }

  all("[data-path-answer]").forEach(answerPaths);
  all("[data-drop]").forEach(nameOfChosenFile);
  all("[data-copy]").forEach(offerCopy);
  all("[data-poll]").forEach(follow);
  all("form[data-once]").forEach(once);
  all(".me details").forEach(closeMenu);
  all("select[data-auto]").forEach((field) => field.addEventListener("change", () => field.form.requestSubmit()));
  const summary = document.querySelector("[data-focus]");
  if (summary) { summary.focus(); }
})();
