// The raw wire: Engine.IO over HTTP requests and websocket frames, with no client library between
// the test and the bytes. Only `ws` frames websockets; polling is plain HTTP.
import http from "node:http";
import { randomBytes } from "node:crypto";
import { WebSocket } from "ws";
import { Inbox, until, within } from "./wait.mjs";

export const RECORD_SEPARATOR = "\x1e";
export const ENGINE = "/engine.io/";
export const SOCKET = "/socket.io/";

/** Address of an Engine.IO request; a query value of `undefined` is left out. */
export function address(node, path, query) {
  const url = new URL(path, node.url);
  const all = { EIO: "4", ...query };
  for (const [key, value] of Object.entries(all)) if (value !== undefined) url.searchParams.set(key, value);
  return url;
}

/** One HTTP exchange on a connection of its own; resolves with status, headers and the text of the body. */
export function request(url, { method = "GET", body, headers = {}, ...options } = {}) {
  const answer = new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { "content-type": "text/plain;charset=UTF-8", "content-length": Buffer.byteLength(body) };
    const outgoing = http.request(url, { method, agent: false, ...options, headers: { ...length, ...headers } }, (incoming) => {
      const chunks = [];
      incoming.on("data", (chunk) => chunks.push(chunk));
      incoming.on("error", reject);
      incoming.on("end", () => {
        resolve({ status: incoming.statusCode, headers: incoming.headers, text: Buffer.concat(chunks).toString() });
      });
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
  return within(`${method} ${url}`, answer, 40_000);
}

/** A polling session, driven request by request. */
export class Polling {
  static async open(node, path = ENGINE) {
    const answer = await request(address(node, path, { transport: "polling" }));
    if (answer.status !== 200) throw new Error(`handshake answered ${answer.status}: ${answer.text}`);
    const session = new Polling();
    session.node = node;
    session.path = path;
    session.handshake = JSON.parse(answer.text.slice(1));
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
   * A GET that the server has on its hands: nothing tells so, but it was sent before requests that have
   * been answered. Its `answer` is wrapped, so that awaiting this does not await that.
   */
  async pendingGet(options) {
    const answer = this.get(options);
    answer.catch(() => {});
    for (let trip = 0; trip < 3; trip += 1) await request(new URL("/readyz", this.node.url));
    return { answer };
  }

  post(body, options) {
    return request(this.url, { method: "POST", body, ...options });
  }

  /** Packets of the next polls until there are `count`; pings are answered and left out. */
  async packets(count) {
    const found = [];
    while (found.length < count) {
      const answer = await this.get();
      if (answer.status !== 200) throw new Error(`poll answered ${answer.status}: ${answer.text}`);
      const packets = answer.text.split(RECORD_SEPARATOR);
      if (packets.includes("2")) await this.post("3");
      found.push(...packets.filter((packet) => packet !== "2" && packet !== "6"));
    }
    return found;
  }

  /** Whether the server still knows this session: a pong does no harm to it. */
  async alive() {
    const answer = await this.post("3");
    if (answer.status === 200) return true;
    if (answer.status === 400 && JSON.parse(answer.text).code === 1) return false;
    throw new Error(`unexpected ${answer.status}: ${answer.text}`);
  }

  /** Waits until requests are answered with "Session ID unknown". A server that has a close to tell is polled for it. */
  async gone() {
    await until("session unknown", async () => {
      const answer = await this.get();
      if (answer.status === 200) return false;
      return answer.status === 400 && JSON.parse(answer.text).code === 1;
    });
  }

  upgrade(options) {
    return Socket.open(this.node, this.path, { sid: this.sid }, options);
  }
}

/** A websocket whose frames are read one by one; server pings are answered unless `pong: false`. */
export class Socket {
  static async open(node, path = ENGINE, query = {}, options = {}) {
    const socket = Socket.#start(node, path, query, options);
    await within("websocket handshake", socket.opened);
    return socket;
  }

  /** A handshake that must be rejected: resolves with the HTTP response. */
  static async rejected(node, path = ENGINE, query = {}, options = {}) {
    const socket = Socket.#start(node, path, query, options);
    socket.opened.catch(() => {});
    const accepted = socket.opened.then(() => {
      socket.terminate();
      throw new Error("the websocket was accepted");
    });
    const answer = new Promise((resolve, reject) => {
      socket.raw.once("unexpected-response", (_, incoming) => {
        let text = "";
        incoming.on("data", (chunk) => (text += chunk));
        incoming.once("end", () => resolve({ status: incoming.statusCode, headers: incoming.headers, text }));
        incoming.once("error", reject);
      });
    });
    return within("rejection of the websocket", Promise.race([accepted, answer]));
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

  /** A fresh session over websocket alone, its handshake read. */
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

  /** The session answers a message, so everything sent before has been dealt with and did no harm. */
  async echoes() {
    const mark = `mark-${randomBytes(4).toString("hex")}`;
    this.send(`4${mark}`);
    const answer = await this.next("echo");
    if (answer !== `4${mark}`) throw new Error(`expected the echo of ${mark}, got ${answer}`);
  }
}
