// A name server on loopback whose records change while it runs, as those of Docker do when containers start and stop.
import dgram from "node:dgram";
import { HOST } from "./processes.mjs";

const HEADER = 12;
const A = 1;
const RESPONSE = 0x8180;
const NO_SUCH_NAME = 3;
/** As Docker's: clients that honour it query again after ten minutes. */
const TTL = 600;

export class NameServer {
  /** Addresses by name; other names do not exist. */
  addresses = new Map();

  static async start() {
    const server = new NameServer();
    server.socket = dgram.createSocket("udp4");
    server.socket.on("message", (query, from) => server.socket.send(server.respond(query), from.port, from.address));
    await new Promise((resolve) => server.socket.bind(0, HOST, resolve));
    server.host = `${HOST}:${server.socket.address().port}`;
    return server;
  }

  /** Sets the addresses of `name`; without any, the name does not exist. */
  set(name, ...addresses) {
    if (addresses.length > 0) this.addresses.set(name, addresses);
    else this.addresses.delete(name);
  }

  respond(query) {
    const { name, type, end } = question(query);
    const known = this.addresses.get(name);
    const records = type === A ? (known ?? []) : [];
    const header = Buffer.alloc(HEADER);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(RESPONSE | (known ? 0 : NO_SUCH_NAME), 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(records.length, 6);
    return Buffer.concat([header, query.subarray(HEADER, end), ...records.map(record)]);
  }

  stop() {
    this.socket.close();
  }
}

function question(query) {
  const labels = [];
  let at = HEADER;
  for (; query[at] > 0; at += query[at] + 1) labels.push(query.toString("latin1", at + 1, at + 1 + query[at]));
  return { name: labels.join(".").toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}

function record(address) {
  const it = Buffer.alloc(16);
  // A pointer to the name in the question.
  it.writeUInt16BE(0xc000 | HEADER, 0);
  it.writeUInt16BE(A, 2);
  it.writeUInt16BE(1, 4);
  it.writeUInt32BE(TTL, 6);
  it.writeUInt16BE(4, 10);
  Buffer.from(address.split(".").map(Number)).copy(it, 12);
  return it;
}
