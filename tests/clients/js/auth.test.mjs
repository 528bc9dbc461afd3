// socket.io-client and tokens: as docs/auth.md and docs/identities.md promise, a client whose token expires is warned and
// disconnected, and comes back as soon as its `auth` function returns a fresh token.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { describe, test } from "node:test";
import { client, cluster, collect, connected, emitWithAck, once, ROUTES, TRAVELS } from "../lib/client.mjs";
import { WATCHDOG } from "../lib/settings.mjs";

const SECRET = "secret-of-the-tests-0123456789abcdef";
const SETTINGS = {
  ROOMWIRE_APP__KIND: "relay",
  ROOMWIRE_AUTH__SECRET: SECRET,
  ROOMWIRE_AUTH__LEEWAY: "0s",
  ROOMWIRE_AUTH__EXPIRY_WARNING: "3s",
  ROOMWIRE_AUTH__EXPIRY_GRACE: "1s",
};

/** Seconds of a token that expires during a test. */
const LIFE = 6;

/** A token of `user` that ends in some seconds. */
function token(user, seconds) {
  const encoded = (part) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const claims = { sub: user, exp: Math.floor(Date.now() / 1000) + seconds, roomwire: { rooms: ["team"], can: { team: ["emit"] } } };
  const signed = `${encoded({ alg: "HS256", typ: "JWT" })}.${encoded(claims)}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

for (const [by, travel] of Object.entries(TRAVELS)) {
  // They wait for the time to pass.
  describe(`tokens: ${by}`, { ...WATCHDOG, concurrency: true }, () => {
    const it = cluster(ROUTES.directly, SETTINGS);

    test("an expiring token is announced, ends the connection, is rejected at the reconnect, and a fresh one connects", async (t) => {
      const begun = Date.now();
      let current = token("ada", LIFE);
      const socket = client(t, it.url, travel, "/", { auth: (done) => done({ token: current }) });
      const [warnings, ends] = [collect(socket, "roomwire:auth_expiring"), collect(socket, "roomwire:auth_expired")];
      const ended = once(socket, "disconnect");
      const rejected = once(socket, "connect_error");
      await connected(socket);
      const first = socket.id;

      const [warning] = await warnings.next("the warning");
      assert.ok(warning.expires_in_ms > 0 && warning.expires_in_ms <= 3000, JSON.stringify(warning));
      assert.ok(Math.abs(warning.expires_at * 1000 - begun - LIFE * 1000) <= 1000, JSON.stringify(warning));
      assert.ok(socket.connected);
      assert.deepEqual(await ends.next("the end"), [{ code: "token_expired", grace_ms: 1000 }]);
      assert.ok(["transport close", "transport error"].includes((await ended)[0]));

      // The client reconnects by itself; with the old token it is rejected, after which it does not retry.
      const [error] = await rejected;
      assert.deepEqual([error.message, error.data.code], ["The token has expired", "token_expired"]);
      assert.equal(socket.active, false);

      current = token("ada", 60);
      socket.connect();
      await connected(socket);
      assert.notEqual(socket.id, first);
      // The rights of the token are in force: the socket is in its room, and may emit to it but not elsewhere.
      assert.equal((await emitWithAck(socket, "roomwire:emit", "team", "message", 1)).ok, true);
      assert.equal((await emitWithAck(socket, "roomwire:emit", "other", "message", 1)).ok, false);
      assert.equal(ends.unread.length, 0);
    });

    test("a client whose auth function returns a fresh token at the reconnect comes back by itself", async (t) => {
      const socket = client(t, it.url, travel, "/", { auth: (done) => done({ token: token("ada", LIFE) }) });
      const errors = collect(socket, "connect_error");
      await connected(socket);
      const first = socket.id;
      await once(socket, "disconnect");
      await connected(socket);
      assert.notEqual(socket.id, first);
      assert.equal(errors.unread.length, 0);
    });

    test("a refreshed token keeps the connection beyond the end of the old one", async (t) => {
      const socket = client(t, it.url, travel, "/", { auth: { token: token("ada", LIFE) } });
      const [warnings, ends] = [collect(socket, "roomwire:auth_expiring"), collect(socket, "roomwire:auth_expired")];
      await connected(socket);
      const first = socket.id;
      await warnings.next("the warning");
      const fresh = token("ada", 60);
      const { exp } = JSON.parse(Buffer.from(fresh.split(".")[1], "base64url"));
      assert.deepEqual(await emitWithAck(socket, "roomwire:auth", fresh), { ok: true, expires_at: exp });
      // Longer than the old token and its grace would have lasted.
      await new Promise((resolve) => setTimeout(resolve, 5000));
      assert.equal(socket.id, first);
      assert.equal(ends.unread.length, 0);
    });
  });
}
