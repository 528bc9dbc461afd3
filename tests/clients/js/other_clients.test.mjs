// Clients for Java, Swift, Dart and C++ by their frames: what they send, in their order and spelling, and what they need in
// return. Those of C++ are recorded from socket.io-client-cpp (after 3.1.0), the others follow the sources of
// socket.io-client-java 2.1, socket.io-client-swift 16 and socket_io_client 3 for Dart. tests/clients/examples has their
// recovery.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { WebSocket } from "ws";
import { cluster, ROUTES } from "../lib/client.mjs";
import { WATCHDOG } from "../lib/settings.mjs";
import { until } from "../lib/wait.mjs";
import { RECORD_SEPARATOR, request } from "../lib/wire.mjs";

const SETTINGS = {
  ROOMWIRE_APP__KIND: "relay",
  ROOMWIRE_SOCKET__NAMESPACES: "/,/custom",
  ROOMWIRE_ENGINE__PING_INTERVAL: "1s",
  ROOMWIRE_SERVER__INTERNAL_BIND: "127.0.0.1:0",
};
const BYTES = Buffer.from([0, 1, 255]);
const PLACEHOLDER = '{"_placeholder":true,"num":0}';

/**
 * How each client writes its requests and packets. `kind` is what the node counts it as, `disconnect` the packet with
 * which it leaves a namespace.
 */
const CLIENTS = {
  "C++": {
    kind: "cpp",
    websocket: "EIO=4&transport=websocket&t=1795974696",
    headers: { "User-Agent": "WebSocket++/0.8.2" },
    connect: ['40{"token":"abc"}', '40/custom,{"token":"abc"}'],
    disconnect: "41/custom",
    firstAck: 1,
    farewell: (socket) => socket.close(1000, "End by user"),
  },
  Dart: {
    kind: "dart",
    websocket: "EIO=4&transport=websocket",
    headers: { "User-Agent": "Dart/3.9 (dart:io)" },
    connect: ['40{"token":"abc"}', '40/custom,{"token":"abc"}'],
    disconnect: "41/custom,",
    firstAck: 0,
    farewell(socket) {
      socket.send("41");
      socket.close();
    },
  },
  Java: {
    kind: "java",
    // The order of a hash map.
    websocket: "EIO=4&transport=websocket",
    polling: "EIO=4&t=PwE9f0k&transport=polling",
    contentType: "text/plain;charset=UTF-8",
    headers: { "User-Agent": "okhttp/3.12.12", Accept: "*/*" },
    connect: ['40{"token":"abc"}', '40/custom,{"token":"abc"}'],
    disconnect: "41/custom,",
    firstAck: 0,
    // Base64 with a line break at its end.
    base64: (bytes) => `b${bytes.toString("base64")}\n`,
    // It waits until its poll has ended, and sends nothing more by polling.
    pause: undefined,
    farewell(socket) {
      socket.send("41");
      socket.send("1");
      socket.close();
    },
  },
  Swift: {
    kind: "swift",
    websocket: "transport=websocket&EIO=4",
    polling: "transport=polling&b64=1&EIO=4",
    contentType: "text/plain; charset=UTF-8",
    headers: { "User-Agent": "Chat/1 CFNetwork/3860.200.71 Darwin/25.1.0" },
    // The namespace is always written.
    connect: ['40/,{"token":"abc"}', '40/custom,{"token":"abc"}'],
    disconnect: "41/custom,",
    firstAck: 0,
    base64: (bytes) => `b${bytes.toString("base64")}`,
    // A noop ends its last POST before the upgrade.
    pause: "6",
    farewell(socket) {
      socket.send("1");
      socket.close();
    },
  },
};

/** A websocket as one of the clients opens it, which responds to pings as all of them do. */
class Raw {
  static async open(url, query, headers) {
    const raw = new Raw();
    raw.received = [];
    raw.pings = 0;
    raw.ws = new WebSocket(`${url.replace("http", "ws")}/socket.io/?${query}`, { headers, perMessageDeflate: false });
    raw.ws.on("message", (data, isBinary) => {
      if (!isBinary && data.toString() === "2") {
        raw.pings += 1;
        raw.send("3");
      } else raw.received.push(isBinary ? data : data.toString());
    });
    raw.ws.on("close", () => (raw.closed = true));
    await new Promise((resolve, reject) => raw.ws.once("open", resolve).once("error", reject));
    return raw;
  }

  send(data) {
    this.ws.send(data);
  }

  async next() {
    await until("a message", async () => this.received.length > 0);
    return this.received.shift();
  }
}

const isConnected = (packet, prefix) => assert.match(packet, new RegExp(`^${prefix}{"sid":"[\\w-]{20}"`));

/** Open sessions of a kind, over all nodes. */
async function sessions(it, kind) {
  const counts = it.nodes.map(async (node) => {
    const [, internal] = await until("the address in the log", () => node.log.match(/internal.*?(http:\/\/127\.0\.0\.1:\d+)/));
    const { text } = await request(new URL("/metrics", internal));
    return Number(text.match(new RegExp(`roomwire_client_sessions{client="${kind}"} (\\d+)`))[1]);
  });
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
}

/** What every client does after its CONNECT: a room, acks, binary both ways, another namespace. */
async function work(client, socket, room) {
  const id = client.firstAck;
  socket.send(`42${id}["roomwire:join","${room}"]`);
  assert.match(await socket.next(), new RegExp(`^43${id}\\[{.*"ok":true`));
  socket.send(`42/custom,${id + 1}["roomwire:join","${room}"]`);
  assert.match(await socket.next(), new RegExp(`^43/custom,${id + 1}\\[{.*"ok":true`));
  socket.send(`42${id + 2}["roomwire:leave","nowhere"]`);
  assert.equal(await socket.next(), `43${id + 2}[{"ok":true,"room":"nowhere"}]`);
}

describe("clients in other languages", WATCHDOG, () => {
  const it = cluster(ROUTES["through a balancer"], SETTINGS);

  async function member(room) {
    const socket = await Raw.open(it.url, "EIO=4&transport=websocket", { "User-Agent": "member" });
    await socket.next();
    socket.send("40");
    isConnected(await socket.next(), "40");
    socket.send(`420["roomwire:join","${room}"]`);
    assert.match(await socket.next(), /^430\[/);
    return socket;
  }

  for (const [name, client] of Object.entries(CLIENTS)) {
    test(`${name} with a websocket`, async () => {
      const other = await member(name);
      const before = await sessions(it, client.kind);
      const socket = await Raw.open(it.url, client.websocket, client.headers);
      assert.match(await socket.next(), /^0{"sid":"[\w-]{20}","upgrades":\[\],"pingInterval":1000,"pingTimeout":20000,"maxPayload":1000000}$/);
      for (const packet of client.connect) socket.send(packet);
      isConnected(await socket.next(), "40");
      isConnected(await socket.next(), "40/custom,");
      assert.equal(await sessions(it, client.kind), before + 1);
      await work(client, socket, name);
      socket.send(`451-["roomwire:emit","${name}","news",1.5,null,${PLACEHOLDER}]`);
      socket.send(BYTES);
      assert.deepEqual([await other.next(), await other.next()], [`451-["news",1.5,null,${PLACEHOLDER}]`, BYTES]);
      other.send(`451-["roomwire:emit","${name}","back",${PLACEHOLDER}]`);
      other.send(BYTES);
      assert.deepEqual([await socket.next(), await socket.next()], [`451-["back",${PLACEHOLDER}]`, BYTES]);
      other.send(`421["roomwire:ask","${name}","question",41]`);
      const question = await socket.next();
      const [, ack] = question.match(/^42(\d+)\["question",41\]$/);
      socket.send(`43${ack}[42]`);
      assert.equal(await other.next(), '431[{"ok":true,"answer":[42]}]');
      socket.send(client.disconnect);
      await until("two pings", async () => socket.pings >= 2);
      assert.ok(!socket.closed);
      client.farewell(socket.ws);
      await until("the session has ended", async () => (await sessions(it, client.kind)) === before);
      other.ws.close();
    });
  }

  for (const [name, client] of Object.entries(CLIENTS).filter(([, client]) => client.polling)) {
    test(`${name} with polling, then upgrade`, async () => {
      const room = `polling ${name}`;
      const other = await member(room);
      const url = (sid) => new URL(`/socket.io/?${client.polling}${sid ? `&sid=${sid}` : ""}`, it.url);
      const handshake = await request(url(), { headers: client.headers });
      assert.match(handshake.text, /^0{"sid":"[\w-]{20}","upgrades":\["websocket"\]/);
      const { sid } = JSON.parse(handshake.text.slice(1));
      const headers = { ...client.headers, "content-type": client.contentType };
      const post = async (...packets) => {
        const response = await request(url(sid), { method: "POST", body: packets.join(RECORD_SEPARATOR), headers });
        assert.deepEqual([response.status, response.text], [200, "ok"]);
      };
      const waiting = [];
      const poll = async () => {
        while (waiting.length === 0) {
          const { status, text } = await request(url(sid), { headers: client.headers });
          assert.equal(status, 200, text);
          const packets = text.split(RECORD_SEPARATOR);
          waiting.push(...packets.filter((packet) => packet !== "2"));
          if (packets.includes("2")) await post("3");
        }
        return waiting.shift();
      };
      await post(...client.connect);
      isConnected(await poll(), "40");
      isConnected(await poll(), "40/custom,");
      await post(`420["roomwire:join","${room}"]`, `451-["roomwire:emit","${room}","news",${PLACEHOLDER}]`, client.base64(BYTES));
      assert.match(await poll(), /^430\[/);
      assert.deepEqual([await other.next(), await other.next()], [`451-["news",${PLACEHOLDER}]`, BYTES]);
      other.send(`451-["roomwire:emit","${room}","back",${PLACEHOLDER}]`);
      other.send(BYTES);
      assert.deepEqual([await poll(), await poll()], [`451-["back",${PLACEHOLDER}]`, `b${BYTES.toString("base64")}`]);
      // The upgrade ends the pending poll.
      const pending = request(url(sid), { headers: client.headers });
      const socket = await Raw.open(it.url, `${client.websocket}&sid=${sid}`, client.headers);
      socket.send("2probe");
      assert.equal(await socket.next(), "3probe");
      if (client.pause) await post(client.pause);
      assert.match((await pending).text, /^(6|2)$/);
      socket.send("5");
      await work({ firstAck: 1 }, socket, room);
      client.farewell(socket.ws);
      await until("the session has ended", async () => (await request(url(sid), { headers: client.headers })).status === 400);
      other.ws.close();
    });
  }
});
