// Many stock socket.io-clients in one process, which record what they receive.
//
//     node fleet.js '{"url", "count", "rate", "room", "auth", "reconnection_delay", "source", "cuts"}'
//
// Opens `count` clients at `rate` per second from addresses 127.0.<source>.1 to .200. Reads commands from standard input,
// a line each: `cut` begins to cut each client's TCP connection at random times, `calm` ends that, and
// `finish {"published": [...], "unconfirmed": [...]}` prints the report and ends. Until then it prints a line with the
// present state twice a second. Messages are `{number, sent}`, `sent` is the time of `now`.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const options = JSON.parse(process.argv[2]);
const STATUS_INTERVAL = 500;
const JOIN_TIMEOUT = 5000;
const ADDRESSES = 200;

// The monotonic clock of the machine, in µs.
function now() {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + nanoseconds / 1e3;
}
const between = ([least, most]) => least + Math.random() * (most - least);

const totals = { ready: 0, received: 0, cuts: 0, reconnects: 0, recovered: 0, rejoins: 0, last_ready: 0 };
// In units of 0.1 ms, from 100 ms on rounded to 1 ms -> how often.
const delays = new Map();
// In ms -> how often.
const absences = new Map();
// Of missed messages, from the new connection of the client to their arrival, in ms -> how often.
const catchUps = new Map();
const reasons = { disconnect: {}, error: {}, gap: {} };
const count = (map, key) => map.set(key, (map.get(key) ?? 0) + 1);
const countReason = (kind, reason) => (reasons[kind][reason] = (reasons[kind][reason] ?? 0) + 1);
let isCutting = false;

class Client {
  // How often each message arrived, by its number.
  arrivals = [];
  newest = -1;
  reordered = 0;
  // What the client knows that it may have missed: messages between `after` and `before`.
  gaps = [];
  isReady = false;
  wasReady = false;
  lostAt = null;
  openedAt = 0;

  constructor(number) {
    const localAddress = `127.0.${options.source}.${1 + (number % ADDRESSES)}`;
    this.socket = io(options.url, {
      auth: options.auth,
      forceNew: true,
      localAddress,
      reconnectionDelay: options.reconnection_delay,
      reconnectionDelayMax: 5000,
      timeout: 10000,
      transports: ["websocket"],
    });
    this.socket.io.on("open", () => (this.openedAt = now()));
    this.socket.on("connect", () => this.connected());
    this.socket.on("disconnect", (reason) => this.disconnected(reason));
    this.socket.on("connect_error", (error) => countReason("error", error.description?.message ?? error.message));
    this.socket.on("message", (message) => this.receive(message));
    this.socket.on("roomwire:session", ({ recovered, gap }) => {
      if (!recovered && gap) this.gap(gap.reason);
    });
    this.socket.on("roomwire:gap", () => this.gap("connected"));
  }

  connected() {
    if (this.wasReady) {
      totals.reconnects += 1;
      if (this.socket.recovered) totals.recovered += 1;
      else this.gap();
    }
    if (this.socket.recovered) this.ready();
    else this.join(this.socket.id);
  }

  join(id) {
    this.socket.timeout(JOIN_TIMEOUT).emit("roomwire:join", options.room, (error) => {
      // Another connection joins by itself.
      if (!this.socket.connected || this.socket.id !== id) return;
      if (!error) return this.ready();
      totals.rejoins += 1;
      this.join(id);
    });
  }

  ready() {
    this.isReady = this.wasReady = true;
    totals.ready += 1;
    totals.last_ready = now();
    if (this.lostAt !== null) count(absences, Math.round((now() - this.lostAt) / 1e3));
    this.lostAt = null;
  }

  disconnected(reason) {
    countReason("disconnect", reason);
    if (this.isReady) totals.ready -= 1;
    this.isReady = false;
    this.lostAt ??= now();
  }

  gap(reason) {
    if (reason) countReason("gap", reason);
    this.gaps.push({ after: this.newest, before: null });
  }

  receive({ number, sent }) {
    const time = now();
    if (sent < this.openedAt) count(catchUps, Math.round((time - this.openedAt) / 1e3));
    const delay = (time - sent) / 1e3;
    count(delays, delay < 100 ? Math.round(delay * 10) : Math.round(delay) * 10);
    totals.received += 1;
    for (const gap of this.gaps) gap.before ??= number;
    if (number < this.newest) this.reordered += 1;
    this.newest = Math.max(this.newest, number);
    this.arrivals[number] = (this.arrivals[number] ?? 0) + 1;
  }

  // Cuts the connection below the library, again and again.
  cutAfter(delay) {
    setTimeout(() => {
      if (!isCutting) return;
      const connection = this.socket.io.engine?.transport?.ws;
      if (this.isReady && connection) {
        totals.cuts += 1;
        connection.terminate();
      }
      this.cutAfter(between(options.cuts.every));
    }, delay * 1000);
  }

  lost(published) {
    const missing = published.filter((number) => !this.arrivals[number]);
    const isNamed = (number) => this.gaps.some((gap) => gap.after < number && number < (gap.before ?? Infinity));
    return { missing: missing.length, unnamed: missing.filter((number) => !isNamed(number)).length };
  }

  duplicates(unconfirmed) {
    const extra = (arrivals, number) => (arrivals > 1 && !unconfirmed.has(number) ? arrivals - 1 : 0);
    return this.arrivals.reduce((sum, arrivals, number) => sum + extra(arrivals, number), 0);
  }
}

const clients = [];

async function connectAll() {
  const start = performance.now();
  for (let number = 0; number < options.count; number += 1) {
    clients.push(new Client(number));
    const due = start + (number / options.rate) * 1000;
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
  }
}

function report({ published, unconfirmed }) {
  const found = { missing: 0, unnamed: 0, losers: 0, duplicates: 0, reordered: 0, absent: 0 };
  for (const client of clients) {
    const { missing, unnamed } = client.lost(published);
    found.missing += missing;
    found.unnamed += unnamed;
    found.losers += missing > 0 ? 1 : 0;
    found.duplicates += client.duplicates(new Set(unconfirmed));
    found.reordered += client.reordered;
    found.absent += client.isReady ? 0 : 1;
  }
  return { ...totals, ...found, reasons, delays: [...delays], absences: [...absences], catch_ups: [...catchUps] };
}

const print = (value, then) => process.stdout.write(`${JSON.stringify(value)}\n`, then);
setInterval(() => print({ ...totals, opened: clients.length }), STATUS_INTERVAL);

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [command, argument] = line.split(/ (.*)/);
    isCutting = command === "cut" || (isCutting && command !== "calm");
    if (command === "cut") for (const client of clients) client.cutAfter(between(options.cuts.first));
    if (command === "finish") print({ report: report(JSON.parse(argument)) }, () => process.exit(0));
  })
  .on("close", () => process.exit(0));

await connectAll();
