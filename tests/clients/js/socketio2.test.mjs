// Stock clients of Socket.IO 2 (engine.eio3), alone and in rooms with newer ones.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import parser from "socket.io-msgpack-parser";
import { client, cluster, collect, connected, once, PAIRS, ROUTES, settled, TRAVELS } from "../lib/client.mjs";
import { freePort, HOST, Node } from "../lib/processes.mjs";
import { WATCHDOG } from "../lib/settings.mjs";
import { until, within } from "../lib/wait.mjs";

const require = createRequire(import.meta.url);
const io = require("client-2.5");
const parser2 = require("msgpack-parser-2");
const OLD = { ROOMWIRE_ENGINE__EIO3: "true", ROOMWIRE_APP__KIND: "relay", ROOMWIRE_SOCKET__NAMESPACES: "/,/admin" };

/** A client of Socket.IO 2 that is not connected yet. */
function old(t, url, travel, namespace = "/", options = {}) {
  const socket = io(url + namespace, { ...travel, forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 250, ...options });
  t.after(() => socket.io.close());
  return socket;
}

const call = (socket, ...args) => within(`ack of ${args[0]}`, new Promise((resolve) => socket.emit(...args, resolve)));

for (const { name, travel, route } of PAIRS) {
  describe(`Socket.IO 2, ${name}`, WATCHDOG, () => {
    const it = cluster(route, OLD);

    test("old and new clients exchange events with binary values, and acks", async (t) => {
      const [before, after] = await Promise.all([settled(old(t, it.url, travel)), settled(client(t, it.url, travel))]);
      const packed = await settled(client(t, it.url, TRAVELS["websocket only"], "/", { parser }));
      const all = [before, after, packed];
      for (const socket of all) assert.equal((await call(socket, "roomwire:join", "r")).ok, true);
      const args = [1, { deep: [Buffer.from([0, 255])] }, Buffer.from([4, 7]), "é🚀", null];
      for (const sender of all) {
        const inboxes = all.filter((it) => it !== sender).map((it) => collect(it, "news"));
        assert.equal((await call(sender, "roomwire:emit", "r", "news", ...args)).ok, true);
        assert.equal((await call(sender, "roomwire:emit", "r", "news", "text")).ok, true);
        for (const inbox of inboxes) {
          assert.deepEqual(await inbox.next(), args);
          assert.deepEqual(await inbox.next(), ["text"]);
        }
      }
      before.on("question", (bytes, answer) => answer(Buffer.concat([bytes, Buffer.from([1])]), "é"));
      const asked = await call(after, "roomwire:ask", "r", "question", Buffer.from([9]));
      assert.deepEqual(asked, { ok: true, answer: [Buffer.from([9, 1]), "é"] });
      after.on("other", (text, answer) => answer(text + "!"));
      assert.deepEqual(await call(before, "roomwire:ask", "r", "other", "€"), { ok: true, answer: ["€!"] });
    });

    test("the id that the client assumes is that of its socket", async (t) => {
      const [one, two] = await Promise.all([settled(old(t, it.url, travel)), settled(client(t, it.url, travel))]);
      assert.match(one.id, /^[A-Za-z0-9_-]{20}$/);
      const inbox = collect(one, "direct");
      assert.equal((await call(two, "roomwire:emit", one.id, "direct", 1)).ok, true);
      assert.deepEqual(await inbox.next(), [1]);
    });

    test("namespaces beside the main one, with a query", async (t) => {
      const main = await settled(old(t, it.url, travel));
      const admin = main.io.socket("/admin", { query: "token=x" });
      await connected(admin);
      assert.equal(admin.id, `/admin#${main.id}`);
      const newer = await settled(client(t, it.url, travel, "/admin"));
      const inbox = collect(admin, "direct");
      assert.equal((await call(newer, "roomwire:emit", admin.id, "direct", Buffer.from([1]))).ok, true);
      assert.deepEqual(await inbox.next(), [Buffer.from([1])]);
      const here = collect(main, "direct");
      await call(newer, "roomwire:emit", admin.id, "direct", 2);
      assert.deepEqual(await inbox.next(), [2]);
      assert.deepEqual(here.unread, []);
      const unknown = main.io.socket("/unknown");
      assert.deepEqual(await once(unknown, "error"), ["Invalid namespace"]);
      admin.disconnect();
      assert.equal((await call(main, "roomwire:join", "still")).ok, true);
    });

    test("a client that lost its connection returns", async (t) => {
      const socket = await settled(old(t, it.url, travel));
      const first = socket.id;
      const lost = once(socket, "disconnect");
      socket.io.engine.close();
      await lost;
      await once(socket, "connect");
      assert.notEqual(socket.id, first);
      assert.equal((await call(socket, "roomwire:join", "r")).ok, true);
    });

    test("events of many sizes keep their order, also while the transport changes", async (t) => {
      const receiver = await settled(old(t, it.url, travel));
      await call(receiver, "roomwire:join", "many");
      const inbox = collect(receiver, "n");
      const sender = await connected(old(t, it.url, travel));
      // Clients of Socket.IO 2 put everything that waits into one POST, however large.
      const sizes = [0, 1, 125, 126, 5_000, 20_000];
      for (let n = 0; n < 60; n += 1) {
        const size = sizes[n % sizes.length];
        sender.emit("roomwire:emit", "many", "n", n, n % 2 ? "ü".repeat(size) : Buffer.alloc(size, n));
      }
      const received = await inbox.take(60);
      assert.deepEqual(received.map(([n]) => n), Array.from({ length: 60 }, (_, n) => n));
      for (const [n, value] of received) assert.equal(value.length, sizes[n % sizes.length]);
    });
  });
}

describe("Socket.IO 2", WATCHDOG, () => {
  const sharp = { ROOMWIRE_ENGINE__PING_INTERVAL: "300ms", ROOMWIRE_ENGINE__PING_TIMEOUT: "400ms" };
  const it = cluster(ROUTES["through a balancer"], { ...OLD, ...sharp });

  for (const [name, travel] of Object.entries(TRAVELS)) {
    test(`a client stays connected by its pings, ${name}`, async (t) => {
      const socket = await settled(old(t, it.url, travel));
      const pongs = collect(socket, "pong");
      await pongs.take(4);
      assert.equal(socket.connected, true);
      assert.equal((await call(socket, "roomwire:join", "r")).ok, true);
    });
  }

  test("the msgpack parser, named in the query", async (t) => {
    const options = { parser: parser2, query: { parser: "msgpack" } };
    const packed = await settled(old(t, it.url, TRAVELS["polling, then upgrade"], "/", options));
    const plain = await settled(old(t, it.url, TRAVELS["polling only"]));
    for (const socket of [packed, plain]) await call(socket, "roomwire:join", "p");
    const args = [{ bytes: Buffer.from([1, 2]) }, "é", 1.5];
    for (const [from, to] of [[packed, plain], [plain, packed]]) {
      const inbox = collect(to, "news");
      assert.equal((await call(from, "roomwire:emit", "p", "news", ...args)).ok, true);
      assert.deepEqual(await inbox.next(), args);
    }
  });

  test("sessions are counted by revision, and the log names one client of a burst", async (t) => {
    const internal = `${HOST}:${await freePort()}`;
    const node = await Node.start({ ...OLD, ROOMWIRE_SERVER__INTERNAL_BIND: internal }, `http://${internal}/readyz`);
    t.after(() => node.stop());
    const sockets = await Promise.all([old, old, client].map((open) => settled(open(t, node.url, TRAVELS["websocket only"]))));
    const counts = async (metric) => {
      const lines = (await (await fetch(`http://${internal}/metrics`)).text()).split("\n");
      const value = (revision) => Number(lines.find((line) => line.startsWith(`roomwire_${metric}{revision="${revision}"} `)).split(" ")[1]);
      return [value(3), value(4)];
    };
    assert.deepEqual(await counts("revision_sessions"), [2, 1]);
    sockets[0].io.close();
    await until("one session less", async () => (await counts("revision_sessions"))[0] === 1);
    assert.deepEqual(await counts("revision_sessions_opened_total"), [2, 1]);
    assert.equal(node.program.output.match(/client of Socket.IO 2 connected \(engine.eio3\)/g)?.length, 1);
    assert.match(node.program.output, /client="?127\.0\.0\.1"?/);
  });
});

describe("Socket.IO 2, with tokens", WATCHDOG, () => {
  const SECRET = "a-secret-of-sufficient-length";
  const it = cluster(ROUTES["through a balancer"], { ...OLD, ROOMWIRE_AUTH__SECRET: SECRET });

  async function token() {
    const { createHmac } = await import("node:crypto");
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const claims = { sub: "ada", exp: Math.floor(Date.now() / 1000) + 600, roomwire: { rooms: ["team"], can: { team: ["emit"] } } };
    const text = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
    return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
  }

  test("the query is what `auth` is for newer clients", async (t) => {
    const travel = TRAVELS["polling, then upgrade"];
    const query = { token: await token() };
    const main = await settled(old(t, it.url, travel, "/", { query }));
    const admin = main.io.socket("/admin", { query: `token=${query.token}` });
    await connected(admin);
    const newer = await settled(client(t, it.url, travel, "/", { auth: query }));
    const inbox = collect(main, "news");
    await call(newer, "roomwire:emit", "team", "news", 1);
    assert.deepEqual(await inbox.next(), [1]);
  });

  test("a client without a token receives the reason as an error", async (t) => {
    const socket = old(t, it.url, TRAVELS["websocket only"]);
    const [reason] = await once(socket, "error");
    assert.equal(reason.code, "token_missing");
    assert.equal(socket.connected, false);
  });
});
