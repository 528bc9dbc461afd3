// Clients that emit continuously and check what they receive: the load under which containers are stopped and killed.
import assert from "node:assert/strict";
import { io } from "socket.io-client";
import { until } from "../lib/wait.mjs";

const ROOM = "crowd";
/** Milliseconds between two messages of one client. */
const PACE = 50;
const TIMEOUT = 60_000;

/** One client: emits numbered events, and records the numbers received from each other client. */
class Person {
  constructor(url, name, transports) {
    this.name = name;
    this.transport = transports[0];
    this.sent = 0;
    this.away = 0;
    this.received = new Map();
    this.repeated = 0;
    this.socket = io(url, { transports, forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 500, timeout: 5_000 });
    this.socket.on("connect", () => this.#join());
    this.socket.on("disconnect", () => {
      this.away += 1;
      this.node = undefined;
    });
    this.socket.on("word", (from, number) => this.#receive(from, number));
  }

  async #join() {
    const ack = await this.socket.timeout(10_000).emitWithAck("roomwire:join", ROOM).catch(() => undefined);
    if (ack?.ok) this.node = ack.node;
  }

  #receive(from, number) {
    const numbers = this.received.get(from) ?? new Set();
    if (numbers.has(number)) this.repeated += 1;
    this.received.set(from, numbers.add(number));
  }

  publish() {
    // Nothing is buffered: events emitted while disconnected would arrive late.
    if (!this.node || !this.socket.connected) return;
    this.sent += 1;
    this.socket.emit("roomwire:emit", ROOM, "word", this.name, this.sent);
  }
}

export class Crowd {
  /** `half` people on websockets and as many on long polling, all in one room, all talking. */
  static async gather(url, half) {
    const crowd = new Crowd();
    const person = (transport, number) => new Person(url, `${transport}-${number}`, [transport]);
    crowd.people = ["websocket", "polling"].flatMap((transport) => Array.from({ length: half }, (_, number) => person(transport, number)));
    await crowd.together();
    crowd.talk = setInterval(() => crowd.people.forEach((each) => each.publish()), PACE);
    return crowd;
  }

  get nodes() {
    return [...new Set(this.people.map((each) => each.node))];
  }

  /** Waits until everybody is in the room. */
  together() {
    return until("everybody in the room", () => this.people.every((each) => each.node && each.socket.connected), TIMEOUT);
  }

  /** Waits until every client has received an event of every other client that was emitted after this call. */
  async converses() {
    await this.together();
    const marks = new Map(this.people.map((each) => [each.name, each.sent]));
    const missing = () =>
      this.people.flatMap((receiver) =>
        this.people
          .filter((publisher) => publisher !== receiver && !hasAfter(receiver.received.get(publisher.name), marks.get(publisher.name)))
          .map((publisher) => `${receiver.name}@${receiver.node} of ${publisher.name}@${publisher.node}`),
      );
    await until("every client receives from every other", () => missing().length === 0, TIMEOUT).catch((error) => {
      throw new Error(`${error.message}: nothing received by ${missing().slice(0, 5).join(", ")}`);
    });
  }

  /** The people on websockets to a node other than `lost`, whom nothing that happens to `lost` concerns. */
  undisturbed(lost) {
    return this.people.filter((each) => each.transport === "websocket" && each.node !== lost);
  }

  /** Between clients that stayed connected, every event emitted between two marks has arrived once. */
  assertNothingLost(people, from) {
    for (const receiver of people) {
      for (const publisher of people.filter((each) => each !== receiver)) {
        const numbers = receiver.received.get(publisher.name);
        // The last words may still be on their way.
        const last = Math.max(...numbers);
        for (let number = from.get(publisher.name) + 1; number <= last; number += 1) {
          assert.ok(numbers.has(number), `${receiver.name} on ${receiver.node} missed word ${number} of ${publisher.name} on ${publisher.node}`);
        }
      }
    }
  }

  /** Where each publisher is now. */
  marks() {
    return new Map(this.people.map((each) => [each.name, each.sent]));
  }

  get deliveries() {
    return this.people.reduce((sum, each) => sum + [...each.received.values()].reduce((count, numbers) => count + numbers.size, 0), 0);
  }

  assertNothingTwice() {
    for (const each of this.people) assert.equal(each.repeated, 0, `${each.name} received events twice`);
  }

  leave() {
    clearInterval(this.talk);
    for (const each of this.people) each.socket.close();
  }
}

function hasAfter(numbers, mark) {
  return numbers !== undefined && [...numbers].some((number) => number > mark);
}
