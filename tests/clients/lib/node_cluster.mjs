// Clusters of stock Socket.IO servers in Node and Roomwire nodes on one Redis, and the operations that must reach the clients
// of all of them, whatever adapter the servers have.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { createClient, createCluster } from "redis";
import { Server } from "socket.io";
import { client, collect, connected, emitWithAck, once, TRAVELS } from "./client.mjs";
import { HOST, Node, Redis } from "./processes.mjs";
import { until, within } from "./wait.mjs";

const KEY = "key-of-the-cluster-0123456789";
const SETTINGS = {
  ROOMWIRE_APP__KIND: "relay",
  ROOMWIRE_SOCKET__NAMESPACES: "/,/custom",
  ROOMWIRE_API__KEY: KEY,
  ROOMWIRE_API__PUBLIC: "true",
};
const WEBSOCKET = TRAVELS["websocket only"];
/** Milliseconds for acks that all arrive, which ends the wait. */
export const PATIENCE = 20_000;

/** A stock server whose clients join rooms and answer requests as those of the relay do. */
export class NodeServer {
  /** `adapter` makes an adapter of two clients of Redis. */
  static async start(redis, adapter, options = {}) {
    const server = new NodeServer();
    server.redis = [];
    for (let i = 0; i < 2; i += 1) {
      const connection = redis.masters
        ? createCluster({ rootNodes: redis.masters.map(({ url }) => ({ url: url.replace(/\/0$/, "") })) })
        : createClient({ url: redis.url });
      // While Redis restarts.
      connection.on("error", () => {});
      await connection.connect();
      server.redis.push(connection);
    }
    server.http = createServer();
    await new Promise((resolve) => server.http.listen(0, HOST, resolve));
    server.url = `http://${HOST}:${server.http.address().port}`;
    server.io = new Server(server.http, { adapter: adapter(...server.redis), ...options });
    for (const namespace of ["/", "/custom"]) {
      server.io.of(namespace).on("connection", (socket) => {
        socket.on("roomwire:join", async (room, respond) => {
          await socket.join(room);
          respond({ ok: true });
        });
      });
    }
    return server;
  }

  async stop() {
    await this.io.close();
    for (const connection of this.redis) if (connection.isOpen ?? true) await connection.quit();
  }
}

/** Requests a verb of the HTTP API of a node. */
export async function api(node, verb, body) {
  const response = await fetch(`${node.url}/api/v1/${verb}`, {
    method: "POST",
    headers: { "X-API-Key": KEY, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  assert.equal(response.status, 200, JSON.stringify(answer));
  return answer;
}

/** Starts two stock servers and two nodes for the tests of a suite. `startRedis` starts another kind of Redis. */
export function nodeCluster(adapter, env, serverOptions = {}, startRedis = () => Redis.start()) {
  const it = {};
  before(async () => {
    it.redis = await startRedis();
    it.servers = [];
    it.nodes = [];
    for (let i = 0; i < 2; i += 1) {
      it.servers.push(await NodeServer.start(it.redis, adapter, serverOptions));
      it.nodes.push(await Node.start({ ...it.redis.env, ...SETTINGS, ...env }));
    }
  });
  after(async () => {
    for (const member of [...(it.servers ?? []), ...(it.nodes ?? [])]) await member.stop();
    await it.redis?.stop();
  });
  return it;
}

/**
 * Waits until the servers read the streams of these namespaces. Before its first entry, a stock server with the streams adapter
 * misses the entries that are added between two of its reads.
 */
export async function readStreams(it, namespaces) {
  for (const namespace of namespaces) {
    const waiting = new Set(it.servers);
    for (const server of it.servers) {
      const { adapter } = server.io.of(namespace);
      const receive = adapter.onRawMessage;
      adapter.onRawMessage = (...args) => {
        waiting.delete(server);
        adapter.onRawMessage = receive;
        return receive.apply(adapter, args);
      };
    }
    await until(`the servers read the stream of ${namespace}`, async () => {
      it.servers[0].io.of(namespace).emit("first");
      await new Promise((resolve) => setTimeout(resolve, 20));
      return waiting.size === 0;
    });
  }
}

/** A client of each server, then one of each node, that answer `ask`; all receive what others emit. */
export async function clients(t, it, namespace = "/", options = {}) {
  const members = [...it.servers, ...it.nodes];
  const sockets = await Promise.all(members.map(({ url }) => connected(client(t, url, WEBSOCKET, namespace, options))));
  for (const [index, socket] of sockets.entries()) {
    socket.inbox = collect(socket, "news");
    socket.on("ask", (...args) => args.pop()(...(args[0] === "nothing" ? [] : [`${args[0]} of ${index}`, "more"])));
  }
  await allReceive(it, namespace, sockets);
  return sockets;
}

/** Waits until what each member emits reaches each socket: subscriptions follow the first socket of a namespace. */
async function allReceive(it, namespace, sockets) {
  for (const [index, emit] of emitters(it).entries()) {
    const name = `ready ${index}`;
    const waiting = new Set(sockets);
    for (const socket of sockets) socket.once(name, () => waiting.delete(socket));
    await until(`all receive from ${index}`, async () => {
      await emit({ namespace, event: name, args: [] });
      await new Promise((resolve) => setTimeout(resolve, 20));
      return waiting.size === 0;
    });
  }
}

/** A function for each member that emits as the HTTP API does. */
export function emitters(it) {
  const ofServer = ({ io }) => ({ namespace = "/", rooms = [], except = [], event = "news", args, volatile }) => {
    let operator = io.of(namespace).to(rooms).except(except);
    if (volatile) operator = operator.volatile;
    operator.emit(event, ...args);
  };
  const ofNode = (node) => ({ namespace, rooms, except, event = "news", args, volatile }) => {
    const attachments = [];
    const replaced = replaceBinary(args, attachments);
    const target = rooms ? { rooms } : { everybody: true };
    return api(node, "emit", {
      ...{ namespace, except, event, volatile, ...target },
      ...{ args: replaced, attachments: attachments.length > 0 ? attachments : undefined },
    });
  };
  return [...it.servers.map(ofServer), ...it.nodes.map(ofNode)];
}

function replaceBinary(value, attachments) {
  if (Buffer.isBuffer(value)) return { _placeholder: true, num: attachments.push(value.toString("base64")) - 1 };
  if (Array.isArray(value)) return value.map((it) => replaceBinary(it, attachments));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, it]) => [name, replaceBinary(it, attachments)]));
}

/** Joins a room and waits until what all members emit to it arrives. */
async function join(it, socket, room) {
  await emitWithAck(socket, "roomwire:join", room);
  for (const [index, emit] of emitters(it).entries()) {
    const name = `joined ${room} ${index}`;
    let has = false;
    socket.once(name, () => (has = true));
    await until(`${room} receives from ${index}`, async () => {
      await emit({ rooms: [room], event: name, args: [] });
      await new Promise((resolve) => setTimeout(resolve, 20));
      return has;
    });
  }
}

const sorted = (list) => [...list].sort();
const values = (sockets, count) => Promise.all(sockets.map((socket) => socket.inbox.take(count)));

/** The tests of a suite: what every member of a cluster does reaches the clients of all others. */
export function operations(it) {
  test("emits to all with every kind of value and binary", async (t) => {
    const sockets = await clients(t, it);
    const args = [1, -1.5, "é\n😀", null, true, [{ a: [Buffer.from([1, 255])] }], { b: 2 ** 40 }, []];
    for (const emit of emitters(it)) {
      await emit({ args });
      for (const socket of sockets) assert.deepEqual(await socket.inbox.next(), args);
    }
  });

  test("emits to rooms, several rooms, exceptions and single sockets", async (t) => {
    const sockets = await clients(t, it);
    const [a, b, c, d] = sockets;
    for (const [socket, room] of [[a, "one"], [c, "one"], [b, "two"], [d, "two"], [c, "two"], [d, "a-room-as-long-as-id"]]) {
      await join(it, socket, room);
    }
    for (const emit of emitters(it)) {
      await emit({ rooms: ["one"], args: ["one"] });
      await emit({ rooms: ["one", "two"], args: ["both"] });
      await emit({ rooms: ["two"], except: ["one"], args: ["not one"] });
      await emit({ rooms: ["a-room-as-long-as-id"], args: ["long"] });
      await emit({ rooms: [b.id], args: ["b"] });
      await emit({ rooms: [d.id], args: ["d"] });
      await emit({ namespace: "/custom", args: ["elsewhere"] });
      await emit({ args: ["last"] });
      // Messages of one member may overtake each other on different channels.
      const received = await Promise.all([values([a], 3), values([b], 4), values([c], 3), values([d], 5)]);
      const expected = [
        ["one", "both", "last"],
        ["both", "not one", "b", "last"],
        ["one", "both", "last"],
        ["both", "not one", "long", "d", "last"],
      ];
      for (const [index, [list]] of received.entries()) assert.deepEqual(sorted(list.flat()), sorted(expected[index]));
    }
  });

  test("volatile emits", async (t) => {
    const sockets = await clients(t, it);
    for (const emit of emitters(it)) {
      await emit({ args: ["now"], volatile: true });
      for (const socket of sockets) assert.deepEqual(await socket.inbox.next(), ["now"]);
    }
  });

  test("each server receives the acks of all clients, none twice", async (t) => {
    const sockets = await clients(t, it);
    for (const { io } of it.servers) {
      const answers = await within("acks", io.timeout(PATIENCE).emitWithAck("ask", "word"));
      assert.deepEqual(sorted(answers), ["word of 0", "word of 1", "word of 2", "word of 3"]);
      const [one] = await io.timeout(PATIENCE).to(sockets[3].id).emitWithAck("ask", "single");
      assert.equal(one, "single of 3");
      assert.deepEqual(await io.timeout(PATIENCE).to("nobody").emitWithAck("ask", "none"), []);
      const binary = await io.timeout(PATIENCE).to(sockets[2].id).emitWithAck("ask", Buffer.from("b"));
      assert.deepEqual(binary, ["b of 2"]);
    }
  });

  test("a client that does not ack costs a server no more than its own ack", async (t) => {
    const sockets = await clients(t, it);
    sockets[2].off("ask");
    const expected = ["word of 0", "word of 1", "word of 3"];
    for (const { io } of it.servers) {
      let [time, acked] = [250, []];
      // The other acks may need longer.
      while (acked.length < expected.length && time < PATIENCE) {
        time *= 2;
        const acks = io.timeout(time).emitWithAck("ask", "word");
        const error = await acks.then(() => assert.fail("no timeout"), (reason) => reason);
        acked = error.responses;
      }
      assert.deepEqual(sorted(acked), expected);
    }
  });

  test("rooms that are none: nobody is meant, and no server waits for it", async (t) => {
    const sockets = await clients(t, it);
    for (const { io } of it.servers) {
      for (const none of [undefined, null, true, {}]) {
        assert.deepEqual(await io.timeout(4000).to(none).emitWithAck("ask", "word"), []);
        assert.deepEqual(await io.in(none).fetchSockets(), []);
        assert.equal((await io.except(none).fetchSockets()).length, 4);
        io.in(none).disconnectSockets();
        io.to(none).emit("news", "nobody");
        io.to([none, sockets[3].id]).emit("news", "one");
        io.except(none).emit("news", "all");
        for (const socket of sockets.slice(0, 3)) assert.deepEqual(await socket.inbox.next(), ["all"]);
        assert.deepEqual(sorted((await sockets[3].inbox.take(2)).flat()), ["all", "one"]);
      }
    }
  });

  test("events that clients cannot receive: no server waits for their acks", async (t) => {
    const sockets = await clients(t, it);
    let deep = Buffer.from("b");
    for (let depth = 0; depth < 1200; depth += 1) deep = [deep];
    const many = Array.from({ length: 11 }, () => Buffer.from("b"));
    for (const event of [["ask", ...many], ["ask", deep], [undefined, 1], [null, Buffer.from("b")], [{}]]) {
      for (const { io } of it.servers) {
        const acks = io.timeout(4000).to(sockets[2].id).emitWithAck(...event);
        // The streams adapter does not encode values of this depth.
        assert.deepEqual(await acks.catch((error) => (/Too deep objects/.test(error.message) ? [] : assert.fail(error))), []);
      }
    }
    it.servers[1].io.once("question", (...args) => args.pop()("of a server"));
    const answers = await within("answers", it.servers[0].io.serverSideEmitWithAck("question", ...many));
    assert.deepEqual(answers.map(String).sort(), ["null", "null", "of a server"]);
    const all = await it.servers[0].io.timeout(4000).emitWithAck("ask", "alive");
    assert.equal(all.length, 4);
  });

  test("servers in a namespace in which nodes have no socket do not wait for them", async (t) => {
    const sockets = await Promise.all(it.servers.map(({ url }) => connected(client(t, url, WEBSOCKET, "/custom"))));
    for (const socket of sockets) socket.on("ask", (respond) => respond("here"));
    const answers = await it.servers[0].io.of("/custom").timeout(PATIENCE).emitWithAck("ask");
    assert.deepEqual(answers, ["here", "here"]);
    assert.equal((await it.servers[0].io.of("/custom").fetchSockets()).length, 2);
  });

  collections(it);

  test("servers fetch the sockets of all members", async (t) => {
    const sockets = await clients(t, it);
    await join(it, sockets[2], "fetched");
    await join(it, sockets[0], "fetched");
    for (const { io } of it.servers) {
      const all = await io.fetchSockets();
      assert.deepEqual(sorted(all.map(({ id }) => id)), sorted(sockets.map(({ id }) => id)));
      const some = await io.in("fetched").fetchSockets();
      assert.deepEqual(sorted(some.map(({ id }) => id)), sorted([sockets[0].id, sockets[2].id]));
      for (const remote of all) {
        const { headers, query, issued, time, auth } = remote.handshake;
        assert.deepEqual([headers, query, auth].map((it) => typeof it), ["object", "object", "object"]);
        assert.ok(issued > 1.7e12 && issued < Date.now() + 1000 && !Number.isNaN(Date.parse(time)), `${issued} ${time}`);
        assert.deepEqual(remote.data, {});
        assert.ok(remote.rooms.has(remote.id));
      }
      assert.ok(some.every(({ rooms }) => rooms.has("fetched")));
    }
  });

  test("remote sockets of a server: emit, ack, join, leave and disconnect", async (t) => {
    const sockets = await clients(t, it);
    const { io } = it.servers[0];
    const target = sockets[3];
    const remote = (await io.fetchSockets()).find(({ id }) => id === target.id);
    remote.emit("news", "remote");
    assert.deepEqual(await target.inbox.next(), ["remote"]);
    assert.equal(await remote.timeout(PATIENCE).emitWithAck("ask", "you"), "you of 3");
    const members = async () => (await io.in("remote").fetchSockets()).map(({ id }) => id);
    remote.join("remote");
    await until("joined", async () => (await members()).length === 1);
    remote.leave("remote");
    await until("left", async () => (await members()).length === 0);
    const ended = once(target, "disconnect");
    remote.disconnect(true);
    assert.equal((await ended)[0], "io server disconnect");
  });

  test("all members change rooms and disconnect the sockets of the others", async (t) => {
    const sockets = await clients(t, it);
    const count = async (room) => (await it.servers[1].io.in(room).fetchSockets()).length;
    const { io } = it.servers[0];
    io.socketsJoin("by-server");
    await until("joined by a server", async () => (await count("by-server")) === 4);
    io.in("by-server").except(sockets[2].id).socketsLeave("by-server");
    await until("left", async () => (await count("by-server")) === 1);
    await api(it.nodes[0], "join", { everybody: true, rooms: ["by-node"] });
    await until("joined by a node", async () => (await count("by-node")) === 4);
    await api(it.nodes[0], "leave", { members_of: ["by-node"], rooms: ["by-node"], except: [sockets[0].id] });
    await until("left", async () => (await count("by-node")) === 1);
    await api(it.nodes[1], "close_room", { room: "by-node" });
    await until("closed", async () => (await count("by-node")) === 0);
    const ends = [0, 1, 2].map((index) => once(sockets[index], "disconnect"));
    await api(it.nodes[1], "disconnect", { rooms: [sockets[0].id] });
    await api(it.nodes[1], "disconnect", { rooms: [sockets[1].id], close: true });
    io.in(sockets[2].id).disconnectSockets();
    for (const [reason] of await Promise.all(ends)) assert.equal(reason, "io server disconnect");
    assert.ok(sockets[3].connected);
  });

  test("servers do not wait for a node that was killed", async (t) => {
    await clients(t, it);
    await it.nodes[1].kill();
    const { io } = it.servers[0];
    await until("an emit without it", async () => {
      const answers = await io.timeout(3000).emitWithAck("ask", "word").catch(() => []);
      return answers.length === 3;
    });
    assert.equal((await io.fetchSockets()).length, 3);
    await it.nodes[1].restart();
    await clients(t, it);
  });

  test("events between servers, which nodes answer with null", async (t) => {
    await clients(t, it);
    const [{ io }, other] = it.servers;
    const received = new Promise((resolve) => other.io.once("between", (...args) => resolve(args)));
    io.serverSideEmit("between", 1, { a: [2] });
    assert.deepEqual(await within("server event", received), [1, { a: [2] }]);
    other.io.once("question", (value, respond) => respond(`answer to ${value}`));
    const answers = await within("answers", io.serverSideEmitWithAck("question", 1));
    assert.deepEqual(answers.map(String).sort(), ["answer to 1", "null", "null"]);
  });
}

/** The tests of what nodes collect from all members, for which they count the members. */
export function collections(it) {
  test("nodes receive the acks of the clients of servers", async (t) => {
    const sockets = await clients(t, it);
    for (const node of it.nodes) {
      for (const index of [0, 1]) {
        const { acks } = await api(node, "call", { rooms: [sockets[index].id], event: "ask", args: ["word"], acks: "first" });
        assert.deepEqual(acks.map((ack) => ack.args), [[`word of ${index}`]]);
      }
      // No member of the cluster has a client there, which all of them report at once.
      const start = Date.now();
      const none = await api(node, "call", { rooms: ["nobody"], event: "ask", args: [], acks: "first", timeout_ms: PATIENCE });
      assert.deepEqual(none.acks, []);
      assert.ok(Date.now() - start < PATIENCE, "waited");
    }
  });

  test("nodes collect the acks of all clients, and find those of servers by the API", async (t) => {
    const sockets = await clients(t, it);
    await join(it, sockets[0], "found");
    await join(it, sockets[1], "user:ada");
    await join(it, sockets[3], "found");
    for (const node of it.nodes) {
      const start = Date.now();
      const call = await api(node, "call", { everybody: true, event: "ask", args: ["all"], acks: "all", timeout_ms: PATIENCE });
      assert.deepEqual(sorted(call.acks.map(({ args }) => args[0])), ["all of 0", "all of 1", "all of 2", "all of 3"]);
      assert.deepEqual([call.sockets, call.unanswered, call.missing], [4, [], []]);
      assert.ok(Date.now() - start < PATIENCE, "waited");
      const all = await api(node, "sockets", { everybody: true });
      assert.deepEqual(sorted(all.sockets.map(({ socket }) => socket)), sorted(sockets.map(({ id }) => id)));
      const found = await api(node, "sockets", { rooms: ["found"], except: [sockets[3].id] });
      const [{ connected_at, ...rest }] = found.sockets;
      assert.deepEqual(rest, { socket: sockets[0].id, node: null, user: null, rooms: ["found"] });
      assert.ok(Math.abs(connected_at - Date.now() / 1000) < 120, `${connected_at}`);
      assert.deepEqual([found.total, found.sockets.length, found.missing], [1, 1, []]);
      const { rooms, missing } = await api(node, "rooms", { prefix: "f" });
      assert.deepEqual([rooms, missing], [[{ room: "found", sockets: 2 }], []]);
      const { users } = await api(node, "users", { users: ["ada"] });
      assert.deepEqual([users[0].online, users[0].sockets], [true, 1]);
      const emit = await api(node, "emit", { rooms: ["found", "user:ada"], event: "counted", counts: true });
      assert.deepEqual(emit, { sockets: 3, nodes: 1, missing: [] });
      // Nobody is there, which all servers and nodes report.
      const none = await api(node, "sockets", { everybody: true, namespace: "/custom" });
      assert.deepEqual(none, { total: 0, sockets: [], missing: [] });
    }
  });
}
