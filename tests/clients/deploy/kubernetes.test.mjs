// The manifests of `deploy/kubernetes`: that they fit together, and that a real node with their configuration answers
// their probes. Their form is checked by scripts/lint.
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { parseAllDocuments } from "yaml";
import { freePort, HOST, Node } from "../lib/processes.mjs";
import { ROOT, WATCHDOG } from "../lib/settings.mjs";

const FOLDER = path.join(ROOT, "deploy/kubernetes");
const files = readdirSync(FOLDER).filter((name) => name.endsWith(".yaml"));
const objects = files.flatMap((name) => parseAllDocuments(readFileSync(path.join(FOLDER, name), "utf8")).map((it) => it.toJS()));
const only = (kind) => objects.find((it) => it.kind === kind);
const [deployment, service] = [only("Deployment"), only("Service")];
const pod = deployment.spec.template;
const [container] = pod.spec.containers;
const settings = only("ConfigMap").data["roomwire.toml"];

describe("Kubernetes manifests", WATCHDOG, () => {
  test("selectors select the pods", () => {
    const selectors = [deployment.spec.selector.matchLabels, service.spec.selector, only("PodDisruptionBudget").spec.selector.matchLabels];
    for (const selector of selectors) {
      for (const [label, value] of Object.entries(selector)) assert.equal(pod.metadata.labels[label], value);
    }
  });

  test("what is named is there", () => {
    const ports = container.ports.map((it) => it.name);
    const probes = [container.livenessProbe, container.readinessProbe].map((it) => it.httpGet.port);
    for (const port of [...probes, service.spec.ports[0].targetPort]) assert.ok(ports.includes(port), port);
    for (const { secretRef } of container.envFrom) assert.equal(secretRef.name, only("Secret").metadata.name);
    for (const { configMap } of pod.spec.volumes) assert.equal(configMap.name, only("ConfigMap").metadata.name);
    assert.equal(only("HorizontalPodAutoscaler").spec.scaleTargetRef.name, deployment.metadata.name);
    const ingresses = objects.filter((it) => it.kind === "Ingress");
    assert.equal(ingresses.length, 2);
    for (const { spec } of ingresses) {
      const backend = spec.rules[0].http.paths[0].backend.service;
      assert.equal(backend.name, service.metadata.name);
      assert.equal(backend.port.name, service.spec.ports[0].name);
    }
  });

  test("a rolling restart and a disruption leave nodes to go to", () => {
    const { maxSurge, maxUnavailable } = deployment.spec.strategy.rollingUpdate;
    assert.deepEqual([maxSurge, maxUnavailable], [1, 0]);
    assert.ok(only("PodDisruptionBudget").spec.maxUnavailable < deployment.spec.replicas);
    assert.equal(service.spec.sessionAffinity, "None");
  });

  test("a node with this configuration answers the probes, and the public nothing of them", async (t) => {
    const internal = `${HOST}:${await freePort()}`;
    const file = path.join(mkdtempSync(path.join(os.tmpdir(), "roomwire-kubernetes-")), "roomwire.toml");
    writeFileSync(file, settings);
    const env = { ROOMWIRE_CONFIG: file, ROOMWIRE_SERVER__INTERNAL_BIND: internal };
    const node = await Node.start(env, `http://${internal}/readyz`);
    t.after(() => node.stop());
    for (const probe of [container.livenessProbe, container.readinessProbe]) {
      assert.equal((await fetch(`http://${internal}${probe.httpGet.path}`)).status, 200);
      assert.equal((await fetch(node.url + probe.httpGet.path)).status, 404);
    }
    const port = container.ports.find((it) => it.name === container.livenessProbe.httpGet.port);
    assert.match(settings, new RegExp(`internal_bind = "0\\.0\\.0\\.0:${port.containerPort}"`));
    assert.equal(pod.metadata.annotations["prometheus.io/port"], String(port.containerPort));
  });
});
