// Where the tests find their tools and how patient they are. Every limit is generous: a test that
// passes ends early, because it waits for conditions; only a failing one meets its limit.
import path from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");

/** The server under test; a relative ROOMWIRE_BIN is taken from the repository's root. */
export const BINARY = path.resolve(ROOT, process.env.ROOMWIRE_BIN || "target/debug/roomwire");

/** The built files of the stock client, for `server.client_dir`. */
export const CLIENT_DIR = path.join(ROOT, "tests/clients/node_modules/socket.io-client/dist");

/** Below Linux' ephemeral range, so that no outgoing connection takes a port while a node restarts. */
const [from, to] = (process.env.ROOMWIRE_TEST_PORTS || "20000-31999").split("-").map(Number);
export const PORTS = { from, to };

/** Milliseconds a condition may take before the test that waits for it fails. */
export const TIMEOUT = 30_000;

/** The timeout of a whole suite. Every wait inside has its own; this one is the last resort. */
export const WATCHDOG = { timeout: 600_000 };
