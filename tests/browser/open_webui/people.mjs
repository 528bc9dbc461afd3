// Users with a browser each, and its tabs: they act on the pages of stock Open WebUI.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const TIMEOUT = 60000;
const SCREENS = process.env.SCREENSHOTS || ".work/open-webui/screens";
mkdirSync(SCREENS, { recursive: true });

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/** Waits until `condition` returns a truthy value; the error names `what`. */
export async function until(what, condition, timeout = TIMEOUT) {
  const deadline = Date.now() + timeout;
  for (;;) {
    const outcome = await condition();
    if (outcome) return outcome;
    assert.ok(Date.now() < deadline, `not within ${timeout / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export const letters = (text) => text.replace(/[\s\u200b\u2060\ufeff]+/g, "");

export class Person {
  static async arrive(browser, deployment, account) {
    const context = await browser.newContext({ viewport: { width: 1120, height: 700 } });
    context.setDefaultTimeout(TIMEOUT);
    return Object.assign(new Person(), { context, account, url: deployment.url, name: account.name });
  }

  /** Fills in the form; later tabs are signed in. */
  async signIn() {
    const { page } = await this.tab("/auth", (page) => page.getByLabel("Email"));
    await page.getByLabel("Email").fill(this.account.email);
    await page.locator("#password").fill(this.account.password);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await page.locator("#chat-input").waitFor();
    return page;
  }

  async tab(path, shown) {
    const tab = new Tab(await this.context.newPage(), this.url + path, this.name);
    tab.shown = shown;
    await tab.load();
    return tab;
  }

  channel(id) {
    return this.tab(`/channels/${id}`, (page) => page.locator("#channel-container #chat-input"));
  }

  note(id) {
    return this.tab(`/notes/${id}`, (page) => page.locator(`#note-${id}`));
  }

  chat(id) {
    return this.tab(`/c/${id}`, (page) => page.locator("#chat-input"));
  }
}

export class Tab {
  constructor(page, address, name) {
    Object.assign(this, { page, address, name, sids: [], ends: [], consoleErrors: [], away: true, opened: false });
    page.on("websocket", (socket) => this.watch(socket));
    page.on("console", (message) => message.type() === "error" && this.consoleErrors.push(message.text()));
    page.on("pageerror", (error) => this.consoleErrors.push(String(error)));
  }

  /** Records the Socket.IO connections of the page. */
  watch(socket) {
    if (!socket.url().includes("/ws/socket.io/")) return;
    let disconnected = false;
    socket.on("framereceived", ({ payload }) => {
      const [, sid] = /^40\{"sid":"([^"]+)"/.exec(payload) ?? [];
      if (sid) this.sids.push(sid);
      this.away &&= !sid;
      this.opened = !sid && (this.opened || payload.startsWith('42["ydoc:document:state"'));
      disconnected ||= payload === "41";
    });
    socket.on("close", () => {
      this.ends.push(disconnected ? "disconnected" : "lost");
      Object.assign(this, { away: true, opened: false });
    });
  }

  /** Retries, since Chromium aborts loading when a network interface appears or disappears. */
  async load() {
    await until(`${this.address} is shown`, async () => {
      await this.page.goto(this.address).catch(() => {});
      return this.shown(this.page).waitFor({ timeout: 20000 }).then(() => true, () => false);
    });
    this.consoleErrors.length = 0;
    await this.page.evaluate(() => { globalThis.neverReloaded = true; });
  }

  async reload() {
    this.sids.length = 0;
    await this.load();
    await this.connected();
    this.ends.length = 0;
  }

  /** Waits until the page has a socket. */
  connected() {
    return until(`${this.name} is connected`, () => !this.away);
  }

  /** Waits until the page has received the content of its note on the current connection. */
  open() {
    return until(`${this.name}'s note is open`, () => this.opened);
  }

  /** The node of the socket: the start of its id. */
  get node() {
    return this.sids.at(-1)?.slice(0, 4);
  }

  get input() {
    return this.shown(this.page);
  }

  async say(text) {
    await this.input.click();
    await this.page.keyboard.type(text);
    await this.page.keyboard.press("Enter");
  }

  /** Types at the end of a note, or of its first line. */
  async write(text, where) {
    await this.input.click();
    await this.page.keyboard.press(where === "first line" ? "Control+Home" : "Control+End");
    await this.page.keyboard.press("End");
    await this.page.keyboard.type(text);
  }

  /** The text of a note, without the names at other cursors, and without spaces, in which editors differ. */
  async read() {
    const text = await this.input.evaluate((editor) => {
      const copy = editor.cloneNode(true);
      for (const cursor of copy.querySelectorAll(".ProseMirror-yjs-cursor")) cursor.remove();
      return copy.textContent;
    });
    return letters(text);
  }

  async waitForText(text) {
    await this.page.getByText(text).first().waitFor();
  }

  async receives(text, timeout) {
    return this.page.getByText(text).first().waitFor({ timeout: timeout }).then(() => true, () => false);
  }

  async neverReloaded() {
    assert.equal(await this.page.evaluate(() => globalThis.neverReloaded), true, `${this.name}'s page is the one from the beginning`);
  }

  async screenshot(name) {
    await this.page.screenshot({ path: join(SCREENS, `${name}-${this.name.toLowerCase()}.png`), animations: "disabled" });
  }
}
