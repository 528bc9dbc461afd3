// socket.io-client with perMessageDeflate, as in Node and browsers, beside clients without it.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import parser from "socket.io-msgpack-parser";
import WebSocket from "ws";
import { client, cluster, collect, connected, emitWithAck, PAIRS, ROUTES, settled, TRAVELS } from "../lib/client.mjs";
import { WATCHDOG } from "../lib/settings.mjs";
import { until } from "../lib/wait.mjs";

const io2 = createRequire(import.meta.url)("client-2.5");
const RELAY = { ROOMWIRE_APP__KIND: "relay", ROOMWIRE_ENGINE__WEBSOCKET_COMPRESSION: "true" };
const PLAIN = { perMessageDeflate: false };
// It also compresses small messages to the server.
const EAGER = { perMessageDeflate: { threshold: 0 } };
const document = Array.from({ length: 60 }, (_, id) => ({ id, name: `user ${id}`, text: "naïve 🚀", nested: { list: [id, null] } }));
const compression = (socket) => (socket.io.engine.transport.ws?.extensions ?? "").includes("permessage-deflate");

for (const { name, travel, route } of PAIRS) {
  describe(`compression: ${name}`, WATCHDOG, () => {
    const it = cluster(route, RELAY);

    test("large and small events and binary reach members with and without compression", async (t) => {
      const kinds = [{}, EAGER, {}, PLAIN];
      const members = await Promise.all(kinds.map((options) => settled(client(t, it.url, travel, "/", options))));
      const websocket = travel.transports.includes("websocket");
      assert.deepEqual(members.map(compression), kinds.map((kind) => websocket && kind !== PLAIN));
      for (const member of members) assert.equal((await emitWithAck(member, "roomwire:join", "r")).ok, true);
      for (const sender of members) {
        const others = members.filter((member) => member !== sender);
        const inboxes = others.map((member) => collect(member, "news"));
        const args = [document, 1, Buffer.alloc(5000, 7), { small: Buffer.from([1, 2]) }];
        for (const sent of [args, ["small"], [document]]) {
          assert.equal((await emitWithAck(sender, "roomwire:emit", "r", "news", ...sent)).ok, true);
        }
        for (const inbox of inboxes) {
          assert.deepEqual([await inbox.next(), await inbox.next(), await inbox.next()], [args, ["small"], [document]]);
        }
      }
    });
  });
}

describe("compression on one node", WATCHDOG, () => {
  const it = cluster(ROUTES.directly, { ...RELAY, ROOMWIRE_ENGINE__EIO3: "true", ROOMWIRE_SERVER__WORKERS: "1" });
  const metric = async (name) => {
    const text = await (await fetch(`${it.url}/readyz?verbose`)).text();
    return Number(text.match(new RegExp(`${name}\\D*?([0-9]+)`))?.[1]);
  };

  test("an event is compressed once for all members, and acks are compressed", async (t) => {
    const travel = TRAVELS["websocket only"];
    const members = await Promise.all(Array.from({ length: 10 }, () => connected(client(t, it.url, travel))));
    for (const member of members) await emitWithAck(member, "roomwire:join", "once");
    const sender = await connected(client(t, it.url, travel));
    const before = await metric("websocket_compression_bytes_total");
    const inboxes = members.map((member) => collect(member, "news"));
    await emitWithAck(sender, "roomwire:emit", "once", "news", document);
    for (const inbox of inboxes) assert.deepEqual(await inbox.next(), [document]);
    const text = `42${JSON.stringify(["news", document])}`;
    const grown = (await metric("websocket_compression_bytes_total")) - before;
    // Before and after compression, once.
    const bytes = Buffer.byteLength(text);
    assert.ok(grown > bytes && grown < 1.5 * bytes, `${grown} of ${bytes}`);
    members[0].on("question", (ack) => ack(document));
    const { answer } = await emitWithAck(sender, "roomwire:ask", "once", "question");
    assert.deepEqual(answer, [document]);
  });

  test("clients with the msgpack parser and of Socket.IO 2 compress in the same room", async (t) => {
    const travel = TRAVELS["websocket only"];
    const old = io2(it.url, { ...travel, forceNew: true });
    t.after(() => old.io.close());
    const members = [old, client(t, it.url, travel, "/", { parser }), client(t, it.url, travel), client(t, it.url, travel, "/", PLAIN)];
    await Promise.all(members.map(settled));
    assert.deepEqual(members.map(compression), [true, true, true, false]);
    const call = (socket, ...args) => new Promise((resolve) => socket.emit(...args, resolve));
    for (const member of members) assert.equal((await call(member, "roomwire:join", "kinds")).ok, true);
    for (const sender of members) {
      const inboxes = members.filter((member) => member !== sender).map((member) => collect(member, "news"));
      for (const args of [[document, Buffer.alloc(5000, 7)], [document], ["small"]]) {
        assert.equal((await call(sender, "roomwire:emit", "kinds", "news", ...args)).ok, true);
        for (const inbox of inboxes) assert.deepEqual(await inbox.next(), args);
      }
    }
  });

  test("ws clients with any window and context options connect", async (t) => {
    const offers = [
      [{ serverNoContextTakeover: true, clientNoContextTakeover: true }, true],
      [{ clientMaxWindowBits: 10 }, true],
      [{ serverMaxWindowBits: 15 }, true],
      [{ serverMaxWindowBits: 10 }, false],
    ];
    for (const [perMessageDeflate, accepted] of offers) {
      const ws = new WebSocket(`${it.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`, { perMessageDeflate: { threshold: 0, ...perMessageDeflate } });
      t.after(() => ws.terminate());
      const packets = [];
      ws.on("message", (data) => packets.push(String(data)));
      await until("the open packet", () => packets.length > 0);
      assert.equal(ws.extensions.includes("permessage-deflate"), accepted, JSON.stringify(perMessageDeflate));
      ws.send("40");
      await until("the CONNECT response", () => packets.length > 1);
      ws.send(`420["roomwire:leave","${"x".repeat(120)}"]`);
      await until("an ack", () => packets.length > 2);
      assert.match(packets[2], /^430\[\{"ok":true/);
    }
  });
});
