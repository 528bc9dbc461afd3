// The stock client, helpers to await its events, and the clusters under test.
import { after, before } from "node:test";
import { io, Manager } from "socket.io-client";
import { Node, Redis } from "./processes.mjs";
import { RoundRobin } from "./proxy.mjs";
import { Inbox, until, within } from "./wait.mjs";

/** Client options by transport. */
export const TRAVELS = {
  "polling only": { transports: ["polling"] },
  "websocket only": { transports: ["websocket"] },
  "polling, then upgrade": { transports: ["polling", "websocket"] },
};

/** The route to the server: direct, or through a balancer to two nodes that share a Redis. */
export const ROUTES = {
  directly: { nodes: 1 },
  "through a balancer": { nodes: 2, upgrades: "next" },
  "through a balancer, upgrades strayed": { nodes: 2, upgrades: "other" },
};

/** Every distinct pair of transport and route: only clients that upgrade can have a strayed upgrade. */
export const PAIRS = Object.entries(TRAVELS).flatMap(([by, travel]) =>
  Object.entries(ROUTES)
    .filter(([, route]) => route.upgrades !== "other" || travel.transports.length === 2)
    .map(([way, route]) => ({ name: `${by}, ${way}`, travel, route })),
);

/** Starts the processes of `route` for the tests of one suite, and stops them afterwards. `route.redis` starts Redis servers. */
export function cluster(route, env) {
  const it = {};
  before(async () => {
    if (route.nodes > 1) it.redis = await (route.redis ?? Redis.start.bind(Redis))();
    const bus = it.redis?.env ?? {};
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

/** An inbox of the arguments of every `event` from now on. */
export function collect(socket, event) {
  const inbox = new Inbox();
  socket.on(event, (...args) => inbox.push(args));
  return inbox;
}

export async function connected(socket) {
  if (!socket.connected) await once(socket, "connect");
  return socket;
}

/** Waits until it is connected and has its final transport. */
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

/** Emits and waits for the ack, with a timeout. */
export function emitWithAck(socket, ...args) {
  return within(`ack of ${args[0]}`, socket.emitWithAck(...args));
}
