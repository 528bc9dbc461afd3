// The unit of `deploy/systemd`: what scripts/lint, which reads it as systemd would, does not judge.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { ROOT } from "../lib/settings.mjs";

const unit = readFileSync(path.join(ROOT, "deploy/systemd/roomwire.service"), "utf8");
const section = (name) => unit.split(/^\[/m).find((text) => text.startsWith(`${name}]`));
const values = (name, key) => [...section(name).matchAll(new RegExp(`^${key}=(.*)$`, "gm"))].map((match) => match[1]);

test("it is restarted however often it ends, unless its configuration is rejected", () => {
  assert.deepEqual(values("Unit", "StartLimitIntervalSec"), ["0"]);
  assert.deepEqual(values("Service", "Restart"), ["on-failure"]);
  assert.deepEqual(values("Service", "RestartPreventExitStatus"), ["2"]);
});

test("keys are credentials, by names that may be missing, and no core holds them", () => {
  // A path of its own would keep a node without TLS from starting.
  const credentials = values("Service", "LoadCredential");
  assert.deepEqual(credentials, ["roomwire.tls_cert", "roomwire.tls_key"]);
  assert.deepEqual(values("Service", "LimitCORE"), ["0"]);
  const documented = readFileSync(path.join(ROOT, "docs/deploy.md"), "utf8");
  for (const name of credentials) {
    assert.ok(documented.includes(`/etc/credstore/${name}`), name);
    assert.ok(documented.includes(`/run/credentials/roomwire.service/${name}`), name);
  }
});
