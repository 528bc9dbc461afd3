// The balancers of the compose files find nodes by name while they run: before a node is there, after it came back at
// another address, and without a reload.
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import { ComposedHAProxy, ComposedNginx } from "../lib/balancers.mjs";
import { emitWithAck, client, connected } from "../lib/client.mjs";
import { NameServer } from "../lib/names.mjs";
import { freePort, Node } from "../lib/processes.mjs";
import { WATCHDOG } from "../lib/settings.mjs";
import { until } from "../lib/wait.mjs";

const [FIRST, SECOND, BACKEND, NOBODY] = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"];

for (const [balancer, path] of [
  [ComposedHAProxy, "/socket.io"],
  [ComposedNginx, "/ws/socket.io"],
]) {
  describe(`${balancer.name}: names`, WATCHDOG, () => {
    const it = {};
    const status = async (url) => (await fetch(url, { signal: AbortSignal.timeout(5_000) }).catch(() => ({}))).status;
    const handshake = () => status(`${it.balancer.url}${path}/?EIO=4&transport=polling`);
    // As the health check of its container.
    const health = () => status(it.balancer.health);
    const node = (address, port) =>
      Node.start(
        {
          ROOMWIRE_SERVER__BIND: `${address}:${port}`,
          ROOMWIRE_SERVER__DEMO: "true",
          ROOMWIRE_SERVER__TRUSTED_PROXIES: "127.0.0.1",
          ROOMWIRE_ENGINE__PATH: path,
        },
        `http://${address}:${port}/readyz`,
      );

    before(async () => {
      it.port = await freePort();
      it.names = await NameServer.start();
      it.balancer = await balancer.launch(it.names, it.port);
    });
    after(async () => {
      await it.balancer?.stop();
      for (const one of it.nodes ?? []) await one.stop();
      it.backend?.close();
      it.names?.stop();
    });

    test("starts without a node, and is not healthy", async () => {
      await until("the balancer responds", async () => [502, 503].includes(await handshake()));
      assert.ok([502, 503].includes(await health()));
    });

    test("finds a node that comes, and is healthy", async (t) => {
      it.nodes = [await node(FIRST, it.port)];
      it.backend = await backend(BACKEND, it.port);
      it.names.set("roomwire", FIRST);
      it.names.set("open-webui", BACKEND);
      await until("a handshake", async () => (await handshake()) === 200);
      await until("health", async () => (await health()) === 200);
      const socket = await connected(client(t, it.balancer.url, { transports: ["websocket"], path }));
      assert.equal((await emitWithAck(socket, "roomwire:join", "lobby")).ok, true);
    });

    test("goes on where it comes back at another address", async (t) => {
      it.nodes.push(await node(SECOND, it.port));
      const socket = await connected(client(t, it.balancer.url, { transports: ["websocket"], path }));
      it.names.set("roomwire", SECOND);
      await it.nodes[0].stop();
      await until("a handshake at the other address", async () => (await handshake()) === 200);
      await connected(socket);
      assert.equal((await emitWithAck(socket, "roomwire:join", "lobby")).ok, true);
    });

    test("an address without a listener fails no request", async () => {
      it.names.set("roomwire", NOBODY, SECOND);
      for (let count = 0; count < 20; count += 1) assert.equal(await handshake(), 200);
    });
  });
}

/** Serves `/health` to nginx in place of a backend of Open WebUI. */
function backend(address, port) {
  const server = http.createServer((_, response) => response.end('{"status":true}'));
  return new Promise((resolve) => server.listen(port, address, () => resolve(server)));
}
