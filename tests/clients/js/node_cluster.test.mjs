// Stock Socket.IO servers with the pub/sub adapter and Roomwire nodes are one cluster.
import { describe } from "node:test";
import { createAdapter } from "@socket.io/redis-adapter";
import { nodeCluster, operations } from "../lib/node_cluster.mjs";
import { WATCHDOG } from "../lib/settings.mjs";

const SETTINGS = { ROOMWIRE_BUS__NODE_ADAPTER: "pubsub" };

describe("pub/sub adapter", WATCHDOG, () => {
  operations(nodeCluster((publish, subscribe) => createAdapter(publish, subscribe), SETTINGS));
});
