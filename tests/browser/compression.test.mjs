// Chromium offers permessage-deflate by itself, and the nodes of these tests accept it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { freshRoom, launch, urls } from "./pages.mjs";

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

/// Runs in the page: two stock clients in one room; one sends the other large and small events and binary.
async function exchange([room, transports]) {
  const [first, second] = [io({ transports, forceNew: true }), io({ transports, forceNew: true })];
  const settled = (socket) => new Promise((resolve) => {
    const check = () => (socket.connected && socket.io.engine.transport.name === "websocket" ? resolve() : setTimeout(check, 20));
    check();
  });
  await Promise.all([settled(first), settled(second)]);
  await second.timeout(30_000).emitWithAck("roomwire:join", room);
  const document = Array.from({ length: 80 }, (_, id) => ({ id, name: `user ${id}`, text: "naïve 🚀" }));
  const received = [];
  const complete = new Promise((resolve) => second.on("news", (...args) => received.push(args) === 2 && resolve()));
  await first.timeout(30_000).emitWithAck("roomwire:emit", room, "news", document, new Uint8Array(5000).fill(7));
  await first.timeout(30_000).emitWithAck("roomwire:emit", room, "news", "small");
  await complete;
  const [[large, binary], [small]] = received;
  const result = {
    equal: JSON.stringify(large) === JSON.stringify(document),
    binary: [binary.byteLength, new Uint8Array(binary)[4999]],
    small,
    extensions: [first, second].map((socket) => socket.io.engine.transport.ws.extensions),
  };
  first.disconnect();
  second.disconnect();
  return result;
}

for (const transports of [["websocket"], ["polling", "websocket"]]) {
  test(`stock clients in Chromium compress: ${transports}`, async () => {
    const page = await (await browser.newContext()).newPage();
    await page.goto(`${urls[0]}/readyz`);
    await page.addScriptTag({ url: `${urls[0]}/socket.io/socket.io.js` });
    const result = await page.evaluate(exchange, [freshRoom("compressed"), transports]);
    const extension = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert.deepEqual(result, { equal: true, binary: [5000, 7], small: "small", extensions: [extension, extension] });
    await page.context().close();
  });
}
