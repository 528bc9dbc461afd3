// Engine.IO 3 over HTTP requests and websocket frames, without a client library.
import { ENGINE, Socket, address, request } from "./wire.mjs";
import { until } from "./wait.mjs";

/** A polling body of text packets; lengths count UTF-16 code units, as `length` does. */
export const frame = (...packets) => packets.map((packet) => `${packet.length}:${packet}`).join("");

/** The packets of a text body. */
export function unframe(body) {
  const packets = [];
  for (let at = 0; at < body.length; ) {
    const colon = body.indexOf(":", at);
    const length = body.slice(at, colon);
    if (!/^\d+$/.test(length)) throw new Error(`no length at ${at} of ${JSON.stringify(body)}`);
    packets.push(body.slice(colon + 1, colon + 1 + Number(length)));
    at = colon + 1 + Number(length);
  }
  return packets;
}

/** A binary polling body: strings are text packets, buffers are the content of binary messages. */
export function binaryFrame(...packets) {
  const parts = packets.map((packet) => {
    const text = typeof packet === "string";
    const content = text ? Buffer.from(packet) : Buffer.concat([Buffer.from([4]), packet]);
    const digits = [...String(content.length)].map(Number);
    return Buffer.concat([Buffer.from([text ? 0 : 1, ...digits, 255]), content]);
  });
  return Buffer.concat(parts);
}

/** A polling session, driven request by request. */
export class Polling3 {
  /** `query`: `b64: undefined` for a client that receives binary bodies. */
  static async open(node, path = ENGINE, query = {}) {
    const session = new Polling3();
    Object.assign(session, { node, path, query: { EIO: "3", b64: "1", ...query } });
    const response = await request(address(node, path, { ...session.query, transport: "polling" }));
    if (response.status !== 200) throw new Error(`handshake: status ${response.status}: ${response.text}`);
    const [handshake, ...packets] = unframe(response.text);
    session.handshake = JSON.parse(handshake.slice(1));
    session.sid = session.handshake.sid;
    session.first = packets;
    return session;
  }

  get url() {
    return address(this.node, this.path, { ...this.query, transport: "polling", sid: this.sid });
  }

  get(options) {
    return request(this.url, options);
  }

  async pendingGet() {
    const response = this.get();
    response.catch(() => {});
    for (let trip = 0; trip < 3; trip += 1) await request(new URL("/readyz", this.node.url));
    return { response };
  }

  post(body, options) {
    return request(this.url, { method: "POST", body, ...options });
  }

  postBinary(body) {
    return this.post(body, { headers: { "content-type": "application/octet-stream" } });
  }

  /** Text packets of the handshake and of the next polls, until there are `count`. */
  async packets(count) {
    const found = this.first.splice(0);
    while (found.length < count) {
      const response = await this.get();
      if (response.status !== 200) throw new Error(`poll: status ${response.status}: ${response.text}`);
      found.push(...unframe(response.text).filter((packet) => packet !== "6"));
    }
    return found;
  }

  async gone() {
    await until("session unknown", async () => {
      const response = await this.get();
      return response.status === 400 && JSON.parse(response.text).code === 1;
    });
  }

  upgrade(query = {}) {
    return Socket.open(this.node, this.path, { EIO: "3", sid: this.sid, ...query });
  }
}

/** A session over websocket alone, after its handshake. */
export async function socket3(node, path = ENGINE, query = {}) {
  const socket = await Socket.open(node, path, { EIO: "3", ...query }, { pong: false });
  socket.handshake = JSON.parse((await socket.next("handshake")).slice(1));
  return socket;
}
