// Socket.IO on the raw wire: joining and leaving namespaces.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Peer } from "../clients/lib/sockets.mjs";
import { WATCHDOG } from "../clients/lib/settings.mjs";
import { within } from "../clients/lib/wait.mjs";
import { Polling, SOCKET, Socket } from "../clients/lib/wire.mjs";
import { CALM, LIVELY, server, SHARP } from "./servers.mjs";

for (const transport of ["websocket", "polling"]) {
  describe(`connect over ${transport}`, WATCHDOG, () => {
    const calm = server(CALM);

    test("to the main namespace, without a payload", async () => {
      const peer = await Peer.open(calm.node, transport);
      await peer.send("0");
      const response = await peer.next();
      assert.match(response, /^0\{"sid":"[A-Za-z0-9_-]{20}"\}$/);
      assert.equal(await peer.next(), '2["auth",{}]');
      await peer.leave();
    });

    test("to the main namespace, with a payload", async () => {
      const peer = await Peer.open(calm.node, transport);
      const { auth } = await peer.connect("/", '{"token":"123"}');
      assert.deepEqual(auth, ["auth", { token: "123" }]);
      await peer.leave();
    });

    test("to a named namespace, without and with a payload", async () => {
      const first = await Peer.open(calm.node, transport);
      assert.deepEqual((await first.connect("/custom")).auth, ["auth", {}]);
      const second = await Peer.open(calm.node, transport);
      assert.deepEqual((await second.connect("/custom", '{"token":"abc"}')).auth, ["auth", { token: "abc" }]);
      await first.leave();
      await second.leave();
    });

    test("a comma after the name is allowed without a payload", async () => {
      const peer = await Peer.open(calm.node, transport);
      await peer.send("0/custom,");
      assert.match(await peer.next(), /^0\/custom,\{"sid":/);
      await peer.leave();
    });

    test("to an unknown namespace: an error, and the connection stays", async () => {
      const peer = await Peer.open(calm.node, transport);
      await peer.send("0/random");
      assert.equal(await peer.next(), '4/random,{"message":"Invalid namespace"}');
      await peer.connect("/");
      await peer.echoes();
      await peer.leave();
    });

    test("a query makes it another, unknown namespace", async () => {
      const peer = await Peer.open(calm.node, transport);
      await peer.send("0/custom?x=1");
      assert.equal(await peer.next(), '4/custom?x=1,{"message":"Invalid namespace"}');
      await peer.leave();
    });

    test("the socket id differs from the session id and from namespace to namespace", async () => {
      const peer = await Peer.open(calm.node, transport);
      const main = (await peer.connect("/")).response.sid;
      const custom = (await peer.connect("/custom")).response.sid;
      assert.equal(new Set([peer.sid, main, custom]).size, 3);
      await peer.leave();
    });

    test("two namespaces on one connection do not mix", async () => {
      const peer = await Peer.open(calm.node, transport);
      await peer.connect("/");
      await peer.connect("/custom");
      await peer.echoes("/custom");
      await peer.echoes("/");
      await peer.leave();
    });

    test("disconnecting from one namespace leaves the other, and a later connect is a new socket", async () => {
      const peer = await Peer.open(calm.node, transport);
      await peer.connect("/");
      const before = (await peer.connect("/custom")).response.sid;
      await peer.send("1/custom,");
      await peer.echoes("/");
      const after = (await peer.connect("/custom")).response.sid;
      assert.notEqual(after, before);
      await peer.echoes("/custom");
      await peer.leave();
    });

    test("the last namespace left, the connection stays", async () => {
      const peer = await Peer.connected(calm.node, transport);
      await peer.send("1");
      await peer.connect("/");
      await peer.echoes();
      await peer.leave();
    });

    test("a connection that connects to nothing is closed", async () => {
      const peer = await Peer.open(calm.node, transport);
      await peer.gone();
    });

    test("nor does a rejected connect count", async () => {
      const peer = await Peer.open(calm.node, transport);
      await peer.send("0/random");
      await peer.next();
      await peer.gone();
    });
  });
}

describe("heartbeat of a connection", WATCHDOG, () => {
  const sharp = server(SHARP);
  const lively = server(LIVELY);

  test("goes on after the last namespace was left", async () => {
    const socket = await Socket.session(lively.node, SOCKET, { pong: false });
    socket.send("40");
    assert.match(await socket.next(), /^40\{/);
    assert.equal(await socket.next(), '42["auth",{}]');
    socket.send("41");
    assert.equal(await socket.next("ping"), "2");
    socket.send("3");
    assert.equal(await socket.next("second ping"), "2");
    socket.terminate();
  });

  test("a client that never sends a pong is disconnected", async () => {
    const session = await Polling.open(sharp.node, SOCKET);
    await session.post("40");
    await session.gone();
  });
});

describe("server going away", WATCHDOG, () => {
  const calm = server(CALM);

  // After a 41 the client would not reconnect.
  test("closes its connections without a DISCONNECT packet", async () => {
    const peer = await Peer.connected(calm.node, "websocket");
    const waiting = await Peer.connected(calm.node, "polling");
    const pending = await waiting.session.pendingGet();
    calm.node.signal("SIGTERM");
    await within("close by the server", peer.socket.closed, 40_000);
    assert.deepEqual(peer.socket.frames.unread, []);
    const last = await pending.response.catch(() => undefined);
    if (last?.status === 200) assert.ok(!last.text.split("\x1e").some((packet) => packet.startsWith("41")), last.text);
    await within("end of the server", calm.node.program.ended, 40_000);
  });
});
