// The compose files: what every service of theirs must have. Their form is checked by scripts/lint, and compose.yaml runs
// on a real engine in tests/clients/container.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { parse } from "yaml";
import { freePort, HOST, Node, Redis } from "../lib/processes.mjs";
import { BINARY, ROOT, WATCHDOG } from "../lib/settings.mjs";

const run = promisify(execFile);
const MIB = 1 << 20;
const FILES = ["compose.single.yaml", "compose.yaml", "deploy/open-webui/compose.yaml"];
const read = (name) => parse(readFileSync(path.join(ROOT, name), "utf8"), { merge: true });
const services = (name) => Object.entries(read(name).services);
const isNode = ([, service]) => service.image.includes("ROOMWIRE_IMAGE");
const isBalancer = ([, service]) => /haproxy|nginx/.test(service.image);

/** Bytes of `512M`, `4G`, or of what a variable is where it is not set. */
function bytes(text) {
  const [, number, unit] = /^(?:\$\{\w+:-)?(\d+)([MG])\}?$/.exec(text);
  return number * MIB * (unit === "G" ? 1024 : 1);
}

for (const file of FILES) {
  describe(file, WATCHDOG, () => {
    test("every service has a memory limit, and no name that another container may have", () => {
      for (const [name, service] of services(file)) {
        assert.ok(bytes(service.deploy.resources.limits.memory) > 0, name);
        assert.equal(service.container_name, undefined, name);
      }
    });

    test("the balancer has a health check", () => {
      for (const [name, { healthcheck }] of services(file).filter(isBalancer)) assert.ok(healthcheck?.test.length > 1, name);
    });

    test("a node has an internal listener that is not published, with metrics and `roomwire drain`", async (t) => {
      const nodes = services(file).filter(isNode);
      assert.ok(nodes.length > 0);
      for (const [, { environment, ports = [] }] of nodes) {
        const [host, port] = environment.ROOMWIRE_SERVER__INTERNAL_BIND.split(":");
        assert.equal(port, "9090");
        // In a cluster, Prometheus is another container.
        assert.equal(host, file.includes("single") ? "127.0.0.1" : "0.0.0.0");
        assert.ok(ports.every((published) => !published.endsWith(port)));
      }
      const redis = await Redis.start();
      t.after(() => redis.stop());
      const node = await startAs(t, nodes[0][1].environment, redis);
      const metrics = await (await fetch(`http://${node.internal}/metrics`)).text();
      assert.match(metrics, /^roomwire_connections_limit \d+$/m);
      await run(BINARY, ["drain"], { env: node.env });
      assert.match(await node.program.ended, /^exit 0/);
    });
  });
}

test("the memory limit of a node fits the number of clients that the files document", () => {
  for (const file of FILES) {
    const documented = Number(/# limits\.connections = auto is derived from it: ([\d ]+) clients/.exec(readFileSync(path.join(ROOT, file), "utf8"))[1].replaceAll(" ", ""));
    for (const [name, service] of services(file).filter(isNode)) {
      const limit = bytes(service.deploy.resources.limits.memory);
      assert.equal((limit - 16 * MIB) / (16 * 1024), documented, `${file}: ${name}`);
    }
  }
});

test("Open WebUI: Valkey has the buffer that `check --live` recommends, and the memory for it", async (t) => {
  const { valkey } = read("deploy/open-webui/compose.yaml").services;
  const [, buffer] = /--client-output-buffer-limit "(pubsub \d+ \d+ \d+)"/.exec(valkey.command);
  const hard = Number(buffer.split(" ")[1]);
  const subscribers = services("deploy/open-webui/compose.yaml").filter(([name]) => /^(roomwire|open-webui)-/.test(name)).length;
  assert.ok(subscribers === 4 && subscribers * hard < bytes(valkey.deploy.resources.limits.memory));
  const warns = async (...options) => {
    const redis = await Redis.start(...options);
    t.after(() => redis.stop());
    const env = {
      ROOMWIRE_APP__KIND: "open_webui",
      ROOMWIRE_APP__OPEN_WEBUI__UPSTREAMS: `http://${HOST}:${await freePort()}`,
      ROOMWIRE_BUS__REDIS_URL: redis.url,
    };
    // No backend is there: the check ends with 1.
    const { stdout, stderr } = await run(BINARY, ["check", "--live"], { env }).catch((failed) => failed);
    assert.match(stdout + stderr, /Redis|redis/);
    return /^(warning|error): .*client-output-buffer-limit/m.test(stdout + stderr);
  };
  assert.equal(await warns(), true, "Redis as shipped");
  assert.equal(await warns("--client-output-buffer-limit", buffer), false, "Redis of the compose file");
});

/** A node with a service's environment, on free ports of loopback. */
async function startAs(t, environment, redis) {
  const internal = `${HOST}:${await freePort()}`;
  const env = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== null && !String(value).includes("${")));
  Object.assign(env, { ROOMWIRE_SERVER__INTERNAL_BIND: internal }, "WEBSOCKET_REDIS_URL" in env && { WEBSOCKET_REDIS_URL: redis.url });
  if ("ROOMWIRE_BUS__REDIS_URL" in env) env.ROOMWIRE_BUS__REDIS_URL = redis.url;
  const node = await Node.start(env, `http://${internal}/readyz`);
  t.after(() => node.stop());
  return Object.assign(node, { internal });
}
