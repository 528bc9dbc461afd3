// A live polling session: messages, and each request that ends it or must not.
import assert from "node:assert/strict";
import http from "node:http";
import { describe, test } from "node:test";
import { WATCHDOG } from "../clients/lib/settings.mjs";
import { until, within } from "../clients/lib/wait.mjs";
import { Polling, RECORD_SEPARATOR } from "../clients/lib/wire.mjs";
import { CALM, server } from "./servers.mjs";

describe("polling", WATCHDOG, () => {
  const calm = server(CALM);

  async function lives(session, text = "still here") {
    assert.equal((await session.post(`4${text}`)).status, 200);
    assert.deepEqual(await session.packets(1), [`4${text}`]);
  }

  test("a POST returns ok and its message is echoed on a GET", async () => {
    const session = await Polling.open(calm.node);
    const posted = await session.post("4hello");
    assert.equal(posted.status, 200);
    assert.equal(posted.text.toLowerCase(), "ok");
    const polled = await session.get();
    assert.equal(polled.text, "4hello");
    assert.equal(polled.headers["content-type"].toLowerCase(), "text/plain; charset=utf-8");
  });

  test("several packets in one payload keep their order", async () => {
    const session = await Polling.open(calm.node);
    await session.post(["4one", "4two", "4three"].join(RECORD_SEPARATOR));
    assert.deepEqual(await session.packets(3), ["4one", "4two", "4three"]);
  });

  test("text is UTF-8 both ways", async () => {
    await lives(await Polling.open(calm.node), "Grüße, 世界 🚀");
  });

  test("binary is base64 both ways", async () => {
    const session = await Polling.open(calm.node);
    await session.post("bAQIDBA==");
    assert.deepEqual(await session.packets(1), ["bAQIDBA=="]);
  });

  test("text and binary mixed", async () => {
    const session = await Polling.open(calm.node);
    await session.post(["4hello", "bAQIDBA==", "4x"].join(RECORD_SEPARATOR));
    assert.deepEqual(await session.packets(3), ["4hello", "bAQIDBA==", "4x"]);
  });

  test("a GET waits until there is something", async () => {
    const session = await Polling.open(calm.node);
    const pending = await session.pendingGet();
    await session.post("4late");
    assert.equal((await pending.response).text, "4late");
  });

  test("a poll carries at most 16 packets; the rest follows in order", async () => {
    const session = await Polling.open(calm.node);
    const sent = Array.from({ length: 40 }, (_, index) => `4${index}`);
    // In three POSTs: python servers accept no more than 16 at once either.
    for (let start = 0; start < sent.length; start += 16) await session.post(sent.slice(start, start + 16).join(RECORD_SEPARATOR));
    const received = [];
    while (received.length < sent.length) {
      const packets = (await session.get()).text.split(RECORD_SEPARATOR);
      assert.ok(packets.length <= 16, `${packets.length} packets in one poll`);
      received.push(...packets);
    }
    assert.deepEqual(received, sent);
  });

  test("a POST of many packets is accepted", async () => {
    const session = await Polling.open(calm.node);
    const sent = Array.from({ length: 100 }, (_, index) => `4${index}`);
    assert.equal((await session.post(sent.join(RECORD_SEPARATOR))).status, 200);
    assert.deepEqual(await session.packets(100), sent);
  });

  test("a second GET ends the session", async () => {
    const session = await Polling.open(calm.node);
    const both = await Promise.all([session.get(), session.get()]);
    const statuses = both.map((response) => response.status).sort();
    assert.equal(statuses[0], 200);
    assert.ok([400, 500].includes(statuses[1]), `status ${statuses[1]}`);
    assert.equal(both.find((response) => response.status === 200).text, "1");
    await session.gone();
  });

  test("a second POST while one is in flight ends the session", async () => {
    const session = await Polling.open(calm.node);
    const first = openPost(session, 10);
    await first.begun;
    // The two connections may be read in either order: a POST that overtook the first is simply accepted.
    const second = await until("rejection of a second POST", async () => {
      const response = await session.post("4second");
      return response.status !== 200 && response;
    });
    assert.ok([400, 500].includes(second.status), `status ${second.status}`);
    const ended = await within("end of the first POST", first.ended);
    assert.ok(ended === "reset" || ended >= 400, `first POST: ${ended}`);
    await session.gone();
  });

  for (const method of ["PUT", "DELETE", "OPTIONS", "PATCH"]) {
    test(`${method} is rejected and does no harm`, async () => {
      const session = await Polling.open(calm.node);
      const response = await session.get({ method });
      assert.ok([400, 405, 500].includes(response.status), `status ${response.status}`);
      await lives(session);
    });
  }

  test("a binary content type ends the session", async () => {
    const session = await Polling.open(calm.node);
    const response = await session.post("4x", { headers: { "content-type": "application/octet-stream" } });
    assert.equal(response.status, 400);
    await session.gone();
  });

  test("a body of exactly maxPayload is accepted", async () => {
    const session = await Polling.open(calm.node);
    const packet = `4${"x".repeat(999_999)}`;
    assert.equal((await session.post(packet)).status, 200);
    assert.deepEqual(await session.packets(1), [packet]);
  });

  test("a body over maxPayload is rejected with the reason and does no harm", async () => {
    const session = await Polling.open(calm.node);
    const response = await session.post(`4${"x".repeat(1_000_000)}`);
    assert.equal(response.status, 413);
    assert.match(response.text, /payload|too large|too big/i);
    await lives(session);
  });

  test("a chunked body over maxPayload is rejected as well", async () => {
    const session = await Polling.open(calm.node);
    const response = await postChunks(session, 12, "x".repeat(100_000));
    assert.equal(response, 413);
    await lives(session);
  });

  for (const [name, body] of [["text without a type", "abc"], ["an unknown type", "9"], ["nothing", ""], ["broken base64", "b%%%"]]) {
    test(`a POST of ${name} is a bad request and ends the session`, async () => {
      const session = await Polling.open(calm.node);
      assert.equal((await session.post(body)).status, 400);
      await session.gone();
    });
  }

  test("what precedes a bad packet counts, what follows it does not", async () => {
    const session = await Polling.open(calm.node);
    const pending = await session.pendingGet();
    await session.post(["4first", "9", "4second"].join(RECORD_SEPARATOR));
    const response = await pending.response;
    assert.equal(response.status, 200);
    assert.equal(response.text.split(RECORD_SEPARATOR)[0], "4first");
    assert.ok(!response.text.includes("second"));
    await session.gone();
  });

  for (const packet of ["0", "5", "6"]) {
    test(`a POST of ${packet} is ignored`, async () => {
      const session = await Polling.open(calm.node);
      assert.equal((await session.post(packet)).status, 200);
      await lives(session);
    });
  }

  test("a POST of 1 ends the session and the pending GET", async () => {
    const session = await Polling.open(calm.node);
    const pending = await session.pendingGet();
    const posted = await session.post("1");
    assert.equal(posted.status, 200);
    const response = await pending.response;
    assert.equal(response.status, 200);
    assert.ok(["6", "1"].includes(response.text), response.text);
    await session.gone();
  });

  test("a GET that its client gives up ends the session", async () => {
    const session = await Polling.open(calm.node);
    const abort = new AbortController();
    const pending = await session.pendingGet({ signal: abort.signal });
    abort.abort();
    await assert.rejects(pending.response);
    await until("session unknown", async () => !(await session.alive()));
  });
});

/** A POST whose body never ends: `begun` once the head is on its way, `ended` with a status or "reset". */
function openPost(session, length) {
  const headers = { "content-type": "text/plain", "content-length": length };
  const outgoing = http.request(session.url, { method: "POST", agent: false, headers });
  const ended = new Promise((resolve) => {
    outgoing.once("response", (incoming) => resolve(incoming.resume().statusCode));
    outgoing.once("error", () => resolve("reset"));
  });
  const begun = new Promise((resolve) => outgoing.write("4", resolve));
  return { begun, ended };
}

/** A POST without a stated length; resolves with its status. */
function postChunks(session, count, chunk) {
  const status = new Promise((resolve, reject) => {
    const headers = { "content-type": "text/plain", "transfer-encoding": "chunked" };
    const outgoing = http.request(session.url, { method: "POST", agent: false, headers });
    outgoing.once("response", (incoming) => resolve(incoming.resume().statusCode));
    outgoing.once("error", reject);
    outgoing.write("4");
    for (let sent = 0; sent < count; sent += 1) outgoing.write(chunk);
    outgoing.end();
  });
  return within("response to the chunked POST", status);
}
