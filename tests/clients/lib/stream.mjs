// A stream of numbered events to a room, and members of it that take part in recovery and note what they receive.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { client, emitWithAck, settled } from "./client.mjs";
import { until, within } from "./wait.mjs";

const KEY = "key-of-the-stream-0123456789";
export const ROOM = "stream";

/** Settings of a node for streams and their members. */
export const STREAMS = {
  ROOMWIRE_APP__KIND: "relay",
  ROOMWIRE_RECOVERY__NAMESPACES: "/",
  ROOMWIRE_API__KEY: KEY,
  ROOMWIRE_API__PUBLIC: "true",
};

/** Requests a verb of the API of a node; resolves with the status, 0 if the node is not reachable. */
export async function request(node, verb, body, headers = {}) {
  try {
    const response = await fetch(`${node.url}/api/v1/${verb}`, {
      method: "POST",
      headers: { "X-API-Key": KEY, "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
    await response.text();
    return response.status;
  } catch {
    return 0;
  }
}

/** Emits over the API of a node, which must accept it. */
export async function emit(node, body) {
  assert.equal(await request(node, "emit", body), 200);
}

export class Stream {
  sent = 0;

  /**
   * Publishes `n` with 1, 2, 3.., or the numbers after `sent`, until it is stopped, each once, over the API of the first of
   * `nodes`, and if it is down of the next one.
   */
  static start(t, nodes, pause = 4, sent = 0) {
    const stream = new Stream();
    stream.sent = sent;
    stream.nodes = [...nodes];
    stream.pause = pause;
    stream.running = stream.#run();
    t.after(() => stream.stop());
    return stream;
  }

  async #run() {
    while (!this.stopped) {
      await this.#publish(this.sent + 1);
      this.sent += 1;
      await sleep(this.pause);
    }
  }

  async #publish(number) {
    // Only with several nodes: Redis, which may be away, has the keys.
    const headers = this.nodes.length > 1 ? { "Idempotency-Key": randomUUID() } : {};
    await until(`event ${number} accepted`, async () => {
      const status = await request(this.nodes[0], "emit", { event: "n", rooms: [ROOM], args: [number] }, headers);
      if (status !== 200) this.nodes.push(this.nodes.shift());
      return status === 200;
    });
  }

  /** Waits until it has published so many more. */
  async advance(count, ms = 30_000) {
    const target = this.sent + count;
    await until(`${target} events published`, () => this.sent >= target, ms);
  }

  /** Ends it; returns how many it has published. */
  async stop() {
    this.stopped = true;
    await within("end of the stream", this.running, 30_000);
    return this.sent;
  }
}

/** 1, 2, 3.. up to `last`. */
export function numbers(last) {
  return Array.from({ length: last }, (_, index) => index + 1);
}

/** A client in the room. */
export class Member {
  numbers = [];
  positions = [];
  gaps = [];
  sessions = [];
  losses = 0;

  static async join(t, url, travel, options = {}) {
    const member = new Member();
    const auth = { roomwire: { recover: true } };
    const socket = client(t, url, travel, "/", { auth, timeout: 2_000, ...options });
    member.socket = socket;
    socket.on("roomwire:session", (state) => member.sessions.push(state));
    socket.on("roomwire:gap", (gap) => member.gaps.push(gap));
    socket.on("n", (number, position) => {
      member.numbers.push(number);
      member.positions.push(position);
    });
    socket.on("disconnect", () => (member.losses += 1));
    await settled(socket);
    assert.equal((await emitWithAck(socket, "roomwire:join", ROOM)).ok, true);
    return member;
  }

  /** How often it has come back. */
  get returns() {
    return this.sessions.length - 1;
  }

  /** Waits until it has come back `times`, every time with its session. */
  async recovered(times, ms) {
    await until(`${times} recoveries`, () => this.returns >= times, ms);
    for (const state of this.sessions.slice(1)) assert.deepEqual([state.recovered, state.gap], [true, null]);
  }

  /** Waits for the events up to `sent`; each must have arrived once and in the order of the positions, no gap named. */
  async complete(sent) {
    await until(`${sent} events`, () => new Set(this.numbers).size >= sent, 30_000).catch(() => {});
    assert.deepEqual(this.numbers, numbers(sent));
    this.inOrder();
    assert.deepEqual(this.gaps, []);
  }

  /** Positions increase within an epoch, and no epoch returns. Returns the epochs. */
  inOrder() {
    const epochs = [];
    let last = 0;
    for (const position of this.positions) {
      const [epoch, n] = position.split("-");
      if (epoch !== epochs.at(-1)) {
        assert.ok(!epochs.includes(epoch), `epoch ${epoch} again`);
        epochs.push(epoch);
        last = 0;
      }
      assert.ok(Number(n) > last, `${position} after ${last}`);
      last = Number(n);
    }
    return epochs;
  }
}

/**
 * Breaks connections until every one of these members has noticed: a client that polls may be between two requests. One that
 * is still connecting has the time to, however slow the machine, before its connection is broken.
 */
export async function lose(all, breakConnections) {
  const before = all.map((member) => member.losses);
  const lost = () => all.every((member, index) => member.losses > before[index]);
  await until("the losses", () => {
    breakConnections();
    return until("all of them", lost, 500).then(() => true, () => false);
  });
}

/** Members with every transport. */
export function members(t, url, travels, options) {
  return Promise.all(Object.values(travels).map((travel) => Member.join(t, url, travel, options)));
}
