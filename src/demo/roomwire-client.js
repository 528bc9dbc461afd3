// A small Socket.IO client for the demo page: Engine.IO 4 and Socket.IO 5, an ES module without dependencies.
// It offers the few calls of the stock client that the page needs, so that the page runs with either.
// One namespace per connection; websocket first, long polling only where a websocket cannot be opened;
// no upgrade from polling, no connection state recovery, no msgpack.

const SEPARATOR = "\x1e";
const TYPE = { CONNECT: 0, DISCONNECT: 1, EVENT: 2, ACK: 3, CONNECT_ERROR: 4, BINARY_EVENT: 5, BINARY_ACK: 6 };
const DEFAULTS = {
  path: "/socket.io", transports: ["websocket", "polling"], auth: undefined, timeout: 20000, websocketTimeout: 5000,
  reconnection: true, reconnectionDelay: 1000, reconnectionDelayMax: 5000, randomizationFactor: 0.5,
};

class Emitter {
  #handlers = new Map();
  on(name, handler) {
    this.#handlers.set(name, [...(this.#handlers.get(name) ?? []), handler]);
    return this;
  }
  off(name, handler) {
    const kept = handler ? (this.#handlers.get(name) ?? []).filter((h) => h !== handler) : [];
    this.#handlers.set(name, kept);
    return this;
  }
  /// Calls the local handlers; `emit` is left free for sending.
  fire(name, ...args) {
    for (const handler of this.#handlers.get(name) ?? []) handler(...args);
  }
}

// --- Socket.IO packets -------------------------------------------------------------------------------------

const isBinary = (value) => value instanceof ArrayBuffer || ArrayBuffer.isView(value);

function detach(value, attachments) {
  if (isBinary(value)) return { _placeholder: true, num: attachments.push(value) - 1 };
  if (Array.isArray(value)) return value.map((item) => detach(item, attachments));
  if (value === null || typeof value !== "object" || typeof value.toJSON === "function") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, detach(item, attachments)]));
}

function attach(value, attachments) {
  if (Array.isArray(value)) return value.map((item) => attach(item, attachments));
  if (value === null || typeof value !== "object") return value;
  if (value._placeholder === true) {
    if (!(value.num in attachments)) throw new Error("placeholder without attachment");
    return attachments[value.num];
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, attach(item, attachments)]));
}

/// Packet to its messages: the text, then each attachment.
export function encode({ type, nsp = "/", id, data }) {
  const attachments = [];
  const payload = data === undefined ? "" : JSON.stringify(detach(data, attachments));
  const binary = attachments.length > 0;
  const head = binary ? `${type === TYPE.ACK ? TYPE.BINARY_ACK : TYPE.BINARY_EVENT}${attachments.length}-` : `${type}`;
  return [`${head}${nsp === "/" ? "" : `${nsp},`}${id ?? ""}${payload}`, ...attachments];
}

/// Text of a packet to `{type, nsp, id, data, due}`; `due` attachments follow as binary messages.
export function decode(text) {
  const match = /^([0-6])(?:(\d+)-)?(?:(\/[^,]*),?)?(\d+)?(.*)$/s.exec(text);
  if (!match) throw new Error("not a Socket.IO packet");
  const [, type, due, nsp = "/", id, json] = match;
  return {
    type: Number(type), nsp, due: Number(due ?? 0),
    id: id === undefined ? undefined : Number(id),
    data: json === "" ? undefined : JSON.parse(json),
  };
}

// --- Engine.IO transports: both call `on.packet(text | ArrayBuffer)` and, once, `on.close(reason)` ---------------

class WebSocketTransport {
  name = "websocket";
  #socket;
  constructor(url, on) {
    this.#socket = new WebSocket(`${url.href.replace(/^http/, "ws")}&transport=websocket`);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onmessage = (event) => on.packet(event.data);
    this.#socket.onerror = () => on.close("transport error");
    this.#socket.onclose = () => on.close("transport close");
  }
  opened() {}
  send(packets) {
    for (const packet of packets) this.#socket.send(packet);
  }
  close() {
    this.#socket.close();
  }
}

function toBase64(data) {
  const bytes = ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}
const fromBase64 = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0)).buffer;

class PollingTransport {
  name = "polling";
  #url; #on;
  #abort = new AbortController();
  #queue = [];
  #posting = false;
  #closed = false;
  #maxPayload = Infinity;
  constructor(url, on) {
    this.#url = `${url.href}&transport=polling`;
    this.#on = on;
      this.#poll();
  }
  opened(handshake) {
    this.#url += `&sid=${encodeURIComponent(handshake.sid)}`;
    this.#maxPayload = handshake.maxPayload ?? Infinity;
  }
  async #request(init) {
    const response = await fetch(this.#url, { cache: "no-store", ...init });
    if (!response.ok) throw new Error(`status ${response.status}`);
    return response.text();
  }
  async #poll() {
    try {
      while (!this.#closed) {
        const body = await this.#request({ signal: this.#abort.signal });
        for (const packet of body.split(SEPARATOR)) this.#on.packet(packet[0] === "b" ? fromBase64(packet.slice(1)) : packet);
      }
    } catch {
      this.#on.close("transport error");
    }
  }
  send(packets) {
    this.#queue.push(...packets.map((packet) => (isBinary(packet) ? `b${toBase64(packet)}` : packet)));
    if (!this.#posting) this.#post();
  }
  /// Takes what fits in one body, at least one packet.
  #takeBody() {
    let size = 0;
    let count = 0;
    for (const packet of this.#queue) {
      size += new Blob([packet]).size + 1;
      if (count > 0 && (size > this.#maxPayload || count === 16)) break;
      count += 1;
    }
    return this.#queue.splice(0, count).join(SEPARATOR);
  }
  async #post() {
    this.#posting = true;
    try {
      while (this.#queue.length > 0) {
        await this.#request({ method: "POST", body: this.#takeBody(), headers: { "content-type": "text/plain;charset=UTF-8" } });
      }
    } catch {
      this.#on.close("transport error");
    }
    this.#posting = false;
    if (this.#closed) this.#abort.abort();
  }
  /// Sends the disconnect packet in its turn; only then drops the pending request, because that alone would end the session.
  close() {
    this.#closed = true;
    if (this.#url.includes("&sid=")) this.send(["1"]);
    else this.#abort.abort();
  }
}

const TRANSPORTS = { websocket: WebSocketTransport, polling: PollingTransport };

// --- Engine: one session over one transport ------------------------------------------------------------------

class Engine extends Emitter {
  transport = { name: "" };
  #url; #options; #names; #timer;
  #state = "opening";
  #silence = 0;
  constructor(url, options) {
    super();
    this.#url = url;
    this.#options = options;
    this.#names = options.transports.filter((name) => name in TRANSPORTS);
    // The owner attaches its handlers first.
    queueMicrotask(() => this.#openNext("no known transport"));
  }
  #openNext(reason) {
    if (this.#state !== "opening") return;
    const name = this.#names.shift();
    if (!name) return this.#end(reason);
    let transport = null;
    let over = false;
    const close = (why) => {
      if (over) return;
      over = true;
      if (this.#state === "opening") this.#openNext(why);
      else this.#end(why);
    };
    transport = new TRANSPORTS[name](this.#url, { packet: (packet) => over || this.#onPacket(packet), close });
    this.transport = transport;
    const limit = name === "websocket" && this.#names.length > 0 ? this.#options.websocketTimeout : this.#options.timeout;
    this.#arm(limit, () => { close("timeout"); transport.close(); });
  }
  #arm(milliseconds, action) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(action, milliseconds);
  }
  #onPacket(packet) {
    if (isBinary(packet)) return this.fire("message", packet);
    const data = packet.slice(1);
    switch (packet[0]) {
      case "0": return this.#onHandshake(JSON.parse(data));
      case "1": return this.close("transport close");
      case "2": this.#expectPing(); return this.transport.send([`3${data}`]);
      case "4": return this.fire("message", data);
    }
  }
  #onHandshake(handshake) {
    this.#state = "open";
    this.#silence = handshake.pingInterval + handshake.pingTimeout;
    this.transport.opened(handshake);
    this.#expectPing();
    this.fire("open");
  }
  #expectPing() {
    this.#arm(this.#silence, () => this.close("ping timeout"));
  }
  /// Sends messages: text, or binary.
  send(messages) {
    if (this.#state === "open") this.transport.send(messages.map((message) => (isBinary(message) ? message : `4${message}`)));
  }
  close(reason = "forced close") {
    if (this.#state === "closed") return;
    const transport = this.transport;
    this.#end(reason);
    transport.close?.();
  }
  #end(reason) {
    if (this.#state === "closed") return;
    this.#state = "closed";
    clearTimeout(this.#timer);
    this.fire("close", reason);
  }
}

// --- Manager: keeps one engine alive ---------------------------------------------------------------------------

class Manager extends Emitter {
  engine = null;
  #url; #timer;
  #attempts = 0;
  #wanted = false;
  constructor(url, options) {
    super();
    this.#url = url;
    this.opts = options;
    globalThis.addEventListener?.("online", () => this.#timer && this.#retry());
  }
  /// Reads or sets whether a lost connection is opened again.
  reconnection(value) {
    if (value === undefined) return this.opts.reconnection;
    this.opts.reconnection = value;
    if (!value) this.#stopTimer();
    return this;
  }
  open() {
    this.#wanted = true;
    if (this.engine || this.#timer) return;
    const engine = new Engine(this.#url, this.opts);
    let opened = false;
    this.engine = engine;
    engine.on("open", () => { opened = true; this.#attempts = 0; this.fire("open"); });
    engine.on("message", (message) => this.fire("message", message));
    engine.on("close", (reason) => {
      this.engine = null;
      this.fire(opened ? "close" : "error", reason);
      this.#scheduleRetry();
    });
  }
  close() {
    this.#wanted = false;
    this.#attempts = 0;
    this.#stopTimer();
    this.engine?.close();
  }
  #stopTimer() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
  #scheduleRetry() {
    if (!this.#wanted || !this.opts.reconnection || this.engine || this.#timer) return;
    const { reconnectionDelay, reconnectionDelayMax, randomizationFactor } = this.opts;
    const base = Math.min(reconnectionDelayMax, reconnectionDelay * 2 ** this.#attempts);
    const jitter = 1 + randomizationFactor * (2 * Math.random() - 1);
    this.#timer = setTimeout(() => this.#retry(), base * jitter);
  }
  #retry() {
    this.#stopTimer();
    this.#attempts += 1;
    this.fire("reconnect_attempt", this.#attempts);
    this.open();
  }
}

// --- Socket: one namespace -----------------------------------------------------------------------------------

class Socket extends Emitter {
  id = undefined;
  connected = false;
  active = false;
  #nsp; #auth;
  #nextAck = 0;
  #acks = new Map();
  #waiting = [];
  #partial = null;
  constructor(manager, nsp, auth) {
    super();
    this.io = manager;
    this.#nsp = nsp;
    this.#auth = auth;
    manager.on("open", () => this.#sendConnect());
    manager.on("message", (message) => this.#onMessage(message));
    manager.on("close", (reason) => this.#onClose(reason));
    manager.on("error", (reason) => this.fire("connect_error", new Error(reason)));
  }
  connect() {
    this.active = true;
    this.io.open();
    return this;
  }
  disconnect() {
    this.active = false;
    if (this.connected) this.#write({ type: TYPE.DISCONNECT });
    this.#onClose("io client disconnect");
    this.io.close();
    return this;
  }
  /// Sends an event; a function as last argument receives the acknowledgement. Waits while not connected.
  emit(name, ...args) {
    this.#send(name, args, null);
    return this;
  }
  emitWithAck(name, ...args) {
    return this.timeout(Infinity).emitWithAck(name, ...args);
  }
  /// The same two calls with a limit in milliseconds; the callback then starts with an error or null.
  timeout(milliseconds) {
    const emit = (name, ...args) => this.#send(name, args, milliseconds);
    const emitWithAck = (...args) => new Promise((resolve, reject) => {
      emit(...args, (error, value) => (error ? reject(error) : resolve(value)));
    });
    return { emit, emitWithAck };
  }
  #send(name, args, limit) {
    const callback = typeof args.at(-1) === "function" ? args.at(-1) : null;
    const packet = { type: TYPE.EVENT, data: [name, ...(callback ? args.slice(0, -1) : args)] };
    if (callback) packet.id = this.#expectAck(callback, limit, packet);
    if (this.connected) this.#write(packet);
    else this.#waiting.push(packet);
  }
  #expectAck(callback, limit, packet) {
    const id = this.#nextAck++;
    const expire = () => {
      this.#acks.delete(id);
      this.#waiting = this.#waiting.filter((other) => other !== packet);
      callback(new Error("operation has timed out"));
    };
    const timer = limit !== null && limit !== Infinity ? setTimeout(expire, limit) : undefined;
    this.#acks.set(id, { callback, timer, withError: limit !== null });
    return id;
  }
  #write(packet) {
    this.io.engine?.send(encode({ nsp: this.#nsp, ...packet }));
  }
  #sendConnect() {
    if (!this.active) return;
    const answer = (data) => this.#write({ type: TYPE.CONNECT, data });
    if (typeof this.#auth === "function") this.#auth(answer);
    else answer(this.#auth);
  }
  #onMessage(message) {
    try {
      const packet = isBinary(message) ? this.#addAttachment(message) : decode(message);
      if (packet.due > 0) this.#partial = { packet, attachments: [] };
      else if (packet.nsp === this.#nsp) this.#onPacket(packet);
    } catch {
      this.io.engine?.close("parse error");
    }
  }
  #addAttachment(message) {
    const { packet, attachments } = this.#partial;
    attachments.push(message);
    if (attachments.length < packet.due) return { due: 0 };
    this.#partial = null;
    return { ...packet, due: 0, data: attach(packet.data, attachments) };
  }
  #onPacket({ type, id, data }) {
    switch (type) {
      case TYPE.CONNECT: return this.#onConnect(data.sid);
      case TYPE.DISCONNECT: this.active = false; this.#onClose("io server disconnect"); return this.io.close();
      case TYPE.EVENT: case TYPE.BINARY_EVENT: return this.#onEvent(id, data);
      case TYPE.ACK: case TYPE.BINARY_ACK: return this.#onAck(id, data);
      case TYPE.CONNECT_ERROR: return this.#onRejected(data);
    }
  }
  #onConnect(sid) {
    this.id = sid;
    this.connected = true;
    for (const packet of this.#waiting.splice(0)) this.#write(packet);
    this.#later("connect");
  }
  #onRejected(data) {
    this.active = false;
    this.io.close();
    this.#later("connect_error", Object.assign(new Error(data?.message ?? String(data)), { data: data?.data }));
  }
  #onEvent(id, [name, ...args]) {
    const ack = (...answer) => this.#write({ type: TYPE.ACK, id, data: answer });
    this.#later(name, ...args, ...(id === undefined ? [] : [ack]));
  }
  #onAck(id, args) {
    const ack = this.#acks.get(id);
    if (!ack) return;
    this.#acks.delete(id);
    clearTimeout(ack.timer);
    queueMicrotask(() => ack.callback(...(ack.withError ? [null, ...args] : args)));
  }
  /// Handlers run outside the decoder's try block: their errors are not the peer's.
  #later(name, ...args) {
    queueMicrotask(() => this.fire(name, ...args));
  }
  #onClose(reason) {
    this.#partial = null;
    if (!this.connected) return;
    this.connected = false;
    this.id = undefined;
    for (const { callback, timer, withError } of [...this.#acks.values()]) {
      clearTimeout(timer);
      if (withError) callback(new Error("socket has been disconnected"));
    }
    this.#acks.clear();
    this.fire("disconnect", reason);
  }
}

/// `io(url?, options?)`: the path part of the URL is the namespace; connects at once unless `autoConnect` is false.
export function io(url, options = {}) {
  if (typeof url === "object") [url, options] = [undefined, url];
  const given = new URL(url ?? "/", globalThis.location?.href);
  const merged = { ...DEFAULTS, ...options };
  const engineUrl = new URL(`${merged.path.replace(/\/$/, "")}/?EIO=4`, given.origin.replace(/^ws/, "http"));
  const socket = new Socket(new Manager(engineUrl, merged), given.pathname, merged.auth);
  return merged.autoConnect === false ? socket : socket.connect();
}
