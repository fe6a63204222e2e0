// The page of the new password works without this file. With it, rules are ticked off while somebody types, the strength
// is estimated and a password can be suggested. What is typed stays in the page until the form is sent.
"use strict";
{
  const SIGNS = "~!@#$%^&*_-+=`|\\(){}[]:;\"'<>,.?/";
  const LONGEST = 256;
  /** The estimator is asked about so many characters: more only make a password stronger, and it slower. */
  const ESTIMATED = 48;

  const input = document.getElementById("new");
  const repeat = document.getElementById("repeat");
  const told = document.getElementById("told");
  const made = document.getElementById("made");
  const suggest = document.getElementById("suggest");
  const strength = document.getElementById("strength");
  const strengths = strength.dataset.words.split("|");
  /** The page's own words, with what belongs in them. */
  const put = (text, ...parts) => text.replace(/\{(\d)\}/g, (_, at) => parts[at]);
  const rules = [...document.querySelectorAll("#rules [data-rule]")];
  const names = rules.filter((rule) => rule.dataset.rule === "names").flatMap((rule) => rule.dataset.value.split("\n"));
  const least = Math.max(0, ...rules.filter((rule) => rule.dataset.rule === "length").map((rule) => Number(rule.dataset.value)));

  const kinds = (text) =>
    [
      /\p{Uppercase}/u.test(text),
      /\p{Lowercase}/u.test(text),
      /[0-9]/.test(text),
      [...text].some((c) => SIGNS.includes(c)),
      /(?![\p{Uppercase}\p{Lowercase}])\p{Alphabetic}/u.test(text),
    ].filter(Boolean).length;
  /** As the agent reads it: 0, 1, $ and @ are o, l, s and a. */
  const plain = (text) => text.normalize("NFC").toLowerCase().replace(/[01$@]/g, (c) => "olsa"["01$@".indexOf(c)]);
  const holds = (text, name) => text.toLowerCase().includes(name) || ([...name].length > 3 && plain(text).includes(plain(name)));
  const judges = {
    length: (text) => text.length >= least && text.length <= LONGEST,
    kinds: (text, value) => kinds(text) >= Number(value),
    names: (text) => !names.some((name) => holds(text, name)),
  };
  const meets = (rule, text) => judges[rule.dataset.rule](text, rule.dataset.value);

  for (const rule of rules) {
    const state = document.createElement("span");
    state.className = "unseen";
    rule.append(state);
  }
  const tick = () => {
    const text = input.value;
    for (const rule of rules) {
      const met = text !== "" && meets(rule, text);
      rule.dataset.met = text === "" ? "" : String(met);
      rule.lastChild.textContent = text === "" ? "" : ` (${met ? told.dataset.met : told.dataset.open})`;
    }
  };

  const estimate = () => {
    const text = input.value;
    strength.hidden = text === "";
    if (text === "") return (told.textContent = "");
    const { score } = zxcvbnts.core.zxcvbn(text.slice(0, ESTIMATED), names);
    strength.firstElementChild.value = Math.max(score, 0.5); // an empty bar looks like none
    const estimated = put(strength.dataset.label, strengths[score]);
    strength.lastElementChild.textContent = estimated;
    const met = rules.filter((rule) => meets(rule, text)).length;
    const counted = rules.length ? put(told.dataset.count, met, rules.length) : "";
    told.textContent = `${counted} ${estimated}.`; // for a screen reader, once the typing pauses
  };
  let pause;
  const look = () => {
    tick();
    made.textContent = "";
    clearTimeout(pause);
    pause = setTimeout(estimate, 300);
  };
  input.addEventListener("input", look);
  addEventListener("pageshow", look); // a browser may fill the form in by itself

  /** A number below `limit`, each as likely as another. */
  const below = (limit) => {
    const end = 2 ** 32 - (2 ** 32 % limit);
    const [number] = crypto.getRandomValues(new Uint32Array(1));
    return number < end ? number % limit : below(limit);
  };
  const one = (letters) => letters[below(letters.length)];
  const CONSONANTS = "bdfghjkmnprstvwz";
  /** Five letters that can be spoken, the first a capital, and a digit: 19.6 bits. */
  const syllables = () => {
    const [c, v] = [() => one(CONSONANTS), () => one("aeiou")];
    return `${c().toUpperCase()}${v()}${c()}${v()}${c()}${one("23456789")}`;
  };
  const generate = () => {
    const groups = Math.max(4, Math.ceil((least + 1) / 7));
    const password = () => Array.from({ length: groups }, syllables).join("-").slice(0, LONGEST);
    for (let tries = 0; tries < 50; tries += 1) {
      const made = password();
      if (rules.every((rule) => meets(rule, made))) return made;
    }
    return password();
  };
  suggest.hidden = false;
  suggest.addEventListener("click", () => {
    input.value = repeat.value = generate();
    const peek = document.querySelector('.peek[aria-controls="new"]');
    if (peek.getAttribute("aria-pressed") === "false") peek.click();
    look();
    // In full: the field may be too narrow for it.
    const shown = document.createElement("code");
    shown.textContent = input.value;
    made.replaceChildren(made.dataset.before, shown, made.dataset.after);
  });
}

// Moments in the person's own time zone, written as they write the page's language.
const language = document.documentElement.lang;
const locales = [...navigator.languages.filter((known) => known.startsWith(language)), language];
for (const time of document.querySelectorAll("time[datetime]")) {
  time.textContent = new Date(time.dateTime).toLocaleString(locales, { dateStyle: "long", timeStyle: "short" });
}
