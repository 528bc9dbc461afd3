// examples/recovery for Dart, Java and Swift, by the frames that these clients send: what they put into CONNECT, and the
// arguments that their handlers receive.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { cluster } from "../lib/client.mjs";
import { WATCHDOG } from "../lib/settings.mjs";
import { Socket, SOCKET } from "../lib/wire.mjs";

const OPT_IN = { roomwire: { recover: true } };

/** How each client writes its CONNECT. For Dart the client keeps `pid` and `offset`, for the others the example does. */
const CLIENTS = {
  // As the stock client for JavaScript, with its own members first.
  Dart: (pid, offset) => `40${JSON.stringify({ ...(pid && { pid, offset }), ...OPT_IN })}`,
  // The order of a hash map.
  Java: (pid, offset) => `40${JSON.stringify({ ...(pid && { offset }), ...OPT_IN, ...(pid && { pid }) })}`,
  // The namespace is always written.
  Swift: (pid, offset) => `40/,${JSON.stringify({ ...OPT_IN, ...(pid && { pid, offset }) }).replaceAll("/", "\\/")}`,
};

/** The arguments of the next event, which has this name. */
async function event(socket, name) {
  const frame = await socket.next(name);
  assert.ok(frame.startsWith("42["), frame);
  const [found, ...args] = JSON.parse(frame.slice(2));
  assert.equal(found, name);
  return args;
}

/** Connects with this frame; returns the connection, the response, and the arguments of `roomwire:session`. */
async function connect(node, frame) {
  const socket = await Socket.session(node, SOCKET);
  socket.send(frame);
  const response = await socket.next("CONNECT");
  assert.ok(response.startsWith("40{"), response);
  return { socket, response: JSON.parse(response.slice(2)), session: await event(socket, "roomwire:session") };
}

describe("recovery by the frames of other clients", WATCHDOG, () => {
  const two = cluster({ nodes: 2, upgrades: "next" }, { ROOMWIRE_APP__KIND: "relay", ROOMWIRE_RECOVERY__NAMESPACES: "/" });
  let publisher;
  before(async () => {
    publisher = await Socket.session(two.nodes[0], SOCKET);
    publisher.send("40");
    await publisher.next("CONNECT");
  });
  after(() => publisher?.terminate());

  async function publish(room, text) {
    publisher.send(`421${JSON.stringify(["roomwire:emit", room, "message", text])}`);
    assert.equal(await publisher.next("ack"), '431[{"ok":true}]');
  }

  for (const [name, frame] of Object.entries(CLIENTS)) {
    test(`${name}: the session continues on another node, and each event has its position as one more argument`, async () => {
      const room = `news of ${name}`;
      let { socket, response, session } = await connect(two.nodes[0], frame());
      const pid = response.pid;
      assert.match(pid, /^.{20,}$/);
      // Two arguments: a list for Dart. The second may be null, as nothing may have been logged.
      assert.equal(session.length, 2);
      assert.deepEqual([session[0].recovered, session[0].pid, session[0].gap], [false, pid, null]);
      assert.equal(session[0].offset, session[1]);
      socket.send(`420${JSON.stringify(["roomwire:join", room])}`);
      assert.match(await socket.next("ack"), /^430\[.*"ok":true/);
      let last;
      for (const [round, texts] of [["one"], ["two", "three"], []].entries()) {
        for (const text of texts) await publish(room, text);
        if (round > 0) {
          ({ socket, response, session } = await connect(two.nodes[round % 2], frame(pid, last)));
          assert.equal(response.pid, pid);
          assert.deepEqual([session[0].recovered, session[0].gap, session.at(-1)], [true, null, last]);
        }
        for (const text of texts) {
          const args = await event(socket, "message");
          assert.deepEqual(args, [text, args[1]]);
          assert.match(args[1], /^\w{6}-\d{16,}$/);
          assert.notEqual(args[1], last);
          last = args[1];
        }
        socket.terminate();
      }
    });
  }
});
