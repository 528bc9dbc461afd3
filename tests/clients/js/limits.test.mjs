// socket.io-client at a limit: it learns of it, and is in as soon as there is room.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ask, client, cluster, heard, once, ROUTES, settled, TRAVELS } from "../lib/client.mjs";
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
        // Read at once: the client throws the answer away after that.
        let answer;
        second.once("connect_error", (error) => (answer = [error.context?.responseText, error.description]));
        await once(second, "connect_error");
        if (travel.transports[0] === "polling") {
          assert.deepEqual(JSON.parse(answer[0]), body);
          assert.equal(answer[1], status);
        } else {
          assert.match(answer[1].message, new RegExp(`${status}`));
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
    test(`${by}: what comes too fast is answered in its turn`, async (t) => {
      const socket = await settled(client(t, it.url, travel));
      const answers = [];
      const asked = Array.from({ length: 20 }, async (_, number) => {
        await ask(socket, "roomwire:join", `r${number}`);
        answers.push(number);
      });
      await Promise.all(asked);
      assert.deepEqual(answers, [...answers].sort((a, b) => a - b));
    });
  }
});

describe("limits: connect payload", WATCHDOG, () => {
  const it = cluster(ROUTES.directly, SMALL);

  test("a rejected CONNECT names the limit", async (t) => {
    const socket = client(t, it.url, TRAVELS["websocket only"], "/", { auth: { token: "x".repeat(200) } });
    const errors = heard(socket, "connect_error");
    const [error] = await errors.next();
    assert.equal(error.message, "Connect payload too large");
    assert.deepEqual(error.data, { code: "connect_payload_too_large", key: "limits.connect_payload" });
  });
});
