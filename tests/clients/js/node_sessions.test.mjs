// Sessions that are shared: stock clients lose their connections and continue at a stock server with the streams adapter or at
// a Roomwire node, in either direction.
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { client, collect, connected, emitWithAck, once, TRAVELS } from "../lib/client.mjs";
import { emitters, nodeCluster, readStreams } from "../lib/node_cluster.mjs";
import { RedisCluster } from "../lib/redis_groups.mjs";
import { WATCHDOG } from "../lib/settings.mjs";
import { Switch } from "../lib/switch.mjs";
import { until } from "../lib/wait.mjs";

const SETTINGS = {
  ROOMWIRE_BUS__NODE_ADAPTER: "streams",
  ROOMWIRE_BUS__NODE_SESSIONS: "true",
  ROOMWIRE_RECOVERY__NAMESPACES: "/,/custom",
  ROOMWIRE_RECOVERY__MODE: "all",
  ROOMWIRE_RECOVERY__MAX_EVENTS: "5000",
  // A node looks three times in this time whether somebody else has a session.
  ROOMWIRE_RECOVERY__WINDOW: "30s",
};
const RECOVERY = { connectionStateRecovery: {} };

/** A client behind a switch that is in the room `room` of a member. */
async function member(t, first, namespace = "/") {
  const way = await Switch.start(t, first);
  const options = { reconnectionDelay: 20, reconnectionDelayMax: 50, randomizationFactor: 0 };
  const socket = client(t, way.url, TRAVELS["websocket only"], namespace, options);
  await connected(socket);
  await emitWithAck(socket, "roomwire:join", "room");
  socket.inbox = collect(socket, "n");
  return { way, socket, pid: socket._pid };
}

/** The next events of a client without their offsets, the ids of entries. */
async function received(socket, count) {
  const values = await socket.inbox.take(count);
  for (const value of values) assert.match(value.pop(), /^\d{13}-\d+$/);
  return values;
}

/** The same at a server, which delivers its own events in an order of its own: when Redis has responded, not when it reads them. */
const receivedLive = async (socket, count) => (await received(socket, count)).sort(([a], [b]) => a - b);

/** Loses the connection and returns to another member, after `meanwhile`. Returns whether the session was recovered. */
async function move({ way, socket }, to, meanwhile = async () => {}) {
  const [disconnected, left] = [once(socket, "disconnect"), way.member];
  way.member = { url: "http://127.0.0.1:9" };
  way.cut();
  await disconnected;
  await gone(left, socket);
  await meanwhile();
  way.member = to;
  await once(socket, "connect");
  return socket.recovered;
}

/** Waits until a stock server has written the session, which it does once the connection has ended. */
async function gone(from, socket) {
  if (!from.io || !socket._pid) return;
  const [redis] = from.redis;
  await until("session written", () => redis.exists(`sio:session:${socket._pid}`));
}

/** What a server has of a socket. */
const on = (server, socket) => server.io.of(socket.nsp).sockets.get(socket.id);

const numbered = (count, from = 0) => Array.from({ length: count }, (_, i) => [i + from]);

/** Emits numbers to the room, in turn from all members. */
async function emitAll(it, count, { from = 0, ...options } = {}) {
  const all = emitters(it);
  for (let n = from; n < from + count; n += 1) {
    await all[n % all.length]({ rooms: ["room"], event: "n", args: [n], ...options });
    // The order of events of several members is that in which Redis receives them.
    await until("in the stream", () => added(it, n));
  }
}

/** Whether the event with this number is in a stream. */
async function added(it, n) {
  for (const name of it.streams) {
    const last = await it.servers[0].redis[0].xRevRange(name, "+", "-", { COUNT: 8 });
    if (last.some(({ message }) => message.data?.includes(`"data":["n",${n}]`))) return true;
  }
  return false;
}

function sessions(streamCount, redis) {
  const it = nodeCluster(
    (publish) => createAdapter(publish, { streamCount, blockTimeInMs: 200 }),
    { ...SETTINGS, ROOMWIRE_BUS__NODE_STREAMS: String(streamCount) },
    RECOVERY,
    redis,
  );
  before(() => readStreams(it, ["/", "/custom"]));
  it.streams = streamCount === 1 ? ["socket.io"] : Array.from({ length: streamCount }, (_, i) => `socket.io-${i}`);

  for (const namespace of ["/", "/custom"]) {
    test(`from a server to a node and back, in ${namespace}`, async (t) => {
      const [server, node] = [it.servers[0], it.nodes[0]];
      const one = await member(t, server, namespace);
      const { socket, pid } = one;
      const state = on(server, socket);
      state.data.name = "kept";
      state.data.list = [1, { a: null }];
      const [first] = [socket.id];
      await emitAll(it, 4, { namespace });
      assert.deepEqual(await receivedLive(socket, 4), numbered(4));

      assert.equal(await move(one, node, () => emitAll(it, 8, { namespace, from: 4 })), true);
      assert.equal(socket._pid, pid);
      assert.deepEqual(await received(socket, 8), numbered(8, 4));
      // Servers know the client by its former id too.
      server.io.of(namespace).to(first).emit("n", 100);
      assert.deepEqual(await received(socket, 1), [[100]]);
      await emitAll(it, 4, { namespace, from: 12 });
      assert.deepEqual(await received(socket, 4), numbered(4, 12));

      assert.equal(await move(one, it.servers[1], () => emitAll(it, 4, { namespace, from: 16 })), true);
      assert.equal(socket._pid, pid);
      assert.deepEqual(await received(socket, 4), numbered(4, 16));
      const back = on(it.servers[1], socket);
      assert.deepEqual(back.data, { name: "kept", list: [1, { a: null }] });
      assert.ok(back.rooms.has("room") && back.recovered);
      await emitAll(it, 4, { namespace, from: 20 });
      assert.deepEqual(await receivedLive(socket, 4), numbered(4, 20));
      assert.deepEqual(socket.inbox.unread, []);
    });
  }

  test("from a node to a server, to another node, and back", async (t) => {
    const one = await member(t, it.nodes[0]);
    let from = 0;
    for (const next of [it.servers[0], it.nodes[1], it.nodes[0], it.servers[1]]) {
      const range = { from };
      assert.equal(await move(one, next, () => emitAll(it, 4, range)), true, `to ${next.url}`);
      assert.deepEqual(await received(one.socket, 4), numbered(4, from));
      from += 4;
    }
    assert.equal(one.socket._pid, one.pid);
  });

  test("two losses in a row with nothing between", async (t) => {
    const one = await member(t, it.servers[0]);
    // Servers give a client its first offset with the first event.
    await emitAll(it, 1);
    assert.deepEqual(await received(one.socket, 1), numbered(1));
    for (const next of [it.nodes[0], it.nodes[1], it.servers[1], it.servers[0]]) {
      assert.equal(await move(one, next), true, `to ${next.url}`);
    }
    await emitAll(it, 4, { from: 1 });
    assert.deepEqual(await receivedLive(one.socket, 4), numbered(4, 1));
    assert.equal(one.socket._pid, one.pid);
  });

  test("a node is killed, and the client continues at a server", async (t) => {
    const one = await member(t, it.nodes[1]);
    await emitAll(it, 4);
    assert.deepEqual(await received(one.socket, 4), numbered(4));
    const disconnected = once(one.socket, "disconnect");
    one.way.member = { url: "http://127.0.0.1:9" };
    await it.nodes[1].kill();
    await disconnected;
    const living = { ...it, nodes: it.nodes.slice(0, 1) };
    await emitAll(living, 6, { from: 4 });
    one.way.member = it.servers[0];
    await once(one.socket, "connect");
    assert.deepEqual([one.socket.recovered, one.socket._pid], [true, one.pid]);
    assert.deepEqual(await received(one.socket, 6), numbered(6, 4));
    await it.nodes[1].restart();
  });

  test("an offset that was removed from the stream begins a new session", async (t) => {
    const one = await member(t, it.servers[0]);
    await emitAll(it, 1);
    await received(one.socket, 1);
    const trim = async () => {
      await emitAll(it, 2, { from: 1 });
      for (const name of it.streams) await it.servers[0].redis[0].xTrim(name, "MAXLEN", 1);
    };
    const states = collect(one.socket, "roomwire:session");
    assert.equal(await move(one, it.nodes[0], trim), false);
    const [state] = await states.next("the session");
    assert.deepEqual([state.recovered, state.gap.reason], [false, "trimmed"]);
    assert.notEqual(one.socket._pid, one.pid);
  });

  test("a server takes the session of a connection whose end the node has not noticed", async (t) => {
    const one = await member(t, it.nodes[0]);
    const disconnected = once(one.socket, "disconnect");
    const former = one.socket.id;
    one.way.cut(it.servers[0], true);
    await disconnected;
    await once(one.socket, "connect");
    assert.deepEqual([one.socket.recovered, one.socket._pid], [true, one.pid]);
    // Long before a ping is missed.
    const ended = new RegExp(`socket=${former.slice(0, 8)}\\S* .*reason=replaced`);
    await until("the node has ended the old socket", () => ended.test(it.nodes[0].log));
    await emitAll(it, 4);
    assert.deepEqual(await receivedLive(one.socket, 4), numbered(4));
    assert.deepEqual(one.socket.inbox.unread, []);
  });

  test("2000 missed events, and binary ones", async (t) => {
    const COUNT = 2000;
    const one = await member(t, it.servers[0]);
    await emitAll(it, 1);
    assert.deepEqual(await received(one.socket, 1), numbered(1));
    const [emit] = emitters(it).slice(-1);
    const missed = async () => {
      const entries = async () => {
        const lengths = it.streams.map((name) => it.servers[0].redis[0].xLen(name));
        return (await Promise.all(lengths)).reduce((sum, length) => sum + length);
      };
      const before = await entries();
      await emit({ rooms: ["room"], event: "n", args: [Buffer.from([0, 255]), { a: Buffer.from("b") }] });
      await until("in the stream", async () => (await entries()) > before);
      for (let n = 0; n < COUNT; n += 1) it.servers[1].io.to("room").emit("n", n);
      await until("all in the stream", () => added(it, COUNT - 1));
    };
    assert.equal(await move(one, it.nodes[0], missed), true);
    const [binary] = await received(one.socket, 1);
    assert.deepEqual(binary, [Buffer.from([0, 255]), { a: Buffer.from("b") }]);
    assert.deepEqual(await received(one.socket, COUNT), numbered(COUNT));
  });
}

describe("sessions shared with servers", WATCHDOG, () => sessions(1));

describe("sessions shared with servers that have several streams on a Redis Cluster", WATCHDOG, () =>
  sessions(3, () => RedisCluster.start()));
