import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Visitor, codeAfter, launch, setting } from "./portal.mjs";

const DONE = "Your new password works now.";
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

test("a reset with the keyboard alone", async () => {
  const visitor = await Visitor.open(browser);
  const { page } = visitor;
  await page.goto(setting("KEYBACK_URL"));
  await visitor.isAccessible();
  await visitor.show("1-home");
  await visitor.tabTo('a[href="/reset"]');
  await visitor.press("Enter", /^\/reset$/);
  await visitor.isAccessible();
  await visitor.show("2-name");

  await visitor.type("#user", setting("KEYBACK_USER"));
  const code = await codeAfter(() => visitor.press("Enter", /^\/reset\/code$/));
  await visitor.isAccessible();
  await visitor.show("3-code");

  const wrong = code === "00000000" ? "11111111" : "00000000";
  await visitor.type("#code", wrong);
  await Promise.all([page.waitForResponse((answer) => answer.status() === 422), page.keyboard.press("Enter")]);
  await page.locator("[role=alert]").waitFor();
  await visitor.isAccessible();
  assert.equal(await page.locator("#code").getAttribute("aria-describedby"), "wrong");
  await visitor.show("4-code-wrong");

  await visitor.type("#code", `${code.slice(0, 4)} ${code.slice(4)}`);
  await visitor.press("Enter", /^\/reset\/password$/);
  await visitor.isAccessible();
  await visitor.type("#new", setting("KEYBACK_NEW_PASSWORD"));
  await visitor.show("5-password");
  // The button that shows the password comes next, and gives it back to dots.
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  assert.equal(await page.locator("#new").getAttribute("type"), "text");
  await page.keyboard.press("Space");
  assert.equal(await page.locator("#new").getAttribute("type"), "password");
  await visitor.type("#repeat", setting("KEYBACK_NEW_PASSWORD"));
  await visitor.press("Enter", /^\/jobs\/[0-9a-f-]{36}$/);

  await page.getByRole("heading", { name: DONE }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1", "a screen reader reads the end");
  assert.match(await page.title(), new RegExp(`^${DONE}`));
  assert.match(await page.locator(".reference code").innerText(), /^[0-9a-f]{8}-[0-9a-f-]{27}$/);
  await visitor.isAccessible();
  await visitor.show("6-done");
  await page.reload();
  assert.equal(await visitor.heading(), DONE, "loading the page again does not send the form again");
  await visitor.close();
});

test("a reset without JavaScript", async () => {
  const visitor = await Visitor.open(browser, { javaScriptEnabled: false });
  const { page } = visitor;
  await page.goto(new URL("/reset", setting("KEYBACK_URL")).href);
  await visitor.type("#user", setting("KEYBACK_USER"));
  const code = await codeAfter(() => visitor.press("Enter", /^\/reset\/code$/));
  await visitor.type("#code", code);
  await visitor.press("Enter", /^\/reset\/password$/);
  assert.equal(await page.locator(".peek:visible").count(), 0, "a button that would do nothing is not there");
  const password = `${setting("KEYBACK_NEW_PASSWORD")}-again`;
  await visitor.type("#new", password);
  await visitor.type("#repeat", password);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: DONE }).waitFor();
  assert.match(new URL(page.url()).pathname, /^\/jobs\//, "the page looked again by itself");
  await visitor.close();
});

test("a page with all that belongs to it is small", async () => {
  const visitor = await Visitor.open(browser);
  const bodies = [];
  visitor.page.on("response", (answer) => bodies.push(answer.body()));
  await visitor.page.goto(new URL("/reset", setting("KEYBACK_URL")).href, { waitUntil: "networkidle" });
  // The bodies arrive after the responses: all of them are waited for before they are counted.
  const bytes = (await Promise.all(bodies)).reduce((sum, body) => sum + body.length, 0);
  assert.ok(bodies.length >= 3 && bytes > 1000 && bytes < 60 * 1024, `${bytes} bytes`);
  await visitor.close();
});
