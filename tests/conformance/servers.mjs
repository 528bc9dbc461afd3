// The two servers of the conformance tests. Both run the echo app.
import { after, before } from "node:test";
import { Node } from "../clients/lib/processes.mjs";

const ECHO = {
  ROOMWIRE_APP__KIND: "echo",
  ROOMWIRE_SOCKET__NAMESPACES: "/,/custom",
  ROOMWIRE_SOCKET__CONNECT_TIMEOUT: "5s",
};

/** Ping interval 300 ms, ping timeout 200 ms, as the official suites expect. For tests of sessions that end by it. */
export const SHARP = { ...ECHO, ROOMWIRE_ENGINE__PING_INTERVAL: "300ms", ROOMWIRE_ENGINE__PING_TIMEOUT: "200ms" };

/** Frequent pings, for peers that respond to them, however slow the machine. */
export const LIVELY = { ...ECHO, ROOMWIRE_ENGINE__PING_INTERVAL: "300ms", ROOMWIRE_ENGINE__PING_TIMEOUT: "3s" };

/** The default heartbeat, so that a session that ends was ended by what the test did. */
export const CALM = ECHO;

/** A node for the tests of one file; `server.node` is set while they run. */
export function server(env) {
  const holder = {};
  before(async () => {
    holder.node = await Node.start(env);
  });
  after(() => holder.node?.stop());
  return holder;
}

/** Code and message of a rejected request; what else helps to find the cause is ours to choose. */
export function rejection(response) {
  const { code, message } = JSON.parse(response.text);
  return { code, message };
}
