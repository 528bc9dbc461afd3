// Several Redis servers that work together: a master with a replica and Sentinels, and a Redis Cluster.
import { writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort, HOST, Redis } from "./processes.mjs";
import { command } from "./resp.mjs";
import { until } from "./wait.mjs";

/** Milliseconds for what servers do together. A Sentinel that was paused for two seconds does nothing for half a minute. */
const PATIENCE = 90_000;
/** Milliseconds between two keys of a slot that moves, in which commands find the slot half moved. */
const PACE = 30;

async function hasInfo(redis, line) {
  const info = await command(redis.port, "INFO").catch(() => "");
  return info.split("\r\n").includes(line);
}

const isMaster = (redis) => hasInfo(redis, "role:master");
const isLinked = (redis) => hasInfo(redis, "master_link_status:up");

/** A master, a replica, and three Sentinels that monitor them as `main`. */
export class Sentinels {
  static async start() {
    const it = new Sentinels();
    it.master = await Redis.start();
    it.replica = await Redis.start("--replicaof", HOST, String(it.master.port));
    await until("the replica is linked", () => isLinked(it.replica), PATIENCE);
    it.sentinels = [];
    while (it.sentinels.length < 3) it.sentinels.push(await Sentinel.start(it.master.port));
    const complete = async ({ port }) => {
      const [others, replicas] = await Promise.all(["SENTINELS", "REPLICAS"].map((kind) => command(port, "SENTINEL", kind, "main")));
      return others.length === 2 && replicas.length === 1;
    };
    await until("complete Sentinels", async () => (await Promise.all(it.sentinels.map(complete))).every(Boolean), PATIENCE);
    return it;
  }

  get env() {
    const addresses = this.sentinels.map(({ port }) => `${HOST}:${port}`).join(",");
    return {
      ROOMWIRE_BUS__REDIS_URL: "redis://main",
      ROOMWIRE_BUS__SENTINELS: addresses,
      ROOMWIRE_BUS__SENTINEL_SERVICE: "main",
    };
  }

  /** Makes the replica the master, while the old one runs, and waits until the nodes have left that. */
  async failOver() {
    await command(this.sentinels[0].port, "SENTINEL", "FAILOVER", "main");
    await this.promoted();
    await until("no node at the old master", async () => {
      // A Sentinel that makes it a replica closes connections, and this one with them.
      const list = await command(this.master.port, "CLIENT", "LIST").catch(() => undefined);
      return list?.trim().split("\n").every((client) => / name=sentinel-| flags=S | cmd=client/.test(client));
    }, PATIENCE);
  }

  async promoted() {
    await until("the promotion of the replica", () => isMaster(this.replica), PATIENCE);
  }

  async stop() {
    for (const server of [...(this.sentinels ?? []), this.replica, this.master]) await server?.stop();
  }
}

class Sentinel extends Redis {
  static async start(master) {
    const it = await this.prepare();
    const file = path.join(it.directory, "sentinel.conf");
    const lines = [
      `bind ${HOST}`,
      `sentinel monitor main ${HOST} ${master} 2`,
      "sentinel down-after-milliseconds main 5000",
      "sentinel failover-timeout main 3000",
    ];
    writeFileSync(file, `${lines.join("\n")}\n`);
    it.arguments = [file, "--sentinel", "--port", String(it.port)];
    await it.restart();
    return it;
  }
}

/** Three masters, and a replica of each. */
export class RedisCluster {
  static async start() {
    const it = new RedisCluster();
    const start = async () => {
      const bus = await freePort();
      const options = ["--cluster-enabled", "yes", "--cluster-port", String(bus), "--cluster-node-timeout", "10000"];
      return Object.assign(await Redis.start(...options, "--cluster-replica-validity-factor", "0"), { bus });
    };
    it.masters = await Promise.all([start(), start(), start()]);
    it.replicas = await Promise.all([start(), start(), start()]);
    await it.#introduce();
    return it;
  }

  async #introduce() {
    const ranges = [[0, 5460], [5461, 10922], [10923, 16383]];
    for (const [index, { port }] of this.masters.entries()) {
      await command(port, "CLUSTER", "SET-CONFIG-EPOCH", index + 1);
      await command(port, "CLUSTER", "ADDSLOTSRANGE", ...ranges[index]);
    }
    const [first, ...others] = this.servers;
    for (const { port, bus } of others) await command(first.port, "CLUSTER", "MEET", HOST, port, bus);
    for (const [index, replica] of this.replicas.entries()) {
      const id = await command(this.masters[index].port, "CLUSTER", "MYID");
      await until("a replica", () => command(replica.port, "CLUSTER", "REPLICATE", id).catch(() => false), PATIENCE);
      await until("a linked replica", () => isLinked(replica), PATIENCE);
    }
    await until("a complete cluster", async () => (await Promise.all(this.servers.map(isComplete))).every(Boolean), PATIENCE);
  }

  get servers() {
    return [...this.masters, ...this.replicas];
  }

  get env() {
    return { ROOMWIRE_BUS__REDIS_URL: this.masters[0].url, ROOMWIRE_BUS__CLUSTER: "true" };
  }

  /** The slot of a key. */
  slot(key) {
    return command(this.masters[0].port, "CLUSTER", "KEYSLOT", key);
  }

  /** The server that owns a slot. */
  async owner(slot) {
    const ranges = await command(this.masters[0].port, "CLUSTER", "SLOTS");
    const [, , [, port]] = ranges.find(([from, to]) => from <= slot && slot <= to);
    return this.servers.find((server) => server.port === port);
  }

  /** Moves a slot and its keys to another server, as `redis-cli --cluster reshard` does, but slowly. */
  async move(slot, target) {
    const source = await this.owner(slot);
    const [from, to] = await Promise.all([source, target].map(({ port }) => command(port, "CLUSTER", "MYID")));
    await command(target.port, "CLUSTER", "SETSLOT", slot, "IMPORTING", from);
    await command(source.port, "CLUSTER", "SETSLOT", slot, "MIGRATING", to);
    for (;;) {
      const keys = await command(source.port, "CLUSTER", "GETKEYSINSLOT", slot, 1);
      if (keys.length === 0) break;
      await command(source.port, "MIGRATE", HOST, target.port, "", 0, 5_000, "KEYS", ...keys);
      await sleep(PACE);
    }
    for (const { port } of [target, source]) await command(port, "CLUSTER", "SETSLOT", slot, "NODE", to);
  }

  async stop() {
    for (const server of [...(this.replicas ?? []), ...(this.masters ?? [])]) await server.stop();
  }
}

async function isComplete({ port }) {
  const [info, slots] = await Promise.all(["INFO", "SLOTS"].map((what) => command(port, "CLUSTER", what)));
  return info.includes("cluster_state:ok") && slots.length === 3 && slots.every((range) => range.length === 4);
}
