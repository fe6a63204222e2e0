// Search and filter while typing, and copying of commands. Without it the form and the pages do the same by loading a page.
"use strict";
(() => {
  const form = document.querySelector(".find");
  const field = document.getElementById("q");
  const found = document.getElementById("found");
  const main = document.getElementById("main");
  const place = document.body.dataset.index;
  const selects = [...form.querySelectorAll("select")];
  const MOST = 60;
  let loading = null;

  // Pages in a folder have no server that searches: their form is shown by this script only.
  form.hidden = false;
  if (!field.value) field.value = new URLSearchParams(location.search).get("q") ?? "";

  const make = (name, text, more = {}) => Object.assign(document.createElement(name), { textContent: text, ...more });

  // A page that was opened from a file may run a script beside it, but not read a file.
  const byScript = () =>
    new Promise((done, failed) => {
      globalThis.keybackSearchIndex = done;
      document.head.append(make("script", "", { src: place.replace(/json$/, "js"), onerror: failed }));
    });
  const read = async () => {
    const index = location.protocol === "file:" ? await byScript() : await (await fetch(place)).json();
    const [before, after] = index.place;
    return index.families.flatMap((family) =>
      family.codes.map(([code, title, names, category, severity]) => ({
        family: family.id,
        category: index.categories[category],
        severity: index.severities[severity],
        href: before + family.slug + code.toLowerCase().replace(/[^a-z0-9._-]/g, "-") + after,
        code: family.quoted + code,
        title,
        words: `${family.quoted}${code} ${title} ${names} ${family.slug}${code}`.toLowerCase(),
      })),
    );
  };
  const load = () => {
    loading ??= read().catch((error) => {
      loading = null;
      throw error;
    });
    return loading;
  };

  // 0x52D, AADSTS120008, 0000052d: as they are written in the index.
  const spelled = (query) => query.replace(/^(?:powerbi-)?aadsts[ _-]*/, "aadsts").replace(/^0x0*/, "");
  const rank = (entry, query) => {
    const code = entry.code.toLowerCase();
    if (code === query || code.endsWith(` ${query}`) || code === `aadsts${query}` || code === `sspr_${query}`) return 0;
    if (/^0x0*/.test(code) && code.replace(/^0x0*/, "") === query) return 0;
    if (code.startsWith(query)) return 1;
    return code.includes(query) ? 2 : 3;
  };

  const show = async () => {
    const query = field.value.trim().toLowerCase();
    const asked = selects.filter((select) => select.value);
    const quiet = query.length < 2 && asked.length === 0;
    if (quiet) {
      found.hidden = true;
      main.hidden = false;
      return;
    }
    const entries = await load();
    if (field.value.trim().toLowerCase() !== query) return;
    const words = spelled(query).split(/\s+/).filter(Boolean);
    // 1325 and -2147016552 are Win32 codes and HRESULTs in decimal.
    const hex = /^-?\d{4,10}$/.test(query) ? (Number(query) >>> 0).toString(16).padStart(8, "0") : null;
    const fits = (it) => words.every((word) => it.words.includes(word)) || (hex && it.words.includes(`0x${hex}`));
    const hits = entries
      .filter((it) => asked.every((select) => it[select.name] === select.value) && fits(it))
      .map((it) => [rank(it, spelled(query)), it])
      .sort(([left], [right]) => left - right);
    const box = make("div", "", { className: "card" });
    const list = make("ul", "", { className: "codes" });
    for (const [, it] of hits.slice(0, MOST)) {
      const link = make("a", "", { href: it.href });
      link.append(make("b", it.code), ` ${it.title}`);
      const item = make("li", "");
      item.append(link, make("i", it.severity, { className: it.severity }));
      list.append(item);
    }
    const more = hits.length > MOST ? `; these are the first ${MOST}` : "";
    const served = place.startsWith("/");
    const nothing = served ? "Nothing fits while typing. Press Enter to look for codes inside this text." : "Nothing fits. Try the number alone.";
    box.append(make("p", hits.length ? `${hits.length} found${more}` : nothing, { className: "count" }), list);
    found.replaceChildren(box);
    found.hidden = false;
    main.hidden = hits.length > 0;
  };
  const search = () => show().catch(() => {});

  field.addEventListener("input", search);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && field.value) {
      event.preventDefault();
      field.value = "";
      search();
    }
  });
  for (const select of selects) select.addEventListener("change", search);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      field.focus();
      field.select();
    }
  });
  // A folder of pages answers ?q= itself.
  if (field.value && !place.startsWith("/")) search();

  for (const box of document.querySelectorAll(".copied")) {
    const button = make("button", "Copy", { type: "button", className: "copy" });
    const text = box.querySelector("code").textContent;
    button.setAttribute("aria-label", `Copy: ${text}`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        // No clipboard without https: the text is marked, so that a key can copy it.
        getSelection().selectAllChildren(box.querySelector("code"));
        button.textContent = "Marked";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    box.append(button);
  }
})();
