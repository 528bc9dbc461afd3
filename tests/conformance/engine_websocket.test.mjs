// A websocket session: messages, bad frames, and the heartbeat of both transports.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { WATCHDOG } from "../clients/lib/settings.mjs";
import { within } from "../clients/lib/wait.mjs";
import { ENGINE, Polling, Socket } from "../clients/lib/wire.mjs";
import { CALM, LIVELY, server, SHARP, rejection } from "./servers.mjs";

describe("websocket", WATCHDOG, () => {
  const calm = server(CALM);

  test("text comes back as text", async () => {
    const socket = await Socket.session(calm.node);
    socket.send("4Grüße, 世界 🚀");
    assert.equal(await socket.next(), "4Grüße, 世界 🚀");
    socket.terminate();
  });

  test("a binary frame is a message, without a type byte, both ways", async () => {
    const socket = await Socket.session(calm.node);
    const sent = Buffer.from([4, 0, 255, 50]);
    socket.send(sent);
    assert.deepEqual(await socket.next(), sent);
    socket.terminate();
  });

  test("an empty binary message survives", async () => {
    const socket = await Socket.session(calm.node);
    socket.send(Buffer.alloc(0));
    assert.deepEqual(await socket.next(), Buffer.alloc(0));
    socket.terminate();
  });

  test("messages keep their order", async () => {
    const socket = await Socket.session(calm.node);
    const sent = Array.from({ length: 500 }, (_, index) => `4${index}`);
    sent.forEach((frame) => socket.send(frame));
    assert.deepEqual(await socket.frames.take(sent.length), sent);
    socket.terminate();
  });

  test("a message in fragments is one message", async () => {
    const socket = await Socket.session(calm.node);
    socket.raw.send("4hel", { fin: false });
    socket.raw.send("lo ", { fin: false });
    socket.raw.send("there", { fin: true });
    assert.equal(await socket.next(), "4hello there");
    socket.terminate();
  });

  test("a message of maxPayload is accepted", async () => {
    const socket = await Socket.session(calm.node);
    const frame = `4${"x".repeat(999_999)}`;
    socket.send(frame);
    assert.equal(await socket.next(), frame);
    socket.terminate();
  });

  for (const [name, size, fragments] of [["a message", 1_000_001, 1], ["fragments that add up to one", 400_000, 3]]) {
    test(`${name} over maxPayload: closed as too big, by name`, async () => {
      const socket = await Socket.session(calm.node);
      for (let index = 1; index <= fragments; index += 1) socket.raw.send("4".repeat(size), { fin: index === fragments });
      const { code, reason } = await socket.end();
      assert.equal(code, 1009);
      assert.match(reason, /payload|too large|too big/i);
    });
  }

  for (const [name, frame] of [["an empty frame", ""], ["an unknown type", "abc"], ["an unknown digit", "9"], ["a ping outside a probe", "2"], ["close", "1"]]) {
    test(`${name} ends the session`, async () => {
      const socket = await Socket.session(calm.node);
      socket.send(frame);
      assert.equal((await socket.end()).code, 1005);
    });
  }

  test("an unsolicited pong is ignored", async () => {
    const socket = await Socket.session(calm.node);
    socket.send("3");
    await socket.echoes();
    socket.terminate();
  });

  test("polling a websocket session is a bad request and does no harm", async () => {
    const socket = await Socket.session(calm.node);
    const stranger = Object.assign(new Polling(), { node: calm.node, path: ENGINE, sid: socket.sid });
    for (const response of [await stranger.get(), await stranger.post("4x")]) {
      assert.equal(response.status, 400);
      assert.deepEqual(rejection(response), { code: 3, message: "Bad request" });
    }
    await socket.echoes();
    socket.terminate();
  });

  test("a second websocket for the session is closed; the first goes on", async () => {
    const first = await Socket.session(calm.node);
    await closedOrRejected(calm.node, first.sid);
    await first.echoes();
    first.terminate();
  });
});

async function closedOrRejected(node, sid) {
  const rejected = await Socket.rejected(node, ENGINE, { sid }).catch(() => undefined);
  if (rejected) return assert.equal(rejected.status, 400);
  const second = await Socket.open(node, ENGINE, { sid });
  assert.equal((await second.end()).code, 1005);
}

describe("heartbeat", WATCHDOG, () => {
  const sharp = server(SHARP);
  const lively = server(LIVELY);

  test("websocket: pings continue while pongs arrive", async () => {
    const socket = await Socket.session(lively.node, ENGINE, { pong: false });
    // For longer than the session would last without pongs.
    for (let beat = 0; beat < 12; beat += 1) {
      assert.equal(await socket.next("ping"), "2");
      socket.send("3");
    }
    await socket.echoes();
    socket.terminate();
  });

  test("websocket: silence ends the session at interval + timeout", async () => {
    // Before the session opens: this process may stall while the node counts.
    const start = performance.now();
    const socket = await Socket.session(sharp.node, ENGINE, { pong: false });
    const { code } = await socket.end();
    const waited = performance.now() - start;
    assert.equal(code, 1005);
    assert.ok(waited > 400, `closed after ${waited} ms already`);
  });

  test("websocket: a message is no pong", async () => {
    const socket = await Socket.session(sharp.node, ENGINE, { pong: false });
    const chatter = setInterval(() => socket.send("4noise"), 50);
    try {
      assert.equal((await socket.end()).code, 1005);
    } finally {
      clearInterval(chatter);
    }
  });

  test("polling: the ping comes as a lone packet", async () => {
    const session = await Polling.open(lively.node);
    for (let beat = 0; beat < 3; beat += 1) {
      const response = await session.get();
      assert.equal(response.status, 200);
      assert.equal(response.text, "2");
      assert.equal((await session.post("3")).status, 200);
    }
  });

  test("polling: the session is gone after interval + timeout", async () => {
    const session = await Polling.open(sharp.node);
    await sleep(500);
    const response = await session.get();
    // A server on a busy machine may just have sent the ping, late.
    if (response.status === 200) assert.equal(response.text, "2");
    else assert.deepEqual([response.status, JSON.parse(response.text)], [400, { code: 1, message: "Session ID unknown" }]);
    await session.gone();
  });

  test("polling: a ping from the client ends the session", async () => {
    const session = await Polling.open(sharp.node);
    await session.post("2");
    await session.gone();
  });

  test("polling: a pending GET is completed when the session ends by ping timeout", async () => {
    const session = await Polling.open(lively.node);
    assert.equal((await session.get()).text, "2");
    const pending = session.get();
    const response = await within("end of the pending GET", pending);
    assert.ok(response.status === 200 || response.status === 400, `status ${response.status}`);
    await session.gone();
  });
});
