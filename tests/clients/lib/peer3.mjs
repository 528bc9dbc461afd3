// Raw Socket.IO 2 with one interface for both transports.
import { Peer } from "./sockets.mjs";
import { SOCKET } from "./wire.mjs";
import { binaryFrame, frame, Polling3, socket3 } from "./wire3.mjs";

/** As `Peer`; the server connects `/` by itself, and `query` is that of the requests. */
export class Peer3 extends Peer {
  static async open(node, transport, query = {}) {
    const peer = new Peer3();
    peer.transport = transport;
    if (transport === "websocket") peer.socket = await socket3(node, SOCKET, query);
    else peer.session = await Polling3.open(node, SOCKET, query);
    peer.sid = (peer.socket ?? peer.session).handshake.sid;
    peer.waiting = [];
    return peer;
  }

  /** Open and connected to `/`, and to `namespace`. Reads the responses and the `auth` events. */
  static async connected(node, transport, namespace = "/", query = {}) {
    const peer = await Peer3.open(node, transport, query);
    peer.auth = await peer.accepted("/");
    if (namespace !== "/") peer.auth = await peer.connect(namespace);
    return peer;
  }

  /** Requests a namespace, whose name may have a query; returns its `auth` event. */
  async connect(namespace) {
    await this.send(`0${namespace},`);
    return this.accepted(namespace.split("?")[0]);
  }

  /** Reads the response of a namespace and its `auth` event, which is returned. */
  async accepted(namespace) {
    const head = namespace === "/" ? "" : `${namespace},`;
    const response = await this.next("CONNECT");
    if (response !== `0${head}`) throw new Error(`expected 0${head}, got ${response}`);
    const auth = await this.next("auth event");
    return JSON.parse(auth.slice(`2${head}`.length));
  }

  async send(...packets) {
    const encoded = packets.map((packet) => (typeof packet === "string" ? `4${packet}` : packet));
    if (this.socket) {
      for (const it of encoded) this.socket.send(typeof it === "string" ? it : Buffer.concat([Buffer.from([4]), it]));
      return undefined;
    }
    if (encoded.every((it) => typeof it === "string")) return this.session.post(frame(...encoded));
    return this.session.postBinary(binaryFrame(...encoded));
  }

  async next(what) {
    const packet = this.socket ? await this.socket.next(what) : await this.#polled();
    if (typeof packet !== "string") {
      if (packet[0] !== 4) throw new Error(`expected a message, got the type ${packet[0]}`);
      return packet.subarray(1);
    }
    if (packet.startsWith("b4")) return Buffer.from(packet.slice(2), "base64");
    if (!packet.startsWith("4")) throw new Error(`expected a message, got ${packet.slice(0, 80)}`);
    return packet.slice(1);
  }

  async #polled() {
    if (this.waiting.length === 0) this.waiting.push(...(await this.session.packets(1)));
    return this.waiting.shift();
  }

  async leave() {
    if (this.socket) this.socket.terminate();
    else await this.session.post(frame("1"));
  }
}
