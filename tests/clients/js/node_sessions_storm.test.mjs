// Storms of shared sessions: hundreds of stock clients lose their connections at once and continue together at another stock
// server or Roomwire node. Each of them receives what the stream has, once.
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { client, TRAVELS } from "../lib/client.mjs";
import { emitters, nodeCluster, readStreams } from "../lib/node_cluster.mjs";
import { Switch } from "../lib/switch.mjs";
import { until, within } from "../lib/wait.mjs";

const CLIENTS = 200;
/** Milliseconds for what all clients do: they share one process with the servers. */
const PATIENCE = 240_000;
const SETTINGS = {
  ROOMWIRE_BUS__NODE_ADAPTER: "streams",
  ROOMWIRE_BUS__NODE_SESSIONS: "true",
  ROOMWIRE_RECOVERY__NAMESPACES: "/",
  ROOMWIRE_RECOVERY__MODE: "all",
  // A slow machine takes its time with a storm.
  ROOMWIRE_RECOVERY__WINDOW: "600s",
  ROOMWIRE_LIMITS__PER_CLIENT: "off",
  ROOMWIRE_ENGINE__PING_TIMEOUT: "120s",
};
const SERVER = { pingTimeout: 120_000, connectionStateRecovery: { maxDisconnectionDuration: 600_000 } };

/** A client in the room, which notes the numbers that it receives. */
class Member {
  numbers = [];
  recovered = 0;
  problems = [];

  constructor(t, url) {
    const options = { reconnectionDelay: 50, reconnectionDelayMax: 500, timeout: PATIENCE };
    this.socket = client(t, url, TRAVELS["websocket only"], "/", options);
    this.socket.on("n", (number, offset) => {
      this.numbers.push(number);
      this.last = offset;
    });
    this.socket.on("connect", () => {
      const isNew = this.pid === undefined;
      this.pid ??= this.socket._pid;
      if (!isNew && !this.socket.recovered) this.problems.push("began anew");
      if (this.socket.recovered) this.recovered += 1;
    });
    this.socket.on("roomwire:gap", (gap) => this.problems.push(gap));
  }

  get isConnected() {
    return this.socket.connected;
  }
}

describe("storms of sessions shared with servers", { timeout: 900_000 }, () => {
  const it = nodeCluster(
    (publish) => createAdapter(publish, { blockTimeInMs: 200 }),
    SETTINGS,
    SERVER,
  );
  before(() => readStreams(it, ["/"]));

  /** The numbers in the order of the stream. */
  async function published() {
    const entries = await it.servers[0].redis[0].xRange("socket.io", "-", "+");
    const data = entries.map(({ message }) => /"data":\["n",(\d+)\]/.exec(message.data ?? ""));
    return data.filter(Boolean).map(([, number]) => Number(number));
  }

  /** Emits numbers to the room, in turn from all members of the cluster. */
  const publisher = () => {
    const all = emitters(it);
    let sent = 0;
    return async (count) => {
      for (const end = sent + count; sent < end; sent += 1) {
        await all[sent % all.length]({ rooms: ["room"], event: "n", args: [sent] });
      }
      await until("all in the stream", async () => (await published()).length === sent, PATIENCE);
    };
  };

  /** Waits until all members have received what is in the stream; at a node in its order. */
  async function receivedAll(members, isAtNode, before) {
    const expected = await published();
    const hasAll = () => members.every(({ numbers }) => numbers.length >= expected.length);
    await until("all received", hasAll, PATIENCE).catch((error) => {
      const [slow] = members.filter(({ numbers }) => numbers.length < expected.length);
      assert.fail(`${error.message}: ${slow.numbers} of ${expected}`);
    });
    const ordered = (list) => (isAtNode ? list : [...list].sort((a, b) => a - b));
    for (const { numbers, problems } of members) {
      assert.deepEqual(problems, []);
      assert.deepEqual(ordered(numbers.slice(before)), ordered(expected.slice(before)));
    }
    return expected.length;
  }

  test(`${CLIENTS} clients move between servers and nodes`, async (t) => {
    const publish = publisher();
    const way = await Switch.start(t, it.servers[0]);
    const members = Array.from({ length: CLIENTS }, () => new Member(t, way.url));
    const all = (what, holds) => until(what, () => members.every(holds), PATIENCE);
    await all("connected", ({ isConnected }) => isConnected);
    const joins = members.map(({ socket }) => socket.emitWithAck("roomwire:join", "room"));
    await within("joined", Promise.all(joins), PATIENCE);
    // A server gives its clients an offset with their first event.
    await publish(4);
    let received = await receivedAll(members, false, 0);

    /** Moves all clients. `live`: events are published while they come back. */
    const move = async (to, { live = false } = {}) => {
      const [left, isAtNode] = [way.member, to.io === undefined];
      if (left.io) {
        // Later events can overtake one that the server emits itself, whose offset is then the last one of the clients.
        await publish(1);
        received = await receivedAll(members, false, received);
      }
      way.cut({ url: "http://127.0.0.1:9" });
      await all("disconnected", ({ isConnected }) => !isConnected);
      if (left.io) {
        const [redis] = left.redis;
        const keys = members.map(({ pid }) => `sio:session:${pid}`);
        await until("sessions written", async () => (await redis.exists(keys)) === CLIENTS, PATIENCE);
      }
      await publish(40);
      way.member = to;
      const isBack = () => members.every(({ isConnected }) => isConnected);
      if (live) await until("back", () => publish(4).then(isBack), PATIENCE);
      else await until("back", isBack, PATIENCE);
      received = await receivedAll(members, isAtNode, received);
      await publish(8);
      received = await receivedAll(members, isAtNode, received);
    };
    const [servers, nodes] = [it.servers, it.nodes];
    await move(nodes[0], { live: true });
    await move(nodes[1], { live: true });
    // A stock server loses what is added while a client comes back: between its read of the stream and the join of the rooms.
    await move(servers[1]);
    await move(nodes[0], { live: true });
    assert.deepEqual(new Set(members.map(({ recovered }) => recovered)), new Set([4]));
    assert.deepEqual(new Set(members.map(({ socket, pid }) => socket._pid === pid)), new Set([true]));
  });
});
