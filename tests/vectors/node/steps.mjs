// The operations that record.mjs performs, and the meaning of each message that they publish, independent of its format.
//
// `means` of a message: its kind and namespace, what it selects, arguments as JSON with a placeholder for each binary value,
// and the binary values in hex. `exact: false`: it has values of JavaScript that JSON lacks, so that it is read but not
// written again with the same bytes.

/** Arguments as JSON with placeholders, and their binary values. */
function payload(args) {
  const attachments = [];
  const replace = (value) => {
    if (Buffer.isBuffer(value)) return { _placeholder: true, num: attachments.push(value.toString("hex")) - 1 };
    if (Array.isArray(value)) return value.map((it) => (it === undefined ? null : replace(it)));
    if (value instanceof Date) return value.toJSON();
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, it]) => [name, it === undefined ? null : replace(it)]));
  };
  return { args: JSON.stringify(replace(args)), attachments };
}

const selection = (to = {}) => ({ nsp: to.nsp ?? "/", rooms: to.rooms ?? [], except: to.except ?? [] });
const emit = (args, to = {}) => ({
  kind: "emit",
  ...selection(to),
  volatile: to.volatile ?? false,
  ack: to.ack ?? false,
  ...payload(args),
  ...(to.exact === false ? { exact: false } : {}),
});
const change = (kind, to, more) => ({ kind, ...selection(to), ...more });
const count = (clients) => ({ kind: "count", clients });
const ack = (...args) => ({ kind: "ack", ...payload(args) });
const serverEvent = (args, answer) => ({ kind: "server event", nsp: "/", answer, ...payload(args) });

/** Every kind of value with an encoding of its own. */
const VALUES = [
  ...[null, true, false, 0, 1, 127, 128, 255, 256, 65535, 65536, 2 ** 32 - 1, 2 ** 32, 2 ** 40, 2 ** 53 - 1],
  ...[-1, -32, -33, -128, -129, -32768, -32769, -(2 ** 31), -(2 ** 31) - 1, -(2 ** 53 - 1), 0.5, -1.25, 1e-7],
  ...["", "é\n\"\\\u0001\u2028😀", "s".repeat(31), "t".repeat(32), "u".repeat(255), "v".repeat(256)],
  ...[[], {}, Array.from({ length: 15 }, (_, i) => i), Array.from({ length: 16 }, (_, i) => i)],
  Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`k${i}`, i])),
  { nested: [{ deep: [[[]]] }], _placeholder: "no" },
];

/** The same operations of a server with any adapter. */
export async function adapterSteps(recorder, server, ids, dialect) {
  const step = recorder.step.bind(recorder);
  const isPubSub = dialect.startsWith("pubsub");
  const args = ["hello", 1, "2", { 3: [true] }];
  await step("emit to all", [emit(args)], () => server.emit(...args));
  await step("emit to a room", [emit(["hello", "r1"], { rooms: ["r1"] })], () => server.to("r1").emit("hello", "r1"));
  await step("emit to rooms without others", [emit(["hello"], { rooms: ["r1", "r2"], except: ["r3", ids.a] })], () =>
    server.to(["r1", "r2"]).except(["r3", ids.a]).emit("hello"));
  await step("emit to all but a room", [emit(["hello"], { except: ["r3"] })], () => server.except("r3").emit("hello"));
  await step("emit to a socket", [emit(["hello", "you"], { rooms: [ids.b] })], () => server.to(ids.b).emit("hello", "you"));
  await step("emit to a room of 20 characters", [emit(["hello"], { rooms: ["a-room-as-long-as-id"] })], () =>
    server.to("a-room-as-long-as-id").emit("hello"));
  await step("emit to a room with separators", [emit(["hello"], { rooms: ["a#b#é"] })], () => server.to("a#b#é").emit("hello"));
  const binary = ["bin", Buffer.from([1, 2, 3, 255]), { n: [Buffer.from([9])], e: Buffer.alloc(0) }];
  await step("emit with binary", [emit(binary)], () => server.emit(...binary));
  const large = ["bin", Buffer.alloc(255, 1), Buffer.alloc(256, 2)];
  await step("emit with larger binary", [emit(large)], () => server.emit(...large));
  await step("emit with a binary value to a room", [emit(binary.slice(0, 2), { rooms: ["r1"] })], () =>
    server.to("r1").emit(...binary.slice(0, 2)));
  await step("volatile emit", [emit(["v"], { volatile: true })], () => server.volatile.emit("v"));
  await step("volatile emit without compression", [emit(["v"], { volatile: true, exact: false })], () =>
    server.volatile.compress(false).emit("v"));
  await step("emit of every kind of value", [emit(["values", ...VALUES])], () => server.emit("values", ...VALUES));
  const withBinary = ["values", Buffer.from([1]), ...VALUES];
  await step("emit of every kind of value with binary", [emit(withBinary)], () => server.emit(...withBinary));
  const inexact = ["values", undefined, { u: undefined }];
  await step("emit of undefined", [emitOfUndefined(inexact, isPubSub)], () => server.emit(...inexact));
  const dates = ["values", new Date(0), new Date(1700000000123), new Date(-1)];
  await step("emit of dates", [emit(dates, { exact: false })], () => server.emit(...dates));
  const binaryDates = [...dates, Buffer.from([1])];
  await step("emit of dates with binary", [emit(binaryDates, { exact: false })], () => server.emit(...binaryDates));
  const local = server.sockets.sockets.get(ids.a);
  await step("broadcast of a socket", [emit(["from", 1], { except: [ids.a], exact: false })], () =>
    local.broadcast.emit("from", 1));
  await step("emit of a socket to a room", [emit(["from", 1], { rooms: ["r1"], except: [ids.a] })], () =>
    local.to("r1").emit("from", 1));
  await step("emit in a namespace", [emit(["hello"], { nsp: "/custom" })], () => server.of("/custom").emit("hello"));
  await step("emit to a room of a namespace", [emit(["hello"], { nsp: "/custom", rooms: ["r1"] })], () =>
    server.of("/custom").to("r1").emit("hello"));
  await acks(step, server, ids, dialect);
  await queries(step, server, ids, isPubSub);
  await serverEvents(step, server, dialect);
  await changes(step, server, ids);
}

/** JSON leaves out what is undefined in an object, msgpack does not. */
function emitOfUndefined(args, isMsgpack) {
  const means = emit(args, { exact: false });
  return isMsgpack ? means : { ...means, args: JSON.stringify(args) };
}

async function acks(step, server, ids, dialect) {
  // JSON leaves out what is undefined.
  const none = dialect.startsWith("sharded") ? ack() : ack(null);
  await step("emit with acks", [emit(["ask", 7], { rooms: ["r1"], ack: true }), count(1), ack("ack 7")], () =>
    server.timeout(400).to("r1").emitWithAck("ask", 7));
  await step("emit with acks to no socket of B", [emit(["ask", 7], { rooms: ["none"], ack: true }), count(0)], () =>
    server.timeout(400).to("none").emitWithAck("ask", 7));
  const binary = ["ask", "binary", Buffer.from([1])];
  await step("emit with a binary ack", [emit(binary, { rooms: ["r1"], ack: true }), count(1), ack(Buffer.from([9, 8]))], () =>
    server.timeout(400).to("r1").emitWithAck(...binary));
  await step("emit with an ack without arguments", [emit(["ask", "nothing"], { rooms: ["r1"], ack: true }), count(1), none], () =>
    server.timeout(400).to("r1").emitWithAck("ask", "nothing"));
}

async function queries(step, server, ids, isPubSub) {
  const fetch = change("fetch", { rooms: ["r1"] });
  const found = { kind: "sockets", sockets: [{ id: ids.b, rooms: [ids.b, "r1"], data: { user: "u1" } }] };
  let remote;
  await step("fetch the sockets of a room", [fetch, found], async () => {
    [remote] = await server.in("r1").fetchSockets();
  });
  await step("fetch sockets of which B has none", [change("fetch", { except: ["r1"] }), { kind: "sockets", sockets: [] }], () =>
    server.except("r1").fetchSockets());
  await step("emit of a remote socket", [emit(["hello"], { rooms: [ids.b], exact: false })], () => remote.emit("hello"));
  const asked = emit(["ask", 8], { rooms: [ids.b], ack: true, exact: false });
  await step("emit of a remote socket with an ack", [asked, count(1), ack("ack 8")], () => remote.timeout(400).emitWithAck("ask", 8));
  await step("join of a remote socket", [change("join", { rooms: [ids.b] }, { into: ["y"], exact: false })], () => remote.join("y"));
  await step("leave of a remote socket", [change("leave", { rooms: [ids.b] }, { into: ["y"], exact: false })], () => remote.leave("y"));
  if (!isPubSub) return;
  await step("all rooms", [{ kind: "all rooms", nsp: "/" }, { kind: "rooms", rooms: [ids.b, "r1"] }], () =>
    server.of("/").adapter.allRooms());
}

async function serverEvents(step, server, dialect) {
  await step("server event", [serverEvent(["ev", 1], false)], () => server.serverSideEmit("ev", 1));
  await step("server event with an answer", [serverEvent(["ask", 2], true), { kind: "answer", ...payload(["answer 2"]) }], () =>
    server.serverSideEmitWithAck("ask", 2));
  const binary = ["ask", Buffer.from([5])];
  // The pub/sub adapter writes them as JSON, in which a buffer is an object.
  const asJson = (args) => payload(JSON.parse(JSON.stringify(args)));
  const [event, answer] = dialect.startsWith("pubsub") ? [asJson(binary), payload(["answer [object Object]"])] : [payload(binary), payload([Buffer.from([7])])];
  await step("server event with binary", [{ ...serverEvent([], true), ...event }, { kind: "answer", ...answer }], () =>
    server.serverSideEmitWithAck(...binary));
}

async function changes(step, server, ids) {
  await step("sockets join", [change("join", { rooms: ["r1"] }, { into: ["x", "y"] })], () => server.in("r1").socketsJoin(["x", "y"]));
  await step("all sockets join", [change("join", {}, { into: ["x"] })], () => server.socketsJoin("x"));
  await step("sockets leave", [change("leave", { rooms: ["r1", "r2"], except: ["z"] }, { into: ["x"] })], () =>
    server.in(["r1", "r2"]).except("z").socketsLeave("x"));
  await step("sockets are disconnected", [change("disconnect", { rooms: ["none"] }, { close: false })], () =>
    server.in("none").disconnectSockets());
  await step("sessions are closed", [change("disconnect", { rooms: [ids.b] }, { close: true })], () =>
    server.in(ids.b).disconnectSockets(true));
}

/** The operations of emitters, as far as those of Socket.IO 2 have them. */
export async function emitterSteps(recorder, emitter, ids) {
  const step = recorder.step.bind(recorder);
  const isOld = recorder.dialect !== "redis-emitter";
  const inexact = (args, to = {}) => emit(args, { ...to, exact: false });
  await step("emit to all", [inexact(["hello", 1])], () => emitter.emit("hello", 1));
  await step("emit to a room", [inexact(["hello"], { rooms: ["r1"] })], () => emitter.to("r1").emit("hello"));
  await step("emit to a socket", [inexact(["hello"], { rooms: [ids.b] })], () => emitter.to(ids.b).emit("hello"));
  const binary = ["bin", { b: Buffer.from([1, 2, 255]) }];
  await step("emit with binary", [inexact(binary)], () => emitter.emit(...binary));
  await step("emit in a namespace", [inexact(["hello"], { nsp: "/custom", rooms: ["r1"] })], () =>
    emitter.of("/custom").to("r1").emit("hello"));
  await step("volatile emit", [inexact(["v"], { volatile: true })], () => emitter.volatile.emit("v"));
  const values = ["values", ...VALUES];
  await step("emit of every kind of value", [inexact(values)], () => emitter.emit(...values));
  if (isOld) return;
  await step("emit to rooms without others", [inexact(["hello"], { rooms: ["r1", "r2"], except: ["r3"] })], () =>
    emitter.to(["r1", "r2"]).except("r3").emit("hello"));
  await step("sockets join", [change("join", { rooms: ["r1"], except: ["r9"] }, { into: ["x"] })], () =>
    emitter.in("r1").except("r9").socketsJoin("x"));
  await step("sockets leave", [change("leave", {}, { into: ["x", "y"] })], () => emitter.socketsLeave(["x", "y"]));
  await step("sessions are closed", [change("disconnect", { rooms: ["none"] }, { close: true })], () =>
    emitter.in("none").disconnectSockets(true));
  await step("server event", [serverEvent(["ev", { a: 1 }], false)], () => emitter.serverSideEmit("ev", { a: 1 }));
}
