// socket.io-client: the server dies and comes back.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { emitWithAck, client, cluster, connected, once, ROUTES, settled, TRAVELS } from "../lib/client.mjs";
import { until } from "../lib/wait.mjs";
import { WATCHDOG } from "../lib/settings.mjs";

const ECHO = { ROOMWIRE_APP__KIND: "echo", ROOMWIRE_ENGINE__PING_INTERVAL: "2s", ROOMWIRE_ENGINE__PING_TIMEOUT: "10s" };

for (const [by, travel] of Object.entries(TRAVELS)) {
  describe(`reconnect: ${by}`, WATCHDOG, () => {
    const alone = cluster(ROUTES.directly, ECHO);
    const two = cluster(ROUTES["through a balancer"], ECHO);

    test("to the same node, killed and restarted", async (t) => {
      const socket = await settled(client(t, alone.url, travel));
      const before = socket.id;
      const ended = once(socket, "disconnect");
      await alone.nodes[0].kill();
      assert.ok(["transport close", "transport error"].includes((await ended)[0]));
      // Sent while away: delivered after the return.
      const ack = emitWithAck(socket, "message-with-ack", "kept");
      await alone.nodes[0].restart();
      assert.equal(await ack, "kept");
      assert.notEqual(socket.id, before);
      await settled(socket);
    });

    test("to the other node, when the owner is killed", async (t) => {
      const socket = await settled(client(t, two.url, travel));
      const session = socket.io.engine.id;
      // A session that began as a websocket lives where its tunnel leads.
      const victim = two.proxy.turns.has(session) ? two.proxy.owner(session) : two.proxy.lastTunnel;
      const before = socket.id;
      const ended = once(socket, "disconnect");
      await victim.kill();
      await ended;
      await until("new session", async () => socket.connected && socket.id !== before);
      assert.equal(await emitWithAck(socket, "message-with-ack", "back"), "back");
      await victim.restart();
      await connected(socket);
    });
  });
}
