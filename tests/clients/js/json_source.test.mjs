// What Frappe and Laravel publish on Redis reaches stock clients on every node, with the configurations of
// examples/redis-json.
import assert from "node:assert/strict";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { createClient } from "redis";
import { client, cluster, collect, connected, emitWithAck, ROUTES, TRAVELS } from "../lib/client.mjs";
import { WATCHDOG } from "../lib/settings.mjs";

const travel = TRAVELS["websocket only"];
const example = (name) => ({ ROOMWIRE_CONFIG: path.join(import.meta.dirname, "../../../examples/redis-json", name) });

/** Two nodes with the configuration of an example, and a client of their Redis. */
function backend(name) {
  let redis;
  after(() => redis.disconnect());
  const it = cluster(ROUTES["through a balancer"], example(name));
  before(async () => {
    redis = await createClient({ url: it.redis.url }).connect();
    it.backend = redis;
  });
  return it;
}

// Handshakes alternate: of two clients, one is on either node.
const both = (t, it, namespace) => Promise.all([0, 1].map(() => connected(client(t, it.url, travel, namespace))));

describe("Frappe", WATCHDOG, () => {
  const it = backend("frappe.toml");
  // As `frappe.realtime.emit_via_redis` with `frappe.as_json`: sorted, indented by one space.
  const publish = (event, message, room, namespace) =>
    it.backend.publish("events", JSON.stringify({ event, message, namespace, room }, null, 1));

  test("a message reaches the room of its site on both nodes, once", async (t) => {
    const sockets = await both(t, it, "/site1.local");
    const [stranger] = await both(t, it, "/site2.local");
    for (const socket of [...sockets, stranger]) await emitWithAck(socket, "roomwire:join", "doctype:Task");
    const inboxes = [...sockets, stranger].map((socket) => collect(socket, "list_update"));
    await publish("list_update", { doctype: "Task", name: "TASK-1", user: "Administrator" }, "doctype:Task", "site1.local");
    await publish("list_update", "elsewhere", "doctype:Note", "site1.local");
    await publish("list_update", "second", "doctype:Task", "site2.local");
    await publish("list_update", null, "doctype:Task", "site1.local");
    for (const inbox of inboxes.slice(0, 2)) {
      assert.deepEqual(await inbox.next(), [{ doctype: "Task", name: "TASK-1", user: "Administrator" }]);
      assert.deepEqual(await inbox.next(), [null]);
    }
    assert.deepEqual(await inboxes[2].next(), ["second"]);
    for (const inbox of inboxes) assert.deepEqual(inbox.unread, []);
  });
});

describe("Laravel", WATCHDOG, () => {
  const it = backend("laravel.toml");
  // As `RedisBroadcaster::broadcast`: one script for all channels, `json_encode` with escaped slashes.
  const SCRIPT = "for i = 2, #ARGV do\n  redis.call('publish', ARGV[i], ARGV[1])\nend";
  function broadcast(channels, event, data, socket = null) {
    const payload = JSON.stringify({ event, data, socket }).replaceAll("/", "\\/");
    return it.backend.eval(SCRIPT, { arguments: [payload, ...channels.map((name) => `laravel-database-${name}`)] });
  }

  test("a broadcast reaches the channels of its members on both nodes, except its sender", async (t) => {
    const sockets = await both(t, it);
    for (const socket of sockets) await emitWithAck(socket, "roomwire:join", "private-orders.1");
    await emitWithAck(sockets[1], "roomwire:join", "news");
    const [one, two] = sockets.map((socket) => collect(socket, "App\\Events\\OrderShipped"));
    const order = { order: { id: 1, url: "http://x/1", total: 12.5 }, socket: sockets[0].id };
    await broadcast(["private-orders.1"], "App\\Events\\OrderShipped", order, sockets[0].id);
    await broadcast(["private-orders.1", "news"], "App\\Events\\OrderShipped", { last: true });
    assert.deepEqual(await one.next(), ["private-orders.1", { last: true }]);
    const expected = [
      ["private-orders.1", order],
      ["private-orders.1", { last: true }],
      ["news", { last: true }],
    ];
    assert.deepEqual(await two.take(3), expected);
    assert.deepEqual([one.unread, two.unread], [[], []]);
  });

  test("nodes subscribe to the channels of rooms with members, and to no pattern", async (t) => {
    const [socket] = await both(t, it);
    await emitWithAck(socket, "roomwire:join", "presence-chat.1");
    const counts = await it.backend.pubSubNumSub(["laravel-database-presence-chat.1", "laravel-database-nobody"]);
    assert.deepEqual({ ...counts }, { "laravel-database-presence-chat.1": 1, "laravel-database-nobody": 0 });
    assert.equal(await it.backend.pubSubNumPat(), 0);
  });
});
