// The portal in Debian's Chromium, as a person without a mouse uses it.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = dirname(fileURLToPath(import.meta.url));
export const artifacts = resolve(process.env.KEYBACK_ARTIFACTS ?? join(here, "../../artifacts/screenshots"));

/** A variable that the caller has to set. */
export function setting(name) {
  const value = process.env[name];
  assert.ok(value, `set ${name}: these tests need a portal that runs; ./test browser sets all of it up`);
  return value;
}

export const launch = () =>
  chromium.launch({
    executablePath: process.env.KEYBACK_CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });

const looks = {
  "phone-light": { width: 390, height: 844, colorScheme: "light" },
  "phone-dark": { width: 390, height: 844, colorScheme: "dark" },
  "320-dark": { width: 320, height: 568, colorScheme: "dark" },
  "320-light": { width: 320, height: 568, colorScheme: "light" },
  "desktop-light": { width: 1280, height: 800, colorScheme: "light" },
  "desktop-dark": { width: 1280, height: 800, colorScheme: "dark" },
};

/** One tab, and everything that went wrong in it. */
export class Visitor {
  static async open(browser, options = {}) {
    const context = await browser.newContext({
      viewport: { width: 390, height: 844 },
      locale: "en-GB",
      reducedMotion: "reduce",
      ...options,
    });
    const visitor = new Visitor();
    visitor.context = context;
    visitor.page = await context.newPage();
    visitor.origin = new URL(setting("KEYBACK_URL")).origin;
    visitor.complaints = [];
    visitor.bytes = 0;
    const { page, complaints, origin } = visitor;
    page.setDefaultTimeout(30_000);
    page.on("pageerror", (error) => complaints.push(`script: ${error.message}`));
    page.on("request", (request) => {
      if (new URL(request.url()).origin !== origin) complaints.push(`request left the origin: ${request.url()}`);
    });
    page.on("console", (message) => {
      // A page that tells what is wrong has status 4xx, and Chromium notes that. Everything else counts.
      const told = /Failed to load resource: the server responded with a status of 422/.test(message.text());
      if (["error", "warning"].includes(message.type()) && !told) complaints.push(`console: ${message.text()}`);
    });
    return visitor;
  }

  /** Presses Tab until `selector` has the focus, as somebody would who looks where it is. */
  async tabTo(selector) {
    for (let presses = 0; presses < 25; presses += 1) {
      if (await this.page.evaluate((wanted) => document.activeElement?.matches(wanted), selector)) {
        await this.focusShows();
        return;
      }
      await this.page.keyboard.press("Tab");
    }
    assert.fail(`${selector} cannot be reached with Tab`);
  }

  async focusShows() {
    const outline = await this.page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.notEqual(outline, "none", "whoever uses the keyboard sees where they are");
  }

  /** Types into the field, which has the focus already or is reached with Tab. */
  async type(selector, text) {
    await this.tabTo(selector);
    await this.page.keyboard.type(text);
  }

  async press(key, path) {
    await Promise.all([this.page.waitForURL((url) => path.test(url.pathname)), this.page.keyboard.press(key)]);
    await this.page.waitForLoadState("load");
  }

  heading() {
    return this.page.locator("h1").innerText();
  }

  /** Every look of the page as it stands; on each, nothing sticks out sideways and nothing is too small to touch. */
  async show(name) {
    mkdirSync(artifacts, { recursive: true });
    for (const [look, { width, height, colorScheme }] of Object.entries(looks)) {
      await this.page.setViewportSize({ width, height });
      await this.page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await this.page.screenshot({ path: join(artifacts, `${name}-${look}.png`), fullPage: true });
      const { sideways, small } = await this.page.evaluate(() => ({
        sideways: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        small: [...document.querySelectorAll("button, .primary, .choices a, input:not([type=hidden], .away), summary, .brand a")]
          .filter((element) => element.offsetParent && element.getBoundingClientRect().height < 44)
          .map((element) => element.outerHTML.slice(0, 80)),
      }));
      assert.ok(sideways <= 0, `${name} at ${width} px is ${sideways} px too wide`);
      assert.deepEqual(small, [], `${name}: too small for a finger`);
    }
    await this.page.setViewportSize({ width: 390, height: 844 });
    await this.page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
  }

  /** Labels, language, title, one heading: what a screen reader needs. */
  async isAccessible() {
    const found = await this.page.evaluate(() => ({
      lang: document.documentElement.lang,
      title: document.title,
      headings: document.querySelectorAll("h1").length,
      nameless: [...document.querySelectorAll("input:not([type=hidden], .away)")].filter((i) => !i.labels.length).length,
      dangling: [...document.querySelectorAll("[aria-describedby], [aria-controls]")]
        .flatMap((e) => `${e.getAttribute("aria-describedby") ?? ""} ${e.getAttribute("aria-controls") ?? ""}`.trim().split(/\s+/))
        .filter((id) => !document.getElementById(id)),
    }));
    assert.equal(found.lang, "en");
    assert.match(found.title, / · /);
    assert.equal(found.headings, 1);
    assert.equal(found.nameless, 0);
    assert.deepEqual(found.dangling, []);
  }

  async close() {
    await this.context.close();
    assert.deepEqual(this.complaints, []);
  }
}

async function latest(to) {
  const url = new URL("/latest", setting("KEYBACK_MAIL_URL"));
  url.searchParams.set("to", to);
  const answer = await fetch(url);
  return answer.ok ? answer.text() : "";
}

/** Does what makes the portal write a mail, and reads the code from that one. */
export async function codeAfter(action, to = setting("KEYBACK_USER_MAIL")) {
  const before = await latest(to);
  await action();
  const end = Date.now() + 30_000;
  while (Date.now() < end) {
    const mail = await latest(to);
    const code = /code:\s*((?:\d[ -]?){8})/i.exec(mail)?.[1].replace(/\D/g, "");
    if (mail !== before && code) return code;
    await new Promise((again) => setTimeout(again, 50));
  }
  return assert.fail(`no mail with a code came to ${to}`);
}
