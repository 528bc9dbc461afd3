// A stock Socket.IO server in Node with the Redis adapter, in a process of its own so that it can be killed: ADAPTER PORT REDIS_URL.
// POST /control executes what the tests request (lib/mixed.mjs); tests/clients/py/mixed_server.py has the same requests.
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const [, , kind, port, url] = process.argv;
// The adapter does not await what it publishes: without this a server ends when Redis does. Messages that it cannot decode
// are exceptions, which still end it. The tests verify that this happens only while Redis is away.
process.on("unhandledRejection", (error) => console.error(`not published at ${Date.now()}: ${error}`));
const connections = [];
for (let i = 0; i < 2; i += 1) {
  const connection = createClient({ url });
  connection.on("error", () => {}); // while Redis restarts
  connections.push(await connection.connect());
}

/** Binary values are `{ base64 }`. */
function decoded(value) {
  if (Array.isArray(value)) return value.map(decoded);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.base64 === "string") return Buffer.from(value.base64, "base64");
  return Object.fromEntries(Object.entries(value).map(([name, it]) => [name, decoded(it)]));
}

const control = {
  async emit({ namespace, rooms, except, event, args }) {
    io.of(namespace).to(rooms).except(except).emit(event, ...decoded(args));
  },
  async call({ namespace, rooms, event, args, timeout, single }) {
    const operator = io.of(namespace).to(rooms).timeout(timeout);
    if (!single) return { acks: await operator.emitWithAck(event, ...args) };
    // As the objects of fetchSockets do for one socket.
    const [remote] = await io.of(namespace).in(rooms).fetchSockets();
    return { acks: [await remote.timeout(timeout).emitWithAck(event, ...args)] };
  },
  async join({ namespace, sid, room }) {
    io.of(namespace).in(sid).socketsJoin(room);
  },
  async leave({ namespace, sid, room }) {
    io.of(namespace).in(sid).socketsLeave(room);
  },
  async close_room({ namespace, room }) {
    io.of(namespace).in(room).socketsLeave(room);
  },
  async disconnect({ namespace, sid }) {
    io.of(namespace).in(sid).disconnectSockets();
  },
};

const http = createServer(async (request, response) => {
  if (!request.url.startsWith("/control")) return void response.end();
  const { operation, ...fields } = JSON.parse(await text(request));
  try {
    response.end(JSON.stringify((await control[operation](fields)) ?? {}));
  } catch (error) {
    response.statusCode = 500;
    response.end(String(error));
  }
});
const adapters = {
  pubsub: () => createAdapter(...connections),
  sharded: () => createShardedAdapter(...connections, { subscriptionMode: "static" }),
  streams: () => createStreamsAdapter(connections[0]),
};
const io = new Server(http, { adapter: adapters[kind]() });
for (const namespace of ["/", "/custom"]) {
  io.of(namespace).on("connection", (socket) => {
    socket.on("roomwire:join", async (room, respond) => {
      await socket.join(room);
      respond({ ok: true });
    });
    socket.on("roomwire:emit", (room, event, ...args) => {
      const respond = args.pop();
      socket.to(room).emit(event, ...args);
      respond({ ok: true });
    });
  });
}
http.listen(Number(port), "127.0.0.1");
