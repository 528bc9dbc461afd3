// The deployment under test (deployment.py) with commands to its processes, and the REST API of Open WebUI.
// Needs OPEN_WEBUI_PYTHON, the interpreter of tests/open_webui/install.sh.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export class Deployment {
  static async start() {
    const it = new Deployment();
    assert.ok(process.env.OPEN_WEBUI_PYTHON, "set OPEN_WEBUI_PYTHON to the interpreter beside the installed Open WebUI");
    const program = fileURLToPath(new URL("deployment.py", import.meta.url));
    it.process = spawn(process.env.OPEN_WEBUI_PYTHON, [program], { stdio: ["pipe", "pipe", "inherit"] });
    it.ended = new Promise((resolve) => it.process.once("exit", resolve));
    it.lines = createInterface({ input: it.process.stdout })[Symbol.asyncIterator]();
    Object.assign(it, (await it.next()).ready);
    return it;
  }

  async next() {
    const { value, done } = await this.lines.next();
    assert.equal(done, false, "the deployment ended early");
    const response = JSON.parse(value);
    assert.equal(response.error, undefined, response.error);
    return response;
  }

  /**
   * `stop`, `kill` or `start` of a process (`redis`, `backend-1`, `node-1`, `nginx`); `cut`, which resets every upstream connection;
   * `forget`, after which Redis starts empty; `pool`, the sockets in the session pool of the backends.
   */
  command(what, process) {
    this.process.stdin.write(`${JSON.stringify({ do: what, what: process })}\n`);
    return this.next();
  }

  /** The process of the node whose name is at the start of socket ids. */
  async nodeNamed(name) {
    const figures = await Promise.all(this.metrics.map((url) => fetch(url).then((response) => response.text(), () => "")));
    const index = figures.findIndex((text) => text.includes(`roomwire_node_info{node="${name}"} 1`));
    assert.notEqual(index, -1, `a node is called ${name}`);
    return `node-${index + 1}`;
  }

  async stop() {
    this.process.stdin.end();
    assert.equal(await this.ended, 0, "the deployment ended in command");
  }
}

/** The REST requests of a user, through nginx like those of the page. */
export class Account {
  static async signIn(url, email, password) {
    const account = new Account(url);
    const { token, id, name } = await account.post("/api/v1/auths/signin", { email, password });
    return Object.assign(account, { token, id, name, email, password });
  }

  constructor(url) {
    this.url = url;
  }

  async call(method, path, body) {
    const response = await fetch(this.url + path, {
      method,
      headers: { "Content-Type": "application/json", ...(this.token && { Authorization: `Bearer ${this.token}` }) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${text.slice(0, 500)}`);
    return JSON.parse(text);
  }

  get(path) {
    return this.call("GET", path);
  }

  post(path, body = {}) {
    return this.call("POST", path, body);
  }
}
