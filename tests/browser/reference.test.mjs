// The error reference in Debian's Chromium: searched and filtered while typing, copied from, narrow, printed, without
// JavaScript, and as a folder of files.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { launch, setting } from "./portal.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

async function open(options, path, base = setting("KEYBACK_URL")) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const complaints = [];
  page.setDefaultTimeout(20_000);
  page.on("pageerror", (error) => complaints.push(`script: ${error.message}`));
  // A page that says 404 is told to the console too; a content security policy that was hurt also is.
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !/status of 404/.test(message.text())) complaints.push(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(base)) complaints.push(`asks ${request.url()}`);
  });
  await page.goto(`${base}${path}`);
  const close = async () => {
    await context.close();
    assert.deepEqual(complaints, []);
  };
  return { page, close };
}

test("codes are found while typing, and a click leads to the page", async () => {
  const { page, close } = await open({}, "/errors");
  for (const [typed, code] of [["120008", "AADSTS120008"], ["0x52d", "0x0000052D"], ["1325", "0x0000052D"], ["775", "data 775"], ["passwordchangeonpremcompl", "AADSTS120004"]]) {
    await page.locator("#q").fill(typed);
    await page.locator("#found li b").first().filter({ hasText: code }).waitFor();
    assert.equal(await page.locator("#listed").isVisible(), false);
  }
  await page.keyboard.press("Escape");
  await page.locator("#listed").waitFor();
  await page.locator("#q").fill("120008");
  const first = page.locator("#found a").first().filter({ hasText: "AADSTS120008" });
  await Promise.all([page.waitForURL(/\/errors\/aadsts120008$/), first.click()]);
  assert.equal(await page.locator("h1").count(), 1);
  await close();
});

test("filters narrow the list at once, and / leads to the search", async () => {
  const { page, close } = await open({}, "/errors");
  await page.locator("select[name=family]").selectOption("ldap");
  await page.locator("#found li").first().waitFor();
  const all = await page.locator("#found li").count();
  await page.locator("select[name=severity]").selectOption("high");
  await page.waitForFunction((all) => document.querySelectorAll("#found li").length < all, all);
  assert.deepEqual([...new Set(await page.locator("#found li i").allTextContents())], ["high"]);
  await page.locator("h1, #found").first().click();
  await page.locator("body").press("/");
  await page.keyboard.type("zzzz");
  await page.getByText("Press Enter to look for codes inside this text").waitFor();
  await close();
});

test("a pasted error is read by the server", async () => {
  const { page, close } = await open({}, "/errors/aadsts120008");
  await page.locator("#q").fill("ldap_modify: Server is unwilling to perform (53) additional info: 0000052D: SvcErr: DSID-031A12D2");
  await Promise.all([page.waitForURL(/\/errors\?q=/), page.keyboard.press("Enter")]);
  for (const slug of ["ldap-53", "win32-0000052d"]) assert.ok(await page.locator(`#listed a[href="/errors/${slug}"]`).count(), slug);
  await close();
});

test("a command is copied as it stands", async () => {
  const { page, close } = await open({ permissions: ["clipboard-read", "clipboard-write"] }, "/errors/aadsts120015");
  for (const box of await page.locator(".copied").all()) {
    await box.locator(".copy").click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), await box.locator("code").textContent());
    assert.equal(await box.locator(".copy").textContent(), "Copied");
  }
  await close();
});

test("at 320 pixels nothing runs off the page", async () => {
  for (const path of ["/errors", "/errors/aadsts120015", "/errors/dsid-form-a", "/errors?family=ntstatus", "/errors/aadsts999999", "/errors/52e"]) {
    for (const colorScheme of ["light", "dark"]) {
      const { page, close } = await open({ viewport: { width: 320, height: 568 }, colorScheme }, path);
      const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
      assert.ok(wide <= room, `${path}: ${wide} px in ${room}`);
      await close();
    }
  }
});

test("each page is small with all that it loads, and the index comes on demand", async () => {
  for (const path of ["/errors", "/errors?family=aadsts", "/errors/win32-0000052d", "/errors?severity=medium"]) {
    const context = await browser.newContext();
    const page = await context.newPage();
    const bodies = [];
    page.on("response", (answer) => bodies.push(answer.body()));
    await page.goto(`${setting("KEYBACK_URL")}${path}`, { waitUntil: "networkidle" });
    const bytes = (await Promise.all(bodies)).reduce((sum, body) => sum + body.length, 0);
    assert.ok(bodies.length >= 3 && bytes < 60 * 1024, `${path}: ${bytes} bytes`);
    await context.close();
  }
});

test("without JavaScript the form searches and filters", async () => {
  const { page, close } = await open({ javaScriptEnabled: false }, "/errors");
  assert.equal(await page.locator(".copy").count(), 0, "a button that would do nothing is not there");
  await page.locator("#q").fill("52e");
  await Promise.all([page.waitForURL(/\?q=52e/), page.keyboard.press("Enter")]);
  assert.ok(await page.locator('a[href="/errors/ad-bind-52e"]').count());
  await page.locator("select[name=category]").selectOption("account");
  await Promise.all([page.waitForURL(/category=account/), page.locator(".filters button").click()]);
  await page.goto(`${setting("KEYBACK_URL")}/errors?family=aadsts`);
  await Promise.all([page.waitForURL(/page=2/), page.locator(".pages a").first().click()]);
  assert.equal(await page.locator("[aria-current=page]").textContent(), "2");
  await close();
});

test("on paper the text is there and the tools are not", async () => {
  const { page, close } = await open({}, "/errors/aadsts120015");
  await page.emulateMedia({ media: "print" });
  for (const selector of [".find", ".copy", ".siblings"]) assert.equal(await page.locator(selector).first().isVisible(), false, selector);
  for (const selector of [".causes", ".command", ".facts", ".sources"]) assert.ok(await page.locator(selector).first().isVisible(), selector);
  await close();
});

test("a folder of pages searches, opened as files", async () => {
  const folder = mkdtempSync(join(tmpdir(), "keyback-site-"));
  try {
    execFileSync(process.env.KEYBACK_BIN ?? "target/debug/keyback", ["explain", "--site", folder], { stdio: "pipe" });
    const base = pathToFileURL(folder).href;
    const { page, close } = await open({}, "/index.html", base);
    await page.locator("#q").fill("120008");
    await Promise.all([page.waitForURL(/aadsts120008\.html$/), page.locator("#found a").first().filter({ hasText: "AADSTS120008" }).click()]);
    await page.locator("#q").fill("data 775");
    await Promise.all([page.waitForURL(/index\.html\?q=data/), page.keyboard.press("Enter")]);
    await page.locator("#found a").first().filter({ hasText: "data 775" }).waitFor();
    await close();
    const plain = await open({ javaScriptEnabled: false }, "/index.html", base);
    assert.equal(await plain.page.locator("#q").isVisible(), false, "a form that nobody answers is not there");
    await Promise.all([plain.page.waitForURL(/family-ldap\.html$/), plain.page.locator('.families a[href="family-ldap.html"]').click()]);
    await plain.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});
