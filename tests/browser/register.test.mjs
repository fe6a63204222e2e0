// An authenticator app and recovery codes: registered and used, by keyboard alone, the second time without JavaScript.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";
import { Visitor, codeAfter, launch, setting } from "./portal.mjs";

const USER = process.env.KEYBACK_REGISTER_USER ?? "grace";
const MAIL = `${USER}@ad.example`;
const PASSWORD = "Start-Pass1!";
const at = (path) => new URL(path, setting("KEYBACK_URL")).href;
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/** RFC 6238, so many seconds from now. */
function shown(key, ahead = 0) {
  const bits = [...key.replaceAll(" ", "")].map((c) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c).toString(2).padStart(5, "0")).join("");
  const seed = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor((Date.now() / 1000 + ahead) / 30)));
  const hash = createHmac("sha1", seed).update(step).digest();
  const word = hash.readUInt32BE(hash[19] & 15) & 0x7fffffff;
  return String(word % 1_000_000).padStart(6, "0");
}

/** As far as the page of methods. */
async function signIn(visitor, held) {
  const { page } = visitor;
  await page.goto(at("/register"));
  await visitor.isAccessible();
  await visitor.type("#user", USER);
  let code = held;
  if (held) {
    await visitor.tabTo("button.second");
    await visitor.press("Enter", /^\/register\/code$/);
  } else {
    await visitor.show("r1-name");
    code = await codeAfter(() => visitor.press("Enter", /^\/register\/code$/), MAIL);
  }
  await visitor.type("#code", code);
  await visitor.press("Enter", /^\/register\/password$/);
  await visitor.isAccessible();
  await visitor.type("#current", PASSWORD);
  await visitor.press("Enter", /^\/register\/methods$/);
}

/** Names the user, with an app or a sheet at hand. */
async function begin(visitor) {
  await visitor.page.goto(at("/reset"));
  await visitor.type("#user", USER);
  await visitor.tabTo("button.second");
  await visitor.press("Enter", /^\/reset\/code$/);
}

/** Types a code that is refused; what is said. */
async function refused(visitor, code) {
  const { page } = visitor;
  await visitor.type("#code", code);
  await Promise.all([page.waitForResponse((answer) => answer.status() === 422), page.keyboard.press("Enter")]);
  await page.locator("[role=alert]").waitFor();
  await visitor.isAccessible();
  return page.locator("[role=alert]").innerText();
}

test("an app and a sheet are registered and each resets a password, with the keyboard alone", async () => {
  const visitor = await Visitor.open(browser);
  const { page } = visitor;
  await signIn(visitor);
  await visitor.isAccessible();
  await visitor.show("r2-none-yet");

  await visitor.tabTo('a[href="/register/app"]');
  await visitor.press("Enter", /^\/register\/app$/);
  await visitor.isAccessible();
  assert.ok(await page.locator(".qr svg").isVisible());
  const { width, height } = await page.locator(".qr svg").boundingBox();
  assert.ok(width >= 180 && Math.abs(width - height) < 1, `${width} by ${height}`);
  await visitor.show("r3-app");
  const key = await page.locator(".key code").innerText();
  assert.match(await refused(visitor, shown(key, -405)), /clock of your phone is 7 minutes behind/);
  await visitor.show("r4-clock");
  assert.equal(await page.locator(".key code").innerText(), key, "the app has this key already");
  await visitor.type("#code", shown(key));
  await visitor.press("Enter", /^\/register\/methods$/);
  await page.getByText("Added.").waitFor();

  await visitor.tabTo('form[action="/register/sheet"] button');
  await visitor.press("Enter", /^\/register\/sheet$/);
  await visitor.isAccessible();
  await visitor.show("r5-sheet");
  const sheet = await page.locator(".sheet code").allInnerTexts();
  assert.equal(sheet.length, 10);
  await page.emulateMedia({ media: "print" });
  assert.ok(await page.locator(".sheet").isVisible());
  assert.equal(await page.locator(".primary:visible, .foot:visible").count(), 0, "only the codes are printed");
  await page.emulateMedia({ media: "screen" });
  await visitor.tabTo('a[href="/register/methods"]');
  await visitor.press("Enter", /^\/register\/methods$/);
  await visitor.isAccessible();
  await visitor.show("r6-methods");

  await begin(visitor);
  await visitor.isAccessible();
  await visitor.show("r7-held");
  assert.match(await refused(visitor, shown(key, 915)), /minutes ahead/);
  const code = shown(key, 30);
  await visitor.type("#code", code);
  await visitor.press("Enter", /^\/reset\/password$/);
  const password = `${setting("KEYBACK_NEW_PASSWORD")}-app`;
  await visitor.type("#new", password);
  await visitor.type("#repeat", password);
  await visitor.press("Enter", /^\/jobs\//);
  await page.getByRole("heading", { name: "Your new password works now." }).waitFor();

  await begin(visitor);
  assert.match(await refused(visitor, code), /used already/);
  await visitor.show("r8-used");
  await visitor.close();

  const plain = await Visitor.open(browser, { javaScriptEnabled: false });
  await begin(plain);
  await plain.type("#code", sheet[0].toUpperCase());
  await plain.press("Enter", /^\/reset\/password$/);
  await plain.type("#new", PASSWORD.replace("1", "2"));
  await plain.type("#repeat", PASSWORD.replace("1", "2"));
  await plain.press("Enter", /^\/jobs\//);
  await plain.page.getByRole("heading", { name: "Your new password works now." }).waitFor();
  await begin(plain);
  assert.match(await refused(plain, sheet[0]), /used already/);
  await plain.close();
});
