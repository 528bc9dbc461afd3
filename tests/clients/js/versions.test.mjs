// Releases of socket.io-client since Socket.IO 2, each through the same tasks. What they can do is a table in
// docs/clients.md, which this test compares and writes: UPDATE_CLIENTS=1 node --test js/versions.test.mjs
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import parser from "socket.io-msgpack-parser";
import { cluster, collect, once, ROUTES, settled, TRAVELS } from "../lib/client.mjs";
import { ROOT, WATCHDOG } from "../lib/settings.mjs";
import { within } from "../lib/wait.mjs";

const require = createRequire(import.meta.url);
const OLD = ["client-2.0", "client-2.1", "client-2.2", "client-2.3", "client-2.4", "client-2.5"];
const PACKAGES = [...OLD, "client-3.0", "client-3.1", "client-4.0", "client-4.4", "client-4.6", "client-4.7", "socket.io-client"];
const PAGE = path.join(ROOT, "docs/clients.md");
const [BEGIN, END] = ["<!-- written by tests/clients/js/versions.test.mjs -->", "<!-- end -->"];
const SETTINGS = { ROOMWIRE_APP__KIND: "relay", ROOMWIRE_RECOVERY__NAMESPACES: "/", ROOMWIRE_ENGINE__EIO3: "true" };
// The server sends the first packet to clients of Socket.IO 2, so they must name the parser.
const MSGPACK = { old: { parser: require("msgpack-parser-2"), query: { parser: "msgpack" } }, new: { parser } };

/** `package.json` is not exported by old releases. */
function version(name) {
  const directory = path.join(ROOT, "tests/clients/node_modules", name);
  return JSON.parse(fs.readFileSync(path.join(directory, "package.json"), "utf8")).version;
}

// Clients before 4.6 have no `emitWithAck`.
const call = (socket, ...args) => within(`ack of ${args[0]}`, new Promise((resolve) => socket.emit(...args, resolve)));

/** An event with binary to a room, from and to a client of this release. */
async function exchange(open) {
  const [sender, member] = await Promise.all([open(), open()]);
  assert.equal((await call(member, "roomwire:join", "r")).ok, true);
  const inbox = collect(member, "news");
  const args = [1, { deep: [Buffer.from([0, 255])] }, Buffer.from([7]), "é", null];
  assert.equal((await call(sender, "roomwire:emit", "r", "news", ...args)).ok, true);
  assert.deepEqual(await inbox.next(), args);
  member.on("question", (number, answer) => answer(number + 1));
  assert.deepEqual(await call(sender, "roomwire:ask", "r", "question", 41), { ok: true, answer: [42] });
}

const TASKS = {
  ...Object.fromEntries(Object.entries(TRAVELS).map(([name, travel]) => [name, (open) => exchange(() => open(travel))])),
  "msgpack parser": (open, age) => exchange(() => open({ ...TRAVELS["websocket only"], ...MSGPACK[age] })),
  async recovery(open) {
    const socket = await open({ ...TRAVELS["websocket only"], auth: { roomwire: { recover: true } } });
    const sender = await open(TRAVELS["websocket only"]);
    await call(socket, "roomwire:join", "r");
    const inbox = collect(socket, "news");
    await call(sender, "roomwire:emit", "r", "news", 1);
    assert.equal((await inbox.next())[0], 1);
    const ended = once(socket, "disconnect");
    socket.io.engine.close();
    await ended;
    await call(sender, "roomwire:emit", "r", "news", 2);
    await once(socket, "connect");
    // Releases before 4.6 connect anew, in no room.
    if (!socket.recovered) return false;
    assert.equal((await inbox.next())[0], 2);
    return true;
  },
};

describe("releases of socket.io-client", WATCHDOG, () => {
  const it = cluster(ROUTES["through a balancer"], SETTINGS);
  const rows = [];

  for (const name of PACKAGES) {
    test(`socket.io-client ${version(name)}`, async (t) => {
      const module = require(name);
      const io = module.io ?? module;
      const age = OLD.includes(name) ? "old" : "new";
      const open = (options) => {
        const socket = io(it.url, { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 250, ...options });
        t.after(() => (socket.io._close ?? socket.io.close).call(socket.io));
        return settled(socket);
      };
      const cells = [];
      const otherwise = { old: "no", new: "by the application" }[age];
      for (const task of Object.values(TASKS)) cells.push((await task(open, age)) === false ? otherwise : "yes");
      rows.push(`| \`socket.io-client\` ${version(name)} | ${cells.join(" | ")} |`);
    });
  }

  test("docs/clients.md shows the results", () => {
    const head = ["Client", ...Object.keys(TASKS)].join(" | ");
    const table = [`| ${head} |`, `|---${"|---".repeat(Object.keys(TASKS).length)}|`, ...rows].join("\n");
    const page = fs.readFileSync(PAGE, "utf8");
    const [before, rest] = page.split(BEGIN);
    const written = `${before}${BEGIN}\n${table}\n${END}${rest.slice(rest.indexOf(END) + END.length)}`;
    if (process.env.UPDATE_CLIENTS) fs.writeFileSync(PAGE, written);
    else assert.equal(page, written, "docs/clients.md: run UPDATE_CLIENTS=1 node --test js/versions.test.mjs");
  });
});
