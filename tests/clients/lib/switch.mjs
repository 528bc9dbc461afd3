// A switch in front of several members: clients that return do not choose the one that they reach.
import net from "node:net";
import { HOST } from "./processes.mjs";

/** Forwards connections to one of several members, which a client that returns does not choose itself. */
export class Switch {
  static async start(t, member) {
    const it = new Switch();
    it.member = member;
    it.pairs = new Set();
    it.server = net.createServer((from) => it.#forward(from));
    await new Promise((resolve) => it.server.listen(0, HOST, resolve));
    it.url = `http://${HOST}:${it.server.address().port}`;
    t.after(() => {
      it.cut();
      it.server.close();
    });
    return it;
  }

  #forward(from) {
    const to = net.connect(Number(new URL(this.member.url).port), HOST);
    const pair = { from, to };
    this.pairs.add(pair);
    for (const [side, other] of [[from, to], [to, from]]) {
      side.on("error", () => {});
      side.on("data", (data) => other.write(data));
      side.on("close", () => {
        if (!pair.isHalfOpen) other.destroy();
      });
    }
  }

  /** Cuts all connections; new ones lead to `member`. With `halfOpen`, the old member does not notice. */
  cut(member = this.member, halfOpen = false) {
    this.member = member;
    for (const pair of this.pairs) {
      pair.isHalfOpen = halfOpen;
      pair.from.destroy();
      if (!halfOpen) pair.to.destroy();
    }
    this.pairs.clear();
  }
}
