// The stock client for Rust: `rust_socketio`, driven by the program in tests/clients/rust.
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";
import { ROOT } from "./settings.mjs";
import { Inbox, within } from "./wait.mjs";

const FOLDER = path.join(ROOT, "tests/clients/rust");
const TARGET = path.join(ROOT, "target/stock-rust-client");

/** Builds the program. */
export function build() {
  const built = spawnSync("cargo", ["build", "--locked", "--quiet"], {
    cwd: FOLDER,
    env: { ...process.env, CARGO_TARGET_DIR: TARGET },
    encoding: "utf8",
  });
  if (built.status !== 0) throw new Error(`cargo build in ${FOLDER}: ${built.stderr}`);
}

/** The release of `rust_socketio`. */
export function version() {
  const lock = fs.readFileSync(path.join(FOLDER, "Cargo.lock"), "utf8");
  return lock.match(/name = "rust_socketio"\nversion = "(.*)"/)[1];
}

/** A connected client, with an inbox for each kind of line that it prints. */
export class RustClient {
  static async open(t, url, transport) {
    const client = new RustClient(url, transport);
    t.after(() => client.child.kill("SIGKILL"));
    await client.next("connect");
    return client;
  }

  constructor(url, transport) {
    this.inboxes = {};
    this.child = spawn(path.join(TARGET, "debug/stock-rust-client"), [url, transport], { stdio: ["pipe", "pipe", "pipe"] });
    this.errors = "";
    this.child.stderr.on("data", (chunk) => (this.errors += chunk));
    readline.createInterface({ input: this.child.stdout }).on("line", (line) => {
      const [kind, ...rest] = JSON.parse(line);
      this.inbox(kind).push(rest);
    });
  }

  inbox(kind) {
    return (this.inboxes[kind] ??= new Inbox());
  }

  /** What follows the kind in the next line of this kind. */
  async next(kind) {
    try {
      return await this.inbox(kind).next();
    } catch (error) {
      throw new Error(`${error.message}; ${JSON.stringify(this.inboxes)}; ${this.errors}`);
    }
  }

  emit(...event) {
    this.child.stdin.write(`${JSON.stringify(["emit", ...event])}\n`);
  }

  /** Emits bytes, the only argument that the client can send as binary. */
  emitBytes(name, bytes) {
    this.child.stdin.write(`${JSON.stringify(["bytes", name, bytes])}\n`);
  }

  /** Emits and returns the arguments of the ack. */
  async ask(...event) {
    this.child.stdin.write(`${JSON.stringify(["ask", ...event])}\n`);
    return (await this.next("ack"))[0];
  }

  /** Closes the connection, and waits until the program has ended. */
  async close() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.stdin.end();
    return within("end of the client", ended);
  }
}
