// Emitters of Socket.IO's Redis adapter reach stock clients on every node.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Emitter } from "@socket.io/redis-emitter";
import parser from "socket.io-msgpack-parser";
import oldEmitter from "socket.io-emitter";
import { createClient } from "redis";
import { client, cluster, collect, connected, emitWithAck, once, ROUTES, TRAVELS } from "../lib/client.mjs";
import { until } from "../lib/wait.mjs";
import { WATCHDOG } from "../lib/settings.mjs";

const SETTINGS = { ROOMWIRE_APP__KIND: "relay", ROOMWIRE_SOCKET__NAMESPACES: "/,/custom", ROOMWIRE_BUS__NODE_ADAPTER: "emitters" };
const travel = TRAVELS["websocket only"];

describe("emitters", WATCHDOG, () => {
  let redis;
  // Before the cluster stops its Redis.
  after(() => redis.disconnect());
  const it = cluster(ROUTES["through a balancer"], SETTINGS);
  before(async () => {
    redis = await createClient({ url: it.redis.url }).connect();
  });
  // Handshakes alternate: of two clients, one is on either node.
  const both = (t, namespace) =>
    Promise.all([{}, { parser }].map((options) => connected(client(t, it.url, travel, namespace, options))));
  // A node subscribes for its first socket of a namespace; what is emitted before that is lost, as with stock servers.
  async function subscribed(t, namespace = "/") {
    const sockets = await both(t, namespace);
    const ready = new Set();
    for (const socket of sockets) socket.once("ready", () => ready.add(socket));
    await until("both nodes receive", async () => {
      new Emitter(redis).of(namespace).emit("ready");
      return ready.size === 2;
    });
    return sockets;
  }

  test("an emit to all, with every kind of value and binary", async (t) => {
    const sockets = await subscribed(t);
    const inboxes = sockets.map((socket) => collect(socket, "news"));
    const args = [1, -1.5, "é", null, true, [{ a: [Buffer.from([1, 255])] }], { b: 2 ** 40 }];
    new Emitter(redis).emit("news", ...args);
    for (const inbox of inboxes) assert.deepEqual(await inbox.next(), args);
  });

  test("rooms, several rooms, exceptions and single sockets", async (t) => {
    const [first, second] = await subscribed(t);
    await emitWithAck(first, "roomwire:join", "r1");
    await emitWithAck(second, "roomwire:join", "r2");
    await emitWithAck(first, "roomwire:join", "both");
    await emitWithAck(second, "roomwire:join", "both");
    const [one, two] = [first, second].map((socket) => collect(socket, "news"));
    const emitter = new Emitter(redis);
    emitter.to("r1").emit("news", "r1");
    emitter.to(["r1", "r2", "both"]).emit("news", "several");
    emitter.to("both").except("r1").emit("news", "not r1");
    emitter.to(second.id).emit("news", "second");
    emitter.of("/custom").emit("news", "elsewhere");
    emitter.emit("news", "last");
    assert.deepEqual(await one.take(3), [["r1"], ["several"], ["last"]]);
    assert.deepEqual(await two.take(4), [["several"], ["not r1"], ["second"], ["last"]]);
  });

  test("sockets join, leave and are disconnected", async (t) => {
    const [first, second] = await subscribed(t, "/custom");
    const emitter = new Emitter(redis).of("/custom");
    const [one, two] = [first, second].map((socket) => collect(socket, "news"));
    emitter.in(first.id).socketsJoin("new");
    await until("the first has joined", () => {
      emitter.to("new").emit("news", 1);
      return one.unread.length > 0;
    });
    // Requests and emits are executed in order, but the channel of a new room is subscribed to meanwhile.
    emitter.in("new").socketsLeave("new");
    emitter.in(second.id).socketsJoin("new");
    await until("the second has joined", () => {
      emitter.to("new").emit("news", 2);
      return two.unread.length > 0;
    });
    emitter.emit("news", 3);
    const received = [];
    while (received.at(-1) !== 3) received.push((await one.next())[0]);
    assert.ok(!received.includes(2), `${received}`);
    const ended = once(second, "disconnect");
    emitter.in("new").disconnectSockets(true);
    assert.equal((await ended)[0], "io server disconnect");
    assert.ok(first.connected);
  });

  test("emitters of Socket.IO 2", async (t) => {
    const [first, second] = await subscribed(t);
    await emitWithAck(first, "roomwire:join", "old");
    const [one, two] = [first, second].map((socket) => collect(socket, "news"));
    // It requires a client of Redis of its time, of which it uses one function.
    const old = oldEmitter({ hset: true, publish: (channel, message) => redis.publish(channel, message) });
    old.to("old").emit("news", "room", Buffer.from([1, 2]));
    old.emit("news", "all");
    assert.deepEqual(await one.take(2), [["room", Buffer.from([1, 2])], ["all"]]);
    assert.deepEqual(await two.next(), ["all"]);
  });
});
