// A balancer without stickiness: consecutive requests of a session go to different nodes, so at least
// every second one arrives at a node that does not own the session. Like other balancers, it tries the
// next node when a connection is refused.
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

  /** Requests that went to another node than that of their handshake. */
  strayed = 0;

  /** Nodes that receive nothing new, as if a health check had found them down. */
  unhealthy = new Set();

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

  /** A connection to node `index`, or to the next node that is up; undefined if none is. */
  async #reach(index) {
    for (let step = 0; step < this.nodes.length; step += 1) {
      const reached = (index + step) % this.nodes.length;
      if (this.unhealthy.has(this.nodes[reached])) continue;
      const socket = await connect(this.nodes[reached].port);
      if (socket) return { reached, socket };
    }
  }

  async #forward(request, response) {
    const found = await this.#reach(this.#choose(request, false));
    if (!found) return response.writeHead(502).end("no node is reachable");
    const { reached, socket } = found;
    const fresh = !new URL(request.url, this.url).searchParams.has("sid");
    const onward = http.request(onwardOptions(request, socket), (incoming) => {
      response.writeHead(incoming.statusCode, incoming.headers);
      if (fresh) this.#recordOwner(incoming, reached);
      incoming.pipe(response);
      incoming.once("error", () => response.destroy());
    });
    onward.once("error", () => {
      if (response.headersSent) return response.destroy();
      response.writeHead(502).end("the node is gone");
    });
    if (response.destroyed) return onward.destroy();
    response.once("close", () => onward.destroy());
    request.pipe(onward);
  }

  /** Records the node as the owner of the session in the response to a handshake. */
  #recordOwner(incoming, owner) {
    let text = "";
    incoming.on("data", (chunk) => {
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

  /** The node that owns session `sid`. */
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
