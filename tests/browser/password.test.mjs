// Choosing a password: rules ticked off while typing, shown, suggested, pasted; by keyboard alone and without JavaScript.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Visitor, codeAfter, launch, setting } from "./portal.mjs";

const USER = process.env.KEYBACK_OTHER_USER ?? "emil";
const MAIL = process.env.KEYBACK_OTHER_USER_MAIL ?? `${USER}@ad.example`;
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/** As far as the page on which the password is chosen. */
async function proven(options) {
  const visitor = await Visitor.open(browser, options);
  await visitor.page.goto(new URL("/reset", setting("KEYBACK_URL")).href);
  await visitor.type("#user", USER);
  const code = await codeAfter(() => visitor.press("Enter", /^\/reset\/code$/), MAIL);
  await visitor.type("#code", code);
  await visitor.press("Enter", /^\/reset\/password$/);
  return visitor;
}

test("rules are ticked off while typing, and a suggestion keeps them all", async () => {
  const visitor = await proven({ permissions: ["clipboard-read", "clipboard-write"] });
  const { page } = visitor;
  const posted = [];
  page.on("request", (request) => request.method() === "POST" && posted.push(request.url()));
  const met = async () => Object.fromEntries(await page.locator("#rules [data-rule]").evaluateAll((all) => all.map((rule) => [rule.dataset.rule, rule.dataset.met])));
  const strength = (text) => page.locator("#strength span").filter({ hasText: text }).waitFor();

  assert.deepEqual(await met(), { length: "", kinds: "", names: "" }, "nothing is blamed before anything is typed");
  assert.ok(await page.locator("#rules li").filter({ hasText: "common words" }).isVisible());
  await visitor.isAccessible();
  assert.match(await page.locator("#new").getAttribute("aria-describedby"), /\brules\b/);
  await visitor.show("5a-rules");

  await visitor.type("#new", "abc");
  assert.deepEqual(await met(), { length: "false", kinds: "false", names: "true" });
  await strength("weak");
  await page.keyboard.type("defgh");
  assert.deepEqual(await met(), { length: "true", kinds: "false", names: "true" });
  await page.keyboard.type("I7");
  assert.deepEqual(await met(), { length: "true", kinds: "true", names: "true" });
  await page.keyboard.type(USER.toUpperCase());
  assert.deepEqual(await met(), { length: "true", kinds: "true", names: "false" }, "the name, in other case");
  assert.match(await page.locator("#rules [data-rule=names]").innerText(), /not yet met/, "told in words too");
  await page.locator("#told").filter({ hasText: "2 of 3 rules met" }).waitFor({ state: "attached" });
  await visitor.show("5b-typed");

  await page.keyboard.press("ControlOrMeta+A");
  await page.evaluate(() => navigator.clipboard.writeText("Grüße-from-7-Lakes!"));
  await page.keyboard.press("ControlOrMeta+V");
  assert.equal(await page.locator("#new").inputValue(), "Grüße-from-7-Lakes!", "a password can be pasted");
  assert.deepEqual(await met(), { length: "true", kinds: "true", names: "true" });
  await strength("strong");

  const seen = new Set();
  await visitor.tabTo("#suggest");
  for (let times = 0; times < 5; times += 1) {
    await page.keyboard.press("Enter");
    const made = await page.locator("#new").inputValue();
    assert.match(made, /^([A-Z][a-z]{4}[2-9]-){3}[A-Z][a-z]{4}[2-9]$/);
    assert.equal(await page.locator("#repeat").inputValue(), made);
    assert.equal(await page.locator("#made code").innerText(), made, "whole, where the field is too narrow");
    assert.deepEqual(await met(), { length: "true", kinds: "true", names: "true" });
    seen.add(made);
  }
  assert.equal(seen.size, 5, "each is another one");
  assert.equal(await page.locator("#new").getAttribute("type"), "text", "whoever did not type it has to see it");
  await page.locator("#made").filter({ hasText: "filled in twice" }).waitFor();
  await strength("strong");
  await visitor.isAccessible();
  await visitor.show("5c-suggested");
  assert.deepEqual(posted, [], "nothing was sent before the form was");

  await visitor.tabTo("#new");
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.type("M4rm0t!-7");
  await visitor.tabTo("#repeat");
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.type("M4rm0t!-7");
  await visitor.press("Enter", /^\/jobs\//);
  await page.getByRole("heading", { name: "This password is too easy to guess." }).waitFor();
  await visitor.show("7-too-easy");
  await visitor.tabTo("a.primary");
  await visitor.press("Enter", /^\/reset\/password$/);
  await visitor.tabTo("#suggest");
  await page.keyboard.press("Space");
  await visitor.tabTo("button.primary");
  await visitor.press("Enter", /^\/jobs\//);
  await page.getByRole("heading", { name: "Your new password works now." }).waitFor();
  await visitor.close();
});

test("without JavaScript the rules are there and no button is that would do nothing", async () => {
  const visitor = await proven({ javaScriptEnabled: false });
  const { page } = visitor;
  assert.ok(await page.locator("#rules li").count() >= 3);
  assert.match(await page.locator("#rules").innerText(), /At least \d+ characters/);
  for (const selector of ["#suggest", ".peek", "#strength"]) assert.equal(await page.locator(`${selector}:visible`).count(), 0, selector);
  const password = `${setting("KEYBACK_NEW_PASSWORD")}-other`;
  await visitor.type("#new", password);
  await visitor.type("#repeat", password);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Your new password works now." }).waitFor();
  await visitor.close();
});

test("the page with all that it loads is at most 60 KiB over the wire", async () => {
  const visitor = await Visitor.open(browser);
  const requests = [];
  visitor.page.on("requestfinished", (request) => requests.push(request.sizes()));
  await visitor.page.goto(new URL("/reset", setting("KEYBACK_URL")).href);
  await visitor.type("#user", USER);
  const code = await codeAfter(() => visitor.press("Enter", /^\/reset\/code$/), MAIL);
  await visitor.type("#code", code);
  // What the pages before have loaded counts too: somebody may come here with an empty cache.
  await visitor.press("Enter", /^\/reset\/password$/);
  await visitor.page.waitForLoadState("networkidle");
  const sizes = await Promise.all(requests);
  const bytes = sizes.reduce((sum, size) => sum + size.responseBodySize + size.responseHeadersSize, 0);
  assert.ok(bytes > 20_000 && bytes < 60 * 1024, `${bytes} bytes`);
  console.log(`# ${bytes} bytes with the pages before`);
  await visitor.close();
});
