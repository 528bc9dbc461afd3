// examples/curl/run, and what it prints.
import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { BINARY } from "../lib/settings.mjs";
import { Program } from "../lib/processes.mjs";
import { within } from "../lib/wait.mjs";

test("the example with curl prints the answers of the API and what the client received", async () => {
  const run = new Program(path.join(import.meta.dirname, "../../../examples/curl/run"), [], { ROOMWIRE_BIN: BINARY });
  assert.equal(await within("the end of the example", run.ended, 120_000), "exit 0", run.output);
  const printed = run.output.split("\n");
  for (const expected of [
    /^client: connected$/,
    /^users: \{"users":\[\{"user":"ada","online":true,"sockets":1,"last_seen":\d+\}\],"next":null,"missing":\[\]\}$/,
    /^emit: \{"sockets":1,"nodes":1,"missing":\[\]\}$/,
    /^client: hello \["from curl"\]$/,
    /^call: \{"acks":\[\{"socket":"[\w-]+","args":\["seen"\]\}\],"unanswered":\[\],"sockets":1,"missing":\[\]\}$/,
    /^members: \{"total":1,"members":\[\{"user":"ada","sockets":\["[\w-]+"\]\}\],"missing":\[\]\}$/,
    /^disconnect: \{\}$/,
    /^client: (transport close|io server disconnect)$/,
  ]) {
    assert.ok(printed.some((line) => expected.test(line)), `${expected} in ${run.output}`);
  }
});
