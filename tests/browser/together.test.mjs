// The main job in one piece: the stock client in a browser on node 1, a stock python-socketio client on node 2, one
// room through a real Redis, and a stock python-socketio server on that Redis that emits to both.
// Needs REDIS_URL, the Redis of the two nodes, and PYTHON, an interpreter with tests/clients/py/requirements.txt.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { DemoPage, freshRoom, launch, urls } from "./pages.mjs";

/** The Python client and server, controlled by lines on stdin. */
class Python {
  static async start(room) {
    const python = new Python();
    const program = fileURLToPath(new URL("together.py", import.meta.url));
    assert.ok(process.env.REDIS_URL, "set REDIS_URL to the Redis of the two nodes");
    python.process = spawn(process.env.PYTHON ?? "python3", [program, urls[1], process.env.REDIS_URL, room], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    python.lines = createInterface({ input: python.process.stdout })[Symbol.asyncIterator]();
    assert.ok((await python.next()).ready, "the Python side has joined");
    return python;
  }

  async next() {
    const { value, done } = await this.lines.next();
    assert.equal(done, false, "the Python side ended early");
    return JSON.parse(value);
  }

  /** The next chat message; other events of the page (hello, beat, typing) are skipped. */
  async message() {
    for (;;) {
      const { received, args } = await this.next();
      if (received === "message") return args[0].text;
    }
  }

  say(side, text) {
    this.process.stdin.write(`${JSON.stringify({ [side]: text })}\n`);
  }

  async end() {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.stdin.end();
    assert.equal(await ended, 0);
  }
}

test("a browser, a Python client and a Python server are in one room", { timeout: 300_000 }, async () => {
  const room = freshRoom("together");
  const browser = await launch();
  const python = await Python.start(room);
  try {
    const page = await DemoPage.open(browser, 0, { name: "Ada", room });
    assert.equal(await page.page.evaluate(() => typeof globalThis.io), "function", "the page runs the stock client");
    await page.say("from the browser");
    assert.equal(await python.message(), "from the browser");
    python.say("client", "from the Python client");
    await page.waitForText("from the Python client");
    python.say("server", "from the Python server");
    await page.waitForText("from the Python server");
    assert.equal(await python.message(), "from the Python server");
    await page.close();
    await python.end();
  } finally {
    python.process.kill();
    await browser.close();
  }
});
