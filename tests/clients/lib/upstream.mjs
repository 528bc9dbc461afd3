// A stock Socket.IO server in a process of its own, as the server behind Roomwire: run with the port as argument.
// Its handlers do what the tests request; nothing in it is specific to Roomwire.
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";
import { Server } from "socket.io";

/** The stock server on this port; resolves once it listens. */
export function serve(port) {
  const http = createServer((_, response) => response.end("well"));
  const io = new Server(http, { maxHttpBufferSize: 1e7 });
  for (const namespace of [io.of("/"), io.of("/admin")]) {
    namespace.use((socket, next) => {
      if (socket.handshake.auth.token !== "bad") return next();
      next(Object.assign(new Error("not you"), { data: { code: 7 } }));
    });
    namespace.on("connection", (socket) => {
      socket.emit("welcome", socket.nsp.name, socket.handshake.auth);
      socket.on("echo", (...args) => {
        const ack = args.pop();
        ack(...args);
      });
      socket.on("later", (ms, value, ack) => setTimeout(ack, ms, value));
      socket.on("repeat", (count) => {
        for (let number = 0; number < count; number++) socket.emit("number", number);
      });
      socket.on("ask me", async (value, ack) => ack(await socket.emitWithAck("question", value)));
      socket.on("say", (...args) => socket.emit(...args));
      socket.on("leave me", (close) => socket.disconnect(close));
      socket.on("who", (ack) => ack(socket.handshake.headers));
      socket.on("disconnect", (reason) => io.emit("left", reason, socket.handshake.auth.name));
    });
  }
  return new Promise((resolve) => http.listen(port, "127.0.0.1", resolve));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await serve(Number(process.argv[2]));
