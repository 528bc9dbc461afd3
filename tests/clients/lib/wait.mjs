// Waiting for conditions: the only ways in which these tests let time pass.
import { setTimeout as sleep } from "node:timers/promises";
import { TIMEOUT } from "./settings.mjs";

/** Resolves as `promise` does; fails by name when it takes longer than `ms`. */
export async function within(what, promise, ms = TIMEOUT) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Calls `probe` until it returns a truthy value, and returns that. */
export async function until(what, probe, ms = TIMEOUT) {
  const deadline = Date.now() + ms;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`${what}: not so within ${ms} ms`);
    await sleep(10);
  }
}

/** Values that arrive on their own time, read in order. */
export class Inbox {
  #values = [];
  #readers = [];
  #ended;

  push(value) {
    const reader = this.#readers.shift();
    if (reader) reader.resolve(value);
    else this.#values.push(value);
  }

  /** No more will come: readers that still wait fail with `why`. */
  end(why) {
    this.#ended ??= new Error(why);
    for (const reader of this.#readers.splice(0)) reader.reject(this.#ended);
  }

  /** What has arrived and was not read. */
  get unread() {
    return this.#values;
  }

  next(what = "next value", ms = TIMEOUT) {
    if (this.#values.length > 0) return Promise.resolve(this.#values.shift());
    if (this.#ended) return Promise.reject(this.#ended);
    const value = new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
    return within(what, value, ms);
  }

  async take(count, what = "next values", ms = TIMEOUT) {
    const values = [];
    while (values.length < count) values.push(await this.next(`${what} (${values.length} of ${count})`, ms));
    return values;
  }
}
