// The demo page: one Socket.IO connection, a few rooms, and who is in them.
// Everything between people is ordinary room events (message, typing, hello, beat, bye) sent with `roomwire:emit`;
// the server knows nothing of this page. The document is demo-view.js's, the commands are demo-snippets.js's, and who
// keeps a name that two people have is in demo-names.js.

import * as view from "./demo-view.js";
import { NAME_LENGTH, freeName, mustYield, someName } from "./demo-names.js";
import { snippets } from "./demo-snippets.js";

const BEAT = 8000;
const ACK_LIMIT = 10000;
const TYPING_SENT_EVERY = 2000;
const TYPING_SHOWN_FOR = 3500;
const ENTRIES_KEPT = 300;
const PEOPLE_KEPT = 500;
const PROBE_EVERY = 2000;

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const token = () => crypto.getRandomValues(new Uint32Array(2)).reduce((text, word) => text + word.toString(36), "");
const text = (value, limit) => (typeof value === "string" ? value : JSON.stringify(value) ?? "").slice(0, limit);

// `since`: when this page took its name. Of two people with one name, the later one takes another.
const me = { uid: token(), name: "", since: Date.now(), node: null, transport: null };
// `busAway`: the node is up, but Redis is not: only clients of this node receive what is emitted. `probed`: probes say so.
const link = { state: "connecting", ack: null, attempts: 0, busAway: false, probed: false };
// A room is `joined` once the server let us in, `live` while the present connection is in it. A `rejected` one is shown
// until another is picked, but is not here.
const rooms = new Map();
let config;
let socket;
let current;
let defaultTransports;
let beats = 0;
let lastTyping = 0;

// --- rooms ---

/// Opens a room: joins it when it is new, shows it.
function pick(name) {
  if (!rooms.has(name)) {
    rooms.set(name, { name, joined: false, live: false, unread: 0, entries: [], people: new Map(), typing: new Map(), beatTimer: null });
    join(rooms.get(name));
  }
  current = rooms.get(name);
  current.unread = 0;
  query.set("room", name);
  history.replaceState(null, "", `?${query}`);
  showAll();
}

function join(room) {
  if (!socket.connected) return;
  const connection = socket.id;
  socket.timeout(ACK_LIMIT).emit("roomwire:join", room.name, (error, answer) => {
    if (socket.id !== connection || !rooms.has(room.name)) return;
    if (error) return join(room);
    if (!answer?.ok) return reject(room, answer?.error?.message ?? "no reason given");
    if (answer.degraded) setBusAway(true);
    me.node = answer.node ?? me.node;
    const again = room.joined;
    room.joined = room.live = true;
    add(room, { line: again ? `You are back, on node ${me.node}` : `You joined, on node ${me.node}` });
    publish(room, "hello", { ...card(), again });
    for (const entry of room.entries) if (entry.own && entry.status === "waiting") deliver(room, entry);
    showPeople();
  });
}

/// The server keeps us out of a room: it leaves the list. Where it is shown, it stays there with the reason.
function reject(room, reason) {
  clearTimeout(room.beatTimer);
  rooms.delete(room.name);
  room.rejected = true;
  const which = room === current ? "this room" : `#${room.name}`;
  add(current, { line: `The server rejected ${which}: ${reason}`, rejected: true });
  if (room === current) showAll();
  else showRooms();
}

function leave() {
  const left = current;
  if (left.rejected) return pick([...rooms.keys()].at(-1));
  publish(left, "bye", { uid: me.uid });
  if (socket.connected) socket.emit("roomwire:leave", left.name);
  clearTimeout(left.beatTimer);
  rooms.delete(left.name);
  pick([...rooms.keys()].at(-1));
}

function neighbour(step) {
  const names = [...rooms.keys()];
  if (names.length > 0) pick(names[(names.indexOf(current.name) + step + names.length) % names.length]);
}

/// Sends an event to a room; `done(error | null, milliseconds)` after the server's acknowledgement.
function publish(room, event, body, done) {
  if (!socket.connected || !room.live) return;
  const started = performance.now();
  socket.timeout(ACK_LIMIT).emit("roomwire:emit", room.name, event, { room: room.name, ...body }, (error, answer) => {
    const took = performance.now() - started;
    if (!error) link.ack = took;
    if (answer?.ok && (answer.degraded || !link.probed)) setBusAway(answer.degraded === true);
    const rejection = error || answer?.ok !== false ? null : new Error(answer.error?.message ?? "rejected");
    done?.(rejection ?? error, took, rejection !== null);
    showWire();
  });
}

// --- what is said ---

function add(room, entry) {
  const full = { id: token(), at: Date.now(), ...entry };
  room.entries.push(full);
  if (room.entries.length > ENTRIES_KEPT) room.entries.shift();
  if (room === current) view.appendEntry(full, room.entries.at(-2));
  return full;
}

function say(words) {
  const entry = add(current, { uid: me.uid, name: me.name, text: words, own: true, status: "waiting" });
  lastTyping = 0;
  deliver(current, entry);
}

/// A message whose acknowledgement got lost is sent again; receivers know it by its id.
function deliver(room, entry) {
  if (!socket.connected || !room.live) return;
  entry.status = "sent";
  const body = { id: entry.id, uid: me.uid, name: entry.name, node: me.node, text: entry.text };
  view.pulse("out", farNodes().length > 0);
  publish(room, "message", body, (error, took, rejected) => {
    entry.status = rejected ? "rejected" : error ? "waiting" : "acked";
    entry.latency = took;
    entry.nodeOnly = link.busAway;
    entry.reason = error?.message;
    if (room === current) view.updateEntry(entry);
    if (entry.status === "waiting") deliver(room, entry);
  });
}

function onMessage(body) {
  const room = roomOf(body) ?? current;
  const plain = body === null || typeof body !== "object" || !("text" in body);
  const { id = token(), uid = null, name = "someone", node, text: words } = plain ? { text: body } : body;
  if (room.entries.some((entry) => entry.id === id)) return;
  const via = node && node !== me.node ? text(node, 8) : null;
  room.typing.delete(uid);
  add(room, { id: text(id, 40), uid, name: text(name, NAME_LENGTH), text: text(words, 4000), via });
  view.pulse("in", via !== null);
  if (room === current && !document.hidden) return showTyping();
  room.unread += 1;
  showRooms();
}

// --- who is there ---

const card = () => ({ uid: me.uid, name: me.name, since: me.since, node: me.node, transport: me.transport });
const roomOf = (body) => rooms.get(body?.room);
/// In a crowd everybody beats less often.
const patience = (room) => BEAT * Math.ceil((room.people.size + 1) / 25);

function learn(body) {
  const room = roomOf(body);
  const uid = text(body?.uid, 40);
  if (!room || uid === me.uid) return null;
  const before = room.people.get(uid);
  if (!before && room.people.size >= PEOPLE_KEPT) return null;
  const since = Number(body.since) || 0;
  const person = { uid, name: text(body.name, NAME_LENGTH), since, node: text(body.node ?? "?", 8), transport: text(body.transport ?? "?", 16), seen: Date.now() };
  room.people.set(uid, person);
  settleName(person);
  if (room === current) showPeople();
  return { room, person, before };
}

function onHello(body) {
  const learned = learn(body);
  if (!learned) return;
  const { room, person, before } = learned;
  const verb = before || body.again ? "is back" : "joined";
  add(room, { line: `${person.name} ${verb}, on node ${person.node}` });
  // Everybody answers a newcomer, once and not all in the same instant.
  room.beatTimer ??= setTimeout(() => { room.beatTimer = null; publish(room, "beat", card()); }, Math.random() * 150);
}

function onBeat(body) {
  const learned = learn(body);
  if (learned?.before && learned.before.name !== learned.person.name) {
    add(learned.room, { line: `${learned.before.name} is now ${learned.person.name}` });
  }
}

/// Names of everybody else in our rooms.
const taken = () => new Set([...rooms.values()].flatMap((room) => [...room.people.values()].map((person) => person.name)));

/// Gives way to somebody who had our name first.
function settleName(person) {
  if (!mustYield(me, person)) return;
  takeName(freeName(me.name, taken()));
  add(current, { line: `Somebody else here is ${person.name}: you are ${me.name}` });
}

function onBye(body) {
  const room = roomOf(body);
  const person = room?.people.get(body.uid);
  if (!person) return;
  room.people.delete(body.uid);
  room.typing.delete(body.uid);
  add(room, { line: `${person.name} left` });
  if (room === current) { showPeople(); showTyping(); }
}

function onTyping(body) {
  const room = roomOf(body);
  if (!room || body.uid === me.uid) return;
  if (body.on) room.typing.set(body.uid, { name: text(body.name, NAME_LENGTH), until: Date.now() + TYPING_SHOWN_FOR });
  else room.typing.delete(body.uid);
  if (room === current) showTyping();
}

function beat() {
  beats += 1;
  for (const room of rooms.values()) {
    if (beats % (patience(room) / BEAT) === 0) publish(room, "beat", card());
    // A hidden tab may run its timers once a minute only: people fade first and go later.
    for (const person of room.people.values()) if (Date.now() - person.seen > patience(room) * 20) room.people.delete(person.uid);
  }
  showPeople();
}

function tellTyping() {
  const on = $("text").value.trim() !== "";
  if (on && Date.now() - lastTyping < TYPING_SENT_EVERY) return;
  if (!on && lastTyping === 0) return;
  lastTyping = on ? Date.now() : 0;
  publish(current, "typing", { uid: me.uid, name: me.name, on });
}

// --- showing ---

function people() {
  const others = [...current.people.values()].map((person) => ({ ...person, quiet: Date.now() - person.seen > patience(current) * 2.5 }));
  others.sort((a, b) => a.name.localeCompare(b.name));
  return !current.joined ? others : [{ ...me, me: true, quiet: link.state !== "up" }, ...others];
}

function farNodes() {
  const counts = new Map();
  for (const { node } of current.people.values()) if (node !== me.node) counts.set(node, (counts.get(node) ?? 0) + 1);
  return [...counts].map(([node, count]) => ({ node, people: count }));
}

function showPeople() {
  view.showPeople(people(), me.node);
  showWire();
}

function showWire() {
  view.showWire({ ...me, ack: link.ack, bus: config.redis && "redis", busAway: link.busAway, far: farNodes() });
}

function showRooms() {
  view.showRooms([...rooms.values()], current, (name) => { pick(name); view.showPane("chat"); $("text").focus(); });
}

function showTyping() {
  const now = Date.now();
  for (const [uid, { until }] of current.typing) if (until < now) current.typing.delete(uid);
  view.showTyping([...current.typing.values()].map(({ name }) => name));
}

function showAll() {
  const guest = new URLSearchParams({ room: current.name, name: someName(taken().add(me.name)) });
  showRooms();
  view.showRoom(current, `?${guest}`);
  showPeople();
  showTyping();
  view.showSnippets(snippets(current.name, config, location.origin));
}

function setLink(state, words) {
  link.state = state;
  showLink(words);
  showPeople();
}

function showLink(words) {
  const isAlone = link.state === "up" && link.busAway;
  view.showLink({ state: link.state, isAlone, text: isAlone ? "Connected to this node only: Redis is away" : words });
}

function setBusAway(away) {
  if (!config.redis || link.busAway === away) return;
  link.busAway = away;
  if (link.state === "up") showLink("Connected");
  showWire();
}

/// Asks this page's origin whether Redis is there. A balancer may hide the probes: then acks alone tell.
async function probe() {
  const answer = await fetch("readyz", { cache: "no-store" }).catch(() => null);
  const bus = answer && /^bus: (\w+)/m.exec(await answer.text())?.[1];
  link.probed = Boolean(bus);
  if (bus) setBusAway(bus !== "up");
  if (bus || !answer) setTimeout(probe, PROBE_EVERY);
}

// --- the connection ---

function onConnect() {
  me.node = socket.id.slice(0, 4);
  readTransport();
  // The stock client starts with polling and moves to a websocket a moment later.
  socket.io.engine.on("upgrade", () => { readTransport(); for (const room of rooms.values()) publish(room, "beat", card()); showPeople(); });
  link.attempts = 0;
  setLink("up", "Connected");
  for (const room of rooms.values()) join(room);
}

function readTransport() {
  me.transport = socket.io.engine.transport.name;
}

function onDisconnect(reason) {
  for (const room of rooms.values()) room.live = false;
  if (link.state === "cut" || link.state === "connecting") return;
  if (socket.active) setLink("lost", `Connection lost (${reason}). Trying again…`);
  else setLink("rejected", "The server closed this connection");
}

function onConnectError(error) {
  if (!socket.active) return setLink("rejected", `The server rejected this connection: ${error.message}`);
  if (link.state === "cut") return;
  link.attempts += 1;
  setLink("lost", `No connection, attempts: ${link.attempts}. Trying again…`);
}

/// Closes the transport under the socket, without a Socket.IO disconnect, and stays away.
function cut() {
  socket.io.reconnection(false);
  setLink("cut", "Cut. What you write waits here.");
  socket.io.engine?.close();
}

function restore() {
  socket.io.reconnection(true);
  setLink("connecting", "Connecting…");
  socket.disconnect().connect();
}

function useTransport(value) {
  socket.io.opts.transports = value === "auto" ? defaultTransports : [value];
  if (link.state !== "cut") restore();
}

function openSocket(io) {
  const wanted = query.get("transport");
  socket = io({ path: config.path, autoConnect: false });
  defaultTransports = socket.io.opts.transports ?? ["polling", "websocket"];
  if (["websocket", "polling"].includes(wanted)) {
    $("transport").value = wanted;
    socket.io.opts.transports = [wanted];
  }
  socket.on("connect", onConnect).on("disconnect", onDisconnect).on("connect_error", onConnectError);
  socket.on("message", onMessage).on("typing", onTyping).on("hello", onHello).on("beat", onBeat).on("bye", onBye);
}

// --- start ---

function rename() {
  const wanted = $("name").value.trim().slice(0, NAME_LENGTH) || me.name;
  localStorage.setItem("roomwire-name", wanted);
  takeName(freeName(wanted, taken()));
}

function takeName(name) {
  me.name = name;
  me.since = Date.now();
  $("name").value = name;
  for (const room of rooms.values()) publish(room, "beat", card());
  showPeople();
}

function send(event) {
  event.preventDefault();
  const words = $("text").value.trim();
  $("text").value = "";
  if (words) say(words);
  $("text").focus();
}

function listen() {
  $("composer").addEventListener("submit", send);
  $("text").addEventListener("input", tellTyping);
  $("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
  });
  $("join").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = $("room").value.trim().replace(/^#/, "");
    $("room").value = "";
    if (!name) return;
    pick(name);
    view.showPane("chat");
    $("text").focus();
  });
  $("leave").addEventListener("click", leave);
  $("name").addEventListener("change", rename);
  $("transport").addEventListener("change", (event) => useTransport(event.target.value));
  $("cut").addEventListener("click", () => (["up", "connecting"].includes(link.state) ? cut() : restore()));
  $("newer").addEventListener("click", view.scrollToEnd);
  for (const button of document.querySelectorAll(".panes button")) button.addEventListener("click", () => view.showPane(button.dataset.pane));
  addEventListener("keydown", (event) => {
    if (!event.altKey || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
    event.preventDefault();
    neighbour(event.key === "ArrowUp" ? -1 : 1);
  });
  addEventListener("pagehide", () => { for (const room of rooms.values()) publish(room, "bye", { uid: me.uid }); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { current.unread = 0; showRooms(); } });
}

function loadScript(src) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    Object.assign(script, { src, onload: resolve, onerror: () => reject(new Error(`cannot load ${src}`)) });
    document.head.append(script);
  });
}

async function start() {
  config = await (await fetch("demo.json")).json();
  if (config.stock_client) await loadScript(`${config.path}/socket.io.min.js`);
  const { io } = config.stock_client ? globalThis : await import("./roomwire-client.js");
  me.name = query.get("name")?.slice(0, NAME_LENGTH) || localStorage.getItem("roomwire-name") || someName(taken());
  $("name").value = me.name;
  $("version").textContent = config.version ?? "";
  openSocket(io);
  pick(query.get("room") || "lobby");
  listen();
  setInterval(beat, BEAT);
  setInterval(showTyping, 1000);
  if (config.redis) probe();
  socket.connect();
  $("cut").disabled = false;
  $("text").focus({ preventScroll: true });
}

start().catch((error) => view.showLink({ state: "rejected", text: `This page could not start: ${error.message}` }));
