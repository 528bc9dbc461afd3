// Whatever supervises a node waits longer than the node drains; else it is killed with clients still on it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { parse, parseAllDocuments } from "yaml";
import { ROOT } from "../lib/settings.mjs";

const text = (name) => readFileSync(path.join(ROOT, name), "utf8");
const seconds = (given) => Number(/^(\d+)s?$/.exec(given)[1]);
/** Seconds between the last close and the end of the process. */
const MARGIN = 5;
const drain = seconds(/^\[drain\][^[]*^timeout = "(\w+)"/m.exec(text("config/default.toml"))[1]);

for (const name of ["compose.yaml", "compose.single.yaml"]) {
  test(name, () => {
    assert.ok(seconds(parse(text(name)).services.roomwire.stop_grace_period) >= drain + MARGIN);
  });
}

test("Kubernetes", () => {
  const objects = parseAllDocuments(text("deploy/kubernetes/roomwire.yaml")).map((it) => it.toJS());
  const { spec } = objects.find((it) => it.kind === "Deployment").spec.template;
  const sleep = spec.containers[0].lifecycle.preStop.sleep.seconds;
  assert.ok(spec.terminationGracePeriodSeconds >= sleep + drain + MARGIN);
});

test("systemd", () => {
  const given = /^TimeoutStopSec=(.*)$/m.exec(text("deploy/systemd/roomwire.service"))[1];
  assert.ok(seconds(given) >= drain + MARGIN);
});
