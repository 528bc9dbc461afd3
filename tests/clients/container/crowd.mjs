// Clients that talk all the time and know what they should have heard: the load under which containers are stopped and killed.
import assert from "node:assert/strict";
import { io } from "socket.io-client";
import { until } from "../lib/wait.mjs";

const ROOM = "crowd";
/** Milliseconds between two messages of one client. */
const PACE = 50;
const PATIENCE = 60_000;

/** One person: speaks numbered words, and notes what of each other one it hears. */
class Person {
  constructor(url, name, transports) {
    this.name = name;
    this.transport = transports[0];
    this.said = 0;
    this.away = 0;
    this.heard = new Map();
    this.repeated = 0;
    this.socket = io(url, { transports, forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 500, timeout: 5_000 });
    this.socket.on("connect", () => this.#join());
    this.socket.on("disconnect", () => {
      this.away += 1;
      this.node = undefined;
    });
    this.socket.on("word", (from, number) => this.#hear(from, number));
  }

  async #join() {
    const answer = await this.socket.timeout(10_000).emitWithAck("roomwire:join", ROOM).catch(() => undefined);
    if (answer?.ok) this.node = answer.node;
  }

  #hear(from, number) {
    const numbers = this.heard.get(from) ?? new Set();
    if (numbers.has(number)) this.repeated += 1;
    this.heard.set(from, numbers.add(number));
  }

  say() {
    // Nothing is kept for later: what is said while away would arrive out of time.
    if (!this.node || !this.socket.connected) return;
    this.said += 1;
    this.socket.emit("roomwire:emit", ROOM, "word", this.name, this.said);
  }
}

export class Crowd {
  /** `half` people on websockets and as many on long polling, all in one room, all talking. */
  static async gather(url, half) {
    const crowd = new Crowd();
    const person = (transport, number) => new Person(url, `${transport}-${number}`, [transport]);
    crowd.people = ["websocket", "polling"].flatMap((transport) => Array.from({ length: half }, (_, number) => person(transport, number)));
    await crowd.together();
    crowd.talk = setInterval(() => crowd.people.forEach((each) => each.say()), PACE);
    return crowd;
  }

  get nodes() {
    return [...new Set(this.people.map((each) => each.node))];
  }

  /** Waits until everybody is in the room. */
  together() {
    return until("everybody in the room", () => this.people.every((each) => each.node && each.socket.connected), PATIENCE);
  }

  /** Waits until everybody has heard something new of everybody else, spoken after this call. */
  async converses() {
    await this.together();
    const marks = new Map(this.people.map((each) => [each.name, each.said]));
    const missing = () =>
      this.people.flatMap((hearer) =>
        this.people
          .filter((speaker) => speaker !== hearer && !hasAfter(hearer.heard.get(speaker.name), marks.get(speaker.name)))
          .map((speaker) => `${hearer.name}@${hearer.node} of ${speaker.name}@${speaker.node}`),
      );
    await until("everybody hears everybody", () => missing().length === 0, PATIENCE).catch((error) => {
      throw new Error(`${error.message}: nothing heard by ${missing().slice(0, 5).join(", ")}`);
    });
  }

  /** The people on websockets to a node other than `lost`, whom nothing that happens to `lost` concerns. */
  undisturbed(lost) {
    return this.people.filter((each) => each.transport === "websocket" && each.node !== lost);
  }

  /** Between people who were never away every word said between two marks has arrived, once. */
  assertNothingLost(people, from) {
    for (const hearer of people) {
      for (const speaker of people.filter((each) => each !== hearer)) {
        const numbers = hearer.heard.get(speaker.name);
        // The last words may still be on their way.
        const last = Math.max(...numbers);
        for (let number = from.get(speaker.name) + 1; number <= last; number += 1) {
          assert.ok(numbers.has(number), `${hearer.name} on ${hearer.node} missed word ${number} of ${speaker.name} on ${speaker.node}`);
        }
      }
    }
  }

  /** Where each speaker is now. */
  marks() {
    return new Map(this.people.map((each) => [each.name, each.said]));
  }

  get deliveries() {
    return this.people.reduce((sum, each) => sum + [...each.heard.values()].reduce((count, numbers) => count + numbers.size, 0), 0);
  }

  assertNothingTwice() {
    for (const each of this.people) assert.equal(each.repeated, 0, `${each.name} heard words twice`);
  }

  leave() {
    clearInterval(this.talk);
    for (const each of this.people) each.socket.close();
  }
}

function hasAfter(numbers, mark) {
  return numbers !== undefined && [...numbers].some((number) => number > mark);
}
