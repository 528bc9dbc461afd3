// The balancer configurations of `deploy/` on real HAProxy and nginx, with three real nodes behind and no stickiness.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { HAProxy, Nginx } from "../lib/balancers.mjs";
import { emitWithAck, client, cluster, collect, settled, TRAVELS } from "../lib/client.mjs";
import { WATCHDOG } from "../lib/settings.mjs";
import { until } from "../lib/wait.mjs";

const SETTINGS = { ROOMWIRE_SERVER__DEMO: "true", ROOMWIRE_SERVER__TRUSTED_PROXIES: "127.0.0.1" };
const NODES = 3;
/** Websockets that a returned node gets soon if the balancer uses it fully; one per few seconds would be too few. */
const SHARE = 10;

for (const balancer of [HAProxy, Nginx]) {
  for (const [by, travel] of Object.entries(TRAVELS)) {
    describe(`${balancer.name}: ${by}`, WATCHDOG, () => {
      const it = cluster({ nodes: NODES, balancer }, SETTINGS);
      const open = (t) => settled(client(t, it.url, travel));
      // The node that owns a socket, from the ack of its join.
      const join = async (socket, room) => {
        const ack = await emitWithAck(socket, "roomwire:join", room);
        assert.equal(ack.ok, true);
        return ack.node;
      };

      test("clients on all nodes receive each other's events", async (t) => {
        const { sockets, nodes } = await spread(t, open, join, "all");
        const inboxes = sockets.map((socket) => collect(socket, "news"));
        for (const [from, socket] of sockets.entries()) await emitWithAck(socket, "roomwire:emit", "all", "news", from);
        for (const [self, inbox] of inboxes.entries()) {
          const others = [...sockets.keys()].filter((number) => number !== self);
          const got = (await inbox.take(others.length)).map(([from]) => from);
          assert.deepEqual(got.sort((a, b) => a - b), others, `what the client on ${nodes[self]} received`);
        }
        if (travel.transports[0] === "polling") {
          assert.ok((await forwarded(it.nodes)) > 0, "requests of a session reach nodes that do not own it");
        }
      });

      for (const [how, end] of [["stopped", "SIGTERM"], ["killed", "SIGKILL"]]) {
        test(`a node is ${how}: its clients go on elsewhere, and it is used again`, async (t) => {
          const room = `room-${how}`;
          const { sockets, nodes: before } = await spread(t, open, join, room);
          for (const socket of sockets) socket.on("connect", () => socket.emit("roomwire:join", room));
          const node = it.nodes[0];
          await node.program.kill(end);
          await until("everybody back in the room", () => everybodyHears(sockets, room));
          await node.restart();
          const { nodes: after } = await spread(t, open, join, `${room}-again`);
          // By polling, connections do not show which node owns a session: balancers do not even those out.
          if (travel.transports[0] === "polling") return;
          const [back] = after.filter((id) => !before.includes(id));
          let given = 0;
          await until(`${SHARE} more clients on the returned node`, async () => {
            given += (await join(await open(t), room)) === back;
            return given === SHARE;
          });
        });
      }
    });
  }

  describe(`${balancer.name}: what is let through`, WATCHDOG, () => {
    const it = cluster({ nodes: 2, balancer }, SETTINGS);
    const handshake = (headers) => fetch(`${it.url}/socket.io/?EIO=4&transport=polling`, { headers });

    test("a page of the balancer's own address, and none of another", async () => {
      assert.equal((await handshake({ Origin: it.url })).status, 200);
      assert.equal((await handshake({ Origin: "http://elsewhere.example" })).status, 403);
    });

    test("what a client claims to be its host does not count", async () => {
      const claims = { "X-Forwarded-Host": "elsewhere.example", Forwarded: "host=elsewhere.example" };
      assert.equal((await handshake({ Origin: "http://elsewhere.example", ...claims })).status, 403);
    });

    test("no probe and no figure", async () => {
      for (const path of ["/livez", "/readyz", "/readyz?verbose", "/metrics"]) {
        assert.equal((await fetch(it.url + path)).status, 404, path);
      }
    });
  });
}

/**
 * Clients until there is one on every node, all in `room`. Each sends an event to the others, as there is traffic in
 * production: if nginx tries a returned node with a poll, it skips the node until that poll completes.
 */
async function spread(t, open, join, room) {
  const sockets = [];
  const nodes = [];
  await until(`a client on each of ${NODES} nodes`, async () => {
    const socket = await open(t);
    sockets.push(socket);
    nodes.push(await join(socket, room));
    await emitWithAck(socket, "roomwire:emit", room, "arrival");
    return new Set(nodes).size === NODES;
  });
  return { sockets, nodes };
}

/** Whether one client's word reaches all others, wherever they are now. */
async function everybodyHears(sockets, room) {
  const [speaker, ...others] = sockets;
  if (!sockets.every((socket) => socket.connected)) return false;
  const word = `word-${Math.random()}`;
  const receives = (socket) =>
    new Promise((resolve) => {
      const late = setTimeout(resolve, 3_000, false);
      socket.once(word, () => (clearTimeout(late), resolve(true)));
    });
  const receivedBy = others.map(receives);
  speaker.emit("roomwire:emit", room, word);
  return (await Promise.all(receivedBy)).every(Boolean);
}

/** Requests that nodes passed on to the owners of their sessions. */
async function forwarded(nodes) {
  const figures = await Promise.all(nodes.map(async (node) => (await fetch(`${node.url}/readyz?verbose`)).text()));
  return figures.reduce((sum, text) => sum + Number(/^forwarded_total (\d+)/m.exec(text)[1]), 0);
}
