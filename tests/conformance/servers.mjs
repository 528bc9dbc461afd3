// The two servers that the conformance tests ask. Both run the echo app.
import { after, before } from "node:test";
import { Node } from "../clients/lib/processes.mjs";

const ECHO = {
  ROOMWIRE_APP__KIND: "echo",
  ROOMWIRE_SOCKET__NAMESPACES: "/,/custom",
  ROOMWIRE_SOCKET__CONNECT_TIMEOUT: "1s",
};

/** Heartbeat every 300 ms with 200 ms to answer: what the official suites expect. For tests about time. */
export const SHARP = { ...ECHO, ROOMWIRE_ENGINE__PING_INTERVAL: "300ms", ROOMWIRE_ENGINE__PING_TIMEOUT: "200ms" };

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
export function rejection(answer) {
  const { code, message } = JSON.parse(answer.text);
  return { code, message };
}
