// The stock client with its events to be awaited, and the clusters that the tests connect it to.
import { after, before } from "node:test";
import { io, Manager } from "socket.io-client";
import { Node, Redis } from "./processes.mjs";
import { RoundRobin } from "./proxy.mjs";
import { Inbox, until, within } from "./wait.mjs";

/** How a client may travel: its options, and whether it ends on a websocket. */
export const TRAVELS = {
  "polling only": { transports: ["polling"] },
  "websocket only": { transports: ["websocket"] },
  "polling, then upgrade": { transports: ["polling", "websocket"] },
};

/** What a server is reached through: itself, or a balancer over two nodes that share a Redis. */
export const ROUTES = {
  directly: { nodes: 1 },
  "through a balancer": { nodes: 2, upgrades: "next" },
  "through a balancer, upgrades strayed": { nodes: 2, upgrades: "other" },
};

/** Every pair of travel and route that differs from the others: only an upgrade can go astray as one. */
export const PAIRS = Object.entries(TRAVELS).flatMap(([by, travel]) =>
  Object.entries(ROUTES)
    .filter(([, route]) => route.upgrades !== "other" || travel.transports.length === 2)
    .map(([way, route]) => ({ name: `${by}, ${way}`, travel, route })),
);

/** Starts what `route` needs for the tests of one suite, and stops it after. */
export function cluster(route, env) {
  const it = {};
  before(async () => {
    if (route.nodes > 1) it.redis = await Redis.start();
    const bus = it.redis ? { ROOMWIRE_BUS__REDIS_URL: it.redis.url } : {};
    it.nodes = [];
    while (it.nodes.length < route.nodes) it.nodes.push(await Node.start({ ...bus, ...env }));
    it.proxy = route.nodes > 1 ? await (route.balancer ?? RoundRobin).start(it.nodes, route) : undefined;
    it.url = (it.proxy ?? it.nodes[0]).url;
  });
  after(async () => {
    await it.proxy?.stop();
    for (const node of it.nodes ?? []) await node.stop();
    await it.redis?.stop();
  });
  return it;
}

/** A stock client that is not connected yet; `use` closes it when the test ends. */
export function client(t, url, travel, namespace = "/", options = {}) {
  const socket = io(url + (namespace === "/" ? "" : namespace), {
    ...travel,
    forceNew: true,
    reconnectionDelay: 50,
    reconnectionDelayMax: 250,
    ...options,
  });
  t.after(() => socket.io._close());
  return socket;
}

/** Several namespaces on one connection. */
export function manager(t, url, travel, options = {}) {
  const it = new Manager(url, { ...travel, ...options });
  t.after(() => it._close());
  return it;
}

export function heard(socket, event) {
  const inbox = new Inbox();
  socket.on(event, (...args) => inbox.push(args));
  return inbox;
}

export async function connected(socket) {
  if (!socket.connected) await once(socket, "connect");
  return socket;
}

/** Connected, and with the transport it is going to keep. */
export async function settled(socket) {
  await connected(socket);
  const transports = socket.io.opts.transports;
  const last = transports[transports.length - 1];
  await until(`transport ${last}`, () => socket.io.engine?.transport?.name === last);
  return socket;
}

export function once(emitter, event, what = event) {
  return within(what, new Promise((resolve) => emitter.once(event, (...args) => resolve(args))));
}

/** An emit that is answered, with its own limit. */
export function ask(socket, ...args) {
  return within(`answer to ${args[0]}`, socket.emitWithAck(...args));
}
