// Records the sessions that a stock server with the streams adapter keeps in Redis, into tests/vectors/node-sessions.json:
//   cd tests/clients && npm ci && node ../vectors/node/sessions.mjs
// `value` is what `persistSession` wrote below `sio:session:` and the pid. Ids differ in each run.
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { HOST, Redis } from "../../clients/lib/processes.mjs";
import { until } from "../../clients/lib/wait.mjs";

const require = createRequire(new URL("../../clients/package.json", import.meta.url));
const { Server } = require("socket.io");
const { io } = require("socket.io-client");
const { createClient } = require("redis");
const { createAdapter } = require("@socket.io/redis-streams-adapter");

const CASES = {
  "no data": { rooms: [], data: {} },
  "rooms and data": { rooms: ["r1", "räum,\n2"], data: { user: "u1", n: 1.5, big: 2 ** 40, list: [null, -1, { a: [] }] } },
  "binary data and a date": { rooms: ["r1"], data: { bytes: Buffer.from([1, 2]), at: new Date(1e12), none: undefined } },
  "data that is no object": { rooms: [], data: "text" },
};

const redis = await Redis.start();
const client = await createClient({ url: redis.url }).connect();
const http = createServer();
await new Promise((resolve) => http.listen(0, HOST, resolve));
const server = new Server(http, { adapter: createAdapter(client), connectionStateRecovery: {} });
const records = [];
for (const [name, { rooms, data }] of Object.entries(CASES)) {
  const connected = new Promise((resolve) => server.once("connection", resolve));
  const socket = io(`http://${HOST}:${http.address().port}`, { transports: ["websocket"], forceNew: true, reconnection: false });
  const of_server = await connected;
  of_server.data = data;
  await of_server.join(rooms);
  const key = `sio:session:${of_server.pid}`;
  of_server.conn.close(true);
  await until(name, () => client.exists(key));
  records.push({ name, value: await client.get(key), ttl: (await client.pTTL(key)) > 100_000 });
  socket.close();
}
writeFileSync(new URL("../node-sessions.json", import.meta.url), `${JSON.stringify(records, null, 2)}\n`);
await server.close();
await client.quit();
await redis.stop?.();
process.exit(0);
