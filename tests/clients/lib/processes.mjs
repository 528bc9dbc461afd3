// Starts and stops the programs under test: Roomwire nodes and a Redis of their own, on free
// loopback ports. Everything started here is killed when the test process ends, however it ends.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { BINARY, PORTS } from "./settings.mjs";
import { until, within } from "./wait.mjs";

export const HOST = "127.0.0.1";
const running = new Set();
process.on("exit", () => running.forEach((program) => program.signal("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

const COUNT = PORTS.to - PORTS.from + 1;
let turn = Math.floor(Math.random() * COUNT);

/** A loopback port that is free at the moment, and that nobody else in this process gets. */
export async function freePort() {
  for (;;) {
    turn = (turn + 1) % COUNT;
    const port = PORTS.from + turn;
    if (await canListen(port)) return port;
  }
}

function canListen(port) {
  return new Promise((resolve) => {
    const probe = net.createServer();
    probe.once("error", () => resolve(false));
    probe.listen(port, HOST, () => probe.close(() => resolve(true)));
  });
}

/** A child process whose output is kept, and whose end can be awaited. */
export class Program {
  /** With `group`, the processes that it starts end with it. */
  constructor(command, args, env = {}, cwd = undefined, group = false) {
    this.name = path.basename(command);
    this.output = "";
    this.child = spawn(command, args, { env: { ...process.env, ...env }, cwd, detached: group, stdio: ["ignore", "pipe", "pipe"] });
    this.group = group;
    running.add(this);
    const keep = (chunk) => (this.output += chunk);
    this.child.stdout.on("data", keep);
    this.child.stderr.on("data", keep);
    this.ended = new Promise((resolve) => {
      this.child.once("error", (error) => this.#end(resolve, String(error)));
      this.child.once("exit", (code, signal) => this.#end(resolve, `exit ${code ?? signal}`));
    });
  }

  #end(resolve, how) {
    running.delete(this);
    this.over = how;
    resolve(how);
  }

  signal(signal) {
    if (this.group) process.kill(-this.child.pid, signal);
    else this.child.kill(signal);
  }

  async kill(signal = "SIGKILL") {
    this.signal(signal);
    return within(`end of ${this.name}`, this.ended);
  }
}

/** Waits until `probe` returns true; if the program ends first, fails with its output. */
export async function ready(program, what, probe, ms = 30_000) {
  await until(`${what} ready`, async () => {
    if (program.over) throw new Error(`${what}: ${program.over}\n${program.output}`);
    return probe();
  }, ms);
}

/**
 * A Roomwire node; `restart` starts it again on the same port. `env` has further ROOMWIRE_* settings, `probe` is the URL
 * of its readiness check, by default on its public port.
 */
export class Node {
  static async start(env = {}, probe = undefined) {
    const node = new this();
    node.env = env;
    node.port = await freePort();
    node.host = `${HOST}:${node.port}`;
    node.url = `http://${node.host}`;
    node.probe = probe ?? `${node.url}/readyz`;
    await node.restart();
    return node;
  }

  async restart() {
    const env = { RUST_LOG: "info,roomwire=debug", ROOMWIRE_SERVER__BIND: this.host, ...this.env };
    this.program = new Program(BINARY, ["serve"], env);
    await ready(this.program, `${BINARY} on ${this.host}`, () => returnsOk(this.probe));
  }

  get log() {
    return this.program.output;
  }

  /** Kills it without a drain, like a crash. */
  async kill() {
    return this.program.kill("SIGKILL");
  }

  signal(name) {
    this.program.child.kill(name);
  }

  async stop() {
    if (!this.program.over) await this.kill();
  }
}

/** A stock Socket.IO server (lib/upstream.mjs) behind Roomwire. */
export class Upstream {
  static async start() {
    const upstream = new Upstream();
    upstream.port = await freePort();
    upstream.url = `http://${HOST}:${upstream.port}`;
    await upstream.restart();
    return upstream;
  }

  async restart() {
    this.program = new Program(process.execPath, [path.join(import.meta.dirname, "upstream.mjs"), String(this.port)]);
    await ready(this.program, `socket.io on ${this.port}`, () => returnsOk(this.url));
  }

  async kill() {
    return this.program.kill("SIGKILL");
  }

  async stop() {
    if (!this.program.over) await this.kill();
  }
}

/** Whether a GET returns 200. */
export async function returnsOk(url) {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    await response.arrayBuffer();
    return response.status === 200;
  } catch {
    return false;
  }
}

/** A Redis (or Valkey) of the test's own, without persistence. */
export class Redis {
  /** `more` options of the command line. */
  static async start(...more) {
    const redis = await this.prepare();
    const common = ["--bind", HOST, "--port", String(redis.port), "--save", "", "--appendonly", "no", "--dir", redis.directory];
    redis.arguments = [...common, ...more];
    await redis.restart();
    return redis;
  }

  /** A server with a port and a folder; it needs `arguments` before it can be started. */
  static async prepare() {
    const redis = new this();
    redis.port = await freePort();
    redis.url = `redis://${HOST}:${redis.port}/0`;
    redis.directory = mkdtempSync(path.join(os.tmpdir(), "roomwire-redis-"));
    return redis;
  }

  /** The settings of its nodes. */
  get env() {
    return { ROOMWIRE_BUS__REDIS_URL: this.url };
  }

  async restart() {
    this.program = new Program(redisCommand(), this.arguments);
    await ready(this.program, `Redis on ${this.port}`, () => answersPing(this.port));
  }

  async kill() {
    return this.program.kill("SIGKILL");
  }

  async stop() {
    if (!this.program.over) await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function redisCommand() {
  for (const command of ["redis-server", "valkey-server"]) {
    if (spawnSync(command, ["--version"]).status === 0) return command;
  }
  throw new Error("neither redis-server nor valkey-server is installed: run scripts/install-test-tools");
}

function answersPing(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, HOST, () => socket.write("PING\r\n"));
    socket.setTimeout(2_000, () => socket.destroy());
    socket.once("data", (reply) => resolve(String(reply).startsWith("+PONG")));
    socket.once("error", () => resolve(false));
    socket.once("close", () => resolve(false));
    socket.once("data", () => socket.destroy());
  });
}
