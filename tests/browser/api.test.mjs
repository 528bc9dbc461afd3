// The page of the HTTP API: it loads without the Internet, lists every verb, and executes a request that a client receives.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { collect, connected, client, emitWithAck } from "../clients/lib/client.mjs";
import { freePort, HOST, Node } from "../clients/lib/processes.mjs";
import { launch, saveScreenshot } from "./pages.mjs";

const KEY = "key-of-the-tests-0123456789";
const LIMIT = { timeout: 300_000 };
let browser;
let node;
let api;

before(async () => {
  const internal = `${HOST}:${await freePort()}`;
  api = `http://${internal}/api/v1`;
  node = await Node.start({ ROOMWIRE_APP__KIND: "relay", ROOMWIRE_API__KEY: KEY, ROOMWIRE_SERVER__INTERNAL_BIND: internal });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await node?.stop();
});

/** Opens the page; requests to other hosts fail and are recorded in `foreign`. */
async function open(t) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(60_000);
  t.after(() => context.close());
  const foreign = [];
  await context.route("**", (route) => {
    if (route.request().url().startsWith(api)) return route.continue();
    foreign.push(route.request().url());
    return route.abort();
  });
  const page = await context.newPage();
  const errors = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(`${api}/docs/`);
  await page.getByRole("heading", { name: "Roomwire" }).waitFor();
  return { page, foreign, errors };
}

const operation = (page, verb) => page.locator(".opblock").filter({ has: page.locator(`[data-path="/api/v1/${verb}"]`) });

async function authorize(page, key) {
  await page.getByRole("button", { name: "Authorize", exact: true }).click();
  await page.locator("#auth-bearer-value").fill(key);
  await saveScreenshot(page, "api-key");
  await page.getByRole("button", { name: "Apply credentials" }).first().click();
  await page.getByRole("button", { name: "Close", exact: true }).first().click();
}

/** Opens the form of a verb, replaces the request unless it is undefined, and returns status and body of the response. */
async function execute(page, verb, request) {
  const block = operation(page, verb);
  if (!(await block.getByRole("button", { name: "Execute" }).isVisible())) {
    await block.locator(".opblock-summary-control").click();
  }
  if (request) await block.getByRole("textbox").last().fill(JSON.stringify(request));
  const responded = page.waitForResponse(`${api}/${verb}`);
  await block.getByRole("button", { name: "Execute" }).click();
  const response = await responded;
  await block.locator(".live-responses-table .response-col_status").filter({ hasText: String(response.status()) }).waitFor();
  return [response.status(), await response.json()];
}

test("the page lists every verb and loads nothing from elsewhere", LIMIT, async (t) => {
  const { page, foreign, errors } = await open(t);
  const document = await (await fetch(`${api}/openapi.json`)).json();
  const shown = await page.locator(".opblock-summary-path[data-path^='/api/v1/']").evaluateAll((paths) => paths.map((path) => path.dataset.path));
  assert.ok(shown.length > 10, `${shown}`);
  assert.deepEqual(shown.toSorted(), Object.keys(document.paths).toSorted());
  assert.equal(shown[0], "/api/v1/emit");
  assert.equal(await page.title(), "Roomwire HTTP API");
  await saveScreenshot(page, "api", { fullPage: true });
  assert.deepEqual(foreign, []);
  assert.deepEqual(errors, []);
});

test("an emit that the page executes is received by a connected client", LIMIT, async (t) => {
  const socket = await connected(client(t, node.url, { transports: ["websocket"] }));
  assert.equal((await emitWithAck(socket, "roomwire:join", "news")).ok, true);
  const messages = collect(socket, "message");
  const { page, foreign, errors } = await open(t);
  await authorize(page, KEY);
  // The example of the document, unchanged.
  assert.deepEqual(await execute(page, "emit"), [200, { sockets: 1, nodes: 1, missing: [] }]);
  assert.deepEqual(await messages.next("the event"), [{ text: "hello" }]);
  await saveScreenshot(page, "api-emit");
  const request = { sockets: [socket.id], event: "message", args: [1, "two"] };
  assert.deepEqual(await execute(page, "emit", request), [200, {}]);
  assert.deepEqual(await messages.next("the second event"), [1, "two"]);
  assert.deepEqual(foreign, []);
  assert.deepEqual(errors, []);
});

test("the page shows the error of a request that is rejected", LIMIT, async (t) => {
  const { page, foreign } = await open(t);
  const [status, body] = await execute(page, "rooms", { prefix: "" });
  assert.deepEqual([status, body.error.code], [401, "key_missing"]);
  await authorize(page, KEY);
  const [again, unknown] = await execute(page, "rooms", { prefx: "" });
  assert.deepEqual([again, unknown.error.code], [400, "field_unknown"]);
  const shown = operation(page, "rooms").locator(".live-responses-table");
  await shown.getByText("did you mean `prefix`?").waitFor();
  await saveScreenshot(page, "api-error");
  assert.deepEqual(foreign, []);
});
