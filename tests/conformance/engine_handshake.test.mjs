// Opening an Engine.IO session, and every handshake that must be rejected.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { WATCHDOG } from "../clients/lib/settings.mjs";
import { address, ENGINE, Polling, request, Socket, SOCKET } from "../clients/lib/wire.mjs";
import { CALM, server, SHARP, rejection } from "./servers.mjs";

const SESSION_ID = /^[A-Za-z0-9_-]{20}$/;

describe("handshake", WATCHDOG, () => {
  const sharp = server(SHARP);

  test("a polling handshake returns one open packet with exactly the five keys", async () => {
    const response = await request(address(sharp.node, ENGINE, { transport: "polling" }));
    assert.equal(response.status, 200);
    assert.equal(response.headers["content-type"].toLowerCase(), "text/plain; charset=utf-8");
    assert.equal(response.headers["cache-control"], "no-store");
    assert.equal(response.text[0], "0");
    const { sid, ...rest } = JSON.parse(response.text.slice(1));
    assert.match(sid, SESSION_ID);
    assert.deepEqual(rest, { upgrades: ["websocket"], pingInterval: 300, pingTimeout: 200, maxPayload: 1_000_000 });
  });

  test("websocket sends the open packet as its first frame, with nothing to upgrade to", async () => {
    const socket = await Socket.session(sharp.node);
    const { sid, ...rest } = socket.handshake;
    assert.match(sid, SESSION_ID);
    assert.deepEqual(rest, { upgrades: [], pingInterval: 300, pingTimeout: 200, maxPayload: 1_000_000 });
    socket.terminate();
  });

  test("an empty sid counts as none", async () => {
    const response = await request(address(sharp.node, ENGINE, { transport: "polling", sid: "" }));
    assert.equal(response.status, 200);
    assert.equal(response.text[0], "0");
  });

  test("the cache buster is ignored", async () => {
    const response = await request(address(sharp.node, ENGINE, { transport: "polling", t: "abc.1" }));
    assert.equal(response.status, 200);
  });

  test("no two sessions share an id", async () => {
    const opened = await Promise.all(Array.from({ length: 20 }, () => Polling.open(sharp.node)));
    assert.equal(new Set(opened.map((session) => session.sid)).size, 20);
  });
});

const TRANSPORT_UNKNOWN = { code: 0, message: "Transport unknown" };
const SESSION_UNKNOWN = { code: 1, message: "Session ID unknown" };
const BAD_METHOD = { code: 2, message: "Bad handshake method" };
const BAD_REQUEST = { code: 3, message: "Bad request" };
const BAD_VERSION = { code: 5, message: "Unsupported protocol version" };
const polling = { transport: "polling" };

const REJECTED_REQUESTS = [
  ["no transport", {}, {}, TRANSPORT_UNKNOWN],
  ["an unknown transport", { transport: "abc" }, {}, TRANSPORT_UNKNOWN],
  ["a transport that is not HTTP's", { transport: "webtransport" }, {}, TRANSPORT_UNKNOWN],
  ["no protocol version", { ...polling, EIO: undefined }, {}, BAD_VERSION],
  ["a version that is no number", { ...polling, EIO: "abc" }, {}, BAD_VERSION],
  ["revision 3", { ...polling, EIO: "3" }, {}, BAD_VERSION],
  ["revision 5", { ...polling, EIO: "5" }, {}, BAD_VERSION],
  ["POST", polling, { method: "POST", body: "4x" }, BAD_METHOD],
  ["PUT", polling, { method: "PUT" }, BAD_METHOD],
  ["DELETE", polling, { method: "DELETE" }, BAD_METHOD],
  ["OPTIONS outside CORS", polling, { method: "OPTIONS" }, BAD_METHOD],
  ["websocket without an upgrade", { transport: "websocket" }, {}, BAD_REQUEST],
  ["an unknown sid", { ...polling, sid: "AAAAAAAAAAAAAAAAAAAA" }, {}, SESSION_UNKNOWN],
  ["a sid of the wrong form", { ...polling, sid: "abc" }, {}, SESSION_UNKNOWN],
  ["a POST with an unknown sid", { ...polling, sid: "AAAAAAAAAAAAAAAAAAAA" }, { method: "POST", body: "4x" }, SESSION_UNKNOWN],
];

const REJECTED_SOCKETS = [
  ["no transport", { transport: undefined }, "Transport unknown"],
  ["an unknown transport", { transport: "abc" }, "Transport unknown"],
  ["no protocol version", { EIO: undefined }, "Unsupported protocol version"],
  ["a version that is no number", { EIO: "abc" }, "Unsupported protocol version"],
  ["revision 3", { EIO: "3" }, "Unsupported protocol version"],
  ["an unknown sid", { sid: "AAAAAAAAAAAAAAAAAAAA" }, "Session ID unknown"],
];

for (const path of [ENGINE, SOCKET]) {
  describe(`rejected at ${path}`, WATCHDOG, () => {
    const calm = server(CALM);

    for (const [name, query, options, expected] of REJECTED_REQUESTS) {
      test(`request with ${name}`, async () => {
        const response = await request(address(calm.node, path, query), options);
        assert.equal(response.status, 400);
        assert.match(response.headers["content-type"], /^application\/json/);
        assert.deepEqual(rejection(response), expected);
      });
    }

    test("HEAD", async () => {
      const response = await request(address(calm.node, path, polling), { method: "HEAD" });
      assert.equal(response.status, 400);
    });

    for (const [name, query, message] of REJECTED_SOCKETS) {
      test(`websocket with ${name}, before the upgrade`, async () => {
        const response = await Socket.rejected(calm.node, path, query);
        assert.equal(response.status, 400);
        assert.ok(response.text.includes(message), response.text);
      });
    }

    // The reference sends 101 and closes; a plain rejection is equivalent, and earlier.
    test("an upgrade request for polling", async () => {
      await noSession(calm.node, path, { transport: "polling" });
    });
  });
}

async function noSession(node, path, query) {
  const rejected = await Socket.rejected(node, path, query).catch(() => undefined);
  if (rejected) return assert.equal(rejected.status, 400);
  const socket = await Socket.open(node, path, query);
  const { code } = await socket.end();
  assert.equal(code, 1005);
  assert.deepEqual(socket.frames.unread, []);
}
