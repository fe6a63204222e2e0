// The estimator of the portal is made of locked packages and nothing else: crates/server/assets/strength.js is compared
// with what they hold, and written anew by KEYBACK_WRITE_STRENGTH=1 node --test tests/browser/strength.test.mjs
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { createContext, runInContext } from "node:vm";

const here = (path) => new URL(path, import.meta.url);
const read = (path) => readFileSync(here(path), "utf8");
const asset = "../../crates/server/assets/strength.js";
/** Of some 49,000: enough to know the commonest, few enough for a phone. */
const WORDS = 2000;

function build() {
  const core = read("node_modules/@zxcvbn-ts/core/dist/zxcvbn-ts.min.js").replace(/\n\/\/# sourceMappingURL=.*\n?$/, "\n");
  const licence = read("node_modules/@zxcvbn-ts/core/LICENSE.txt").trim();
  const { version } = JSON.parse(read("node_modules/@zxcvbn-ts/core/package.json"));
  const common = JSON.parse(read("node_modules/@zxcvbn-ts/language-common/src/passwords.json")).slice(0, WORDS);
  const { qwerty, qwertz } = JSON.parse(read("node_modules/@zxcvbn-ts/language-common/src/adjacencyGraphs.json"));
  assert.ok(common.every((word) => /^[^\s"\\]+$/.test(word)), "words are joined by blanks");
  return `/* @zxcvbn-ts/core ${version} with the first ${WORDS} words of @zxcvbn-ts/language-common, by tests/browser/strength.test.mjs\n\n${licence}\n*/
${core}zxcvbnts.core.zxcvbnOptions.setOptions({dictionary:{common:"${common.join(" ")}".split(" ")},graphs:${JSON.stringify({ qwerty, qwertz })}});
`;
}

test("the estimator is what the locked packages hold", () => {
  if (process.env.KEYBACK_WRITE_STRENGTH) writeFileSync(here(asset), build());
  assert.equal(read(asset), build());
});

test("it tells weak from strong", () => {
  const context = createContext({});
  runInContext(read(asset), context);
  const score = (password, names = []) => context.zxcvbnts.core.zxcvbn(password, names).score;
  for (const weak of ["password", "P@ssw0rd123", "asdfghjkl", "dragon1999"]) assert.ok(score(weak) <= 1, weak);
  for (const strong of ["Bafim4-Tupek7-Lodiv3-Ragob8", "marmot kite over seven lakes"]) assert.equal(score(strong), 4, strong);
  assert.ok(score("lovelace9", ["lovelace"]) < score("lovelace9"), "names make it weaker");
});
