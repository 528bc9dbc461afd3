// socket.io-client: rooms through the relay's built-in events.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { emitWithAck, client, cluster, collect, PAIRS, settled } from "../lib/client.mjs";
import { WATCHDOG } from "../lib/settings.mjs";

const RELAY = { ROOMWIRE_APP__KIND: "relay", ROOMWIRE_SOCKET__NAMESPACES: "/,/custom" };

for (const { name, travel, route } of PAIRS) {
  describe(`rooms: ${name}`, WATCHDOG, () => {
    const it = cluster(route, RELAY);
    const open = (t, namespace) => settled(client(t, it.url, travel, namespace));
    // Handshakes alternate, so of several clients behind a balancer some are on either node.
    const several = (t, count) => Promise.all(Array.from({ length: count }, () => open(t)));

    async function join(room, ...sockets) {
      for (const socket of sockets) assert.equal((await emitWithAck(socket, "roomwire:join", room)).ok, true);
    }

    test("members get what is emitted; the sender and others do not", async (t) => {
      const [sender, member, second, outsider] = await several(t, 4);
      await join("r", sender, member, second);
      await join("other", outsider);
      const inboxes = [sender, member, second, outsider].map((socket) => collect(socket, "news"));
      const ack = await emitWithAck(sender, "roomwire:emit", "r", "news", 1, { two: [3] }, Buffer.from([4]));
      assert.equal(ack.ok, true);
      for (const inbox of [inboxes[1], inboxes[2]]) assert.deepEqual(await inbox.next(), [1, { two: [3] }, Buffer.from([4])]);
      // What comes after a wrong delivery would have come before this.
      await emitWithAck(member, "roomwire:emit", "r", "news", "to the sender");
      assert.deepEqual(await inboxes[0].next(), ["to the sender"]);
      await emitWithAck(member, "roomwire:emit", "other", "news", "to the outsider");
      assert.deepEqual(await inboxes[3].next(), ["to the outsider"]);
    });

    test("without an ack as well", async (t) => {
      const [sender, member] = await several(t, 2);
      await join("quiet", member);
      const inbox = collect(member, "news");
      sender.emit("roomwire:emit", "quiet", "news");
      assert.deepEqual(await inbox.next(), []);
    });

    test("a member that left receives nothing; after joining again it does", async (t) => {
    // Of four clients behind a balancer two are on either node: once both remaining members have received an event,
    // it has been dealt with on the leaver's node too.
    const [sender, leaver, ...stayers] = await several(t, 4);
    await join("left", leaver, ...stayers);
    const inbox = collect(leaver, "news");
    const controls = stayers.map((socket) => collect(socket, "news"));
    assert.equal((await emitWithAck(leaver, "roomwire:leave", "left")).ok, true);
    await emitWithAck(sender, "roomwire:emit", "left", "news", 1);
    for (const control of controls) assert.deepEqual(await control.next(), [1]);
    await join("left", leaver);
    await emitWithAck(sender, "roomwire:emit", "left", "news", 2);
    assert.deepEqual(await inbox.next(), [2]);
  });

  test("each member gets an event once, however often it joined", async (t) => {
      const [sender, member] = await several(t, 2);
      await join("twice", member, member);
      const inbox = collect(member, "news");
      await emitWithAck(sender, "roomwire:emit", "twice", "news", 1);
      await emitWithAck(sender, "roomwire:emit", "twice", "news", 2);
      assert.deepEqual(await inbox.take(2), [[1], [2]]);
    });

    test("rooms of two namespaces with one name are two", async (t) => {
      const [sender, member] = await several(t, 2);
      const elsewhere = await open(t, "/custom");
      const speaker = await open(t, "/custom");
      await join("same", member, elsewhere);
      const [inbox, other] = [collect(member, "news"), collect(elsewhere, "news")];
      await emitWithAck(sender, "roomwire:emit", "same", "news", "main");
      await emitWithAck(speaker, "roomwire:emit", "same", "news", "custom");
      assert.deepEqual(await inbox.next(), ["main"]);
      assert.deepEqual(await other.next(), ["custom"]);
    });

    for (const [what, event] of [["a reserved name", "connect_error"], ["another reserved name", "disconnect"], ["a built-in name", "roomwire:join"]]) {
      test(`${what} cannot be emitted, and the ack has the reason`, async (t) => {
        const [sender] = await several(t, 1);
        const ack = await emitWithAck(sender, "roomwire:emit", "r", event);
        assert.equal(ack.ok, false);
        assert.deepEqual([typeof ack.error.code, typeof ack.error.message], ["string", "string"]);
        assert.equal((await emitWithAck(sender, "roomwire:join", "still")).ok, true);
      });
    }
  });
}
