// Engine.IO 3 (docs/protocol.md, 1.9). The first part has the cases of the public suite of that revision, by their names.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { WATCHDOG } from "../clients/lib/settings.mjs";
import { within } from "../clients/lib/wait.mjs";
import { address, ENGINE, Polling, request, Socket } from "../clients/lib/wire.mjs";
import { binaryFrame, frame, Polling3, socket3, unframe } from "../clients/lib/wire3.mjs";
import { CALM, rejection, server, SHARP } from "./servers.mjs";

const OLD = { ROOMWIRE_ENGINE__EIO3: "true" };
const polling = { EIO: "3", transport: "polling" };
const SESSION_ID = /^[A-Za-z0-9_-]{20}$/;
const HANDSHAKE = { pingInterval: 300, pingTimeout: 200, maxPayload: 1_000_000 };
const INTERVAL = 300;
const TIMEOUT = 200;

describe("Engine.IO protocol, revision 3", WATCHDOG, () => {
  const sharp = server({ ...SHARP, ...OLD });
  const calm = server({ ...CALM, ...OLD });

  describe("handshake", () => {
    describe("HTTP long-polling", () => {
      test("successfully opens a session", async () => {
        const response = await request(address(sharp.node, ENGINE, polling));
        assert.equal(response.status, 200);
        assert.equal(response.headers["content-type"].toLowerCase(), "text/plain; charset=utf-8");
        const packets = unframe(response.text);
        assert.equal(packets.length, 1);
        assert.equal(packets[0][0], "0");
        const { sid, ...rest } = JSON.parse(packets[0].slice(1));
        assert.match(sid, SESSION_ID);
        assert.deepEqual(rest, { upgrades: ["websocket"], ...HANDSHAKE });
      });

      test("fails with an invalid 'transport' query parameter", async () => {
        for (const transport of [undefined, "abc"]) {
          const response = await request(address(sharp.node, ENGINE, { EIO: "3", transport }));
          assert.equal(response.status, 400);
          assert.deepEqual(rejection(response), { code: 0, message: "Transport unknown" });
        }
      });

      test("fails with an invalid request method", async () => {
        const response = await request(address(sharp.node, ENGINE, polling), { method: "POST" });
        assert.equal(response.status, 400);
        assert.deepEqual(rejection(response), { code: 2, message: "Bad handshake method" });
      });
    });

    describe("WebSocket", () => {
      test("successfully opens a session", async () => {
        const socket = await socket3(sharp.node);
        const { sid, ...rest } = socket.handshake;
        assert.match(sid, SESSION_ID);
        assert.deepEqual(rest, { upgrades: [], ...HANDSHAKE });
        socket.terminate();
      });

      test("fails with an invalid 'EIO' query parameter", async () => {
        for (const EIO of [undefined, "abc", "2", "5"]) {
          const response = await Socket.rejected(sharp.node, ENGINE, { EIO });
          assert.equal(response.status, 400);
          assert.match(response.text, /^Unsupported protocol version/);
        }
      });

      test("fails with an invalid 'transport' query parameter", async () => {
        for (const transport of [undefined, "abc"]) {
          const response = await Socket.rejected(sharp.node, ENGINE, { EIO: "3", transport });
          assert.equal(response.status, 400);
          assert.match(response.text, /^Transport unknown/);
        }
      });
    });
  });

  describe("message", () => {
    describe("HTTP long-polling", () => {
      const ECHOES = [
        ["sends and receives a payload containing one plain text packet", "6:4hello"],
        ["sends and receives a payload containing several plain text packets", "6:4test16:4test26:4test3"],
        ["sends and receives a payload containing plain text and binary packets (base64 encoded)", "6:4hello10:b4AQIDBA=="],
      ];
      for (const [name, body] of ECHOES) {
        test(name, async () => {
          const session = await Polling3.open(calm.node);
          const posted = await session.post(body);
          assert.equal(posted.status, 200);
          assert.equal(posted.text, "ok");
          const polled = await session.get();
          assert.equal(polled.status, 200);
          assert.equal(polled.text, body);
        });
      }

      test("sends and receives a payload containing plain text and binary packets (binary)", async () => {
        const session = await Polling3.open(calm.node, ENGINE, { b64: undefined });
        const posted = await session.post("6:4hello10:b4AQIDBA==");
        assert.equal(posted.status, 200);
        assert.equal(posted.text, "ok");
        const polled = await session.get();
        assert.equal(polled.status, 200);
        assert.equal(polled.headers["content-type"], "application/octet-stream");
        assert.deepEqual([...polled.bytes], [0, 6, 255, 52, 104, 101, 108, 108, 111, 1, 5, 255, 4, 1, 2, 3, 4]);
      });

      test("closes the session upon invalid packet format", async () => {
        const session = await Polling3.open(calm.node);
        assert.equal((await session.post("abc")).status, 400);
        assert.equal((await session.get()).status, 400);
      });

      test("closes the session upon duplicate poll requests", async () => {
        const session = await Polling3.open(calm.node);
        const { response } = await session.pendingGet();
        assert.equal((await session.get()).status, 400);
        const first = await response;
        assert.equal(first.status, 200);
        assert.equal(first.text, "1:1");
        await session.gone();
      });
    });

    describe("WebSocket", () => {
      test("sends and receives a plain text packet", async () => {
        const socket = await socket3(calm.node);
        socket.send("4hello");
        assert.equal(await socket.next(), "4hello");
        socket.terminate();
      });

      test("sends and receives a binary packet", async () => {
        const socket = await socket3(calm.node);
        socket.send(Buffer.from([4, 1, 2, 3, 4]));
        assert.deepEqual([...(await socket.next())], [4, 1, 2, 3, 4]);
        socket.terminate();
      });

      test("closes the session upon invalid packet format", async () => {
        const socket = await socket3(calm.node);
        socket.send("abc");
        assert.equal((await socket.end()).code, 1005);
      });
    });
  });

  describe("heartbeat", () => {
    describe("HTTP long-polling", () => {
      test("sends ping/pong packets", async () => {
        const session = await Polling3.open(calm.node);
        for (let round = 0; round < 3; round += 1) {
          assert.equal((await session.post("1:2")).status, 200);
          const polled = await session.get();
          assert.equal(polled.status, 200);
          assert.equal(polled.text, "1:3");
        }
      });

      test("closes the session upon ping timeout", async () => {
        const session = await Polling3.open(sharp.node);
        await sleep(INTERVAL + TIMEOUT);
        await session.gone();
      });
    });

    describe("WebSocket", () => {
      test("sends ping/pong packets", async () => {
        const socket = await socket3(calm.node);
        for (let round = 0; round < 3; round += 1) {
          socket.send("2");
          assert.equal(await socket.next(), "3");
        }
        socket.terminate();
      });

      test("closes the session upon ping timeout", async () => {
        const opened = performance.now();
        const socket = await socket3(sharp.node);
        await socket.end();
        const lasted = performance.now() - opened;
        assert.ok(lasted >= INTERVAL + TIMEOUT - 5, `closed after ${lasted} ms`);
        assert.deepEqual(socket.frames.unread, []);
      });
    });
  });

  describe("close", () => {
    describe("HTTP long-polling", () => {
      test("forcefully closes the session", async () => {
        const session = await Polling3.open(calm.node);
        const { response } = await session.pendingGet();
        assert.equal((await session.post("1:1")).status, 200);
        const pulled = await response;
        assert.equal(pulled.status, 200);
        assert.equal(pulled.text, "1:6");
        assert.equal((await session.get()).status, 400);
      });
    });

    describe("WebSocket", () => {
      test("forcefully closes the session", async () => {
        const socket = await socket3(calm.node);
        socket.send("1");
        assert.equal((await socket.end()).code, 1005);
      });
    });
  });

  describe("upgrade", () => {
    async function probed(session, query) {
      const socket = await session.upgrade(query);
      socket.send("2probe");
      assert.equal(await socket.next("probe response"), "3probe");
      return socket;
    }

    test("successfully upgrades from HTTP long-polling to WebSocket", async () => {
      const session = await Polling3.open(calm.node);
      const socket = await probed(session);
      const polled = await session.get();
      assert.equal(polled.status, 200);
      assert.equal(polled.text, "1:6");
      socket.send("5");
      await socket.echoes();
      socket.terminate();
    });

    test("ignores HTTP requests with same sid after upgrade", async () => {
      const session = await Polling3.open(calm.node);
      const socket = await probed(session);
      socket.send("5");
      await socket.echoes();
      assert.equal((await session.get()).status, 400);
      await socket.echoes();
      socket.terminate();
    });

    test("ignores WebSocket connection with same sid after upgrade", async () => {
      const session = await Polling3.open(calm.node);
      const socket = await probed(session);
      socket.send("5");
      await socket.echoes();
      const second = await session.upgrade();
      await second.end();
      await socket.echoes();
      socket.terminate();
    });

    // What follows is not in the public suite.
    test("a GET that waits for the upgrade is completed with a noop", async () => {
      const session = await Polling3.open(calm.node);
      const { response } = await session.pendingGet();
      const socket = await probed(session);
      assert.equal((await within("noop", response)).text, "1:6");
      socket.terminate();
    });

    test("messages on both sides of the switch arrive once, in order and in the form of the websocket", async () => {
      const session = await Polling3.open(calm.node, ENGINE, { b64: undefined });
      const socket = await probed(session);
      await session.post(frame("4a", "b4AQI=", "4b"));
      socket.send("5");
      socket.send(Buffer.from([4, 3]));
      const received = await socket.frames.take(4);
      assert.deepEqual(received, ["4a", Buffer.from([4, 1, 2]), "4b", Buffer.from([4, 3])]);
      socket.terminate();
    });

    test("a websocket with b64=1 receives base64 in text", async () => {
      const session = await Polling3.open(calm.node);
      const socket = await probed(session, { b64: "1" });
      socket.send("5");
      socket.send("b4AQI=");
      assert.equal(await socket.next(), "b4AQI=");
      socket.send(Buffer.from([4, 1, 2]));
      assert.equal(await socket.next(), "b4AQI=");
      socket.terminate();
      const opened = await socket3(calm.node, ENGINE, { b64: "1" });
      opened.send(Buffer.from([4, 1, 2]));
      assert.equal(await opened.next(), "b4AQI=");
      opened.terminate();
    });

    test("a client that received base64 over polling receives binary frames over a websocket without b64", async () => {
      const session = await Polling3.open(calm.node);
      const socket = await probed(session);
      socket.send("5");
      socket.send("b4AQI=");
      assert.deepEqual([...(await socket.next())], [4, 1, 2]);
      socket.terminate();
    });
  });
});

describe("payloads of revision 3", WATCHDOG, () => {
  const calm = server({ ...CALM, ...OLD });

  async function lives(session) {
    assert.equal((await session.post("6:4alive")).status, 200);
    assert.deepEqual(await session.packets(1), ["4alive"]);
  }

  test("lengths count UTF-16 code units, in both directions", async () => {
    const session = await Polling3.open(calm.node);
    const body = frame("4€", "4🚀🚀", "4é\u{10ffff}x");
    assert.equal(body, "2:4€5:4🚀🚀5:4é\u{10ffff}x");
    assert.equal((await session.post(body)).status, 200);
    assert.equal((await session.get()).text, body);
  });

  test("a binary body is accepted, and one without binary messages is sent as text", async () => {
    const session = await Polling3.open(calm.node, ENGINE, { b64: undefined });
    const sent = binaryFrame("4é🚀", Buffer.from([0, 255]), Buffer.alloc(0), "4x".repeat(600));
    assert.equal((await session.postBinary(sent)).status, 200);
    const polled = await session.get({ headers: { "accept-encoding": "identity" } });
    assert.equal(polled.headers["content-type"], "application/octet-stream");
    assert.deepEqual(polled.bytes, sent);
    await lives(session);
  });

  test("large responses are compressed, text and binary", async () => {
    const { gunzipSync } = await import("node:zlib");
    const session = await Polling3.open(calm.node, ENGINE, { b64: undefined });
    for (const body of [binaryFrame("4" + "x".repeat(3000)), binaryFrame(Buffer.alloc(3000, 7))]) {
      await session.postBinary(body);
      const polled = await session.get({ headers: { "accept-encoding": "gzip" } });
      assert.equal(polled.headers["content-encoding"], "gzip");
      const text = body[0] === 0 ? Buffer.from(frame("4" + "x".repeat(3000))) : body;
      assert.deepEqual(gunzipSync(polled.bytes), text);
    }
  });

  test("an empty packet is skipped", async () => {
    const session = await Polling3.open(calm.node);
    assert.equal((await session.post("0:2:4a0:")).status, 200);
    assert.deepEqual(await session.packets(1), ["4a"]);
  });

  test("a poll carries at most 16 packets; the rest follows in order", async () => {
    const session = await Polling3.open(calm.node);
    const sent = Array.from({ length: 40 }, (_, index) => `4${index}`);
    await session.post(frame(...sent));
    const received = [];
    while (received.length < sent.length) {
      const packets = unframe((await session.get()).text);
      assert.ok(packets.length <= 16, `${packets.length} packets`);
      received.push(...packets);
    }
    assert.deepEqual(received, sent);
  });

  test("a POST over engine.max_payload is rejected, and the session continues", async () => {
    const session = await Polling3.open(calm.node);
    assert.equal((await session.post(frame("4" + "x".repeat(1_000_001)))).status, 413);
    await lives(session);
  });

  const MALFORMED = [
    ["an empty body", ""],
    ["no length", ":4a"],
    ["a length that is not a number", "a:4a"],
    ["a length in exponential form", "1e1:4aaaaaaaaa"],
    ["a negative length", "-2:4a"],
    ["a length beyond the body", "5:4a"],
    ["a huge length", "99999999999999999999999:4a"],
    ["a length that ends within a surrogate pair", "2:4🚀"],
    ["a length without a packet", "2:4a2"],
    ["an unknown packet", "1:9"],
    ["base64 of a packet that is no message", "6:b2AQI="],
    ["text that is not base64", "3:b4*"],
    ["a payload of revision 4", "4hello\x1e4x"],
    ["a binary packet of revision 4", "bAQIDBA=="],
    ["text that is not UTF-8", Buffer.from([0x32, 0x3a, 0x34, 0xff])],
    ["a binary body cut off in its length", Buffer.from([1, 3])],
    ["a binary body cut off in its packet", Buffer.from([1, 3, 255, 4, 1])],
    ["a binary packet that is no message", Buffer.from([1, 2, 255, 2, 1])],
    ["a length of too many digits", Buffer.from([0, ...Array(20).fill(9), 255, 0x34])],
    ["a binary body with another kind of packet", Buffer.from([0, 1, 255, 0x34, 2, 1, 255, 0x34])],
  ];
  for (const [name, body] of MALFORMED) {
    test(`${name} ends the session`, async () => {
      const session = await Polling3.open(calm.node);
      const posted = typeof body === "string" ? session.post(body) : session.postBinary(body);
      assert.equal((await posted).status, 400);
      await session.gone();
    });
  }

  test("packets before a malformed one are processed", async () => {
    const session = await Polling3.open(calm.node);
    const { response } = await session.pendingGet();
    assert.equal((await session.post("2:4a9:4b")).status, 400);
    assert.equal((await response).text.slice(0, 4), "2:4a");
  });

  test("binary frames without the type of a message end the session", async () => {
    for (const frame of [Buffer.from([1, 2]), Buffer.from([2]), Buffer.alloc(0), "b2AQI=", "6:4hello"]) {
      const socket = await socket3(calm.node);
      socket.send(frame);
      assert.equal((await socket.end()).code, 1005);
    }
  });

  test("a pong from the client ends the session", async () => {
    const socket = await socket3(calm.node);
    socket.send("3");
    assert.equal((await socket.end()).code, 1005);
    const session = await Polling3.open(calm.node);
    await session.post("1:3");
    await session.gone();
  });

  test("packets of revision 3 end a session of revision 4", async () => {
    const packets = ["0:", "1:3", "2:4a", "3:4ab", "5:4abcd", "6:4hello", "7:4hello!", "10:b4AQIDBA==", "12:42[\"m\",123]"];
    for (const body of packets) {
      const session = await Polling.open(calm.node);
      assert.equal((await session.post(body)).status, 400, body);
      await session.gone();
    }
    for (const text of [...packets, "b4AQI="]) {
      const socket = await Socket.open(calm.node);
      socket.send(text);
      assert.equal((await socket.end()).code, 1005, text);
    }
    const session = await Polling.open(calm.node);
    const posted = await request(address(calm.node, ENGINE, { EIO: "3", transport: "polling", sid: session.sid }), {
      method: "POST",
      body: binaryFrame("4hello"),
      headers: { "content-type": "application/octet-stream" },
    });
    assert.equal(posted.status, 400);
    await session.gone();
  });

  test("JSONP is rejected with a sentence", async () => {
    const response = await request(address(calm.node, ENGINE, { ...polling, j: "0" }));
    assert.equal(response.status, 400);
    const { code, context } = JSON.parse(response.text);
    assert.equal(code, 3);
    assert.match(context, /JSONP is not supported/);
  });

  test("CORS headers are those of revision 4", async () => {
    const host = new URL(calm.node.url).host;
    const origin = `http://${host}`;
    const response = await request(address(calm.node, ENGINE, polling), { headers: { origin } });
    assert.equal(response.headers["access-control-allow-origin"], origin);
    const refused = await request(address(calm.node, ENGINE, polling), { headers: { origin: "http://other.example" } });
    assert.equal(refused.status, 403);
  });
});

describe("revision 3 as shipped", WATCHDOG, () => {
  const calm = server(CALM);

  test("is rejected, over both transports", async () => {
    const response = await request(address(calm.node, ENGINE, polling));
    assert.equal(response.status, 400);
    assert.deepEqual(rejection(response), { code: 5, message: "Unsupported protocol version" });
    const refused = await Socket.rejected(calm.node, ENGINE, { EIO: "3" });
    assert.equal(refused.status, 400);
    assert.match(refused.text, /^Unsupported protocol version/);
  });
});
