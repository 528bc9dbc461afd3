// The stock client for Rust (`rust_socketio`) against two nodes, by each of its transports. What it can do is a table in
// docs/clients.md, which this test compares and writes: UPDATE_CLIENTS=1 node --test js/rust.test.mjs
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { before, describe, test } from "node:test";
import { client, cluster, collect, connected, emitWithAck, ROUTES, TRAVELS } from "../lib/client.mjs";
import { build, RustClient, version } from "../lib/rust.mjs";
import { ROOT, WATCHDOG } from "../lib/settings.mjs";
import { until } from "../lib/wait.mjs";

const travel = TRAVELS["websocket only"];
const PAGE = path.join(ROOT, "docs/clients.md");
const [BEGIN, END] = ["<!-- written by tests/clients/js/rust.test.mjs -->", "<!-- end -->"];
const TRANSPORTS = { polling: "polling only", websocket: "websocket only", upgrade: "polling, then upgrade", any: "its choice" };
const passed = {};

describe("rust_socketio", WATCHDOG, () => {
  before(build);
  const it = cluster(ROUTES["through a balancer"], { ROOMWIRE_APP__KIND: "relay" });

  for (const transport of Object.keys(TRANSPORTS)) {
    test(`acks, events of a room and binary, transport ${transport}`, async (t) => {
      const rust = await RustClient.open(t, it.url, transport);
      const other = await connected(client(t, it.url, travel));
      const room = `room ${transport}`;
      const [joined] = await rust.ask("roomwire:join", room);
      const expected = { ok: true, room, transport: transport === "polling" ? "polling" : "websocket" };
      assert.deepEqual({ ...joined, node: undefined }, { ...expected, node: undefined });
      await emitWithAck(other, "roomwire:join", room);
      const inbox = collect(other, "news");
      assert.deepEqual(await rust.ask("roomwire:emit", room, "news", 1, { a: ["é", null] }), [{ ok: true }]);
      assert.deepEqual(await inbox.next(), [1, { a: ["é", null] }]);
      rust.emit("roomwire:emit", room, "news", "without ack");
      assert.deepEqual(await inbox.next(), ["without ack"]);
      await emitWithAck(other, "roomwire:emit", room, "news", "to rust", [1.5, false]);
      assert.deepEqual(await rust.next("event"), ["news", "to rust", [1.5, false]]);
      await emitWithAck(other, "roomwire:emit", room, "file", Buffer.from([0, 1, 255]));
      assert.deepEqual(await rust.next("bytes"), ["file", [0, 1, 255]]);
      assert.deepEqual(inbox.unread, []);
      assert.equal(await rust.close(), 0);
      passed[TRANSPORTS[transport]] = "yes";
    });
  }

  test("it reconnects to a node that was killed", async (t) => {
    const [first, second] = it.nodes;
    const rust = await RustClient.open(t, first.url, "websocket");
    const other = await connected(client(t, second.url, travel));
    await rust.ask("roomwire:join", "r");
    await first.kill();
    await rust.next("close");
    await first.restart();
    await rust.next("connect");
    assert.equal((await rust.ask("roomwire:join", "r"))[0].ok, true);
    await until("the nodes share the room again", async () => {
      await emitWithAck(other, "roomwire:emit", "r", "again", 1);
      return rust.inbox("event").unread.length > 0;
    });
    assert.deepEqual(await rust.next("event"), ["again", 1]);
    passed.reconnect = "yes";
  });

  test("docs/clients.md shows the results", () => {
    const tasks = [...Object.values(TRANSPORTS), "reconnect"];
    const row = [`\`rust_socketio\` ${version()}`, ...tasks.map((task) => passed[task] ?? "no")];
    const table = [["Client", ...tasks], tasks.concat("").map(() => "---"), row].map((cells) => `| ${cells.join(" | ")} |`);
    table[1] = table[1].replaceAll(" ", "");
    const page = fs.readFileSync(PAGE, "utf8");
    const [before, rest] = page.split(BEGIN);
    const written = `${before}${BEGIN}\n${table.join("\n")}\n${END}${rest.slice(rest.indexOf(END) + END.length)}`;
    if (process.env.UPDATE_CLIENTS) fs.writeFileSync(PAGE, written);
    else assert.equal(page, written, "docs/clients.md: run UPDATE_CLIENTS=1 node --test js/rust.test.mjs");
  });
});

describe("rust_socketio and the echo app", WATCHDOG, () => {
  before(build);
  const it = cluster(ROUTES.directly, { ROOMWIRE_APP__KIND: "echo" });

  for (const transport of ["polling", "websocket"]) {
    test(`bytes that it sends arrive unchanged, transport ${transport}`, async (t) => {
      const rust = await RustClient.open(t, it.url, transport);
      rust.emitBytes("message", [0, 7, 255]);
      assert.deepEqual(await rust.next("bytes"), ["message-back", [0, 7, 255]]);
    });
  }
});
