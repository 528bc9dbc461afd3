// A balancer without any stickiness: every request of a session goes to the other node than the one
// before it, so at least every second one lands where the session does not live.
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

  #forward(request, response) {
    const index = this.#choose(request, false);
    const fresh = !new URL(request.url, this.url).searchParams.has("sid");
    const onward = http.request(this.#onward(request, index), (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      if (fresh) this.#learn(answer, index);
      answer.pipe(response);
      answer.once("error", () => response.destroy());
    });
    onward.once("error", () => {
      if (response.headersSent) return response.destroy();
      response.writeHead(502).end("node unreachable");
    });
    response.once("close", () => onward.destroy());
    request.pipe(onward);
  }

  #onward(request, index) {
    const headers = { ...request.headers, connection: "close" };
    return { host: "127.0.0.1", port: this.nodes[index].port, method: request.method, path: request.url, headers, agent: false };
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

  #tunnel(request, socket, head) {
    const node = this.nodes[this.#choose(request, true)];
    const onward = net.connect(node.port, "127.0.0.1", () => {
      const lines = [`${request.method} ${request.url} HTTP/1.1`];
      for (let index = 0; index < request.rawHeaders.length; index += 2) lines.push(`${request.rawHeaders[index]}: ${request.rawHeaders[index + 1]}`);
      onward.write(`${lines.join("\r\n")}\r\n\r\n`);
      onward.write(head);
      onward.pipe(socket).pipe(onward);
    });
    for (const [one, other] of [[socket, onward], [onward, socket]]) {
      one.once("error", () => other.destroy());
      one.once("close", () => other.destroy());
    }
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
