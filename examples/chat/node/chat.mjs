// The backend of the chat: login, webhook and announcements, without packages.
import { createHmac, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const { CHAT_TOKEN_SECRET, CHAT_WEBHOOK_SECRET, CHAT_API, CHAT_API_KEY, CHAT_PORT } = process.env;
const WEBHOOK_SECRET = Buffer.from(CHAT_WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");

/** A JWT for an hour; its owner is in the room `lobby` from the start. */
function token(user) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub: user, iat: now, exp: now + 3600, roomwire: { rooms: ["lobby"] } };
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const text = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${text}.${createHmac("sha256", CHAT_TOKEN_SECRET).update(text).digest("base64url")}`;
}

/** Whether the node sent this request, within the last five minutes. */
function isSigned(headers, body) {
  const sent = headers["webhook-timestamp"] ?? "0";
  if (Math.abs(Date.now() / 1000 - Number(sent)) > 300) return false;
  const signed = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${sent}.`), body]);
  const expected = Buffer.from(`v1,${createHmac("sha256", WEBHOOK_SECRET).update(signed).digest("base64")}`);
  return (headers["webhook-signature"] ?? "").split(" ").some((given) => {
    const signature = Buffer.from(given);
    return signature.length === expected.length && timingSafeEqual(signature, expected);
  });
}

const rejected = (code, message) => ({ error: { code, message } });

/** What the node does for an event of a client. */
async function onWebhook(type, { user, socket, session, event, args }) {
  const rooms = new Set(session?.rooms ?? ["lobby"]);
  const tell = (room, name, ...more) => ({ emit: { rooms: [room], except: [socket], event: name, args: [room, user, ...more] } });
  if (type === "disconnect") {
    // The socket is gone, so there is nothing to decide; the others are told by the API.
    await requestApi("batch", { items: [...rooms].map((room) => tell(room, "left")) });
    return {};
  }

  const [room, content] = args;
  if (typeof room !== "string" || room.length < 1 || room.length > 40) return rejected("room_invalid", "a room has 1 to 40 characters");
  if (event === "join") {
    const actions = [{ join: { rooms: [room] } }, tell(room, "joined")];
    return { session: { rooms: [...rooms.add(room)] }, actions, ack: [{ ok: true }] };
  }
  if (!rooms.has(room)) return rejected("not_a_member", `join ${room} first`);
  if (event === "leave") {
    rooms.delete(room);
    return { session: { rooms: [...rooms] }, actions: [{ leave: { rooms: [room] } }, tell(room, "left")], ack: [{ ok: true }] };
  }
  if (event === "typing") {
    const typing = tell(room, "typing", content === true);
    typing.emit.volatile = true;
    return { actions: [typing] };
  }
  if (event !== "message" || typeof content !== "string" || content === "") return rejected("message_invalid", "a message is a text");
  const message = { rooms: [room], event: "message", args: [room, user, content] };
  return { actions: [{ emit: message }], ack: [{ ok: true }] };
}

/** Requests something of the node by itself. */
async function requestApi(verb, body) {
  const response = await fetch(`${CHAT_API}/${verb}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${CHAT_API_KEY}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(5_000),
  });
  return response.json();
}

async function respond(request, body) {
  if (request.method === "GET") return [200, await readFile(new URL("../page.html", import.meta.url)), "text/html; charset=utf-8"];
  if (request.url === "/roomwire" && !isSigned(request.headers, body)) return [401, "{}"];
  const content = JSON.parse(body);
  if (request.url === "/roomwire") return [200, JSON.stringify(await onWebhook(content.type, content.data))];
  // A real login checks a password here.
  if (request.url === "/login" && content.name) return [200, JSON.stringify({ token: token(content.name) })];
  if (request.url === "/announce") {
    const emit = { everybody: true, event: "announcement", args: [content.text], counts: true };
    return [200, JSON.stringify(await requestApi("emit", emit))];
  }
  return [404, "{}"];
}

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const [status, body, type = "application/json"] = await respond(request, Buffer.concat(chunks));
  response.writeHead(status, { "Content-Type": type }).end(body);
}).listen(Number(CHAT_PORT), "127.0.0.1", () => console.log(`open http://127.0.0.1:${CHAT_PORT}/`));
