// Socket.IO on the raw wire: events and acks, plain and with attachments.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Peer } from "../clients/lib/sockets.mjs";
import { WATCHDOG } from "../clients/lib/settings.mjs";
import { CALM, server } from "./servers.mjs";

const slot = (num) => `{"_placeholder":true,"num":${num}}`;

for (const transport of ["websocket", "polling"]) {
  for (const namespace of ["/", "/custom"]) {
    describe(`events in ${namespace} over ${transport}`, WATCHDOG, () => {
      const calm = server(CALM);
      const head = namespace === "/" ? "" : `${namespace},`;

      async function exchange(sent, expected) {
        const peer = await Peer.connected(calm.node, transport, namespace);
        await peer.send(...sent);
        const received = [];
        while (received.length < expected.length) received.push(await peer.next());
        assert.deepEqual(received, expected);
        await peer.echoes(namespace);
        await peer.leave();
      }

      test("plain arguments", () =>
        exchange([`2${head}["message",1,"2",{"3":[true,null]}]`], [`2${head}["message-back",1,"2",{"3":[true,null]}]`]));

      test("no arguments", () => exchange([`2${head}["message"]`], [`2${head}["message-back"]`]));

      test("text beyond ASCII", () => exchange([`2${head}["message","世界 🚀"]`], [`2${head}["message-back","世界 🚀"]`]));

      test("one attachment", () =>
        exchange(
          [`51-${head}["message",${slot(0)}]`, Buffer.from([1, 2, 3])],
          [`51-${head}["message-back",${slot(0)}]`, Buffer.from([1, 2, 3])],
        ));

      test("several attachments, deep inside", () =>
        exchange(
          [`53-${head}["message",{"a":${slot(0)}},[${slot(1)},"x",${slot(2)}]]`, Buffer.from([1]), Buffer.from([2, 2]), Buffer.from([3])],
          [`53-${head}["message-back",{"a":${slot(0)}},[${slot(1)},"x",${slot(2)}]]`, Buffer.from([1]), Buffer.from([2, 2]), Buffer.from([3])],
        ));

      test("an ack", () => exchange([`2${head}456["message-with-ack",1,"2",{"3":[false]}]`], [`3${head}456[1,"2",{"3":[false]}]`]));

      test("an ack of nothing", () => exchange([`2${head}7["message-with-ack"]`], [`3${head}7[]`]));

      test("an ack with attachments", () =>
        exchange(
          [`52-${head}789["message-with-ack",${slot(0)},${slot(1)}]`, Buffer.from([1, 2]), Buffer.from([4])],
          [`62-${head}789[${slot(0)},${slot(1)}]`, Buffer.from([1, 2]), Buffer.from([4])],
        ));

      test("events and acks keep their order", async () => {
        const numbers = Array.from({ length: 30 }, (_, index) => index);
        const sent = numbers.map((n) => (n % 2 ? `2${head}["message",${n}]` : `2${head}${n}["message-with-ack",${n}]`));
        const expected = numbers.map((n) => (n % 2 ? `2${head}["message-back",${n}]` : `3${head}${n}[${n}]`));
        await exchange(sent, expected);
      });
    });
  }
}
