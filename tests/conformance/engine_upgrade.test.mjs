// Polling to websocket: the probe, what is queued meanwhile, and everything that may go wrong.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { WATCHDOG } from "../clients/lib/settings.mjs";
import { within } from "../clients/lib/wait.mjs";
import { Polling, RECORD_SEPARATOR } from "../clients/lib/wire.mjs";
import { CALM, server, rejection } from "./servers.mjs";

describe("upgrade", WATCHDOG, () => {
  const calm = server(CALM);

  async function probed(session) {
    const socket = await session.upgrade();
    socket.send("2probe");
    assert.equal(await socket.next("probe response"), "3probe");
    return socket;
  }

  async function lives(session) {
    assert.equal((await session.post("4still here")).status, 200);
    assert.deepEqual(await session.packets(1), ["4still here"]);
  }

  test("probe, upgrade, and messages over the websocket", async () => {
    const session = await Polling.open(calm.node);
    const socket = await probed(session);
    socket.send("5");
    await socket.echoes();
    socket.terminate();
  });

  test("a pending GET is released with a noop after the probe", async () => {
    const session = await Polling.open(calm.node);
    const pending = await session.pendingGet();
    const socket = await probed(session);
    const response = await within("noop", pending.response);
    assert.equal(response.status, 200);
    assert.equal(response.text, "6");
    socket.send("5");
    await socket.echoes();
    socket.terminate();
  });

  test("what was queued for polling is flushed over the websocket, in order", async () => {
    const session = await Polling.open(calm.node);
    const socket = await probed(session);
    const sent = Array.from({ length: 30 }, (_, index) => `4${index}`);
    for (let start = 0; start < sent.length; start += 15) await session.post(sent.slice(start, start + 15).join(RECORD_SEPARATOR));
    socket.send("5");
    assert.deepEqual(await socket.frames.take(sent.length), sent);
    socket.terminate();
  });

  test("messages on both sides of the switch arrive once and in order", async () => {
    const session = await Polling.open(calm.node);
    await session.post(["4a", "bAQI=", "4b"].join(RECORD_SEPARATOR));
    const socket = await probed(session);
    await session.post("4c");
    socket.send("5");
    socket.send("4d");
    assert.deepEqual(await socket.frames.take(5), ["4a", Buffer.from([1, 2]), "4b", "4c", "4d"]);
    await socket.echoes();
    socket.terminate();
  });

  test("an upgrade without a probe succeeds", async () => {
    const session = await Polling.open(calm.node);
    const socket = await session.upgrade();
    socket.send("5");
    await socket.echoes();
    socket.terminate();
  });

  for (const frame of ["4hello", "3", "1", "2", "abc", ""]) {
    test(`${JSON.stringify(frame)} on the probing websocket closes only that`, async () => {
      const session = await Polling.open(calm.node);
      const socket = await session.upgrade();
      socket.send(frame);
      assert.equal((await socket.end()).code, 1005);
      await lives(session);
    });
  }

  test("a probe whose websocket is lost leaves the session to polling", async () => {
    const session = await Polling.open(calm.node);
    const socket = await probed(session);
    socket.terminate();
    await socket.end();
    await lives(session);
    const again = await probed(session);
    again.send("5");
    await again.echoes();
    again.terminate();
  });

  test("a second websocket while upgrading is closed; the first completes", async () => {
    const session = await Polling.open(calm.node);
    const first = await probed(session);
    await unwelcome(session);
    first.send("5");
    await first.echoes();
    first.terminate();
  });

  test("a second websocket after the upgrade is closed; the first goes on", async () => {
    const session = await Polling.open(calm.node);
    const first = await probed(session);
    first.send("5");
    await first.echoes();
    await unwelcome(session);
    await first.echoes();
    first.terminate();
  });

  test("polling after the upgrade is a bad request and does no harm", async () => {
    const session = await Polling.open(calm.node);
    const socket = await probed(session);
    socket.send("5");
    await socket.echoes();
    for (const response of [await session.get(), await session.post("4x")]) {
      assert.equal(response.status, 400);
      assert.deepEqual(rejection(response), { code: 3, message: "Bad request" });
    }
    await socket.echoes();
    socket.terminate();
  });

  test("a lost websocket after the upgrade ends the session", async () => {
    const session = await Polling.open(calm.node);
    const socket = await probed(session);
    socket.send("5");
    await socket.echoes();
    socket.terminate();
    await socket.end();
    await session.gone().catch(() => assert.fail("the session is still known"));
  });
});

describe("upgrade timeout", WATCHDOG, () => {
  const hasty = server({ ...CALM, ROOMWIRE_ENGINE__UPGRADE_TIMEOUT: "1s" });

  for (const [name, frames] of [["never probes", []], ["stops after the probe", ["2probe"]]]) {
    test(`a websocket that ${name} is closed in time; the session lives`, async () => {
      const session = await Polling.open(hasty.node);
      const start = performance.now();
      const socket = await session.upgrade();
      frames.forEach((frame) => socket.send(frame));
      assert.equal((await socket.end()).code, 1005);
      const waited = performance.now() - start;
      assert.ok(waited > 800, `closed after ${waited} ms`);
      await session.post("4still here");
      assert.deepEqual(await session.packets(1), ["4still here"]);
    });
  }
});

/** One more websocket for a session that has one: rejected, or accepted and closed at once. */
async function unwelcome(session) {
  const socket = await session.upgrade().catch((error) => {
    assert.match(String(error), /Unexpected server response: 400/);
  });
  if (socket) assert.equal((await socket.end()).code, 1005);
}
