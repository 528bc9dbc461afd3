// The raw protocol: Engine.IO over HTTP requests and websocket frames, without a client library.
// `ws` handles the framing of websockets; polling is plain HTTP.
import http from "node:http";
import { randomBytes } from "node:crypto";
import { WebSocket } from "ws";
import { Inbox, until, within } from "./wait.mjs";

export const RECORD_SEPARATOR = "\x1e";
export const ENGINE = "/engine.io/";
export const SOCKET = "/socket.io/";

/** Address of an Engine.IO request; a query value of `undefined` is omitted. */
export function address(node, path, query) {
  const url = new URL(path, node.url);
  const all = { EIO: "4", ...query };
  for (const [key, value] of Object.entries(all)) if (value !== undefined) url.searchParams.set(key, value);
  return url;
}

/** One HTTP request on a new connection; resolves with status, headers, and the body as bytes and text. */
export function request(url, { method = "GET", body, headers = {}, ...options } = {}) {
  const response = new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { "content-type": "text/plain;charset=UTF-8", "content-length": Buffer.byteLength(body) };
    const outgoing = http.request(url, { method, agent: false, ...options, headers: { ...length, ...headers } }, (incoming) => {
      const chunks = [];
      incoming.on("data", (chunk) => chunks.push(chunk));
      incoming.on("error", reject);
      incoming.on("end", () => {
        const bytes = Buffer.concat(chunks);
        resolve({ status: incoming.statusCode, headers: incoming.headers, bytes, text: bytes.toString() });
      });
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
  return within(`${method} ${url}`, response, 40_000);
}

/** A polling session, driven request by request. */
export class Polling {
  static async open(node, path = ENGINE) {
    const response = await request(address(node, path, { transport: "polling" }));
    if (response.status !== 200) throw new Error(`handshake: status ${response.status}: ${response.text}`);
    const session = new Polling();
    session.node = node;
    session.path = path;
    session.handshake = JSON.parse(response.text.slice(1));
    session.sid = session.handshake.sid;
    return session;
  }

  get url() {
    return address(this.node, this.path, { transport: "polling", sid: this.sid });
  }

  get(options) {
    return request(this.url, options);
  }

  /**
   * A GET that is pending at the server. The protocol has no sign of that, but requests sent after it have
   * completed. `response` is wrapped in an object, so that awaiting this call does not await the response.
   */
  async pendingGet(options) {
    const response = this.get(options);
    response.catch(() => {});
    for (let trip = 0; trip < 3; trip += 1) await request(new URL("/readyz", this.node.url));
    return { response };
  }

  post(body, options) {
    return request(this.url, { method: "POST", body, ...options });
  }

  /** Packets of the next polls until there are `count`; pongs are sent for pings, which are omitted. */
  async packets(count) {
    const found = [];
    while (found.length < count) {
      const response = await this.get();
      if (response.status !== 200) throw new Error(`poll: status ${response.status}: ${response.text}`);
      const packets = response.text.split(RECORD_SEPARATOR);
      if (packets.includes("2")) await this.post("3");
      found.push(...packets.filter((packet) => packet !== "2" && packet !== "6"));
    }
    return found;
  }

  /** Whether the session exists, tested with a pong, which has no other effect. */
  async alive() {
    const response = await this.post("3");
    if (response.status === 200) return true;
    if (response.status === 400 && JSON.parse(response.text).code === 1) return false;
    throw new Error(`unexpected ${response.status}: ${response.text}`);
  }

  /** Waits for the response "Session ID unknown", polling the pending close packet first. */
  async gone() {
    await until("session unknown", async () => {
      const response = await this.get();
      if (response.status === 200) return false;
      return response.status === 400 && JSON.parse(response.text).code === 1;
    });
  }

  upgrade(options) {
    return Socket.open(this.node, this.path, { sid: this.sid }, options);
  }
}

/** A websocket whose frames are read one by one; pongs are sent unless `pong: false`. */
export class Socket {
  static async open(node, path = ENGINE, query = {}, options = {}) {
    const socket = Socket.#start(node, path, query, options);
    await within("websocket handshake", socket.opened);
    return socket;
  }

  /** A handshake that must be rejected: resolves to the HTTP response. */
  static async rejected(node, path = ENGINE, query = {}, options = {}) {
    const socket = Socket.#start(node, path, query, options);
    socket.opened.catch(() => {});
    const accepted = socket.opened.then(() => {
      socket.terminate();
      throw new Error("the websocket was accepted");
    });
    const response = new Promise((resolve, reject) => {
      socket.raw.once("unexpected-response", (_, incoming) => {
        let text = "";
        incoming.on("data", (chunk) => (text += chunk));
        incoming.once("end", () => resolve({ status: incoming.statusCode, headers: incoming.headers, text }));
        incoming.once("error", reject);
      });
    });
    return within("rejection of the websocket", Promise.race([accepted, response]));
  }

  static #start(node, path, query, { pong = true, ...options }) {
    const socket = new Socket();
    const url = address(node, path, { transport: "websocket", ...query });
    url.protocol = "ws:";
    socket.frames = new Inbox();
    socket.raw = new WebSocket(url, { perMessageDeflate: false, ...options });
    socket.opened = new Promise((resolve, reject) => {
      socket.raw.once("open", resolve);
      socket.raw.once("error", reject);
    });
    socket.raw.on("message", (data, binary) => {
      const frame = binary ? data : String(data);
      if (pong && frame === "2") socket.raw.send("3");
      else socket.frames.push(frame);
    });
    socket.closed = new Promise((resolve) => {
      socket.raw.once("close", (code, reason) => {
        socket.frames.end(`websocket closed with ${code} ${reason}`);
        resolve({ code, reason: String(reason) });
      });
    });
    socket.raw.on("error", () => {});
    return socket;
  }

  /** Opens a session over websocket alone and reads its handshake. */
  static async session(node, path = ENGINE, options = {}) {
    const socket = await Socket.open(node, path, {}, options);
    socket.handshake = JSON.parse((await socket.next("handshake")).slice(1));
    socket.sid = socket.handshake.sid;
    return socket;
  }

  send(frame) {
    this.raw.send(frame);
  }

  next(what = "frame") {
    return this.frames.next(what);
  }

  async end() {
    return within("close of the websocket", this.closed);
  }

  terminate() {
    this.raw.terminate();
  }

  /** Expects the echo of a message: everything sent before has been processed, and the session is open. */
  async echoes() {
    const mark = `mark-${randomBytes(4).toString("hex")}`;
    this.send(`4${mark}`);
    const response = await this.next("echo");
    if (response !== `4${mark}`) throw new Error(`expected the echo of ${mark}, got ${response}`);
  }
}
