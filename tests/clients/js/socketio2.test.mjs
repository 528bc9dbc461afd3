// Stock clients of Socket.IO 2 (engine.eio3), alone and in rooms with newer ones.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import parser from "socket.io-msgpack-parser";
import { client, cluster, collect, connected, once, PAIRS, ROUTES, settled, TRAVELS } from "../lib/client.mjs";
import { freePort, HOST, Node, Upstream } from "../lib/processes.mjs";
import { WATCHDOG } from "../lib/settings.mjs";
import { until, within } from "../lib/wait.mjs";
import { ENGINE } from "../lib/wire.mjs";
import { binaryFrame, Polling3 } from "../lib/wire3.mjs";

const require = createRequire(import.meta.url);
const io = require("client-2.5");
const parser2 = require("msgpack-parser-2");
const MSGPACK = { parser: parser2, query: { parser: "msgpack" } };
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
  const lively = { ROOMWIRE_ENGINE__PING_INTERVAL: "300ms", ROOMWIRE_ENGINE__PING_TIMEOUT: "4s" };
  const it = cluster(ROUTES["through a balancer"], { ...OLD, ...lively });

  test("clients with every transport stay connected by their pings", async (t) => {
    const sockets = await Promise.all(Object.values(TRAVELS).map((travel) => settled(old(t, it.url, travel))));
    const ids = sockets.map(({ id }) => id);
    // For longer than a session lasts without them.
    await Promise.all(sockets.map((socket) => collect(socket, "pong").take(16)));
    for (const [index, socket] of sockets.entries()) {
      assert.equal((await call(socket, "roomwire:join", "r")).ok, true);
      assert.equal(socket.id, ids[index]);
    }
  });

  test("the msgpack parser, named in the query", async (t) => {
    const packed = await settled(old(t, it.url, TRAVELS["polling, then upgrade"], "/", MSGPACK));
    const plain = await settled(old(t, it.url, TRAVELS["polling only"]));
    for (const socket of [packed, plain]) await call(socket, "roomwire:join", "p");
    const args = [{ bytes: Buffer.from([1, 2]) }, "é", 1.5];
    for (const [from, to] of [[packed, plain], [plain, packed]]) {
      const inbox = collect(to, "news");
      assert.equal((await call(from, "roomwire:emit", "p", "news", ...args)).ok, true);
      assert.deepEqual(await inbox.next(), args);
    }
  });

  // The parser of Socket.IO 2 sends CONNECT and DISCONNECT as JSON.
  test("namespaces and disconnects with the msgpack parser", async (t) => {
    const main = await settled(old(t, it.url, TRAVELS["websocket only"], "/", MSGPACK));
    const socket = main.io.socket("/admin", { query: "token=a%20b" });
    await connected(socket);
    assert.equal((await call(socket, "roomwire:join", "r")).ok, true);
    socket.close();
    socket.open();
    await connected(socket);
    assert.equal((await call(socket, "roomwire:join", "r")).ok, true);
    socket.close();
    const unknown = main.io.socket("/unknown");
    assert.deepEqual(await once(unknown, "error"), ["Invalid namespace"]);
    assert.equal((await call(main, "roomwire:join", "r")).ok, true);
    const both = old(t, it.url, TRAVELS["polling, then upgrade"], "/admin?token=x&parser=msgpack", { parser: parser2 });
    await settled(both);
    assert.equal((await call(both, "roomwire:join", "r")).ok, true);
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

describe("Socket.IO 2, with compressed websockets", WATCHDOG, () => {
  // One worker encodes an event for all formats.
  const compressing = { ROOMWIRE_ENGINE__WEBSOCKET_COMPRESSION: "true", ROOMWIRE_SERVER__WORKERS: "1" };
  const it = cluster(ROUTES["through a balancer, upgrades strayed"], { ...OLD, ...compressing });

  test("a room of clients with each format receives the same", async (t) => {
    const [websocket, upgrading] = [TRAVELS["websocket only"], TRAVELS["polling, then upgrade"]];
    const plain = { perMessageDeflate: false };
    const members = await Promise.all([
      settled(old(t, it.url, websocket)),
      settled(old(t, it.url, websocket, "/", plain)),
      settled(old(t, it.url, upgrading)),
      settled(old(t, it.url, TRAVELS["polling only"])),
      settled(old(t, it.url, websocket, "/", MSGPACK)),
      // Receives base64.
      settled(old(t, it.url, TRAVELS["polling only"], "/", MSGPACK)),
      settled(old(t, it.url, websocket, "/", { ...MSGPACK, ...plain })),
      settled(client(t, it.url, websocket, "/", { parser, perMessageDeflate: {} })),
      settled(client(t, it.url, TRAVELS["polling only"], "/", { parser })),
      settled(client(t, it.url, websocket, "/", { perMessageDeflate: {} })),
      settled(client(t, it.url, websocket, "/", plain)),
      settled(client(t, it.url, upgrading, "/", { parser })),
    ]);
    for (const member of members) assert.equal((await call(member, "roomwire:join", "all")).ok, true);
    const inboxes = members.map((member) => collect(member, "news"));
    const args = ["é🚀".repeat(2000), { deep: [Buffer.alloc(5000, 7)] }, Buffer.from([1])];
    const sender = await settled(client(t, it.url, websocket));
    assert.equal((await call(sender, "roomwire:emit", "all", "news", args[0])).ok, true);
    assert.equal((await call(sender, "roomwire:emit", "all", "news", ...args)).ok, true);
    for (const inbox of inboxes) {
      assert.deepEqual(await inbox.next(), [args[0]]);
      assert.deepEqual(await inbox.next(), args);
    }
  });
});

describe("Socket.IO 2, in front of a server of Socket.IO 4", WATCHDOG, () => {
  const it = {};
  before(async () => {
    it.upstream = await Upstream.start();
    it.node = await Node.start({ ...OLD, ROOMWIRE_APP__KIND: "upstream", ROOMWIRE_APP__UPSTREAM__URLS: it.upstream.url });
  });
  after(async () => {
    await it.node?.stop();
    await it.upstream?.stop();
  });

  for (const [name, travel] of Object.entries(TRAVELS)) {
    test(`events, acks and binary values pass both ways, ${name}`, async (t) => {
      const main = old(t, it.node.url, travel, "/", { query: { token: "good" } });
      assert.deepEqual(await once(main, "welcome"), ["/", { token: "good" }]);
      await settled(main);
      const admin = main.io.socket("/admin", { query: "token=better" });
      assert.deepEqual(await once(admin, "welcome"), ["/admin", { token: "better" }]);
      for (const socket of [main, admin]) {
        const bytes = Buffer.from([4, 1, 255]);
        assert.deepEqual(await call(socket, "echo", "é", { deep: [bytes] }), "é");
        assert.deepEqual((await call(socket, "echo", { deep: [bytes] })).deep, [bytes]);
        socket.on("question", (value, answer) => answer({ received: value }));
        assert.deepEqual(await call(socket, "ask me", bytes), { received: bytes });
        const inbox = collect(socket, "said");
        socket.emit("say", "said", 1, bytes);
        assert.deepEqual(await inbox.next(), [1, bytes]);
      }
    });
  }

  test("its rejection arrives as an error", async (t) => {
    const socket = old(t, it.node.url, TRAVELS["websocket only"], "/", { query: { token: "bad" } });
    assert.deepEqual(await once(socket, "error"), [{ code: 7 }]);
  });
});

describe("engine.io-client 3", WATCHDOG, () => {
  const eio = require("engine-client-3");
  const it = cluster(ROUTES["through a balancer, upgrades strayed"], { ...OLD, ROOMWIRE_APP__KIND: "echo" });

  for (const [name, { transports }] of Object.entries(TRAVELS)) {
    for (const forceBase64 of [false, true]) {
      test(`${name}${forceBase64 ? ", base64" : ""}: messages are echoed in order and with their kind`, async (t) => {
        const socket = eio(it.url, { path: "/engine.io", transports, forceBase64 });
        t.after(() => socket.close());
        const inbox = collect(socket, "message");
        await once(socket, "open");
        const sent = ["text", Buffer.from([1, 2]), "é🚀", "", Buffer.alloc(0), Buffer.alloc(2000, 4), "x".repeat(5000)];
        for (const message of sent) socket.send(message);
        const received = (await inbox.take(sent.length)).map(([message]) => message ?? "");
        assert.deepEqual(received, sent);
        await until("its last transport", () => socket.transport.name === transports.at(-1));
        for (const message of sent) socket.send(message);
        assert.deepEqual((await inbox.take(sent.length)).map(([message]) => message ?? ""), sent);
      });
    }
  }
});

describe("binary polling bodies", WATCHDOG, () => {
  const it = cluster({ nodes: 2 }, { ...OLD, ROOMWIRE_APP__KIND: "echo" });

  // Stock clients in Node poll with base64; browsers do not.
  test("pass through another node than that of the session", async () => {
    const session = await Polling3.open(it.nodes[0], ENGINE, { b64: undefined });
    session.node = it.nodes[1];
    const body = binaryFrame("4é", Buffer.from([0, 1, 255]));
    assert.equal((await session.postBinary(body)).status, 200);
    const polled = await session.get();
    assert.equal(polled.headers["content-type"], "application/octet-stream");
    assert.deepEqual(polled.bytes, body);
    assert.equal((await session.post("1:2")).status, 200);
    assert.equal((await session.get()).text, "1:3");
    assert.equal((await session.postBinary(Buffer.from([1, 9, 255]))).status, 400);
    session.node = it.nodes[0];
    await session.gone();
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
