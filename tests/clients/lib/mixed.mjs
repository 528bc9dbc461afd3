// Servers of three kinds on one Redis: stock servers in Node and Python, and Roomwire nodes. Each member has a client.
import { spawnSync } from "node:child_process";
import assert from "node:assert/strict";
import path from "node:path";
import { io } from "socket.io-client";
import { freePort, HOST, Node, Program, ready, Redis, returnsOk } from "./processes.mjs";
import { ROOT } from "./settings.mjs";
import { until, within } from "./wait.mjs";

const KEY = "key-of-the-cluster-0123456789";
/** The adapter of the servers in Node: pubsub, streams or sharded. */
const ADAPTER = process.env.MIXED_ADAPTER || "pubsub";
/** The interpreter with python-socketio; scripts/test installs it. */
const PYTHON = process.env.PYTHON || path.join(ROOT, ".work/venv/bin/python");
const SETTINGS = {
  ROOMWIRE_APP__KIND: "relay",
  ROOMWIRE_SOCKET__NAMESPACES: "/,/custom",
  ROOMWIRE_API__KEY: KEY,
  ROOMWIRE_API__PUBLIC: "true",
  ROOMWIRE_BUS__PYTHON: "on",
  ROOMWIRE_BUS__NODE_ADAPTER: ADAPTER,
  ROOMWIRE_BUS__NODE_ROOM_CHANNELS: "none", // of the sharded adapter in its mode "static", the only one that is translated
};

/** A stock server in a process of its own. */
class StockServer {
  static async start(command, redis) {
    const server = new this();
    server.port = await freePort();
    server.url = `http://${HOST}:${server.port}`;
    server.command = [...command, String(server.port), redis.url];
    await server.restart();
    return server;
  }

  async restart() {
    const [program, ...args] = this.command;
    this.program = new Program(program, args);
    await ready(this.program, args[0], () => returnsOk(`${this.url}/ready`));
  }

  async control(operation, fields) {
    const response = await fetch(`${this.url}/control`, { method: "POST", body: JSON.stringify({ operation, ...fields }) });
    const answer = await response.text();
    assert.equal(response.status, 200, answer);
    return JSON.parse(answer);
  }

  async kill() {
    return this.program.kill("SIGKILL");
  }

  async stop() {
    if (!this.program.over) await this.kill();
  }
}

/** A Roomwire node that executes the same requests by the HTTP API. */
class Roomwire extends Node {
  async control(operation, fields) {
    const { namespace, rooms = [], event, args, timeout, sid, room } = fields;
    const target = rooms.length > 0 ? { rooms } : { everybody: true };
    const bodies = {
      emit: () => ({ ...target, except: fields.except, event, ...attached(args) }),
      call: () => ({ ...target, event, args, timeout_ms: timeout, acks: "first" }),
      join: () => ({ members_of: [sid], rooms: [room] }),
      leave: () => ({ members_of: [sid], rooms: [room] }),
      close_room: () => ({ room }),
      disconnect: () => ({ rooms: [sid] }),
    };
    const answer = await this.api(operation, { namespace, ...bodies[operation]() });
    return operation === "call" ? { acks: answer.acks.map((ack) => ack.args[0]) } : answer;
  }

  async api(verb, body) {
    const headers = { "X-API-Key": KEY };
    const response = await fetch(`${this.url}/api/v1/${verb}`, { method: "POST", headers, body: JSON.stringify(body) });
    const answer = await response.text();
    assert.equal(response.status, 200, answer);
    return JSON.parse(answer);
  }
}

/** Binary values become attachments. */
function attached(args) {
  const attachments = [];
  const replaced = (value) => {
    if (Array.isArray(value)) return value.map(replaced);
    if (value === null || typeof value !== "object") return value;
    if (value.base64 !== undefined) return { _placeholder: true, num: attachments.push(value.base64) - 1 };
    return Object.fromEntries(Object.entries(value).map(([name, it]) => [name, replaced(it)]));
  };
  return { args: replaced(args), attachments: attachments.length > 0 ? attachments : undefined };
}

/** A stock client that keeps what it receives, and how its connections ended. */
export class Guest {
  constructor(member, namespace = "/") {
    this.member = member;
    this.received = new Map();
    this.ends = [];
    this.rooms = [];
    this.socket = io(member.url + (namespace === "/" ? "" : namespace), {
      transports: ["websocket"],
      forceNew: true,
      reconnectionDelay: 50,
      reconnectionDelayMax: 250,
    });
    this.socket.on("disconnect", (reason) => this.ends.push(reason));
    this.socket.on("connect", () => this.rooms.forEach((room) => this.join(room).catch(() => {})));
    this.socket.on("ask", (question, respond) => respond?.(`${question} of ${member.name}`));
    this.socket.onAny((event, ...args) => {
      if (!this.received.has(event)) this.received.set(event, []);
      if (event !== "ask") this.received.get(event).push(args);
    });
  }

  get id() {
    return this.socket.id;
  }

  async connected() {
    await ready(this.member.program, `client of ${this.member.name}`, () => this.socket.connected);
    return this;
  }

  async join(room) {
    const { ok } = await within(`join ${room}`, this.socket.emitWithAck("roomwire:join", room));
    assert.ok(ok);
  }

  /** Joins a room, also after each reconnection. */
  async keepJoined(room) {
    this.rooms.push(room);
    await this.join(room);
  }

  /** What it received under this name, in order. */
  of(event) {
    return this.received.get(event) ?? [];
  }

  close() {
    this.socket.io._close();
  }
}

/** Two servers in Node, one in Python and two Roomwire nodes; `stop` ends them. */
export class MixedCluster {
  static async start() {
    assert.equal(spawnSync(PYTHON, ["-c", "import socketio"]).status, 0, `${PYTHON} has no python-socketio: run scripts/test js`);
    const it = new MixedCluster();
    it.redis = await Redis.start();
    const node = [process.execPath, path.join(ROOT, "tests/clients/lib/mixed_node.mjs"), ADAPTER];
    const python = [PYTHON, path.join(ROOT, "tests/clients/py/mixed_server.py")];
    it.members = await Promise.all([
      StockServer.start(node, it.redis),
      StockServer.start(node, it.redis),
      StockServer.start(python, it.redis),
      Roomwire.start({ ...it.redis.env, ...SETTINGS }),
      Roomwire.start({ ...it.redis.env, ...SETTINGS }),
    ]);
    ["node 1", "node 2", "python", "roomwire 1", "roomwire 2"].forEach((name, index) => (it.members[index].name = name));
    [it.node, , it.python, it.roomwire, it.roomwire2] = it.members;
    return it;
  }

  /**
   * How often a node of those that run has begun to translate. A node that stalls for longer than its lease loses its turn,
   * and what servers of one kind publish until the next turn does not reach those of the other (docs/python-servers.md).
   */
  get turns() {
    const begun = ({ log }) => log.split("this node translates between").length - 1;
    return begun(this.roomwire) + begun(this.roomwire2);
  }

  /** One member of each kind. */
  get kinds() {
    return [this.node, this.python, this.roomwire];
  }

  /** A client of each member; complete once what each kind emits reaches all of them. */
  async guests(t, namespace = "/") {
    const guests = await Promise.all(this.members.map((member) => new Guest(member, namespace).connected()));
    t.after(() => guests.forEach((guest) => guest.close()));
    await this.allReach(guests, namespace);
    return guests;
  }

  /** Waits until an event of each kind of member reaches all guests, in a room if one is given. */
  async allReach(guests, namespace = "/", rooms = [], ms = 30_000) {
    for (const member of this.kinds) {
      const event = `probe ${Math.random()}`;
      const reached = () => guests.filter((guest) => guest.of(event).length > 0);
      await until(`${member.name} reaches all`, async () => {
        await emit(member, { namespace, rooms, event }).catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, 50));
        return reached().length === guests.length;
      }, ms).catch((error) => {
        const missing = guests.filter((guest) => !reached().includes(guest)).map((guest) => guest.member.name);
        throw new Error(`${error.message}: not ${missing.join(", ")}`);
      });
    }
  }

  async stop() {
    for (const member of this.members) await member.stop();
    await this.redis.stop();
  }
}

export function emit(member, { namespace = "/", rooms = [], except = [], event = "news", args = [] }) {
  return member.control("emit", { namespace, rooms, except, event, args });
}
