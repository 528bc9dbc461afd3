// The same chat in every language of examples/chat, with stock clients.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { client, collect, connected, emitWithAck, once } from "../lib/client.mjs";
import { Program } from "../lib/processes.mjs";
import { BINARY } from "../lib/settings.mjs";
import { within } from "../lib/wait.mjs";
import { LANGUAGES, startChat } from "./servers.mjs";

async function post(url, body, headers = {}) {
  const response = await fetch(url, { method: "POST", body: JSON.stringify(body), headers, signal: AbortSignal.timeout(30_000) });
  return { status: response.status, body: await response.json() };
}

for (const language of LANGUAGES) {
  describe(`the chat with its backend in ${language}`, () => {
    let chat;
    before(async () => (chat = await startChat(language)));
    after(() => chat?.stop());

    async function login(t, name) {
      const { body } = await post(`${chat.url}/login`, { name });
      return connected(client(t, chat.node.url, { transports: ["websocket"] }, "/", { auth: { token: body.token } }));
    }

    test("members of a room receive messages, typing, and who comes and goes", async (t) => {
      const ada = await login(t, "ada");
      const bob = await login(t, "bob");
      const inboxes = Object.fromEntries(["message", "typing", "joined", "left"].map((event) => [event, collect(ada, event)]));
      assert.deepEqual(await emitWithAck(bob, "message", "lobby", "hello"), { ok: true });
      assert.deepEqual(await inboxes.message.next(), ["lobby", "bob", "hello"]);

      assert.deepEqual(await emitWithAck(ada, "join", "tea"), { ok: true });
      assert.deepEqual(await emitWithAck(bob, "join", "tea"), { ok: true });
      assert.deepEqual(await inboxes.joined.next(), ["tea", "bob"]);
      bob.emit("typing", "tea", true);
      assert.deepEqual(await inboxes.typing.next(), ["tea", "bob", true]);
      assert.deepEqual(await emitWithAck(bob, "message", "tea", "sugar?"), { ok: true });
      assert.deepEqual(await inboxes.message.next(), ["tea", "bob", "sugar?"]);
      assert.deepEqual(await emitWithAck(bob, "leave", "tea"), { ok: true });
      assert.deepEqual(await inboxes.left.next(), ["tea", "bob"]);
      bob.disconnect();
      assert.deepEqual(await inboxes.left.next(), ["lobby", "bob"]);
    });

    test("events for other rooms, and without a text, are rejected with a code", async (t) => {
      const eve = await login(t, "eve");
      const cases = [
        [["message", "tea", "hi"], "not_a_member"],
        [["message", "lobby", ""], "message_invalid"],
        [["message", "lobby", { text: "hi" }], "message_invalid"],
        [["join", ""], "room_invalid"],
        [["join"], "room_invalid"],
        [["leave", 7], "room_invalid"],
      ];
      for (const [event, code] of cases) {
        const answer = await emitWithAck(eve, ...event);
        assert.equal(answer.ok, false, JSON.stringify(event));
        assert.equal(answer.error.code, code, JSON.stringify(event));
      }
    });

    test("the backend speaks up by itself", async (t) => {
      const ada = await login(t, "ada");
      const announcement = once(ada, "announcement");
      const { status, body } = await post(`${chat.url}/announce`, { text: "closing soon" });
      assert.equal(status, 200);
      assert.equal(body.nodes, 1);
      assert.ok(body.sockets >= 1, JSON.stringify(body));
      assert.deepEqual(await announcement, ["closing soon"]);
    });

    test("clients without a token and requests without a signature are rejected", async (t) => {
      const stranger = client(t, chat.node.url, { transports: ["websocket"] }, "/", { reconnection: false });
      const [error] = await once(stranger, "connect_error");
      assert.equal(error.data.code, "token_missing");
      const forged = { type: "event", data: { socket: "x", user: "ada", event: "join", args: ["tea"] } };
      const now = String(Math.floor(Date.now() / 1000));
      const headers = { "webhook-id": "1", "webhook-timestamp": now, "webhook-signature": "v1,AAAA" };
      for (const given of [{}, headers]) {
        const response = await fetch(`${chat.url}/roomwire`, { method: "POST", body: JSON.stringify(forged), headers: given });
        assert.equal(response.status, 401);
        await response.arrayBuffer();
      }
    });

    test("the backend passes `roomwire webhook test`", async () => {
      const check = new Program(BINARY, ["webhook", "test", `${chat.url}/roomwire`], chat.settings);
      await within("the test", check.ended, 60_000);
      assert.match(check.output, /^6 checks, 0 failed$/m);
      assert.equal(check.over, "exit 0", check.output);
    });
  });
}
