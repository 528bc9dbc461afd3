// A backend that publishes over Redis with @socket.io/redis-emitter: each line of its input is the name of an event and
// the JSON of its argument, for the room `bench`. Its argument is the URL of Redis.
import { createInterface } from "node:readline";
import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";

const client = createClient({ url: process.argv[2] });
await client.connect();
const emitter = new Emitter(client);

for await (const line of createInterface({ input: process.stdin })) {
  const space = line.indexOf(" ");
  emitter.to("bench").emit(line.slice(0, space), JSON.parse(line.slice(space + 1)));
}
await client.close();
