// The relay app on stock socket.io with its default engine (ws). PORT is the
// port; with REDIS_URL several of these form one cluster over @socket.io/redis-adapter.
// API_KEY adds the verbs `emit` and `batch` of an HTTP API on express, TOKEN_SECRET
// authenticates clients by tokens, WEBHOOK_URL lets an HTTP backend decide the acks of `ask`.
// RECOVERY_WINDOW (ms) turns connection state recovery on, in memory or, with REDIS_URL, over
// @socket.io/redis-streams-adapter. PER_MESSAGE_DEFLATE compresses websockets. PING_INTERVAL and PING_TIMEOUT are in ms.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import express from "express";
import jwt from "jsonwebtoken";
import { createClient } from "redis";
import { Server } from "socket.io";
import { Pool } from "undici";

const app = express();
const http = createServer(app);
const number = (name, otherwise) => Number(process.env[name] ?? otherwise);
const window = number("RECOVERY_WINDOW", 0);
const io = new Server(http, {
  pingInterval: number("PING_INTERVAL", 25000),
  pingTimeout: number("PING_TIMEOUT", 20000),
  perMessageDeflate: Boolean(process.env.PER_MESSAGE_DEFLATE),
  ...(window && { connectionStateRecovery: { maxDisconnectionDuration: window } }),
});

// Its clients reconnect by themselves; without a listener, an outage of Redis would end the process.
const redisClient = async (client) => client.on("error", () => {}).connect();
let publisher;
if (process.env.REDIS_URL) {
  publisher = createClient({ url: process.env.REDIS_URL });
  const subscriber = publisher.duplicate();
  await redisClient(publisher);
  if (window) {
    io.adapter(createStreamsAdapter(publisher));
  } else {
    await redisClient(subscriber);
    io.adapter(createAdapter(publisher, subscriber));
  }
}

// What a deployment should do: close the connections, and wait until their sessions are in Redis.
process.once("SIGTERM", async () => {
  await io.close();
  await publisher?.close();
  process.exit(0);
});

app.get("/readyz", (request, response) => response.send("ready"));

if (process.env.API_KEY) {
  const authorization = `Bearer ${process.env.API_KEY}`;
  const emit = ({ rooms, event, args }) => io.to(rooms).emit(event, ...args);
  app.use("/api/v1", (request, response, next) => {
    if (request.get("authorization") === authorization) next();
    else response.status(401).json({ error: { code: "key_invalid" } });
  });
  app.use(express.json({ limit: "1mb" }));
  app.post("/api/v1/emit", (request, response) => {
    emit(request.body);
    response.json({});
  });
  app.post("/api/v1/batch", (request, response) => {
    for (const item of request.body.items) emit(item.emit);
    response.json({ answers: request.body.items.map(() => ({})) });
  });
}

if (process.env.TOKEN_SECRET) {
  io.use((socket, next) => {
    try {
      const claims = jwt.verify(socket.handshake.auth.token, process.env.TOKEN_SECRET);
      socket.data.user = claims.sub;
      socket.join([`user:${claims.sub}`, ...claims.roomwire.rooms]);
      next();
    } catch (error) {
      next(error);
    }
  });
}

const backend = process.env.WEBHOOK_URL && new Pool(process.env.WEBHOOK_URL, { connections: 64 });

io.on("connection", (socket) => {
  socket.on("roomwire:join", async (room, ack) => {
    await socket.join(room);
    ack?.({ ok: true });
  });
  socket.on("roomwire:leave", async (room, ack) => {
    await socket.leave(room);
    ack?.({ ok: true });
  });
  socket.on("roomwire:emit", (room, event, ...args) => {
    const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
    socket.to(room).emit(event, ...args);
    ack?.({ ok: true });
  });
  socket.on("ask", async (argument, ack) => {
    const data = { socket: socket.id, namespace: "/", event: "ask", args: [argument], ack: true };
    const body = JSON.stringify({ type: "event", timestamp: new Date(), data });
    const headers = { "content-type": "application/json" };
    const response = await backend.request({ path: "/", method: "POST", headers, body });
    ack(...(await response.body.json()).ack);
  });
});

http.listen(number("PORT"), "127.0.0.1");
