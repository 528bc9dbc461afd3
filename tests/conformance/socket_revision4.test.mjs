// Socket.IO 2 on the raw wire (docs/protocol.md, 2.8): revision 4 of Socket.IO over revision 3 of Engine.IO. Names of cases
// are those of the public suites where these have the case.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Peer3 } from "../clients/lib/peer3.mjs";
import { WATCHDOG } from "../clients/lib/settings.mjs";
import { within } from "../clients/lib/wait.mjs";
import { address, request, SOCKET } from "../clients/lib/wire.mjs";
import { unframe } from "../clients/lib/wire3.mjs";
import { CALM, server } from "./servers.mjs";

const OLD = { ...CALM, ROOMWIRE_ENGINE__EIO3: "true" };
const slot = (num) => `{"_placeholder":true,"num":${num}}`;

for (const transport of ["websocket", "polling"]) {
  describe(`Socket.IO 2 over ${transport}`, WATCHDOG, () => {
    const calm = server(OLD);
    const open = (query) => Peer3.open(calm.node, transport, query);
    const connected = (namespace, query) => Peer3.connected(calm.node, transport, namespace, query);

    describe("connect", () => {
      test("connected by default to the main namespace", async () => {
        const peer = await open();
        assert.equal(await peer.next(), "0");
        assert.equal(await peer.next(), '2["auth",{}]');
        await peer.echoes();
        await peer.leave();
      });

      test("the query of the handshake is the payload of the main namespace", async () => {
        const peer = await connected("/", { token: "a b", x: "1" });
        assert.deepEqual(peer.auth, ["auth", { token: "a b", x: "1" }]);
        await peer.leave();
      });

      test("allow connection to a custom namespace", async () => {
        const peer = await connected("/custom");
        assert.deepEqual(peer.auth, ["auth", {}]);
        await peer.echoes("/custom");
        await peer.echoes("/");
        await peer.leave();
      });

      test("a query in the name of a namespace is its payload", async () => {
        const peer = await connected("/custom?token=a%20b&x=1");
        assert.deepEqual(peer.auth, ["auth", { token: "a b", x: "1" }]);
        await peer.echoes("/custom");
        await peer.leave();
      });

      test("the comma after the name is not required", async () => {
        const peer = await connected();
        await peer.send("0/custom?a=1");
        assert.deepEqual(await peer.accepted("/custom"), ["auth", { a: "1" }]);
        await peer.leave();
      });

      test("disallow connection to an unknown namespace", async () => {
        const peer = await connected();
        for (const name of ["/random", "/random?token=1,"]) {
          await peer.send(`0${name}`);
          assert.equal(await peer.next(), '4/random,"Invalid namespace"');
        }
        await peer.echoes();
        await peer.leave();
      });

      test("a limit is named by its data", async () => {
        const peer = await connected();
        await peer.send(`0/custom?token=${"x".repeat(100_000)}`);
        const error = await peer.next();
        assert.match(error, /^4\/custom,\{"code":"[a-z_]+","key":"limits.connect_payload"\}$/);
        await peer.leave();
      });

      test("disallow connection with an invalid handshake", async () => {
        const peer = await connected();
        await peer.send("abc");
        await peer.gone();
      });

      test("a connect to the main namespace ends the connection", async () => {
        const peer = await connected();
        await peer.send("0");
        await peer.gone();
      });
    });

    describe("disconnect", () => {
      test("disconnect from the main namespace, and connect again", async () => {
        const peer = await connected();
        await peer.send("1", "0");
        assert.deepEqual(await peer.accepted("/"), ["auth", {}]);
        await peer.echoes();
        await peer.leave();
      });

      test("connect then disconnect from a custom namespace", async () => {
        for (const packet of ["1/custom", "1/custom,"]) {
          const peer = await connected("/custom");
          await peer.send(packet, '2["message","message to main namespace"]');
          assert.equal(await peer.next(), '2["message-back","message to main namespace"]');
          await peer.leave();
        }
      });
    });

    for (const namespace of ["/", "/custom"]) {
      const head = namespace === "/" ? "" : `${namespace},`;

      async function exchange(sent, expected) {
        const peer = await connected(namespace);
        await peer.send(...sent);
        const received = [];
        while (received.length < expected.length) received.push(await peer.next());
        assert.deepEqual(received, expected);
        await peer.echoes(namespace);
        await peer.leave();
      }

      describe(`message in ${namespace}`, () => {
        test("send a plain-text packet", () =>
          exchange([`2${head}["message",1,"2",{"3":[true]}]`], [`2${head}["message-back",1,"2",{"3":[true]}]`]));

        test("text beyond ASCII", () => exchange([`2${head}["message","世界 🚀"]`], [`2${head}["message-back","世界 🚀"]`]));

        test("send a packet with binary attachments", () =>
          exchange(
            [`52-${head}["message",${slot(0)},${slot(1)},"test"]`, Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])],
            [`52-${head}["message-back",${slot(0)},${slot(1)},"test"]`, Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])],
          ));

        test("send a plain-text packet with an ack", () =>
          exchange([`2${head}456["message-with-ack",1,"2",{"3":[false]}]`], [`3${head}456[1,"2",{"3":[false]}]`]));

        test("send a packet with binary attachments and an ack", () =>
          exchange(
            [`52-${head}789["message-with-ack",${slot(0)},${slot(1)},"test"]`, Buffer.from([1, 2, 3]), Buffer.from([4])],
            [`62-${head}789[${slot(0)},${slot(1)},"test"]`, Buffer.from([1, 2, 3]), Buffer.from([4])],
          ));
      });
    }

    describe("malformed packets", () => {
      const MALFORMED = [
        ["close the session upon invalid format (unknown packet type)", ["7"]],
        ["close the session upon invalid format (invalid payload format)", ["2{}"]],
        ["close the session upon invalid format (invalid ack id)", ['2abc["message",1]']],
        ["close the session upon invalid format (invalid binary attachment count)", ['5abc["message",1]']],
        ["a namespace that is not connected", ['2/custom,["message"]']],
        ["binary while none is pending", [Buffer.from([1])]],
        ["a packet of the msgpack parser", [Buffer.from("82a47479706502a36e7370a12f", "hex")]],
        ["text while an attachment is pending", [`51-["message",${slot(0)}]`, '2["message"]']],
      ];
      for (const [name, packets] of MALFORMED) {
        test(name, async () => {
          const peer = await connected();
          await peer.send(...packets);
          await peer.gone();
        });
      }
    });
  });
}

describe("Socket.IO 2, the first response", WATCHDOG, () => {
  const calm = server(OLD);

  test("has the handshake and the main namespace", async () => {
    const response = await request(address(calm.node, SOCKET, { EIO: "3", transport: "polling", b64: "1" }));
    const packets = unframe(response.text);
    assert.equal(packets.length, 3);
    assert.deepEqual(packets.slice(1), ["40", '42["auth",{}]']);
  });

  test("a node that stops closes sessions without a DISCONNECT packet", async () => {
    const peer = await Peer3.connected(calm.node, "websocket");
    const waiting = await Peer3.connected(calm.node, "polling");
    const pending = await waiting.session.pendingGet();
    calm.node.signal("SIGTERM");
    await within("close by the server", peer.socket.closed, 40_000);
    assert.deepEqual(peer.socket.frames.unread, []);
    const last = await pending.response.catch(() => undefined);
    if (last?.status === 200) assert.deepEqual(unframe(last.text), ["1"]);
    await within("end of the server", calm.node.program.ended, 40_000);
  });
});
