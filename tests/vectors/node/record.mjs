// Records what stock Socket.IO servers and emitters publish on Redis for every operation, and what each message means, into
// tests/vectors/node-{pubsub,sharded,streams}.json:
//   cd tests/clients && npm ci && node ../vectors/node/record.mjs
// Server A performs the operations. A client of server B is in room r1, another one is connected to A. Uids, request ids
// and ids of sockets differ in each run; a record whose `means` is absent is a subscription, or a query of Redis.
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { HOST, Redis } from "../../clients/lib/processes.mjs";
import { until } from "../../clients/lib/wait.mjs";
import { Monitor } from "./monitor.mjs";
import { adapterSteps, emitterSteps } from "./steps.mjs";

const require = createRequire(new URL("../../clients/package.json", import.meta.url));
const { Server } = require("socket.io");
const { io } = require("socket.io-client");
const { createClient } = require("redis");
const { Emitter } = require("@socket.io/redis-emitter");
const oldEmitter = require("socket.io-emitter");
const { createAdapter, createShardedAdapter } = require("@socket.io/redis-adapter");
const { createAdapter: createStreamsAdapter } = require("@socket.io/redis-streams-adapter");

const sharded = (subscriptionMode) => (publish, subscribe) => createShardedAdapter(publish, subscribe, { subscriptionMode });
const FILES = {
  pubsub: {
    pubsub: createAdapter,
    "pubsub-specific": (publish, subscribe) =>
      createAdapter(publish, subscribe, { publishOnSpecificResponseChannel: true }),
  },
  sharded: {
    "sharded-static": sharded("static"),
    "sharded-dynamic": sharded("dynamic"),
    "sharded-dynamic-private": sharded("dynamic-private"),
  },
  streams: {
    streams: (publish) => createStreamsAdapter(publish),
    "streams-sharded-recovery": (publish) => createStreamsAdapter(publish, { useShardedPubSub: true, streamCount: 3 }),
  },
};

/** The records of a command: what it publishes with its channel, or its arguments. */
function record(dialect, step, [command, ...words]) {
  const cmd = command.toString().toUpperCase();
  const base = { dialect, step, cmd };
  if (cmd.endsWith("PUBLISH")) return { ...base, channel: words[0].toString(), hex: words[1].toString("hex") };
  const args = words.map(String);
  if (cmd !== "XADD") return { ...base, args };
  const fields = [];
  for (let i = args.indexOf("*") + 1; i < args.length; i += 2) fields.push([args[i], args[i + 1]]);
  return { ...base, channel: args[0], options: args.slice(1, args.indexOf("*")), fields };
}

class Recorder {
  records = [];

  constructor(monitor, dialect) {
    Object.assign(this, { monitor, dialect });
  }

  /** Performs a step that publishes a message for each of `means`. */
  async step(name, means, perform) {
    await this.monitor.take();
    await perform();
    const published = (command) => /^(s?publish|xadd)$/i.test(command[0]);
    await until(`messages of ${name}`, () => this.monitor.commands.filter(published).length >= means.length);
    // Anything more would have been sent by now.
    await new Promise((resolve) => setTimeout(resolve, 60));
    const commands = await this.monitor.take();
    const found = commands.filter(published).length;
    if (found !== means.length) throw new Error(`${this.dialect}, ${name}: ${found} messages, not ${means.length}`);
    const expected = [...means];
    for (const command of commands) {
      const record_ = record(this.dialect, name, command);
      this.records.push(published(command) ? { ...record_, means: expected.shift() } : record_);
    }
  }
}

async function server(redis, adapter, options) {
  const clients = [await createClient({ url: redis.url }).connect(), await createClient({ url: redis.url }).connect()];
  const http = createServer();
  await new Promise((resolve) => http.listen(0, HOST, resolve));
  const it = new Server(http, { adapter: adapter(...clients), ...options });
  for (const name of ["/", "/custom"]) it.of(name).on("connection", () => {});
  it.on("connection", async (socket) => {
    socket.data.user = socket.handshake.auth.user;
    if (socket.handshake.auth.room) await socket.join(socket.handshake.auth.room);
  });
  it.on("ask", (value, respond) => respond(Buffer.isBuffer(value) ? Buffer.from([7]) : `answer ${value}`));
  const end = async () => {
    await it.close();
    for (const client of clients) if (client.isOpen) await client.quit();
  };
  return { it, end, port: http.address().port, redis: clients[0] };
}

async function connect({ it, port }, auth) {
  const socket = io(`http://${HOST}:${port}`, { transports: ["websocket"], forceNew: true, reconnection: false, auth });
  await new Promise((resolve) => socket.once("connect", resolve));
  await until("room", () => !auth.room || it.sockets.sockets.get(socket.id).rooms.has(auth.room));
  socket.on("ask", (...args) => {
    const respond = args.pop();
    respond(...(args[0] === "nothing" ? [] : args[0] === "binary" ? [Buffer.from([9, 8])] : [`ack ${args[0]}`, 2]));
  });
  return socket;
}

async function recordAdapter(redis, monitor, dialect, adapter) {
  const recorder = new Recorder(monitor, dialect);
  const options = dialect.endsWith("recovery") ? { connectionStateRecovery: {} } : {};
  const servers = [];
  const clients = [];
  await recorder.step("two servers start", [], async () => {
    for (let i = 0; i < 2; i += 1) servers.push(await server(redis, adapter, options));
  });
  const [a, b] = servers;
  await recorder.step("a client of A, and one of B in room r1", [], async () => {
    clients.push(await connect(a, {}), await connect(b, { user: "u1", room: "r1" }));
  });
  const ids = { a: clients[0].id, b: clients[1].id };
  await adapterSteps(recorder, a.it, ids, dialect);
  if (dialect === "pubsub") {
    recorder.dialect = "redis-emitter";
    await emitterSteps(recorder, new Emitter(a.redis), ids);
    recorder.dialect = "socket.io-emitter";
    // It requires a client of Redis of its time, of which it uses one function.
    const old = oldEmitter({ hset: true, publish: (channel, message) => a.redis.publish(channel, message) });
    await emitterSteps(recorder, old, ids);
    recorder.dialect = dialect;
  }
  for (const client of clients) client.close();
  await recorder.step("both servers stop", [], async () => {
    for (const it of servers) await it.end();
  });
  return recorder.records;
}

for (const [file, dialects] of Object.entries(FILES)) {
  const records = [];
  for (const [dialect, adapter] of Object.entries(dialects)) {
    const redis = await Redis.start();
    const monitor = await Monitor.start(redis.port);
    records.push(...(await recordAdapter(redis, monitor, dialect, adapter)));
    monitor.stop();
    await redis.stop();
  }
  const path = new URL(`../node-${file}.json`, import.meta.url);
  writeFileSync(path, `[\n${records.map((it) => JSON.stringify(it)).join(",\n")}\n]\n`);
  console.log(`${records.length} records in ${path.pathname}`);
}
process.exit(0);
