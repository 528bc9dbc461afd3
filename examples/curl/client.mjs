// A stock client that prints what it receives: node client.mjs URL TOKEN
import { io } from "socket.io-client";

const [url, token] = process.argv.slice(2);
const socket = io(url, { auth: { token }, reconnection: false });
socket.on("connect", () => console.log("client: connected"));
socket.on("connect_error", (error) => console.log(`client: ${error.message}`));
socket.onAny((event, ...args) => {
  const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
  console.log(`client: ${event} ${JSON.stringify(args)}`);
  ack?.("seen");
});
socket.on("disconnect", (reason) => {
  console.log(`client: ${reason}`);
  process.exit();
});
