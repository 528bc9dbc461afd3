// The relay app on stock socket.io with its default engine (ws). PORT is the
// port; with REDIS_URL several of these form one cluster over @socket.io/redis-adapter.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http);

if (process.env.REDIS_URL) {
  const publisher = createClient({ url: process.env.REDIS_URL });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  io.adapter(createAdapter(publisher, subscriber));
}

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
});

http.listen(Number(process.env.PORT), "127.0.0.1");
