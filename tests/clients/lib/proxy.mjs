// A balancer without any stickiness: every request of a session goes to the other node than the one
// before it, so at least every second one lands where the session does not live. As balancers do, it
// takes the next node when one refuses the connection.
import http from "node:http";
import net from "node:net";
import { freePort } from "./processes.mjs";

export class RoundRobin {
  /** `upgrades`: where a websocket for an existing session goes: "owner", "other" (than the handshake), or "next". */
  static async start(nodes, { upgrades = "next" } = {}) {
    const proxy = new RoundRobin();
    proxy.nodes = nodes;
    proxy.upgrades = upgrades;
    proxy.turns = new Map();
    proxy.handshakes = 0;
    proxy.sockets = new Set();
    proxy.server = http.createServer((request, response) => proxy.#forward(request, response));
    proxy.server.on("upgrade", (request, socket, head) => proxy.#tunnel(request, socket, head));
    proxy.server.on("connection", (socket) => {
      proxy.sockets.add(socket);
      socket.once("close", () => proxy.sockets.delete(socket));
    });
    proxy.port = await freePort();
    proxy.url = `http://127.0.0.1:${proxy.port}`;
    await new Promise((resolve) => proxy.server.listen(proxy.port, "127.0.0.1", resolve));
    return proxy;
  }

  /** How often a request of some session went to a node that had not made its handshake. */
  strayed = 0;

  #choose(request, upgrade) {
    const sid = new URL(request.url, this.url).searchParams.get("sid");
    if (!sid) return this.handshakes++ % this.nodes.length;
    const turn = this.turns.get(sid);
    if (!turn) return 0;
    turn.count += 1;
    const step = upgrade && this.upgrades !== "next" ? Number(this.upgrades === "other") : turn.count % this.nodes.length;
    if (step !== 0) this.strayed += 1;
    return (turn.owner + step) % this.nodes.length;
  }

  /** A connection to node `index`, or to the next one when that is down; nothing when all are. */
  async #reach(index) {
    for (let step = 0; step < this.nodes.length; step += 1) {
      const reached = (index + step) % this.nodes.length;
      const socket = await connect(this.nodes[reached].port);
      if (socket) return { reached, socket };
    }
  }

  async #forward(request, response) {
    const found = await this.#reach(this.#choose(request, false));
    if (!found) return response.writeHead(502).end("no node is reachable");
    const { reached, socket } = found;
    const fresh = !new URL(request.url, this.url).searchParams.has("sid");
    const onward = http.request(onwardOptions(request, socket), (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      if (fresh) this.#learn(answer, reached);
      answer.pipe(response);
      answer.once("error", () => response.destroy());
    });
    onward.once("error", () => {
      if (response.headersSent) return response.destroy();
      response.writeHead(502).end("the node is gone");
    });
    if (response.destroyed) return onward.destroy();
    response.once("close", () => onward.destroy());
    request.pipe(onward);
  }

  /** Reads the session's id from its handshake: that node owns it. */
  #learn(answer, owner) {
    let text = "";
    answer.on("data", (chunk) => {
      text += chunk;
      const sid = /"sid":"([^"]+)"/.exec(text)?.[1];
      if (sid) this.turns.set(sid, { owner, count: 0 });
    });
  }

  async #tunnel(request, socket, head) {
    socket.once("error", () => socket.destroy());
    const found = await this.#reach(this.#choose(request, true));
    const onward = found?.socket;
    if (!onward || socket.destroyed) {
      onward?.destroy();
      return socket.destroy();
    }
    this.lastTunnel = this.nodes[found.reached];
    for (const [one, other] of [[socket, onward], [onward, socket]]) {
      one.once("error", () => other.destroy());
      one.once("close", () => other.destroy());
    }
    const lines = [`${request.method} ${request.url} HTTP/1.1`];
    for (let index = 0; index < request.rawHeaders.length; index += 2) {
      lines.push(`${request.rawHeaders[index]}: ${request.rawHeaders[index + 1]}`);
    }
    onward.write(`${lines.join("\r\n")}\r\n\r\n`);
    onward.write(head);
    onward.pipe(socket).pipe(onward);
  }

  /** The node that made the handshake of session `sid`. */
  owner(sid) {
    return this.nodes[this.turns.get(sid).owner];
  }

  async stop() {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

function onwardOptions(request, socket) {
  const headers = { ...request.headers, connection: "close" };
  return { createConnection: () => socket, method: request.method, path: request.url, headers };
}

function connect(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(socket));
    socket.once("error", () => resolve(undefined));
  });
}
