// socket.io-client: namespaces, payloads, events, binary and acks, by every travel and route.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { emitWithAck, client, cluster, connected, collect, manager, once, PAIRS, ROUTES, settled } from "../lib/client.mjs";
import { WATCHDOG } from "../lib/settings.mjs";
import { until } from "../lib/wait.mjs";

const ECHO = { ROOMWIRE_APP__KIND: "echo", ROOMWIRE_SOCKET__NAMESPACES: "/,/custom" };

for (const { name, travel, route } of PAIRS) {
  describe(name, WATCHDOG, () => {
    const it = cluster(route, ECHO);
    const open = (t, namespace, options) => client(t, it.url, travel, namespace, options);

    for (const namespace of ["/", "/custom"]) {
      test(`connects to ${namespace} with a payload`, async (t) => {
        const socket = open(t, namespace, { auth: { token: "123", deep: [1, { x: null }] } });
        const auth = collect(socket, "auth");
        await settled(socket);
        assert.match(socket.id, /^[A-Za-z0-9_-]{20}$/);
        assert.deepEqual(await auth.next(), [{ token: "123", deep: [1, { x: null }] }]);
      });
    }

    test("connects without a payload", async (t) => {
      const socket = open(t);
      const auth = collect(socket, "auth");
      assert.deepEqual(await auth.next(), [{}]);
    });

    test("an unknown namespace is a connect error; the others do not notice", async (t) => {
      const shared = manager(t, it.url, travel);
      const main = shared.socket("/");
      const unknown = shared.socket("/random");
      const [error] = await once(unknown, "connect_error");
      assert.equal(error.message, "Invalid namespace");
      await connected(main);
      assert.deepEqual(await emitWithAck(main, "message-with-ack", 1), 1);
    });

    test("two namespaces share one connection and do not mix", async (t) => {
      const shared = manager(t, it.url, travel);
      const main = shared.socket("/");
      const custom = shared.socket("/custom");
      const [from_main, from_custom] = [collect(main, "message-back"), collect(custom, "message-back")];
      await Promise.all([connected(main), connected(custom)]);
      assert.notEqual(main.id, custom.id);
      main.emit("message", "main");
      custom.emit("message", "custom");
      assert.deepEqual(await from_main.next(), ["main"]);
      assert.deepEqual(await from_custom.next(), ["custom"]);
      custom.disconnect();
      assert.equal(await emitWithAck(main, "message-with-ack", "still"), "still");
      assert.deepEqual([from_main.unread, from_custom.unread], [[], []]);
      const before = main.id;
      custom.connect();
      await connected(custom);
      assert.equal(await emitWithAck(custom, "message-with-ack", "again"), "again");
      assert.equal(main.id, before);
    });

    test("values of every kind come back", async (t) => {
      const socket = await settled(open(t));
      const back = collect(socket, "message-back");
      const values = [1, 1.5, -7, "text 世界 🚀", true, null, [], {}, [1, [2]], { a: { b: ["c"] } }];
      socket.emit("message", ...values);
      assert.deepEqual(await back.next(), values);
      socket.emit("message");
      assert.deepEqual(await back.next(), []);
    });

    test("binary both ways, deep inside", async (t) => {
      const socket = await settled(open(t));
      const back = collect(socket, "message-back");
      const bytes = Buffer.from(Array.from({ length: 256 }, (_, value) => value));
      const values = [bytes, { a: [Buffer.from("x"), "text", { b: Buffer.alloc(0) }] }];
      socket.emit("message", ...values);
      assert.deepEqual(await back.next(), values);
    });

    test("acks, plain and binary", async (t) => {
      const socket = await settled(open(t));
      assert.deepEqual(await emitWithAck(socket, "message-with-ack", { a: 1 }), { a: 1 });
      assert.deepEqual(await emitWithAck(socket, "message-with-ack", Buffer.from([1, 2])), Buffer.from([1, 2]));
      const many = Array.from({ length: 50 }, (_, index) => emitWithAck(socket, "message-with-ack", index));
      assert.deepEqual(await Promise.all(many), Array.from({ length: 50 }, (_, index) => index));
    });

    test("a disconnect by the client is one", async (t) => {
      const socket = await settled(open(t));
      const gone = once(socket, "disconnect");
      socket.disconnect();
      assert.deepEqual((await gone)[0], "io client disconnect");
    });

    if (route.nodes > 1 && !travel.transports.every((name) => name === "websocket")) {
      test("the balancer really led astray", () => assert.ok(it.proxy.strayed > 0));
    }
  });
}

describe("WebTransport", WATCHDOG, () => {
  const it = cluster(ROUTES.directly, ECHO);

  test("a client that lists it uses a websocket, the only upgrade that is offered", async (t) => {
    const transports = ["polling", "websocket", "webtransport"];
    const socket = await connected(client(t, it.url, { transports }));
    await until("the upgrade", async () => socket.io.engine.transport.name !== "polling");
    assert.equal(socket.io.engine.transport.name, "websocket");
    assert.equal(await emitWithAck(socket, "message-with-ack", 1), 1);
  });
});
