// scripts/pin-images on a copy of the files it edits, with a fake registry client.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { beforeEach, afterEach, test } from "node:test";
import { ROOT } from "../lib/settings.mjs";

const FILES = ["Dockerfile", "compose.yaml", "compose.single.yaml", "deploy/open-webui/compose.yaml"];
const OLD = `sha256:${"a".repeat(64)}`;
const NEW = `sha256:${"b".repeat(64)}`;
let folder;

beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "roomwire-pin-"));
  for (const name of [...FILES, "scripts/pin-images"]) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    cpSync(path.join(ROOT, name), path.join(folder, name));
  }
  // As before the first pinning.
  for (const name of FILES) writeFileSync(path.join(folder, name), texts()[name].replaceAll(/@sha256:[0-9a-f]{64}/g, ""));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const texts = () => Object.fromEntries(FILES.map((name) => [name, readFileSync(path.join(folder, name), "utf8")]));

/** Runs the script with a `crane` that is this shell command. */
function pin(crane, ...args) {
  const bin = path.join(folder, "bin");
  mkdirSync(bin, { recursive: true });
  writeFileSync(path.join(bin, "crane"), `#!/bin/sh\n${crane}\n`);
  chmodSync(path.join(bin, "crane"), 0o755);
  return spawnSync(path.join(folder, "scripts/pin-images"), args, { env: { PATH: `${bin}:${process.env.PATH}` }, encoding: "utf8" });
}

test("every image is pinned to what its tag is now, and follows it", () => {
  const before = texts();
  assert.equal(pin("exit 1", "--check").status, 1);
  for (const digest of [OLD, NEW]) {
    assert.equal(pin(`echo ${digest}`).status, 0);
    const after = texts();
    assert.match(after.Dockerfile, new RegExp(`^FROM rust:[\\w.-]+@${digest} AS build$`, "m"));
    assert.match(after.Dockerfile, new RegExp(`^FROM gcr\\.io/distroless/cc-debian12:nonroot@${digest}$`, "m"));
    for (const name of FILES) assert.equal(after[name].replaceAll(`@${digest}`, ""), before[name], name);
    assert.equal(after["compose.yaml"].split(`@${digest}`).length - 1, 2, "HAProxy and Valkey");
    // What a variable names is the operator's.
    assert.match(after["compose.yaml"], /image: \$\{ROOMWIRE_IMAGE:-roomwire:latest\}$/m);
    assert.equal(pin("exit 1", "--check").status, 0);
  }
});

test("nothing is changed unless every image is resolved to a digest", () => {
  const before = texts();
  for (const crane of [`[ "$2" = rust:1.95-bookworm ] || echo ${OLD}`, `case "$2" in *rust*) exit 1;; *) echo ${OLD};; esac`]) {
    assert.equal(pin(crane).status, 1);
    assert.deepEqual(texts(), before);
  }
});
