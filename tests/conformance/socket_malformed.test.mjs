// What malformed or unexpected Socket.IO packets do: end the connection, or nothing at all.
// Every row runs on both transports, against a server with a heartbeat too slow to interfere.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Peer } from "../clients/lib/sockets.mjs";
import { WATCHDOG } from "../clients/lib/settings.mjs";
import { CALM, server } from "./servers.mjs";

const slot = (num) => `{"_placeholder":true,"num":${num}}`;
const BYTES = Buffer.from([1, 2, 3]);
const RESERVED = ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/** [what, packets sent by a connected client] */
const CLOSING = [
  ["an unknown type", ["7"]],
  ["a type that is no digit", ["abc"]],
  ["an empty message", [""]],
  ["broken JSON in an event", ['2["message"']],
  ["an event that is no JSON", ["2{x}"]],
  ["an event that is an object", ["2{}"]],
  ["an event that is an empty array", ["2[]"]],
  ["an event whose name is null", ["2[null]"]],
  ["an event whose name is an object", ["2[{}]"]],
  ["an ack id that is no number", ['2abc["message-with-ack"]']],
  ["an ack id that is a fraction", ['21.5["message-with-ack"]']],
  ["an ack that is an object", ["31{}"]],
  ["a disconnect with a payload", ['1{"x":1}']],
  ["a connect error from a client", ['4{"message":"x"}']],
  ["a packet for a namespace that was not joined", ['2/custom,["message"]']],
  ["a packet for a namespace that does not exist", ['2/random,["message"]']],
  ["a connect with an array", ["0/custom,[]"]],
  ["a connect with a string", ['0/custom,"x"']],
  ["a connect with null", ["0/custom,null"]],
  ["a connect with broken JSON", ["0/custom,{"]],
  ["text while attachments are due", [`51-["message",${slot(0)}]`, '2["message"]']],
  ["binary when none is due", [BYTES]],
  ["more binary than was due", [`51-["message",${slot(0)}]`, BYTES, BYTES]],
  ["a placeholder out of range", [`51-["message",${slot(1)}]`, BYTES]],
  ["a negative placeholder", [`51-["message",${slot(-1)}]`, BYTES]],
  ["a placeholder that is no number", [`51-["message",${slot('"0"')}]`, BYTES]],
  ["a negative count of attachments", [`5-1-["message",${slot(0)}]`]],
  ["no count of attachments", [`5-["message",${slot(0)}]`]],
  ["a count without its dash", [`51["message",${slot(0)}]`]],
  ["11 attachments", [`511-["message",${Array.from({ length: 11 }, (_, num) => slot(num))}]`]],
  ...RESERVED.map((name) => [`the reserved event ${name}`, [`2["${name}"]`]]),
];

/** [what, packets sent first by a client that has not connected anywhere] */
const CLOSING_FIRST = [
  ["an event", ['2["message"]']],
  ["an ack", ["31[]"]],
  ["a disconnect", ["1"]],
  ["a connect error", ['4{"message":"x"}']],
  ["a connect with an array", ["0[]"]],
  ["a connect with a string", ['0"x"']],
  ["a connect with null", ["0null"]],
  ["a connect with broken JSON", ["0{"]],
];

/** [what, packets sent by a connected client, what comes back] */
const HARMLESS = [
  ["an event without a payload", ["2"], []],
  ["an event named by a number", ["2[1,2]"], []],
  ["an event named error", ['2["error"]'], []],
  ["an event nobody handles", ['2["nobody","x"]'], []],
  ["an ack with an unknown id", ["3123[]"], []],
  ["an ack without an id", ["3[]"], []],
  ["an ack without a payload", ["3123"], []],
  ["ack id 0", ['20["message-with-ack",1]'], ["30[1]"]],
  ["a space after the JSON", ['2["message",1] '], ['2["message-back",1]']],
  ["a placeholder in a plain event", [`2["message",${slot(0)}]`], [`2["message-back",${slot(0)}]`]],
  ["ten attachments", ...many(10)],
];

function many(count) {
  const slots = Array.from({ length: count }, (_, num) => slot(num));
  const binaries = slots.map((_, num) => Buffer.from([num]));
  return [
    [`5${count}-["message",${slots}]`, ...binaries],
    [`5${count}-["message-back",${slots}]`, ...binaries],
  ];
}

for (const transport of ["websocket", "polling"]) {
  describe(`over ${transport}`, WATCHDOG, () => {
    const calm = server(CALM);

    for (const [what, packets] of CLOSING) {
      test(`closes on ${what}`, async () => {
        const peer = await Peer.connected(calm.node, transport);
        await peer.send(...packets);
        await peer.gone();
      });
    }

    test("closes on a connect to a joined namespace, a second after the first", async () => {
      const peer = await Peer.connected(calm.node, transport);
      // Before that, the client may have sent it without having received the response.
      await sleep(1100);
      await peer.send("0");
      await peer.gone();
    });

    for (const [what, packets] of CLOSING_FIRST) {
      test(`closes on ${what} before any connect`, async () => {
        const peer = await Peer.open(calm.node, transport);
        await peer.send(...packets);
        await peer.gone();
      });
    }

    for (const [what, packets, expected] of HARMLESS) {
      test(`takes ${what}`, async () => {
        const peer = await Peer.connected(calm.node, transport);
        await peer.send(...packets);
        for (const packet of expected) assert.deepEqual(await peer.next(), packet);
        await peer.echoes();
        await peer.leave();
      });
    }

    // Whether such attachments are sent on as they came or written anew is the server's business.
    for (const [what, packets] of [
      ["the same placeholder twice", [`51-["message",${slot(0)},${slot(0)}]`, BYTES]],
      ["attachments nobody refers to", [`52-["message",${slot(0)}]`, BYTES, BYTES]],
    ]) {
      test(`takes ${what}`, async () => {
        const peer = await Peer.connected(calm.node, transport);
        await peer.send(...packets);
        const head = await peer.next();
        const count = Number(/^5(\d)-\["message-back",/.exec(head)[1]);
        assert.ok([1, 2].includes(count), head);
        for (let index = 0; index < count; index += 1) assert.deepEqual(await peer.next(), BYTES);
        await peer.echoes();
        await peer.leave();
      });
    }

    // A client's number beyond 2^53 may lose precision on the way; only its form is promised.
    test("takes an ack id of 20 digits", async () => {
      const peer = await Peer.connected(calm.node, transport);
      await peer.send('212345678901234567890["message-with-ack",1]');
      assert.match(await peer.next(), /^31234567890123456[0-9]{4}\[1\]$/);
      await peer.echoes();
      await peer.leave();
    });

    // The reference reads the space as an ack id of 0; the event arrives all the same.
    test("takes a space before the JSON", async () => {
      const peer = await Peer.connected(calm.node, transport);
      await peer.send('2 ["message",1]');
      assert.match(await peer.next(), /^2[0-9]*\["message-back",1/);
      await peer.echoes();
      await peer.leave();
    });

    test("closes on an event after the disconnect", async () => {
      const peer = await Peer.connected(calm.node, transport);
      await peer.send("1");
      await peer.connect("/custom");
      await peer.send('2["message"]');
      await peer.gone();
    });

    test("a bad packet ends every namespace of the connection", async () => {
      const peer = await Peer.connected(calm.node, transport);
      await peer.connect("/custom");
      await peer.send("2{}");
      await peer.gone();
    });

    test("a bad packet ends nobody else's connection", async () => {
      const [bad, good] = await Promise.all([1, 2].map(() => Peer.connected(calm.node, transport)));
      await bad.send("2{}");
      await bad.gone();
      await good.echoes();
      await good.leave();
    });
  });
}

describe("a closing poll", WATCHDOG, () => {
  const calm = server(CALM);

  test("ends with a close packet", async () => {
    const peer = await Peer.connected(calm.node, "polling");
    const pending = await peer.session.pendingGet();
    await peer.send("2{}");
    const response = await pending.response;
    assert.equal(response.status, 200);
    assert.equal(response.text, "1");
    await peer.gone();
  });

  test("an engine ping between attachments is no packet of Socket.IO", async () => {
    const peer = await Peer.connected(calm.node, "websocket");
    peer.socket.send(`452-["message",${slot(0)},${slot(1)}]`);
    peer.socket.send(BYTES);
    peer.socket.send("3");
    peer.socket.send(BYTES);
    assert.equal(await peer.next(), `52-["message-back",${slot(0)},${slot(1)}]`);
    assert.deepEqual(await peer.next(), BYTES);
    assert.deepEqual(await peer.next(), BYTES);
    await peer.leave();
  });
});
