// A stock socket.io server behind Roomwire, stock clients in front: what is forwarded, and what happens when it is lost.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { emitWithAck, client, connected, collect, once, settled, TRAVELS } from "../lib/client.mjs";
import { Node, Upstream } from "../lib/processes.mjs";
import { until, within } from "../lib/wait.mjs";
import { WATCHDOG } from "../lib/settings.mjs";

/** A node in front of `count` stock servers, for the tests of one suite. */
function inFront(count, env = {}) {
  const it = { upstreams: [] };
  before(async () => {
    while (it.upstreams.length < count) it.upstreams.push(await Upstream.start());
    it.node = await Node.start({
      ROOMWIRE_APP__KIND: "upstream",
      ROOMWIRE_APP__UPSTREAM__URLS: it.upstreams.map((upstream) => upstream.url).join(","),
      ROOMWIRE_SOCKET__NAMESPACES: "/,/admin",
      ROOMWIRE_ENGINE__MAX_PAYLOAD: "4MiB",
      ROOMWIRE_SOCKET__OUTBOX_LIMIT: "8MiB",
      ...env,
    });
    it.url = it.node.url;
  });
  after(async () => {
    await it.node?.stop();
    for (const upstream of it.upstreams) await upstream.stop();
  });
  return it;
}

for (const [by, travel] of Object.entries(TRAVELS)) {
  describe(`upstream: ${by}`, WATCHDOG, () => {
    const it = inFront(1);

    test("acks, binary and namespaces pass both ways", async (t) => {
      for (const namespace of ["/", "/admin"]) {
        const socket = client(t, it.url, travel, namespace, { auth: { token: "good" } });
        const welcome = once(socket, "welcome");
        assert.deepEqual(await welcome, [namespace, { token: "good" }]);
        await settled(socket);
        assert.equal(await emitWithAck(socket, "echo", "text"), "text");
        const bytes = Buffer.from([1, 2, 3, 255]);
        assert.deepEqual(Buffer.from(await emitWithAck(socket, "echo", bytes)), bytes);
        const large = Buffer.alloc(1_000_000, 7);
        assert.deepEqual(Buffer.from((await emitWithAck(socket, "echo", { deep: [large] })).deep[0]), large);
        socket.on("question", (value, ack) => ack({ received: value }));
        assert.deepEqual(await emitWithAck(socket, "ask me", 5), { received: 5 });
        assert.deepEqual(Buffer.from((await emitWithAck(socket, "ask me", bytes)).received), bytes);
      }
    });

    test("the upstream rejects a client with its own message", async (t) => {
      const socket = client(t, it.url, travel, "/", { auth: { token: "bad" } });
      const [error] = await once(socket, "connect_error");
      assert.equal(error.message, "not you");
      assert.deepEqual(error.data, { code: 7 });
      assert.equal(socket.active, false);
    });

    test("order is kept, and a pending ack delays no event", async (t) => {
      const socket = await settled(client(t, it.url, travel));
      const numbers = collect(socket, "number");
      const slow = emitWithAck(socket, "later", 300, "slow");
      assert.equal(await emitWithAck(socket, "echo", "quick"), "quick");
      socket.emit("repeat", 500);
      assert.deepEqual(await numbers.take(500), Array.from({ length: 500 }, (_, number) => [number]));
      assert.equal(await slow, "slow");
    });

    test("the upstream receives the disconnect of a client, and can disconnect a client", async (t) => {
      const stays = await settled(client(t, it.url, travel));
      const leaves = await settled(client(t, it.url, travel, "/", { auth: { name: "leaves" } }));
      const left = new Promise((resolve) => stays.on("left", (reason, name) => name === "leaves" && resolve(reason)));
      leaves.disconnect();
      assert.deepEqual(await within("the reason", left), "client namespace disconnect");
      const ended = once(stays, "disconnect");
      stays.emit("leave me", false);
      assert.equal((await ended)[0], "io server disconnect");
      stays.connect();
      await connected(stays);
      assert.equal(await emitWithAck(stays, "echo", "again"), "again");
    });

    test("the upstream dies and comes back: clients do too", async (t) => {
      const socket = await settled(client(t, it.url, travel));
      const why = once(socket, "roomwire:error");
      const ended = once(socket, "disconnect");
      await it.upstreams[0].kill();
      assert.equal((await why)[0].code, "upstream_lost");
      assert.equal((await ended)[0], "transport close");
      const ack = emitWithAck(socket, "echo", "kept");
      await it.upstreams[0].restart();
      assert.equal(await ack, "kept");
    });
  });
}

describe("upstream: two of them", WATCHDOG, () => {
  const it = inFront(2);

  test("one dies: its clients are served by the other", async (t) => {
    const travel = TRAVELS["websocket only"];
    const sockets = [];
    for (let number = 0; number < 10; number++) sockets.push(await settled(client(t, it.url, travel)));
    await it.upstreams[0].kill();
    for (const socket of sockets) {
      await until("an ack", async () => {
        if (!socket.connected) return false;
        return socket.timeout(3_000).emitWithAck("echo", "here").catch(() => false);
      });
    }
  });
});

describe("upstream: lazy connections", WATCHDOG, () => {
  const it = inFront(1, {
    ROOMWIRE_APP__UPSTREAM__CONNECT: "lazy",
    ROOMWIRE_APP__UPSTREAM__IDLE_TIMEOUT: "200ms",
    ROOMWIRE_APP__UPSTREAM__WHEN_LOST: "disconnect",
  });

  test("a connection opens with the first event, closes when idle, and opens again", async (t) => {
    const socket = await settled(client(t, it.url, TRAVELS["websocket only"]));
    const welcomes = collect(socket, "welcome");
    for (let round = 0; round < 2; round++) {
      assert.equal(await emitWithAck(socket, "echo", round), round);
      await welcomes.next();
      await until("idle", async () => (await fetch(`${it.url}/readyz?verbose`)).text().then((text) => /^upstream_connections 0\b/m.test(text)));
    }
    assert.ok(socket.connected);
  });

  test("lost with a pending ack: the client is disconnected by the server", async (t) => {
    const socket = await settled(client(t, it.url, TRAVELS["websocket only"]));
    await emitWithAck(socket, "echo", 1);
    const ended = once(socket, "disconnect");
    socket.emit("later", 60_000, "never", () => {});
    await emitWithAck(socket, "echo", 2);
    await it.upstreams[0].kill();
    assert.equal((await ended)[0], "io server disconnect");
    await it.upstreams[0].restart();
    socket.connect();
    assert.equal(await emitWithAck(socket, "echo", 3), 3);
  });
});
