// The error reference in Debian's Chromium: searched while typing, copied from, narrow, and without JavaScript.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, setting } from "./portal.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

async function open(options, path) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("request", (request) => {
    if (!request.url().startsWith(setting("KEYBACK_URL"))) complaints.push(`asks ${request.url()}`);
  });
  await page.goto(`${setting("KEYBACK_URL")}${path}`);
  return { context, page, complaints };
}

test("codes are found while typing, and a click leads to the page", async () => {
  const { context, page, complaints } = await open({}, "/errors");
  await page.locator("#q").pressSequentially("120008");
  const first = page.locator("#found a").first();
  await first.waitFor();
  assert.match(await first.textContent(), /AADSTS120008/);
  await Promise.all([page.waitForURL(/\/errors\/aadsts120008$/), first.click()]);
  assert.equal(await page.locator("h1").count(), 1);
  assert.deepEqual(complaints, []);
  await context.close();
});

test("a command is copied as it stands", async () => {
  const { context, page, complaints } = await open({ permissions: ["clipboard-read", "clipboard-write"] }, "/errors/aadsts120015");
  const box = page.locator(".command").first();
  await box.locator(".copy").click();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.equal(copied, await box.locator("code").textContent());
  assert.deepEqual(complaints, []);
  await context.close();
});

test("at 320 pixels nothing runs off the page", async () => {
  for (const path of ["/errors", "/errors/aadsts120015", "/errors/dsid-form-a", "/errors?family=ntstatus"]) {
    for (const colorScheme of ["light", "dark"]) {
      const { context, page } = await open({ viewport: { width: 320, height: 568 }, colorScheme }, path);
      const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
      assert.ok(wide <= room, `${path}: ${wide} px in ${room}`);
      await context.close();
    }
  }
});

test("without JavaScript the form searches and filters", async () => {
  const { context, page } = await open({ javaScriptEnabled: false }, "/errors");
  await page.locator("#q").fill("52e");
  await Promise.all([page.waitForURL(/\?q=52e/), page.keyboard.press("Enter")]);
  assert.ok(await page.locator('a[href="/errors/ad-bind-52e"]').count());
  await page.locator("select[name=category]").selectOption("account");
  await Promise.all([page.waitForURL(/category=account/), page.locator(".filters button").click()]);
  await context.close();
});
