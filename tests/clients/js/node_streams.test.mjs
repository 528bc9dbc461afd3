// Stock Socket.IO servers with the streams adapter and Roomwire nodes are one cluster.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { api, clients, collections, emitters, nodeCluster, operations } from "../lib/node_cluster.mjs";
import { RedisCluster } from "../lib/redis_groups.mjs";
import { WATCHDOG } from "../lib/settings.mjs";
import { until } from "../lib/wait.mjs";

// Nodes publish in these namespaces in the stream alone.
const SHARED = { ROOMWIRE_BUS__NODE_SESSIONS: "true", ROOMWIRE_RECOVERY__NAMESPACES: "/,/custom" };
const STREAMS = { ROOMWIRE_BUS__NODE_ADAPTER: "streams" };

describe("streams adapter", WATCHDOG, () => {
  operations(nodeCluster((publish) => createAdapter(publish), STREAMS));
});

describe("streams adapter with several streams and sharded channels", WATCHDOG, () => {
  const adapter = (publish) => createAdapter(publish, { streamCount: 3, useShardedPubSub: true });
  const env = { ROOMWIRE_BUS__NODE_STREAMS: "3", ROOMWIRE_BUS__NODE_SHARDED_PUBSUB: "true" };
  operations(nodeCluster(adapter, { ...STREAMS, ...env, ...SHARED }));
});

describe("streams adapter on a Redis Cluster", WATCHDOG, () => {
  const adapter = (publish) => createAdapter(publish, { useShardedPubSub: true });
  const env = { ...STREAMS, ROOMWIRE_BUS__NODE_SHARDED_PUBSUB: "true" };
  operations(nodeCluster(adapter, env, {}, () => RedisCluster.start()));
});

describe("streams adapter on a Redis Cluster with plain channels", WATCHDOG, () => {
  collections(nodeCluster((publish) => createAdapter(publish), STREAMS, {}, () => RedisCluster.start()));
});

describe("streams adapter while Redis restarts", WATCHDOG, () => {
  const it = nodeCluster((publish) => createAdapter(publish, { blockTimeInMs: 200 }), STREAMS);

  // As the emitter, which repeats the namespace in packets.
  const write = (fields) =>
    it.servers[0].redis[0].xAdd("socket.io", "*", { uid: "emitter", nsp: "/", ...fields });
  const packet = (...data) =>
    JSON.stringify({ packet: { type: 2, data, nsp: "/" }, opts: { rooms: [], flags: {}, except: [] } });

  test("emits reach clients of all members after a restart, whatever became of the data", async (t) => {
    const sockets = await clients(t, it);
    await it.redis.kill();
    await it.redis.restart();
    for (const [index, emit] of emitters(it).entries()) {
      const waiting = new Set(sockets);
      for (const socket of sockets) socket.once(`after ${index}`, () => waiting.delete(socket));
      await until("all receive again", async () => {
        await Promise.resolve(emit({ event: `after ${index}`, args: [] })).catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, 50));
        return waiting.size === 0;
      });
    }
    await until("acks again", async () => {
      const { acks } = await api(it.nodes[0], "call", { rooms: [sockets[0].id], event: "ask", args: ["x"], acks: "first" });
      return acks.length === 1;
    });
  });

  test("nodes read on behind malformed entries", async (t) => {
    const sockets = await clients(t, it);
    await write({ type: "3", data: "{}" });
    await write({ type: "3", data: packet() });
    await write({ type: "nothing", data: packet("news", 0) });
    await it.servers[0].redis[0].xAdd("socket.io", "*", { other: "field" });
    await write({ type: "3", data: packet("news", "emitted") });
    // Stock servers read the first of these again and again; nodes go on.
    for (const socket of sockets.slice(2)) assert.deepEqual(await socket.inbox.next(), ["emitted"]);
  });
});
