// The stop timeout of every supervisor exceeds the drain timeout; otherwise nodes would be killed with clients connected.
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

test("compose.yaml of Open WebUI", () => {
  const { services } = parse(text("deploy/open-webui/compose.yaml"), { merge: true });
  assert.ok(seconds(services["roomwire-1"].stop_grace_period) >= drain + MARGIN);
});

for (const name of ["deploy/kubernetes/roomwire.yaml", "deploy/open-webui/kubernetes.yaml"]) {
  test(name, () => {
    const objects = parseAllDocuments(text(name)).map((it) => it.toJS());
    const { spec } = objects.find((it) => it.kind === "Deployment").spec.template;
    const sleep = spec.containers[0].lifecycle.preStop.sleep.seconds;
    assert.ok(spec.terminationGracePeriodSeconds >= sleep + drain + MARGIN);
  });
}

test("systemd", () => {
  const given = /^TimeoutStopSec=(.*)$/m.exec(text("deploy/systemd/roomwire.service"))[1];
  assert.ok(seconds(given) >= drain + MARGIN);
});
