// socket.io-client and recovery: as docs/delivery.md promises, a client continues its session after its node was killed.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { client, cluster, collect, connected, emitWithAck, once, ROUTES, settled, TRAVELS } from "../lib/client.mjs";
import { until } from "../lib/wait.mjs";
import { WATCHDOG } from "../lib/settings.mjs";

const SETTINGS = { ROOMWIRE_APP__KIND: "relay", ROOMWIRE_RECOVERY__NAMESPACES: "/" };
const RECOVER = { auth: { roomwire: { recover: true } } };

for (const [by, travel] of Object.entries(TRAVELS)) {
  describe(`recovery: ${by}`, WATCHDOG, () => {
    const two = cluster(ROUTES["through a balancer"], SETTINGS);

    test("a client receives everything once and in order, though its node is killed again and again", async (t) => {
      const socket = await settled(client(t, two.url, travel, "/", RECOVER));
      const numbers = [];
      socket.on("n", (number, position) => {
        assert.equal(typeof position, "string");
        numbers.push(number);
      });
      await emitWithAck(socket, "roomwire:join", "room");
      let sent = 0;
      for (let round = 0; round < 3; round++) {
        const session = socket.io.engine.id;
        const victim = two.proxy.turns.has(session) ? two.proxy.owner(session) : two.proxy.lastTunnel;
        const survivor = two.nodes.find((node) => node !== victim);
        const publisher = await connected(client(t, survivor.url, travel));
        const emit = async (count) => {
          for (let i = 0; i < count; i++) {
            assert.equal((await emitWithAck(publisher, "roomwire:emit", "room", "n", ++sent)).ok, true);
          }
        };
        await emit(5);
        const states = collect(socket, "roomwire:session");
        const ended = once(socket, "disconnect");
        await victim.kill();
        await emit(20);
        await ended;
        await emit(20);
        const [state] = await states.next("the session");
        assert.deepEqual([state.recovered, state.gap, socket.recovered], [true, null, true]);
        await emit(5);
        await until("all events", async () => numbers.length >= sent);
        assert.deepEqual(numbers, Array.from({ length: sent }, (_, i) => i + 1));
        publisher.disconnect();
        await victim.restart();
      }
    });
  });
}
