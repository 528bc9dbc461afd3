// A person with a browser of their own, and the tabs in it: reads and does what is on the stock product's pages.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const PATIENCE = 60000;
const SCREENS = process.env.SCREENSHOTS || ".work/open-webui/screens";
mkdirSync(SCREENS, { recursive: true });

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/** Waits until `condition` gives something; tells what it waited for. */
export async function until(what, condition, patience = PATIENCE) {
  const deadline = Date.now() + patience;
  for (;;) {
    const outcome = await condition();
    if (outcome) return outcome;
    assert.ok(Date.now() < deadline, `not within ${patience / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export const letters = (text) => text.replace(/[\s\u200b\u2060\ufeff]+/g, "");

export class Person {
  static async arrive(browser, deployment, account) {
    const context = await browser.newContext({ viewport: { width: 1120, height: 700 } });
    context.setDefaultTimeout(PATIENCE);
    return Object.assign(new Person(), { context, account, url: deployment.url, name: account.name });
  }

  /** Fills the form in, as a person does; later tabs are signed in. */
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
    Object.assign(this, { page, address, name, sids: [], ends: [], complaints: [], away: true, opened: false });
    page.on("websocket", (socket) => this.watch(socket));
    page.on("console", (message) => message.type() === "error" && this.complaints.push(message.text()));
    page.on("pageerror", (error) => this.complaints.push(String(error)));
  }

  /** The page's Socket.IO connections as they come and go. */
  watch(socket) {
    if (!socket.url().includes("/ws/socket.io/")) return;
    let sentAway = false;
    socket.on("framereceived", ({ payload }) => {
      const [, sid] = /^40\{"sid":"([^"]+)"/.exec(payload) ?? [];
      if (sid) this.sids.push(sid);
      this.away &&= !sid;
      this.opened = !sid && (this.opened || payload.startsWith('42["ydoc:document:state"'));
      sentAway ||= payload === "41";
    });
    socket.on("close", () => {
      this.ends.push(sentAway ? "sent away" : "lost");
      Object.assign(this, { away: true, opened: false });
    });
  }

  /** Chromium gives up on what it loads when a network interface of the machine comes or goes; a person tries again. */
  async load() {
    await until(`${this.address} is shown`, async () => {
      await this.page.goto(this.address).catch(() => {});
      return this.shown(this.page).waitFor({ timeout: 20000 }).then(() => true, () => false);
    });
    this.complaints.length = 0;
    await this.page.evaluate(() => { globalThis.neverReloaded = true; });
  }

  async reload() {
    this.sids.length = 0;
    await this.load();
    await this.connected();
    this.ends.length = 0;
  }

  /** Until the page has a socket. */
  connected() {
    return until(`${this.name} is connected`, () => !this.away);
  }

  /** Until the server has told the page what stands in its note, since it was last connected. */
  open() {
    return until(`${this.name}'s note is open`, () => this.opened);
  }

  /** The node of the socket: ids begin with it. */
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

  /** What stands in a note, without the names at the cursors of others and without spaces, in which editors differ. */
  async read() {
    const text = await this.input.evaluate((editor) => {
      const copy = editor.cloneNode(true);
      for (const cursor of copy.querySelectorAll(".ProseMirror-yjs-cursor")) cursor.remove();
      return copy.textContent;
    });
    return letters(text);
  }

  async sees(text) {
    await this.page.getByText(text).first().waitFor();
  }

  async hears(text, patience) {
    return this.page.getByText(text).first().waitFor({ timeout: patience }).then(() => true, () => false);
  }

  async neverReloaded() {
    assert.equal(await this.page.evaluate(() => globalThis.neverReloaded), true, `${this.name}'s page is the one from the beginning`);
  }

  async screenshot(name) {
    await this.page.screenshot({ path: join(SCREENS, `${name}-${this.name.toLowerCase()}.png`), animations: "disabled" });
  }
}
