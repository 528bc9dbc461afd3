// A stand-in for a Laravel backend: the auth request of channels, and broadcasts as its Redis driver publishes them.
import { createServer } from "node:http";
import { once } from "node:events";
import { createClient } from "redis";
import { HOST } from "./processes.mjs";

/** One command for all channels of an event, as Laravel's Redis broadcaster sends it. */
const BROADCAST = "for i = 2, #ARGV do redis.call('publish', ARGV[i], ARGV[1]) end";

export class Laravel {
  /** The forms that it has received, decoded, with their headers. */
  requests = [];

  static async start() {
    const laravel = new Laravel();
    laravel.server = createServer((request, response) => laravel.#respond(request, response));
    laravel.server.listen(0, HOST);
    await once(laravel.server, "listening");
    laravel.url = `http://${HOST}:${laravel.server.address().port}`;
    return laravel;
  }

  /** Admits the user of the bearer token or of the cookie `user`, unless the name of the channel contains `closed`. */
  async #respond(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const form = new URLSearchParams(Buffer.concat(chunks).toString());
    const channel = form.get("channel_name");
    this.requests.push({ path: request.url, headers: request.headers, channel, socket: form.get("socket_id") });
    const token = request.headers.authorization?.replace("Bearer ", "") ?? request.headers.cookie?.match(/user=(\w+)/)?.[1];
    const admitted = request.method === "POST" && request.url === "/broadcasting/auth" && token && !channel.includes("closed");
    response.writeHead(admitted ? 200 : 403, { "content-type": "application/json" });
    if (!admitted) return response.end('{"message":""}');
    // The ids of users are numbers as a rule.
    const user = { user_id: token.length, user_info: { id: token.length, name: token } };
    response.end(JSON.stringify(channel.startsWith("presence-") ? { channel_data: user } : true));
  }

  /** Publishes to this Redis from now on; `redis` closes the connection. */
  async connect(redis) {
    this.redis = await createClient({ url: redis.url }).connect();
  }

  /** Publishes an event on channels, for everybody but the socket. */
  broadcast(channels, event, data, socket = null) {
    const message = JSON.stringify({ event, data: { ...data, socket }, socket });
    const names = channels.map((channel) => `laravel-database-${channel}`);
    return this.redis.sendCommand(["EVAL", BROADCAST, "0", message, ...names]);
  }

  async stop() {
    this.server.close();
    this.server.closeAllConnections();
  }
}
