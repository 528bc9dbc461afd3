// socket.io-client: nothing lost and nothing reordered, also while the transport changes; large messages.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { emitWithAck, client, cluster, connected, collect, once, PAIRS, settled, TRAVELS } from "../lib/client.mjs";
import { WATCHDOG } from "../lib/settings.mjs";

const ECHO = { ROOMWIRE_APP__KIND: "echo" };
const RELAY = { ROOMWIRE_APP__KIND: "relay" };
const COUNT = 400;
const numbers = Array.from({ length: COUNT }, (_, index) => [index]);

for (const { name, travel, route } of PAIRS) {
  describe(`order and size: ${name}`, WATCHDOG, () => {
    const echo = cluster(route, ECHO);
    const relay = cluster(route, RELAY);

    test("events sent in one go come back in order", async (t) => {
      const socket = client(t, echo.url, travel);
      const back = collect(socket, "message-back");
      await connected(socket);
      for (const [number] of numbers) socket.emit("message", number);
      assert.deepEqual(await back.take(COUNT), numbers);
      await settled(socket);
    });

    test("events sent while the transport settles come back in order, binary among them", async (t) => {
      const socket = client(t, echo.url, travel);
      const back = collect(socket, "message-back");
      await connected(socket);
      for (const [number] of numbers) {
        if (number % 10 === 0) await new Promise(setImmediate);
        socket.emit("message", number, ...(number % 7 === 0 ? [Buffer.from([number % 256])] : []));
      }
      const received = await back.take(COUNT);
      assert.deepEqual(received.map((args) => args.slice(0, 1)), numbers);
      for (const [number, bytes] of received) assert.deepEqual(bytes, number % 7 === 0 ? Buffer.from([number % 256]) : undefined);
      await settled(socket);
    });

    test("during an upgrade a member receives the events of a room once and in order", async (t) => {
      const sender = await settled(client(t, relay.url, TRAVELS["websocket only"]));
      const member = client(t, relay.url, travel);
      const received = collect(member, "tick");
      await connected(member);
      assert.equal((await emitWithAck(member, "roomwire:join", "ticks")).ok, true);
      for (const [number] of numbers) {
        if (number % 20 === 0) await new Promise(setImmediate);
        sender.emit("roomwire:emit", "ticks", "tick", number);
      }
      assert.deepEqual(await received.take(COUNT), numbers);
      await settled(member);
      await emitWithAck(sender, "roomwire:emit", "ticks", "tick", "last");
      assert.deepEqual(await received.next(), ["last"]);
    });

    test("messages just below the limit arrive", async (t) => {
      const socket = await settled(client(t, echo.url, travel));
      const text = "x".repeat(990_000);
      assert.equal(await emitWithAck(socket, "message-with-ack", text), text);
      // Over polling binary grows by a third, and the limit counts what travels.
      const bytes = Buffer.alloc(740_000, 7);
      const ack = await emitWithAck(socket, "message-with-ack", bytes);
      assert.ok(ack.equals(bytes));
    });

    test("a message above the limit ends the connection with a reason that names it", async (t) => {
      const socket = await settled(client(t, echo.url, travel, "/", { reconnection: false }));
      const ended = once(socket, "disconnect");
      socket.emit("message", "x".repeat(1_000_001));
      const [reason, details] = await ended;
      if (travel.transports.includes("websocket")) {
        assert.equal(reason, "transport close");
        assert.equal(details.context.code, 1009);
        assert.match(details.context.reason, /payload|too large|too big/i);
      } else {
        assert.equal(reason, "transport error");
        assert.equal(details.description, 413);
        // The client discards the text that names the limit; tests/conformance reads it.
      }
    });
  });
}
