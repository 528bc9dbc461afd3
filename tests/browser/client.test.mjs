// The demo client: its packets in a table, then both transports against a running node.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { readFileSync } from "node:fs";
import { freshRoom, launch, urls } from "./pages.mjs";

const source = readFileSync(new URL("../../src/demo/roomwire-client.js", import.meta.url), "utf8");
const { encode, decode } = await import(`data:text/javascript,${encodeURIComponent(source)}`);
const bytes = (...values) => new Uint8Array(values);
let browser;

before(async () => { browser = await launch(); });
after(() => browser?.close());

const PACKETS = [
  ["0", { type: 0 }],
  ['0{"token":"x"}', { type: 0, data: { token: "x" } }],
  ['0/admin,{"token":"x"}', { type: 0, nsp: "/admin", data: { token: "x" } }],
  ["1/admin,", { type: 1, nsp: "/admin" }],
  ['2["hi",1]', { type: 2, data: ["hi", 1] }],
  ['212["hi"]', { type: 2, id: 12, data: ["hi"] }],
  ['2/admin,7["a,b"]', { type: 2, nsp: "/admin", id: 7, data: ["a,b"] }],
  ['312["ok"]', { type: 3, id: 12, data: ["ok"] }],
  ['4/nope,{"message":"Invalid namespace"}', { type: 4, nsp: "/nope", data: { message: "Invalid namespace" } }],
];

for (const [text, packet] of PACKETS) {
  test(`packet ${text}`, () => {
    assert.deepEqual(encode(packet), [text]);
    const { type, nsp, id, data, due } = decode(text);
    assert.deepEqual({ type, nsp, id, data, due }, { nsp: "/", id: undefined, data: undefined, ...packet, due: 0 });
  });
}

test("binary is extracted depth first and counted in the head", () => {
  const [a, b] = [bytes(1), bytes(2)];
  const place = (num) => `{"_placeholder":true,"num":${num}}`;
  assert.deepEqual(encode({ type: 2, data: ["m", { k: [a] }, b] }), [`52-["m",{"k":[${place(0)}]},${place(1)}]`, a, b]);
  assert.deepEqual(encode({ type: 3, nsp: "/custom", id: 7, data: [a] }), [`61-/custom,7[${place(0)}]`, a]);
  assert.equal(decode(`61-/custom,7[${place(0)}]`).due, 1);
});

test("a namespace without a comma is decoded, invalid packets throw", () => {
  assert.equal(decode("1/admin").nsp, "/admin");
  for (const text of ["", "7", "abc", "2{", '2abc["m"]']) assert.throws(() => decode(text), undefined, text);
});

/// Runs in the page: two sockets in one room; sends text and binary from one to the other.
async function exchange([room, transports]) {
  const { io } = await import("/roomwire-client.js");
  const [first, second] = [io({ transports }), io({ transports })];
  const joined = await second.timeout(30_000).emitWithAck("roomwire:join", room);
  await first.timeout(30_000).emitWithAck("roomwire:join", room);
  const received = new Promise((resolve) => second.on("bytes", (...args) => resolve(args)));
  const ack = await first.timeout(30_000).emitWithAck("roomwire:emit", room, "bytes", new Uint8Array([0, 1, 255]), { deep: [new Uint8Array([7]).buffer] }, "é");
  const [head, { deep }, text] = await received;
  const result = {
    joined: joined.ok, sent: ack.ok, text, head: [...new Uint8Array(head)], deep: [...new Uint8Array(deep[0])],
    transport: first.io.engine.transport.name, ids: [first.id, second.id].map((id) => typeof id),
  };
  const reason = new Promise((resolve) => first.on("disconnect", resolve));
  first.disconnect();
  second.disconnect();
  return { ...result, reason: await reason, connected: first.connected };
}

for (const [transports, expected] of [[["websocket"], "websocket"], [["polling"], "polling"], [["unknown", "polling"], "polling"]]) {
  test(`text, binary and acks by ${transports.join(", ")}`, { timeout: 180_000 }, async () => {
    const page = await (await browser.newContext()).newPage();
    await page.goto(`${urls[0]}/demo.json`);
    const result = await page.evaluate(exchange, [freshRoom("bin"), transports]);
    assert.deepEqual(result, {
      joined: true, sent: true, text: "é", head: [0, 1, 255], deep: [7], transport: expected, ids: ["string", "string"],
      reason: "io client disconnect", connected: false,
    });
  });
}

test("without a websocket the client uses long polling, and it reconnects", { timeout: 180_000 }, async () => {
  const page = await (await browser.newContext()).newPage();
  await page.routeWebSocket(/socket\.io/, (socket) => socket.close());
  await page.goto(`${urls[0]}/demo.json`);
  const result = await page.evaluate(async () => {
    const { io } = await import("/roomwire-client.js");
    const socket = io({ reconnectionDelay: 50 });
    const once = (name) => new Promise((resolve) => { const received = (value) => { socket.off(name, received); resolve(value); }; socket.on(name, received); });
    await once("connect");
    const [firstId, attempts] = [socket.id, []];
    socket.io.on("reconnect_attempt", (attempt) => attempts.push(attempt));
    const lost = once("disconnect");
    const back = once("connect");
    socket.io.engine.close();
    const reason = await lost;
    await back;
    return { transport: socket.io.engine.transport.name, reason, attempts, fresh: socket.id !== firstId };
  });
  assert.deepEqual(result, { transport: "polling", reason: "forced close", attempts: [1], fresh: true });
});
