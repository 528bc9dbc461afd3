// Opens demo pages in Chromium and finds elements by role, label and text, as a user does.
// Used by the tests beside it. Needs ROOMWIRE_URLS (two base URLs of one cluster); CHROMIUM and SCREENSHOTS are optional.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const urls = (process.env.ROOMWIRE_URLS ?? "").split(/[\s,]+/).filter(Boolean).map((url) => url.replace(/\/$/, ""));
assert.equal(urls.length, 2, "set ROOMWIRE_URLS to the base URLs of two nodes, e.g. http://127.0.0.1:8080,http://127.0.0.1:8081");

const screenshots = process.env.SCREENSHOTS || mkdtempSync(join(tmpdir(), "roomwire-demo-"));
mkdirSync(screenshots, { recursive: true });

export const freshRoom = (word) => `${word}-${randomBytes(3).toString("hex")}`;

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/// Saves what a page shows, for a person to look at.
export async function saveScreenshot(page, name, options = {}) {
  await page.screenshot({ path: join(screenshots, `${name}.png`), animations: "disabled", ...options });
}

export class DemoPage {
  /// Opens the page of node 0 or 1, or of another by its URL, and waits until the room is joined, or rejected.
  static async open(browser, node, { name, room, transport, rejected = false, probes = true, ...context }) {
    const demo = new DemoPage();
    demo.context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...context });
    demo.context.setDefaultTimeout(60_000);
    demo.page = await demo.context.newPage();
    demo.consoleErrors = [];
    demo.page.on("console", (message) => ["error", "warning"].includes(message.type()) && demo.consoleErrors.push(message.text()));
    demo.page.on("pageerror", (error) => demo.consoleErrors.push(String(error)));
    // As behind a balancer that does not forward probes; Chromium logs an error for the status.
    if (!probes) await demo.page.route("**/readyz", (request) => request.fulfill({ status: 404, body: "Nothing here.\n" }));
    const query = new URLSearchParams({ name, room, ...(transport && { transport }) });
    await demo.page.goto(`${urls[node] ?? node}/?${query}`);
    await demo.waitForText(rejected ? "The server rejected this room" : "You joined, on node");
    return demo;
  }

  get log() { return this.page.getByRole("log", { name: "Messages" }); }
  get box() { return this.page.getByLabel("Message", { exact: true }); }
  get state() { return this.page.getByRole("status"); }
  get cut() { return this.page.locator("#cut"); }
  get composer() { return this.page.getByRole("button", { name: "Send" }); }

  message(text) { return this.log.locator("li").filter({ hasText: text }).last(); }
  person(name) { return this.page.locator("#people li").filter({ hasText: name }); }

  async waitForText(text) { await this.message(text).waitFor({ state: "attached" }); }
  async waitForPerson(name) { await this.person(name).waitFor({ state: "attached" }); }

  async say(text) {
    await this.box.fill(text);
    await this.box.press("Enter");
    await this.waitForText(text);
  }

  /// The milliseconds shown beside an own message, once the server acknowledged it.
  async ackOf(text) {
    const ack = this.message(text).locator(".ack.acked");
    await ack.waitFor({ state: "attached" });
    return ack.textContent();
  }

  nodeOf(name) { return this.person(name).getAttribute("data-node"); }
  transportOf(name) { return this.person(name).locator(".how").textContent(); }

  screenshot(name) {
    return saveScreenshot(this.page, name);
  }

  async close() {
    await this.context.close();
    assert.deepEqual(this.consoleErrors, [], "the browser console must stay empty");
  }
}
