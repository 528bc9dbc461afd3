// socket.io-client with socket.io-msgpack-parser, beside clients with the default parser.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import parser from "socket.io-msgpack-parser";
import { client, cluster, collect, connected, emitWithAck, once, PAIRS, ROUTES, settled, TRAVELS } from "../lib/client.mjs";
import { WATCHDOG } from "../lib/settings.mjs";

const RELAY = { ROOMWIRE_APP__KIND: "relay", ROOMWIRE_SOCKET__NAMESPACES: "/,/custom", ROOMWIRE_RECOVERY__NAMESPACES: "/" };
const MSGPACK = { parser };
// Every kind of value that JSON has, in each size of its encoding in msgpack.
const VALUES = [
  null, true, false, 0, 127, 128, 65535, 65536, 2 ** 40, -1, -33, -129, -(2 ** 31), 1.5, -0.25,
  "", "é🚀", "x".repeat(40), "x".repeat(300), "x".repeat(70_000),
  [], [[1], [2, []]], Array.from({ length: 20 }, (_, i) => i), Array.from({ length: 70_000 }, () => 1),
  {}, { a: { b: [1, { c: null }] } }, Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`k${i}`, i])),
];

for (const { name, travel, route } of PAIRS) {
  describe(`msgpack: ${name}`, WATCHDOG, () => {
    const it = cluster(route, RELAY);
    const open = (t, options, namespace) => settled(client(t, it.url, travel, namespace, options));

    test("values and binary reach members with either parser, from senders with either", async (t) => {
      const members = await Promise.all([MSGPACK, MSGPACK, {}, {}].map((options) => open(t, options)));
      for (const member of members) assert.equal((await emitWithAck(member, "roomwire:join", "r")).ok, true);
      const inboxes = members.map((member) => collect(member, "news"));
      for (const options of [MSGPACK, {}]) {
        const sender = await open(t, options);
        const args = [...VALUES, Buffer.from([0, 1, 255]), { deep: [Buffer.alloc(300, 7), Buffer.alloc(0)] }];
        assert.equal((await emitWithAck(sender, "roomwire:emit", "r", "news", ...args)).ok, true);
        for (const inbox of inboxes) assert.deepEqual(await inbox.next(), args);
      }
    });

    test("namespaces, rejected CONNECTs and disconnects work as with the default parser", async (t) => {
      const custom = await open(t, MSGPACK, "/custom");
      assert.equal((await emitWithAck(custom, "roomwire:join", "r")).ok, true);
      const unknown = client(t, it.url, travel, "/unknown", MSGPACK);
      const [error] = await once(unknown, "connect_error");
      assert.equal(error.message, "Invalid namespace");
      custom.disconnect();
      custom.connect();
      await connected(custom);
    });
  });
}

describe("msgpack on one node", WATCHDOG, () => {
  const it = cluster(ROUTES.directly, RELAY);
  const travel = TRAVELS["websocket only"];

  test("dates arrive as JSON.stringify writes them, undefined as in JSON, typed arrays as binary", async (t) => {
    const sender = await connected(client(t, it.url, travel, "/", MSGPACK));
    const member = await connected(client(t, it.url, travel));
    await emitWithAck(member, "roomwire:join", "r");
    const inbox = collect(member, "news");
    const date = new Date("2020-02-29T12:34:56.789Z");
    const args = [date, undefined, { a: undefined, b: 1 }, new Uint8Array([1, 2]).buffer, NaN];
    await emitWithAck(sender, "roomwire:emit", "r", "news", ...args);
    assert.deepEqual(await inbox.next(), [date.toJSON(), null, { b: 1 }, Buffer.from([1, 2]), null]);
  });

  test("an ack is requested from a client, which responds", async (t) => {
    const [asking, asked] = [{}, MSGPACK].map((options) => client(t, it.url, travel, "/", options));
    await Promise.all([connected(asking), connected(asked)]);
    await emitWithAck(asked, "roomwire:join", "r");
    asked.on("question", (number, ack) => ack({ answer: number, raw: Buffer.from([9]) }));
    const response = await emitWithAck(asking, "roomwire:ask", "r", "question", 42);
    assert.deepEqual(response, { ok: true, answer: [{ answer: 42, raw: Buffer.from([9]) }] });
  });

  test("a client is recovered, with its positions", async (t) => {
    const options = { ...MSGPACK, auth: { roomwire: { recover: true } } };
    const socket = await connected(client(t, it.url, travel, "/", options));
    const sender = await connected(client(t, it.url, travel));
    await emitWithAck(socket, "roomwire:join", "r");
    const inbox = collect(socket, "news");
    await emitWithAck(sender, "roomwire:emit", "r", "news", 1);
    const [first, position] = await inbox.next();
    assert.deepEqual([first, typeof position], [1, "string"]);
    const ended = once(socket, "disconnect");
    socket.io.engine.close();
    await ended;
    await emitWithAck(sender, "roomwire:emit", "r", "news", { two: Buffer.from([2]) });
    await connected(socket);
    assert.equal(socket.recovered, true);
    assert.deepEqual((await inbox.next())[0], { two: Buffer.from([2]) });
  });
});

describe("msgpack switched off", WATCHDOG, () => {
  const it = cluster(ROUTES.directly, { ...RELAY, ROOMWIRE_ENGINE__MSGPACK: "false" });

  test("its clients are disconnected", async (t) => {
    const socket = client(t, it.url, TRAVELS["websocket only"], "/", { ...MSGPACK, reconnection: false });
    await once(socket.io, "close");
    assert.equal(socket.connected, false);
  });
});
