// What clients send a Redis, from its command MONITOR, in steps.
import net from "node:net";
import { HOST } from "../../clients/lib/processes.mjs";
import { until } from "../../clients/lib/wait.mjs";

/** Commands that change or read something of the bus. */
const RECORDED = new Set([
  ...["publish", "spublish", "xadd", "subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe"],
  ...["pubsub", "set", "get", "del", "xrange"],
]);
const MARK = "roomwire-step:";

export class Monitor {
  /** Commands so far, each as a list of `Buffer`s. */
  commands = [];
  #rest = Buffer.alloc(0);
  #marks = 0;

  static async start(port) {
    const monitor = new Monitor();
    monitor.socket = net.connect(port, HOST);
    monitor.socket.on("data", (chunk) => monitor.#read(chunk));
    monitor.socket.write("MONITOR\r\n");
    monitor.control = net.connect(port, HOST);
    monitor.control.resume();
    await monitor.#mark();
    return monitor;
  }

  /** The commands since the last call. */
  async take() {
    await this.#mark();
    return this.commands.splice(0);
  }

  /** Everything that Redis has received before is in `commands` afterwards. */
  async #mark() {
    this.#marks += 1;
    const mark = `${MARK}${this.#marks}`;
    await until("monitor", () => {
      if (!this.sent) this.sent = this.control.write(`ECHO ${mark}\r\n`);
      return this.seen === mark;
    });
    this.sent = false;
  }

  stop() {
    this.socket.destroy();
    this.control.destroy();
  }

  #read(chunk) {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const end = this.#rest.indexOf("\r\n");
      if (end < 0) return;
      const line = this.#rest.subarray(0, end).toString("latin1");
      this.#rest = this.#rest.subarray(end + 2);
      const command = words(line);
      const name = command[0]?.toString().toLowerCase();
      if (name === "echo" && command[1].toString().startsWith(MARK)) this.seen = command[1].toString();
      else if (RECORDED.has(name)) this.commands.push(command);
    }
  }
}

const ESCAPES = { n: 10, r: 13, t: 9, a: 7, b: 8, '"': 34, "\\": 92 };

/** The quoted words of a line of MONITOR. */
function words(line) {
  const found = [];
  for (const [, quoted] of line.matchAll(/"((?:[^"\\]|\\.)*)"/g)) {
    const bytes = [];
    for (let i = 0; i < quoted.length; i += 1) {
      if (quoted[i] !== "\\") bytes.push(quoted.charCodeAt(i));
      else if (quoted[i + 1] === "x") {
        bytes.push(parseInt(quoted.slice(i + 2, i + 4), 16));
        i += 3;
      } else {
        bytes.push(ESCAPES[quoted[i + 1]]);
        i += 1;
      }
    }
    found.push(Buffer.from(bytes));
  }
  return found;
}
