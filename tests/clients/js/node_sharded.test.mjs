// Stock Socket.IO servers with the sharded adapter of Redis 7 and Roomwire nodes are one cluster.
import { describe } from "node:test";
import { createShardedAdapter } from "@socket.io/redis-adapter";
import { nodeCluster, operations } from "../lib/node_cluster.mjs";
import { RedisCluster } from "../lib/redis_groups.mjs";
import { WATCHDOG } from "../lib/settings.mjs";

const MODES = { none: "static", rooms: "dynamic", all: "dynamic-private" };

for (const [rooms, subscriptionMode] of Object.entries(MODES)) {
  describe(`sharded adapter, ${subscriptionMode}`, WATCHDOG, () => {
    const adapter = (publish, subscribe) => createShardedAdapter(publish, subscribe, { subscriptionMode });
    operations(nodeCluster(adapter, { ROOMWIRE_BUS__NODE_ADAPTER: "sharded", ROOMWIRE_BUS__NODE_ROOM_CHANNELS: rooms }));
  });
}

describe("sharded adapter on a Redis Cluster", WATCHDOG, () => {
  const adapter = (publish, subscribe) => createShardedAdapter(publish, subscribe);
  operations(nodeCluster(adapter, { ROOMWIRE_BUS__NODE_ADAPTER: "sharded" }, {}, () => RedisCluster.start()));
});
