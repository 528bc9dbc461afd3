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

  for (const name of ["kubernetes/roomwire.yaml", "open-webui/kubernetes.yaml"]) {
    test(`${name}: everybody reaches the public port, and Prometheus alone the internal listener`, () => {
      const own = parseAllDocuments(readFileSync(path.join(ROOT, "deploy", name), "utf8")).map((it) => it.toJS());
      const { metadata, spec } = own.find((it) => it.kind === "Deployment").spec.template;
      const policy = own.find((it) => it.kind === "NetworkPolicy").spec;
      assert.deepEqual([policy.podSelector.matchLabels, policy.policyTypes], [metadata.labels, ["Ingress"]]);
      const allowed = Object.fromEntries(policy.ingress.flatMap(({ ports, from }) => ports.map(({ port }) => [port, from])));
      assert.deepEqual(Object.keys(allowed).sort(), spec.containers[0].ports.map((it) => it.name).sort());
      assert.equal(allowed.http, undefined, "from anywhere");
      const [peer, ...others] = allowed.internal;
      // Both in one peer: pods of that name in that namespace, not either of them.
      assert.deepEqual([Object.keys(peer).sort(), others], [["namespaceSelector", "podSelector"], []]);
      assert.equal(peer.podSelector.matchLabels["app.kubernetes.io/name"], "prometheus");
    });
  }

  test("a PodMonitor finds the pods, their port, and the job of the alerts", () => {
    const { jobLabel, selector, podMetricsEndpoints } = only("PodMonitor").spec;
    assert.deepEqual(selector.matchLabels, pod.metadata.labels);
    assert.equal(podMetricsEndpoints.length, 1);
    assert.deepEqual([podMetricsEndpoints[0].port, podMetricsEndpoints[0].path], ["internal", pod.metadata.annotations["prometheus.io/path"]]);
    const alerts = readFileSync(path.join(ROOT, "deploy/prometheus/alerts.yaml"), "utf8");
    assert.ok(alerts.includes(`job="${pod.metadata.labels[jobLabel]}"`));
  });

  test("a rolling restart and a disruption leave nodes to go to", () => {
    const { maxSurge, maxUnavailable } = deployment.spec.strategy.rollingUpdate;
    assert.deepEqual([maxSurge, maxUnavailable], [1, 0]);
    assert.ok(only("PodDisruptionBudget").spec.maxUnavailable < deployment.spec.replicas);
    assert.equal(service.spec.sessionAffinity, "None");
  });

  test("a node with this configuration serves the probes, and only on the internal port", async (t) => {
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
