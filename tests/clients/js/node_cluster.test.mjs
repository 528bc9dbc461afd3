// Stock Socket.IO servers with the pub/sub adapter and Roomwire nodes are one cluster.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { instrument } from "@socket.io/admin-ui";
import { createAdapter } from "@socket.io/redis-adapter";
import { Emitter } from "@socket.io/redis-emitter";
import IoRedis from "ioredis";
import { client, collect, connected, emitWithAck, once, TRAVELS } from "../lib/client.mjs";
import { clients, collections, nodeCluster, operations, PATIENCE } from "../lib/node_cluster.mjs";
import { HOST } from "../lib/processes.mjs";
import { RedisCluster } from "../lib/redis_groups.mjs";
import { WATCHDOG } from "../lib/settings.mjs";
import { until, within } from "../lib/wait.mjs";

const SETTINGS = { ROOMWIRE_BUS__NODE_ADAPTER: "pubsub" };
const sorted = (list) => [...list].sort();

describe("pub/sub adapter", WATCHDOG, () => {
  const it = nodeCluster((publish, subscribe) => createAdapter(publish, subscribe, { requestsTimeout: PATIENCE }), SETTINGS);
  operations(it);

  test("emitters reach the clients of servers and nodes, each once", async (t) => {
    const sockets = await clients(t, it);
    const emitter = new Emitter(it.servers[0].redis[0]);
    emitter.to([sockets[0].id, sockets[3].id]).emit("news", "two");
    emitter.emit("news", Buffer.from([1]));
    emitter.in(sockets[2].id).socketsJoin("by-emitter");
    for (const index of [0, 3]) assert.deepEqual(await sockets[index].inbox.next(), ["two"]);
    for (const socket of sockets) assert.deepEqual(await socket.inbox.next(), [Buffer.from([1])]);
    const joined = async () => (await it.servers[1].io.in("by-emitter").fetchSockets()).map(({ id }) => id);
    await until("joined", async () => (await joined()).includes(sockets[2].id));
  });

  test("the rooms of all servers and nodes", async (t) => {
    const sockets = await clients(t, it);
    await emitWithAck(sockets[2], "roomwire:join", "of-node");
    await emitWithAck(sockets[0], "roomwire:join", "of-server");
    const rooms = await it.servers[1].io.of("/").adapter.allRooms();
    for (const room of ["of-node", "of-server", ...sockets.map(({ id }) => id)]) assert.ok(rooms.has(room), room);
  });

  test("a client of a node asks the members of a room, who are at a server", async (t) => {
    const sockets = await clients(t, it);
    await emitWithAck(sockets[1], "roomwire:join", "workers");
    const { answer } = await emitWithAck(sockets[2], "roomwire:ask", "workers", "ask", "word");
    assert.deepEqual(answer, ["word of 1"]);
    const none = await emitWithAck(sockets[2], "roomwire:ask", "no-workers", "ask", "word");
    assert.ok(JSON.stringify(none).includes("no_answer"), JSON.stringify(none));
  });

  test("requests of older servers: sockets, and changes of one socket, which its owner confirms", async (t) => {
    const sockets = await clients(t, it);
    const [redis] = it.servers[0].redis;
    const listener = await redis.duplicate().connect();
    t.after(() => listener.quit());
    const responses = [];
    await listener.subscribe("socket.io-response#/#", (message) => responses.push(JSON.parse(message)));
    const request = (fields) => redis.publish("socket.io-request#/#", JSON.stringify(fields));
    await request({ requestId: "old-1", type: 0, rooms: [] });
    const found = () => responses.filter(({ requestId }) => requestId === "old-1");
    await until("four members respond", () => found().length === 4);
    assert.deepEqual(sorted(found().flatMap((response) => response.sockets)), sorted(sockets.map(({ id }) => id)));
    await request({ requestId: "old-2", type: 2, sid: sockets[3].id, room: "old" });
    await until("confirmed", () => responses.some(({ requestId }) => requestId === "old-2"));
    const members = async () => (await it.servers[1].io.in("old").fetchSockets()).map(({ id }) => id);
    await until("joined", async () => (await members()).length === 1);
    assert.deepEqual(await members(), [sockets[3].id]);
    // The same number means something else at servers that write the name of the field in this way.
    await request({ requestid: "older", type: 4, sid: sockets[3].id });
    await request({ requestId: "old-3", type: 3, sid: sockets[3].id, room: "old" });
    await until("left", async () => (await members()).length === 0);
    assert.ok(sockets[3].connected);
    assert.equal(responses.filter(({ requestId }) => requestId === "old-2").length, 1);
  });

  test("no event of a client of a node ends a server, and no junk a node", async (t) => {
    const sockets = await clients(t, it);
    const [redis] = it.servers[0].redis;
    const truncated = Buffer.from([0x85, 0xa3, 0x75]);
    for (const junk of ["", "{", "[]", "{}", '{"type":"x","requestId":1}', truncated, Buffer.alloc(300, 0x93)]) {
      await redis.publish("socket.io-request#/#", junk);
      await redis.publish("socket.io-response#/#", junk);
    }
    await Promise.all(sockets.slice(0, 2).map((socket) => emitWithAck(socket, "roomwire:join", "strange")));
    const strange = sockets.slice(0, 2).map((socket) => collect(socket, "strange"));
    let deep = [];
    for (let depth = 0; depth < 90; depth += 1) deep = [deep];
    const values = [deep, JSON.parse('{"__proto__":{"a":1},"constructor":null}'), "\ud800 alone", 1e308, -0, "", "x".repeat(70_000)];
    values.push(Array.from({ length: 70_000 }, () => 1), { _placeholder: "no" }, Buffer.alloc(0), Buffer.alloc(70_000, 7));
    for (const value of values) await emitWithAck(sockets[2], "roomwire:emit", "strange", "strange", value);
    for (const inbox of strange) {
      const received = (await inbox.take(values.length)).map(([value]) => value);
      // What JavaScript has and Unicode lacks is replaced.
      const expected = values.map((value) => (value === "\ud800 alone" ? "\ufffd alone" : value));
      for (const [index, value] of received.entries()) {
        // Decoders of servers leave out what would change a prototype.
        const shown = (it) => JSON.stringify(it).replace('"__proto__":{"a":1},', "");
        assert.equal(shown(value), shown(expected[index]), `value ${index}`);
      }
    }
    const answers = await within("acks", it.servers[0].io.timeout(PATIENCE).emitWithAck("ask", "alive"));
    assert.equal(answers.length, 4);
  });

  test("the Admin UI of a server shows the sockets of nodes, and acts on them", async (t) => {
    const [{ io, url }] = it.servers;
    const timers = t.mock.method(globalThis, "setInterval");
    instrument(io, { auth: false, mode: "development" });
    timers.mock.restore();
    // It would publish statistics after the server has stopped.
    t.after(() => timers.mock.calls.forEach(({ result }) => clearInterval(result)));
    const sockets = await clients(t, it);
    const ids = sockets.map(({ id }) => id);
    const page = client(t, url, TRAVELS["websocket only"], "/admin");
    const all = once(page, "all_sockets");
    const config = once(page, "config");
    await connected(page);
    assert.deepEqual((await config)[0].supportedFeatures.slice(0, 4), ["EMIT", "JOIN", "LEAVE", "DISCONNECT"]);
    const [shown] = await all;
    const clientsShown = shown.filter(({ nsp }) => nsp === "/");
    assert.deepEqual(sorted(clientsShown.map(({ id }) => id)), sorted(ids));
    for (const [index, id] of ids.entries()) {
      const { clientId, transport, data, handshake, rooms } = clientsShown.find((it) => it.id === id);
      assert.ok(rooms.includes(id), JSON.stringify(rooms));
      assert.deepEqual(data, {});
      // Only a server with the Admin UI adds these to the data of its sockets.
      assert.equal(typeof clientId, index === 0 ? "string" : "undefined");
      assert.equal(transport, index === 0 ? "websocket" : undefined);
      const { address, headers, query, issued, secure, time, url: path, xdomain } = handshake;
      assert.equal(typeof address, "string");
      assert.equal(typeof headers, "object");
      assert.equal(typeof query, "object");
      assert.ok(Number.isFinite(issued) && !Number.isNaN(Date.parse(time)), `${issued} ${time}`);
      assert.equal(typeof path, "string");
      assert.deepEqual([secure, typeof xdomain], [false, "boolean"]);
    }

    const ofNode = sockets[2];
    const rooms = async () => (await it.servers[1].io.in(ofNode.id).fetchSockets()).flatMap((socket) => [...socket.rooms]);
    page.emit("join", "/", "by-admin", ofNode.id);
    await until("joined", async () => (await rooms()).includes("by-admin"));
    const inRoom = collect(ofNode, "of-room");
    page.emit("emit", "/", "by-admin", "of-room", 1, { two: [2] });
    assert.deepEqual(await inRoom.next(), [1, { two: [2] }]);
    page.emit("emit", "/", undefined, "news", "to all");
    for (const socket of sockets) assert.deepEqual(await socket.inbox.next(), ["to all"]);
    page.emit("leave", "/", "by-admin", ofNode.id);
    await until("left", async () => !(await rooms()).includes("by-admin"));
    page.emit("join", "/", "everybody");
    const members = async () => (await it.servers[1].io.in("everybody").fetchSockets()).map(({ id }) => id);
    await until("all joined", async () => (await members()).length === 4);
    const ended = once(ofNode, "disconnect");
    page.emit("_disconnect", "/", false, ofNode.id);
    assert.equal((await ended)[0], "io server disconnect");
    const closed = once(sockets[3], "disconnect");
    page.emit("_disconnect", "/", true, sockets[3].id);
    assert.equal((await closed)[0], "io server disconnect");
    await until("the others remain", async () => (await members()).length === 2);
    assert.ok(sockets[0].connected && sockets[1].connected && page.connected);
  });
});

describe("pub/sub adapter with ioredis, and responses to the requesting server alone", WATCHDOG, () => {
  const connections = [];
  const adapter = (publish) => {
    const connect = () => {
      const redis = new IoRedis(publish.options.url);
      redis.on("error", () => {});
      connections.push(redis);
      return redis;
    };
    return createAdapter(connect(), connect(), { publishOnSpecificResponseChannel: true, requestsTimeout: PATIENCE });
  };
  const env = { ROOMWIRE_BUS__NODE_SPECIFIC_RESPONSES: "true", ROOMWIRE_BUS__NODE_HANDSHAKE: "X-Team,accept-language" };
  const it = nodeCluster(adapter, { ...SETTINGS, ...env });
  operations(it);

  test("fetched sockets of nodes have the headers that the configuration lists", async (t) => {
    const extraHeaders = { "x-team": "red", "accept-language": "eo", cookie: "session=secret", authorization: "secret" };
    const sockets = await clients(t, it, "/", { extraHeaders, query: { token: "secret" }, auth: { token: "secret" } });
    const remote = (await it.servers[0].io.fetchSockets()).filter(({ id }) => id === sockets[2].id || id === sockets[3].id);
    assert.equal(remote.length, 2);
    for (const { handshake } of remote) {
      const { headers, address, secure, xdomain, query, url, auth } = handshake;
      assert.deepEqual(headers, { "x-team": "red", "accept-language": "eo" });
      assert.deepEqual([address, secure, xdomain, query, url, auth], [HOST, false, false, {}, "", {}]);
      assert.ok(!JSON.stringify(handshake).includes("secret"));
    }
  });
  after(() => connections.forEach((redis) => redis.disconnect()));
});

describe("pub/sub adapter on a Redis Cluster", WATCHDOG, () => {
  const adapter = (publish, subscribe) => createAdapter(publish, subscribe, { requestsTimeout: PATIENCE });
  collections(nodeCluster(adapter, SETTINGS, {}, () => RedisCluster.start()));
});

describe("events between servers that a backend answers", WATCHDOG, () => {
  const requests = [];
  const backend = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const { type, data } = JSON.parse(body);
    if (type !== "server_event") return response.writeHead(204).end();
    requests.push(data);
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(data.ack ? { ack: [{ heard: data.args }] } : {}));
  });
  const settings = { ...SETTINGS, ROOMWIRE_APP__KIND: "webhook", ROOMWIRE_WEBHOOK__TIMEOUT: "20s" };
  before(async () => {
    await new Promise((resolve) => backend.listen(0, HOST, resolve));
    settings.ROOMWIRE_WEBHOOK__URL = `http://${HOST}:${backend.address().port}/`;
  });
  after(() => backend.close());
  const it = nodeCluster((publish, subscribe) => createAdapter(publish, subscribe, { requestsTimeout: PATIENCE }), settings);

  test("each node sends the event to the backend and returns its answer", async (t) => {
    await clients(t, it);
    const [{ io }, other] = it.servers;
    other.io.on("question", (value, respond) => respond("of a server"));
    const answers = await within("answers", io.serverSideEmitWithAck("question", 1));
    assert.deepEqual(sorted(answers.map((it) => JSON.stringify(it))), ['"of a server"', '{"heard":[1]}', '{"heard":[1]}']);
    io.serverSideEmit("notice", { a: [2] });
    await until("both nodes send it", () => requests.filter(({ event }) => event === "notice").length === 2);
    const notice = requests.find(({ event }) => event === "notice");
    assert.deepEqual(notice, { namespace: "/", event: "notice", args: [{ a: [2] }], ack: false });
  });
});
