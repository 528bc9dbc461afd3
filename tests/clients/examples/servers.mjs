// The examples as programs: a node with their configuration, and a backend in one of the languages.
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { freePort, Node, Program, ready, returnsOk } from "../lib/processes.mjs";

const CHAT = path.join(import.meta.dirname, "../../../examples/chat");

/** How `examples/chat/run` starts the backend of each language. */
const COMMANDS = {
  python: () => ["python3", [path.join(CHAT, "python/chat.py")]],
  node: () => [process.execPath, [path.join(CHAT, "node/chat.mjs")]],
  php: (port) => ["php", ["-S", `127.0.0.1:${port}`, path.join(CHAT, "php/chat.php")]],
  go: () => ["go", ["run", "."]],
};
export const LANGUAGES = Object.keys(COMMANDS);

const secret = () => randomBytes(32).toString("base64");

/** Starts the chat with the backend of a language on free ports. */
export async function startChat(language) {
  const [backendPort, apiPort] = [await freePort(), await freePort()];
  const secrets = { token: secret(), webhook: `whsec_${secret()}`, api: secret() };
  const config = path.join(mkdtempSync(path.join(os.tmpdir(), "roomwire-example-")), "roomwire.toml");
  const shipped = readFileSync(path.join(CHAT, "roomwire.toml"), "utf8");
  writeFileSync(config, shipped.replaceAll("127.0.0.1:3000", `127.0.0.1:${backendPort}`).replace("127.0.0.1:9090", `127.0.0.1:${apiPort}`));
  const [command, args] = COMMANDS[language](backendPort);
  const backend = new Program(
    command,
    args,
    {
      CHAT_TOKEN_SECRET: secrets.token,
      CHAT_WEBHOOK_SECRET: secrets.webhook,
      CHAT_API_KEY: secrets.api,
      CHAT_API: `http://127.0.0.1:${apiPort}/api/v1`,
      CHAT_PORT: String(backendPort),
      PHP_CLI_SERVER_WORKERS: "4",
    },
    path.join(CHAT, "go"),
    true,
  );
  const settings = {
    ROOMWIRE_CONFIG: config,
    ROOMWIRE_AUTH__SECRET: secrets.token,
    ROOMWIRE_WEBHOOK__SECRETS: secrets.webhook,
    ROOMWIRE_API__KEY: secrets.api,
    ROOMWIRE_WEBHOOK__TIMEOUT: "20s",
  };
  const node = await Node.start(settings, `http://127.0.0.1:${apiPort}/readyz`);
  const url = `http://127.0.0.1:${backendPort}`;
  // `go run` compiles first.
  await ready(backend, `the backend in ${language}`, () => returnsOk(`${url}/`), 120_000);
  return {
    node,
    settings,
    url,
    async stop() {
      await node.stop();
      if (!backend.over) await backend.kill("SIGTERM");
    },
  };
}
