// Search as you type, and copying of commands. Without it the form and the pages do the same by loading a page.
"use strict";
(() => {
  const field = document.getElementById("q");
  const found = document.getElementById("found");
  const listed = document.getElementById("listed");
  const place = document.body.dataset.index;
  let index = null;

  const load = async () => {
    if (!index) {
      const answer = await fetch(place);
      index = (await answer.json()).map((it) => ({ href: it[0], code: it[1], title: it[2], words: it.join(" ").toLowerCase() }));
    }
    return index;
  };

  const show = async () => {
    const query = field.value.trim().toLowerCase();
    if (query.length < 2) {
      found.hidden = true;
      listed.hidden = false;
      return;
    }
    const entries = await load();
    if (field.value.trim().toLowerCase() !== query) return;
    const words = query.split(/\s+/);
    const hits = entries.filter((it) => words.every((word) => it.words.includes(word)));
    const first = (it) => (it.code.toLowerCase().endsWith(query) ? 0 : it.code.toLowerCase().includes(query) ? 1 : 2);
    hits.sort((left, right) => first(left) - first(right));
    const list = document.createElement("ul");
    for (const it of hits.slice(0, 50)) {
      const link = document.createElement("a");
      link.href = it.href;
      const code = document.createElement("b");
      code.textContent = it.code;
      link.append(code, ` ${it.title}`);
      const item = document.createElement("li");
      item.append(link);
      list.append(item);
    }
    const said = document.createElement("p");
    said.textContent = hits.length === 0 ? "Nothing fits." : `${hits.length} found`;
    found.replaceChildren(said, ...(hits.length ? [list] : []));
    found.hidden = false;
    listed.hidden = true;
  };

  if (field && found && listed && place) {
    field.addEventListener("input", () => { show().catch(() => {}); });
    if (field.value) show().catch(() => {});
  }

  for (const box of document.querySelectorAll(".command")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(box.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    box.append(button);
  }
})();
