// Laravel Echo over two nodes, against a stand-in for Laravel, with what its Redis driver publishes.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { createRequire } from "node:module";
import { io } from "socket.io-client";
import client2 from "client-2.5";
import Echo210 from "echo-2.1";
import Echo from "laravel-echo";
import { cluster, connected, ROUTES, TRAVELS } from "../lib/client.mjs";
import { Laravel } from "../lib/laravel.mjs";
import { Inbox, until } from "../lib/wait.mjs";
import { WATCHDOG } from "../lib/settings.mjs";

const require = createRequire(import.meta.url);
const KEY = "0123456789abcdef0123456789abcdef";

const Echo116 = require("echo-1.16");

/**
 * Releases of Echo, each with a client that its users have. With a client 4.x, those before 2.1.7 subscribe again by the event
 * `reconnect` of the server.
 */
const RELEASES = [
  { name: "laravel-echo 1.16, socket.io-client 2.5", Echo: Echo116.default ?? Echo116, client: client2 },
  { name: "laravel-echo 2.1.0, socket.io-client 4.8", Echo: Echo210, client: io },
  { name: "laravel-echo 2.5, socket.io-client 4.8", Echo, client: io },
];

const folder = mkdtempSync(path.join(tmpdir(), "roomwire-echo-"));
const file = path.join(folder, "roomwire.toml");
after(() => rmSync(folder, { recursive: true }));
const laravel = await Laravel.start();
after(() => laravel.stop());
writeFileSync(
  file,
  `app.kind = "echo_server"
[app.echo_server]
auth_hosts = ["${laravel.url}"]
leave_delay = "300ms"
[[app.echo_server.clients]]
app_id = "shop"
key = "${KEY}"
`,
);

/** An Echo whose user is named by a bearer token. */
function echoOf(t, { Echo, client }, url, travel, user) {
  const echo = new Echo({
    broadcaster: "socket.io",
    client,
    host: url,
    auth: { headers: { Authorization: `Bearer ${user}`, "X-Ignored": "1" } },
    ...travel,
    forceNew: true,
    reconnectionDelay: 50,
    reconnectionDelayMax: 250,
  });
  const manager = echo.connector.socket.io;
  t.after(() => (manager._close ?? manager.close).call(manager));
  return echo;
}

function listen(channel, event) {
  const inbox = new Inbox();
  channel.listen(event, (data) => inbox.push([data]));
  return inbox;
}

for (const release of RELEASES) {
  describe(release.name, WATCHDOG, () => {
    // Before the cluster stops its Redis.
    after(() => laravel.redis.disconnect());
    const it = cluster(ROUTES["through a balancer"], { ROOMWIRE_CONFIG: file, ROOMWIRE_ENGINE__EIO3: "true" });
    before(() => laravel.connect(it.redis));

    /** Waits until every Echo receives the events of its channel. */
    async function subscribed(channel, ...channels) {
      const ready = new Set();
      for (const [index, one] of channels.entries()) one.listen(".ready", () => ready.add(index));
      await until(`subscriptions to ${channel}`, async () => {
        await laravel.broadcast([channel], "ready", {});
        return ready.size === channels.length;
      });
      channels.forEach((one) => one.stopListening(".ready"));
    }

    for (const [by, travel] of Object.entries(TRAVELS)) {
      const open = (t, user) => echoOf(t, release, it.url, travel, user);

      test(`broadcasts reach all subscribers but the sender: ${by}`, async (t) => {
        // Handshakes alternate: each is on a node of its own.
        const [ada, bob] = ["ada", "bobby"].map((user) => open(t, user));
        const channels = [ada, bob].map((echo) => echo.private("orders.1"));
        const inboxes = channels.map((channel) => listen(channel, "Orders.Shipped"));
        const open1 = ada.channel("news");
        const news = listen(open1, ".item.added");
        await subscribed("private-orders.1", ...channels);
        await subscribed("news", open1);
        const order = { id: 7, total: 1.5, items: [{ "é": null }] };
        await laravel.broadcast(["private-orders.1", "news"], "App\\Events\\Orders\\Shipped", { order });
        for (const inbox of inboxes) assert.deepEqual(await inbox.next(), [{ order, socket: null }]);
        const sender = ada.socketId();
        await laravel.broadcast(["private-orders.1"], "App\\Events\\Orders\\Shipped", { n: 2 }, sender);
        await laravel.broadcast(["private-orders.1", "news"], "App\\Events\\Orders\\Shipped", { n: 3 });
        assert.deepEqual(await inboxes[1].take(2), [[{ n: 2, socket: sender }], [{ n: 3, socket: null }]]);
        assert.deepEqual(await inboxes[0].next(), [{ n: 3, socket: null }]);
        await laravel.broadcast(["news"], "item.added", { n: 4 });
        assert.deepEqual(await news.next(), [{ n: 4, socket: null }]);
        const request = laravel.requests.findLast(({ channel }) => channel === "private-orders.1");
        assert.equal(request.headers.authorization.startsWith("Bearer "), true);
        assert.equal(request.headers["x-ignored"], undefined);
        // After it has left, it receives nothing.
        bob.leave("orders.1");
        await until("the channel is left", async () => {
          const channel = await read("channels/private-orders.1");
          return channel.subscription_count === 1;
        });
      });

      test(`members whisper, and see each other by user: ${by}`, async (t) => {
        const [ada, bob] = ["ada", "bobby"].map((user) => open(t, user));
        const seen = { here: new Inbox(), joining: new Inbox(), leaving: new Inbox(), typing: new Inbox() };
        const room = ada.join("room.1");
        for (const kind of ["here", "joining", "leaving"]) room[kind]((user) => seen[kind].push([user]));
        room.listenForWhisper("typing", (data) => seen.typing.push([data]));
        const users = { ada: { id: 3, name: "ada" }, bob: { id: 5, name: "bobby" } };
        assert.deepEqual((await seen.here.next())[0], [users.ada]);
        const here = new Inbox();
        const other = bob.join("room.1");
        other.here((list) => here.push([list]));
        assert.deepEqual((await here.next())[0], [users.ada, users.bob]);
        assert.deepEqual(await seen.joining.next(), [users.bob]);
        other.whisper("typing", { text: "é", n: 1.5 });
        assert.deepEqual(await seen.typing.next(), [{ text: "é", n: 1.5 }]);
        const list = await read("channels/presence-room.1/users");
        assert.deepEqual(list, { users: [users.ada, users.bob].map((user) => ({ id: user.id, user_info: user })) });
        bob.disconnect();
        assert.deepEqual(await seen.leaving.next(), [users.bob]);
        assert.equal((await read("channels/presence-room.1")).user_count, 1);
        ada.leave("room.1");
        await until("the room is empty", async () => (await read("channels/presence-room.1")).user_count === 0);
      });

      test(`channels are subscribed again after a lost connection: ${by}`, async (t) => {
        const echo = open(t, "ada");
        const channel = echo.private("orders.2");
        const inbox = listen(channel, ".shipped");
        await subscribed("private-orders.2", channel);
        const before = echo.socketId();
        echo.connector.socket.io.engine.close();
        await until("another connection", () => echo.socketId() && echo.socketId() !== before);
        await subscribed("private-orders.2", channel);
        await laravel.broadcast(["private-orders.2"], "shipped", { n: 1 });
        assert.deepEqual(await inbox.next(), [{ n: 1, socket: null }]);
      });
    }

    test("a rejected subscription has the status of the backend", async (t) => {
      const echo = echoOf(t, release, it.url, {}, "ada");
      const errors = new Inbox();
      echo.connector.socket.on("subscription_error", (...args) => errors.push(args));
      echo.private("closed");
      assert.deepEqual(await errors.next(), ["private-closed", 403]);
    });

    test("events of the HTTP routes reach subscribers of all nodes", async (t) => {
      const [ada, bob] = ["ada", "bobby"].map((user) => echoOf(t, release, it.url, {}, user));
      const channels = [ada, bob].map((echo) => echo.private("orders.3"));
      const inboxes = channels.map((channel) => listen(channel, ".shipped"));
      await subscribed("private-orders.3", ...channels);
      // As the driver `pusher` of Laravel does, which signs requests besides.
      const body = { name: "shipped", channels: ["private-orders.3"], data: JSON.stringify({ n: 1.5 }), socket_id: ada.socketId() };
      const query = `auth_key=${KEY}&auth_timestamp=1&auth_version=1.0&body_md5=x&auth_signature=y`;
      const sent = await fetch(`${it.nodes[0].url}/apps/shop/events?${query}`, { method: "POST", body: JSON.stringify(body) });
      assert.deepEqual([sent.status, await sent.json()], [200, { message: "ok" }]);
      assert.deepEqual(await inboxes[1].next(), [{ n: 1.5 }]);
      const rejected = await fetch(`${it.nodes[0].url}/apps/shop/status?auth_key=x`);
      assert.deepEqual([rejected.status, await rejected.json()], [403, { error: "Unauthorized" }]);
      const status = await read("status");
      assert.ok(status.subscription_count >= 2 && status.uptime > 0 && status.memory_usage.rss > 1e6, JSON.stringify(status));
      const { channels: listed } = await read("channels?filter_by_prefix=private-orders.3");
      assert.deepEqual(listed, { "private-orders.3": { subscription_count: 2, occupied: true } });
      await connected(ada.connector.socket);
    });

    /** An answer of the HTTP routes. */
    async function read(route) {
      const response = await fetch(`${it.nodes[1].url}/apps/shop/${route}`, { headers: { authorization: `Bearer ${KEY}` } });
      assert.equal(response.status, 200);
      return response.json();
    }
  });
}
