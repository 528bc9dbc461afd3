// The files of `deploy/open-webui`: that they fit together and with Open WebUI's own tutorial, and that real nodes take their
// configuration. Their form is checked by scripts/lint; a browser goes through nginx.conf in tests/browser.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { parse, parseAllDocuments } from "yaml";
import { freePort, HOST, Node } from "../lib/processes.mjs";
import { ROOT, WATCHDOG } from "../lib/settings.mjs";

const text = (name) => readFileSync(path.join(ROOT, name), "utf8");
const compose = parse(text("deploy/open-webui/compose.yaml"), { merge: true });
const nginx = text("deploy/open-webui/nginx.conf");
const objects = parseAllDocuments(text("deploy/open-webui/kubernetes.yaml")).map((it) => it.toJS());
const find = (kind, name) => objects.find((it) => it.kind === kind && it.metadata.name === name);
const backends = ["open-webui-1", "open-webui-2"];
const nodes = ["roomwire-1", "roomwire-2"];
/** What Open WebUI calls its websocket variables in compose.yaml, with the Redis of this test. */
const environment = (service, redis) => ({ ...compose.services[service].environment, WEBSOCKET_REDIS_URL: redis, GLOBAL_LOG_LEVEL: "", CORS_ALLOW_ORIGIN: "", ROOMWIRE_LIMITS__PER_CLIENT: "auto" });

/** A node that is ready although its Redis is unreachable: it serves its own clients. */
async function start(t, env) {
  const internal = `${HOST}:${await freePort()}`;
  const node = await Node.start({ ...env, ROOMWIRE_SERVER__INTERNAL_BIND: internal }, `http://${internal}/readyz`);
  t.after(() => node.stop());
  return node;
}

async function assertServesOpenWebui(node) {
  const response = await fetch(`${node.url}/ws/socket.io/?EIO=4&transport=polling`);
  // Websockets only, as backends configure the frontend.
  assert.deepEqual([response.status, await response.json()], [400, { code: 0, message: "Transport unknown" }]);
}

describe("Open WebUI", WATCHDOG, () => {
  test("backends and nodes have the same websocket variables", () => {
    const [{ environment: backend }, { environment: node }] = [compose.services[backends[0]], compose.services[nodes[0]]];
    const shared = Object.keys(compose["x-websockets"]);
    assert.ok(shared.includes("WEBSOCKET_REDIS_URL"));
    for (const name of shared) assert.equal(node[name], backend[name], name);
    // With it nodes drop forged tokens themselves.
    for (const environment of [backend, node]) assert.match(environment.WEBUI_SECRET_KEY, /^\$\{WEBUI_SECRET_KEY:\?/);
    assert.equal(node.ROOMWIRE_APP__OPEN_WEBUI__UPSTREAMS, backends.map((name) => `http://${name}:8080`).join(","));
    for (const name of backends) assert.deepEqual(compose.services[name].environment, backend);
    for (const name of nodes) assert.deepEqual(compose.services[name], compose.services[nodes[0]]);
  });

  test("the second backend waits for the migrations of the first", () => {
    assert.equal(compose.services[backends[1]].depends_on[backends[0]].condition, "service_healthy");
  });

  test("nginx finds both of each by name, and sends Roomwire its one path", () => {
    const named = Object.fromEntries([...nginx.matchAll(/set \$(\w+) +([\w-]+):8080;/g)].map((match) => [match[1], match[2]]));
    assert.deepEqual(named, { backends: "open-webui", nodes: "roomwire" });
    const aliased = (alias) => Object.keys(compose.services).filter((name) => compose.services[name].networks.websockets?.aliases?.includes(alias));
    assert.deepEqual([aliased("open-webui"), aliased("roomwire")], [backends, nodes]);
    assert.match(nginx, /location \/ws\/socket\.io \{\s*proxy_pass http:\/\/\$nodes;/);
    assert.match(nginx, /location \/ \{\s*proxy_pass http:\/\/\$backends;/);
    assert.ok(compose.services.nginx.volumes.some((volume) => volume.startsWith("./nginx.conf:")));
  });

  test("a node takes the environment of compose.yaml", async (t) => {
    await assertServesOpenWebui(await start(t, environment(nodes[0], `redis://${HOST}:${await freePort()}/1`)));
  });

  test("the manifests fit together", () => {
    const deployment = find("Deployment", "roomwire");
    const { metadata, spec } = deployment.spec.template;
    const [container] = spec.containers;
    const selectors = [deployment.spec.selector.matchLabels, find("Service", "roomwire").spec.selector, find("PodDisruptionBudget", "roomwire").spec.selector.matchLabels];
    for (const selector of selectors) assert.deepEqual(selector, metadata.labels);
    for (const { configMapRef, secretRef } of container.envFrom) {
      assert.ok(configMapRef ? find("ConfigMap", configMapRef.name) : find("Secret", secretRef.name));
    }
    for (const { configMap } of spec.volumes) assert.ok(find("ConfigMap", configMap.name));
    const ports = container.ports.map((it) => it.name);
    const used = [container.livenessProbe.httpGet.port, container.readinessProbe.httpGet.port, find("Service", "roomwire").spec.ports[0].targetPort];
    for (const port of used) assert.ok(ports.includes(port), port);
    const [rule] = find("Ingress", "roomwire").spec.rules[0].http.paths;
    assert.deepEqual([rule.path, rule.backend.service.name], ["/ws/socket.io", "roomwire"]);
    assert.equal(deployment.spec.replicas, 2);
  });

  test("a node takes the configuration of the manifests", async (t) => {
    const file = path.join(mkdtempSync(path.join(os.tmpdir(), "roomwire-open-webui-")), "roomwire.toml");
    writeFileSync(file, find("ConfigMap", "roomwire").data["roomwire.toml"]);
    const variables = { ...find("ConfigMap", "open-webui-websockets").data, WEBSOCKET_REDIS_URL: `redis://${HOST}:${await freePort()}/1` };
    assert.ok("WEBSOCKET_REDIS_URL" in find("Secret", "open-webui-websockets").stringData);
    await assertServesOpenWebui(await start(t, { ...variables, ROOMWIRE_CONFIG: file }));
  });
});
