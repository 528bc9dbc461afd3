// Raw Socket.IO with one interface for both transports.
import { Polling, Socket, SOCKET } from "./wire.mjs";

/** A Socket.IO peer: `send` a packet without its leading `4`; `next` reads one in the same form. Buffers are attachments. */
export class Peer {
  static async open(node, transport, options) {
    const peer = new Peer();
    peer.transport = transport;
    if (transport === "websocket") peer.socket = await Socket.session(node, SOCKET, options);
    else peer.session = await Polling.open(node, SOCKET);
    peer.sid = (peer.socket ?? peer.session).sid;
    peer.waiting = [];
    return peer;
  }

  /** Open and connected to `namespace`; `payload` is JSON text. Reads the response to CONNECT and the `auth` event. */
  static async connected(node, transport, namespace = "/", payload = "", options) {
    const peer = await Peer.open(node, transport, options);
    await peer.connect(namespace, payload);
    return peer;
  }

  async connect(namespace = "/", payload = "") {
    await this.send(`0${prefix(namespace, payload)}${payload}`);
    const response = await this.next("CONNECT");
    const head = `0${prefix(namespace, "{}")}`;
    if (!response.startsWith(head)) throw new Error(`expected ${head}{..}, got ${response}`);
    const auth = await this.next("auth event");
    return { response: JSON.parse(response.slice(head.length)), auth: JSON.parse(auth.slice(`2${prefix(namespace, "[]")}`.length)) };
  }

  /** All packets of one call are sent together: in one POST, or as consecutive frames. */
  async send(...packets) {
    const encoded = packets.map((packet) => this.#encode(packet));
    if (this.socket) return encoded.forEach((frame) => this.socket.send(frame));
    const response = await this.session.post(encoded.join("\x1e"));
    return response;
  }

  #encode(packet) {
    if (typeof packet === "string") return `4${packet}`;
    return this.socket ? packet : `b${packet.toString("base64")}`;
  }

  async next(what) {
    if (this.socket) return decode(await this.socket.next(what));
    if (this.waiting.length === 0) this.waiting.push(...(await this.session.packets(1)));
    return decode(this.waiting.shift());
  }

  /** The server has closed this session. */
  async gone() {
    if (this.session) return this.session.gone();
    const { code } = await this.socket.end();
    if (code !== 1005 && code !== 1000) throw new Error(`closed with ${code}`);
  }

  /** Still connected to `namespace`: an event comes back. */
  async echoes(namespace = "/") {
    const head = `2${prefix(namespace, "[]")}`;
    await this.send(`${head}["message","still here"]`);
    const response = await this.next("echo");
    const expected = `${head}["message-back","still here"]`;
    if (response !== expected) throw new Error(`expected ${expected}, got ${response}`);
  }

  async leave() {
    if (this.socket) this.socket.terminate();
    else await this.session.post("1");
  }
}

function prefix(namespace, payload) {
  if (namespace === "/") return "";
  return payload ? `${namespace},` : namespace;
}

function decode(packet) {
  if (typeof packet !== "string") return packet;
  if (packet.startsWith("b")) return Buffer.from(packet.slice(1), "base64");
  if (!packet.startsWith("4")) throw new Error(`expected a message, got ${packet.slice(0, 80)}`);
  return packet.slice(1);
}
