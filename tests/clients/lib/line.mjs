// A TCP proxy in front of a server whose connections can be lost, in the ways in which networks lose them.
import net from "node:net";
import { freePort, HOST } from "./processes.mjs";

export class Line {
  /** Forwards to `port`. */
  static async start(port) {
    const line = new Line();
    line.target = port;
    line.pairs = new Set();
    line.server = net.createServer((near) => line.#forward(near));
    line.port = await freePort();
    line.url = `http://${HOST}:${line.port}`;
    await new Promise((resolve) => line.server.listen(line.port, HOST, resolve));
    return line;
  }

  #forward(near) {
    const far = net.connect(this.target, HOST);
    const pair = [near, far];
    this.pairs.add(pair);
    for (const [one, other] of [pair, [far, near]]) {
      one.on("error", () => {});
      one.once("close", () => {
        if (!pair.stranded) other.destroy();
        this.pairs.delete(pair);
      });
      one.pipe(other);
    }
  }

  /** Both ends learn that their connections are lost. New ones work. */
  cut() {
    for (const pair of this.pairs) pair.forEach((socket) => socket.destroy());
  }

  /**
   * Only the clients learn it, as if they had changed their network: the connections to the server stay open, and what it
   * sends on them is lost. New ones work.
   */
  strand() {
    this.stranded ??= new Set();
    for (const pair of [...this.pairs]) {
      const [near, far] = pair;
      pair.stranded = true;
      near.unpipe(far);
      far.unpipe(near);
      far.resume();
      this.stranded.add(far);
      near.destroy();
    }
  }

  /** The number of stranded connections that the server has not closed. */
  get open() {
    return [...(this.stranded ?? [])].filter((far) => !far.destroyed && !far.readableEnded).length;
  }

  stop() {
    this.server.close();
    this.cut();
    for (const far of this.stranded ?? []) far.destroy();
  }
}
