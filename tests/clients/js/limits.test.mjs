// socket.io-client at a limit: it learns of it, and is in as soon as there is room.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { emitWithAck, client, cluster, collect, once, ROUTES, settled, TRAVELS } from "../lib/client.mjs";
import { WATCHDOG } from "../lib/settings.mjs";

const FULL = { ROOMWIRE_LIMITS__CONNECTIONS: "1" };
const SHARED = { ROOMWIRE_LIMITS__CONNECTIONS_PER_IP: "1" };
const PACED = { ROOMWIRE_LIMITS__EVENTS_PER_SECOND: "50", ROOMWIRE_LIMITS__EVENTS_BURST: "2" };
const SMALL = { ROOMWIRE_LIMITS__CONNECT_PAYLOAD: "100B" };

const REJECTIONS = [
  ["a full node", FULL, 503, { code: 7, message: "Too many connections", context: "limits.connections" }],
  [
    "an address with its share",
    SHARED,
    429,
    { code: 8, message: "Too many connections from this address", context: "limits.connections_per_ip" },
  ],
];

for (const [what, env, status, body] of REJECTIONS) {
  describe(`limits: ${what}`, WATCHDOG, () => {
    const it = cluster(ROUTES.directly, env);

    for (const [by, travel] of Object.entries(TRAVELS)) {
      test(`${by}: rejected, then admitted when there is room`, async (t) => {
        const first = await settled(client(t, it.url, travel));
        const second = client(t, it.url, travel);
        // Read at once, since the client discards the response afterwards.
        let response;
        second.once("connect_error", (error) => (response = [error.context?.responseText, error.description]));
        await once(second, "connect_error");
        if (travel.transports[0] === "polling") {
          assert.deepEqual(JSON.parse(response[0]), body);
          assert.equal(response[1], status);
        } else {
          assert.match(response[1].message, new RegExp(`${status}`));
        }
        first.disconnect();
        await settled(second);
        second.disconnect();
      });
    }
  });
}

describe("limits: events", WATCHDOG, () => {
  const it = cluster(ROUTES.directly, PACED);

  for (const [by, travel] of Object.entries(TRAVELS)) {
    test(`${by}: requests above the rate limit are acked late and in order`, async (t) => {
      const socket = await settled(client(t, it.url, travel));
      const acked = [];
      const requests = Array.from({ length: 20 }, async (_, number) => {
        await emitWithAck(socket, "roomwire:join", `r${number}`);
        acked.push(number);
      });
      await Promise.all(requests);
      assert.deepEqual(acked, [...acked].sort((a, b) => a - b));
    });
  }
});

describe("limits: connect payload", WATCHDOG, () => {
  const it = cluster(ROUTES.directly, SMALL);

  test("a rejected CONNECT names the limit", async (t) => {
    const socket = client(t, it.url, TRAVELS["websocket only"], "/", { auth: { token: "x".repeat(200) } });
    const errors = collect(socket, "connect_error");
    const [error] = await errors.next();
    assert.equal(error.message, "Connect payload too large");
    assert.deepEqual(error.data, { code: "connect_payload_too_large", key: "limits.connect_payload" });
  });
});
