// A stock client that continues its session: `node client.mjs URL`. Prints what it receives in the room `news`.
// `npm install socket.io-client`, 4.6 or later. See docs/delivery.md.
import { io } from "socket.io-client";

const socket = io(process.argv[2], { auth: { roomwire: { recover: true } } });
socket.on("roomwire:session", ({ recovered, gap }) => {
  if (recovered) return;
  console.log("new session", gap ?? "");
  socket.emit("roomwire:join", "news");
});
// The last argument of each event is its position.
socket.on("message", (text, _position) => console.log(text));
