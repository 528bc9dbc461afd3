// The demo page in a real browser, on two nodes of one cluster. Every step waits for what a user would see.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { Node, Redis } from "../clients/lib/processes.mjs";
import { DemoPage, freshRoom, launch, urls } from "./pages.mjs";

const run = promisify(execFile);
const LIMIT = { timeout: 300_000 };
let browser;

before(async () => { browser = await launch(); });
after(() => browser?.close());

async function pair(room, options = {}) {
  const ada = await DemoPage.open(browser, 0, { name: "Ada", room, ...options });
  const grace = await DemoPage.open(browser, 1, { name: "Grace", room, ...options });
  await Promise.all([ada.waitForPerson("Grace"), grace.waitForPerson("Ada")]);
  return [ada, grace];
}

const closeAll = async (...pages) => { for (const page of pages) await page.close(); };

test("messages cross the nodes, with ack latency, sender and typing", LIMIT, async () => {
  const [ada, grace] = await pair(freshRoom("talk"));
  // It is shown for some seconds.
  const typing = grace.page.getByText("Ada is typing").waitFor();
  await Promise.all([typing, ada.box.pressSequentially("<b>hel")]);
  await ada.say("<b>hello</b> from the first node");
  assert.match(await ada.ackOf("from the first node"), /^\d+(\.\d)? ms$/);

  await grace.waitForText("<b>hello</b> from the first node");
  const received = grace.message("from the first node");
  assert.equal(await received.locator(".who").textContent(), "Ada");
  assert.equal(await received.locator(".via").textContent(), await ada.nodeOf("Ada"), "the node it came from is shown");
  assert.equal(await received.evaluate((item) => item.classList.contains("own")), false);
  await grace.page.getByText("Ada is typing").waitFor({ state: "detached" });

  await grace.say("and back");
  await ada.waitForText("and back");
  await closeAll(ada, grace);
});

test("both people are listed, each on a node of their own", LIMIT, async () => {
  const [ada, grace] = await pair(freshRoom("people"));
  const nodes = [await ada.nodeOf("Ada"), await ada.nodeOf("Grace")];
  assert.notEqual(nodes[0], nodes[1]);
  assert.deepEqual([await grace.nodeOf("Ada"), await grace.nodeOf("Grace")], nodes);
  await ada.person("Grace").getByText("websocket").waitFor();
  await grace.page.getByLabel("Name").fill("Admiral Hopper");
  await grace.page.getByLabel("Name").press("Enter");
  await ada.waitForText("Grace is now Admiral Hopper");
  await grace.close();
  await ada.waitForText("Admiral Hopper left");
  await ada.person("Admiral Hopper").waitFor({ state: "detached" });
  await ada.close();
});

test("a cut connection is shown, buffers messages, and sends them when restored", LIMIT, async () => {
  const [ada, grace] = await pair(freshRoom("cut"));
  await ada.page.getByRole("button", { name: "Cut the wire" }).click();
  await ada.state.getByText("Cut.").waitFor();
  await ada.say("written while cut off");
  await ada.message("written while cut off").getByText("waiting").waitFor();
  await ada.screenshot("desktop-cut");

  await ada.page.getByRole("button", { name: "Restore" }).click();
  await ada.state.getByText("Connected").waitFor();
  await grace.waitForText("Ada is back");
  await grace.waitForText("written while cut off");
  await ada.ackOf("written while cut off");
  await grace.say("welcome back");
  await ada.waitForText("welcome back");
  assert.equal(await grace.log.getByText("written while cut off").count(), 1, "delivered once");
  await closeAll(ada, grace);
});

test("a lost connection is restored automatically", LIMIT, async () => {
  const [ada, grace] = await pair(freshRoom("break"), { transport: "polling" });
  const route = `${urls[0]}/socket.io/**`;
  await ada.page.route(route, (request) => request.fulfill({ status: 503, body: "" }));
  await ada.say("sent into the void");
  await ada.state.getByText(/Connection lost|No connection/).waitFor();
  await ada.page.unroute(route);
  await ada.state.getByText("Connected").waitFor();
  await grace.waitForText("sent into the void");
  // The browser logs the responses 503, which this test causes on purpose.
  ada.consoleErrors = ada.consoleErrors.filter((text) => !text.includes("503"));
  await closeAll(ada, grace);
});

test("rooms are separate and show unread counts", LIMIT, async () => {
  const [first, second] = [freshRoom("one"), freshRoom("two")];
  const [ada, grace] = await pair(first);
  await grace.page.getByLabel("Join another").fill(second);
  await grace.page.getByRole("button", { name: "Join", exact: true }).click();
  await grace.page.getByRole("heading", { name: second }).waitFor();
  await grace.waitForText("You joined");
  assert.equal(new URL(grace.page.url()).searchParams.get("room"), second);
  await grace.say("only in the second room");
  await ada.say("did you see this?");
  await grace.page.getByRole("button", { name: `${first} 1 unread` }).click();
  await grace.waitForText("did you see this?");
  assert.equal(await ada.log.getByText("only in the second room").count(), 0);

  await grace.page.getByRole("button", { name: "Leave" }).click();
  await ada.waitForText("Grace left");
  await closeAll(ada, grace);
});

test("everything can be done from the keyboard", LIMIT, async () => {
  const [first, second] = [freshRoom("keys"), freshRoom("more")];
  const [ada, grace] = await pair(first);
  const { keyboard } = ada.page;
  const focused = () => ada.page.evaluate(() => document.activeElement.id);
  const tabTo = async (id, step = "Tab") => {
    for (let presses = 0; presses < 40 && (await focused()) !== id; presses += 1) await keyboard.press(step);
    assert.equal(await focused(), id);
  };
  assert.equal(await focused(), "text", "the page starts in the message box");
  await keyboard.type("typed");
  await keyboard.press("Shift+Enter");
  await keyboard.type("on two lines");
  await keyboard.press("Enter");
  await grace.waitForText("typed\non two lines");

  await tabTo("room", "Shift+Tab");
  await keyboard.type(second);
  await keyboard.press("Enter");
  await ada.page.getByRole("heading", { name: second }).waitFor();
  assert.equal(await focused(), "text");
  await keyboard.press("Alt+ArrowUp");
  await ada.page.getByRole("heading", { name: first }).waitFor();

  await tabTo("cut", "Shift+Tab");
  await keyboard.press("Enter");
  await ada.state.getByText("Cut.").waitFor();
  await keyboard.press("Enter");
  await ada.state.getByText("Connected").waitFor();
  await keyboard.press("Shift+Tab");
  await ada.page.getByRole("link", { name: "Skip to the message box" }).and(ada.page.locator(":focus")).waitFor();
  await keyboard.press("Enter");
  await ada.page.waitForFunction(() => document.activeElement.id === "text");
  await closeAll(ada, grace);
});

test("long polling only: listed as such, and reaches the other node", LIMIT, async () => {
  const room = freshRoom("poll");
  const ada = await DemoPage.open(browser, 0, { name: "Ada", room, transport: "polling" });
  const grace = await DemoPage.open(browser, 1, { name: "Grace", room });
  await grace.person("Ada").getByText("polling").waitFor();
  await ada.say("by long polling");
  await grace.waitForText("by long polling");
  await grace.say("by websocket");
  await ada.waitForText("by websocket");
  await ada.page.getByLabel("Transport").selectOption("websocket");
  await grace.person("Ada").getByText("websocket").waitFor();
  await closeAll(ada, grace);
});

test("the copied commands work as they are", LIMIT, async () => {
  const room = freshRoom("it's a shell");
  const [ada, grace] = await pair(room, { permissions: ["clipboard-read", "clipboard-write"] });
  const copied = async (title) => {
    await ada.page.locator("summary").getByText(title, { exact: true }).click();
    const button = ada.page.getByRole("button", { name: `Copy: ${title}` });
    await button.click();
    await button.and(ada.page.getByText("Copied")).waitFor();
    return ada.page.evaluate(() => navigator.clipboard.readText());
  };
  await ada.page.locator("summary").getByText("curl", { exact: true }).click();
  await run("sh", ["-c", await copied("curl")]);
  await Promise.all([ada.waitForText("Hello from curl"), grace.waitForText("Hello from curl")]);

  const { redis } = await (await fetch(`${urls[0]}/demo.json`)).json();
  if (redis?.python) {
    await run("sh", ["-c", await copied("redis-cli")]);
    await Promise.all([ada.waitForText("Hello over Redis"), grace.waitForText("Hello over Redis")]);
  }
  assert.match(await copied("A second node"), /ROOMWIRE_/);
  await closeAll(ada, grace);
});

test("while Redis is away, the wire and the acks show that only this node is reached", LIMIT, async () => {
  const redis = await Redis.start();
  const node = await Node.start({ ROOMWIRE_BUS__REDIS_URL: redis.url });
  const ada = await DemoPage.open(browser, node.url, { name: "Ada", room: "lobby" });
  const grace = await DemoPage.open(browser, node.url, { name: "Grace", room: "lobby", probes: false });
  const wire = (bus, page = ada) => page.page.locator(`#wire[data-bus=${bus}]`).waitFor();
  await Promise.all([wire("up"), wire("up", grace)]);
  await redis.kill();
  await wire("away");
  // Without probes, acks are the only sign.
  await grace.say("said without probes");
  await wire("away", grace);
  await ada.page.getByText("redis is away", { exact: true }).waitFor();
  await ada.state.getByText("Connected to this node only: Redis is away").waitFor();
  await ada.say("said to this node");
  await ada.message("said to this node").locator(".ack").getByText("this node").waitFor();
  await ada.screenshot("desktop-redis-away");

  await redis.restart();
  await wire("up");
  await ada.state.getByText("Connected", { exact: true }).waitFor();
  await ada.say("said to all nodes");
  assert.match(await ada.ackOf("said to all nodes"), /^\d+(\.\d)? ms$/);
  await grace.say("and without probes too");
  await wire("up", grace);
  grace.consoleErrors = grace.consoleErrors.filter((text) => !text.includes("404"));
  await closeAll(ada, grace);
  await node.stop();
  await redis.stop();
});

test("a rejected room is shown as such, is not listed, and has no enabled message box", LIMIT, async () => {
  // Longer than a room name may be.
  const [first, rejected] = [freshRoom("first"), "€".repeat(60)];
  const ada = await DemoPage.open(browser, 0, { name: "Ada", room: first });
  const listed = () => ada.page.locator("#rooms button").allTextContents();
  await ada.page.getByLabel("Join another").fill(rejected);
  await ada.page.getByLabel("Join another").press("Enter");
  await ada.waitForText("The server rejected this room");
  assert.deepEqual(await listed(), [first]);
  await ada.page.locator("#title.rejected").waitFor();
  assert.equal(await ada.box.isDisabled() && await ada.composer.isDisabled(), true);
  await ada.screenshot("desktop-rejected");
  await ada.page.getByRole("button", { name: "Back" }).click();
  await ada.page.getByRole("heading", { name: first }).waitFor();
  await ada.say("still here");
  await ada.ackOf("still here");

  // If it is the only room, there is no room to go back to.
  const grace = await DemoPage.open(browser, 1, { name: "Grace", room: rejected, rejected: true });
  assert.equal(await grace.page.getByRole("button", { name: "Back" }).count(), 0);
  await grace.page.keyboard.press("Alt+ArrowUp");
  await grace.page.getByLabel("Join another").fill(first);
  await grace.page.getByLabel("Join another").press("Enter");
  await grace.waitForPerson("Ada");
  assert.equal(await grace.box.isEnabled(), true);
  await closeAll(ada, grace);
});

test("the second of two users with one name receives another", LIMIT, async () => {
  const room = freshRoom("twins");
  const first = await DemoPage.open(browser, 0, { name: "Ada", room });
  const second = await DemoPage.open(browser, 1, { name: "Ada", room });
  await first.waitForPerson("Ada 2");
  const name = (page) => page.page.getByLabel("Name").inputValue();
  assert.deepEqual([await name(first), await name(second)], ["Ada", "Ada 2"]);
  await second.page.getByLabel("Name").fill("Grace");
  await second.page.getByLabel("Name").press("Enter");
  await first.waitForPerson("Grace");
  // A name in use cannot be typed either.
  await first.page.getByLabel("Name").fill("Grace");
  await first.page.getByLabel("Name").press("Enter");
  await second.waitForPerson("Grace 2");
  assert.deepEqual([await name(first), await name(second)], ["Grace 2", "Grace"]);
  await closeAll(first, second);
});

test("at every width the chat is the widest part, and nothing covers a command", LIMIT, async () => {
  const ada = await DemoPage.open(browser, 0, { name: "Ada", room: freshRoom("width") });
  const box = (selector) => ada.page.locator(selector).boundingBox();
  for (const width of [1280, 1100, 1000, 820, 801]) {
    await ada.page.setViewportSize({ width, height: 800 });
    const chat = await box(".chat");
    assert.ok(chat.width >= 0.45 * width, `the chat is ${chat.width} of ${width} pixels wide`);
    assert.equal(await overflow(ada.page), 0, `${width} pixels wide`);
    await ada.screenshot(`width-${width}`);
    const terminal = ada.page.getByRole("navigation").getByRole("button", { name: "Terminal" });
    if (await terminal.isVisible()) await terminal.click();
    const [code, copy] = [await box("details[open] pre"), await box("details[open] .code button")];
    assert.ok(copy.y >= code.y + code.height, "Copy is below the command");
    if (await terminal.isVisible()) await ada.page.getByRole("navigation").getByRole("button", { name: "Chat" }).click();
  }
  await ada.close();
});

test("the focus ring is fully visible around every focusable element", LIMIT, async () => {
  const [ada, grace] = await pair(freshRoom("ring"));
  const reached = new Set();
  for (let presses = 0; presses < 40; presses += 1) {
    await ada.page.keyboard.press("Tab");
    const { what, clipped } = await ada.page.evaluate(() => {
      const element = document.activeElement;
      const { outlineOffset, outlineWidth } = getComputedStyle(element);
      const reach = parseFloat(outlineOffset) + parseFloat(outlineWidth);
      const ring = element.getBoundingClientRect();
      const cut = (clip) => ring.left - reach < clip.left || ring.top - reach < clip.top || ring.right + reach > clip.right || ring.bottom + reach > clip.bottom;
      const boxes = [{ left: 0, top: 0, right: innerWidth, bottom: innerHeight }];
      for (let around = element.parentElement; around; around = around.parentElement) {
        if (getComputedStyle(around).overflowY !== "visible") boxes.push(around.getBoundingClientRect());
      }
      return { what: `${element.tagName} ${element.id} ${element.textContent.slice(0, 20)}`, clipped: element !== document.body && boxes.some(cut) };
    });
    reached.add(what);
    assert.equal(clipped, false, what);
  }
  assert.ok(reached.size > 12, [...reached].join("; "));
  await closeAll(ada, grace);
});

async function talkForThePicture(room, options) {
  const [ada, grace] = await pair(room, options.ada);
  const radia = await DemoPage.open(browser, 1, { name: "Radia", room, transport: "polling", ...options.radia });
  await Promise.all([ada, grace].map((page) => page.waitForPerson("Radia")));
  await ada.say("Morning. Is the second node up?");
  await ada.ackOf("Is the second node up?");
  await grace.waitForText("Is the second node up?");
  await grace.say("Since five. You reach me over Redis.");
  await ada.waitForText("You reach me over Redis.");
  await grace.say("Nothing dropped overnight.");
  await ada.waitForText("Nothing dropped overnight.");
  await radia.waitForText("Nothing dropped overnight.");
  await radia.say("On the train, long polling only. Still with you.");
  await radia.ackOf("Still with you");
  await ada.waitForText("Still with you");
  await ada.say("Good. I will cut my wire for a moment, keep talking.");
  await ada.ackOf("keep talking");
  await Promise.all([grace, radia].map((page) => page.waitForText("keep talking")));
  return [ada, grace, radia];
}

/// Leaves an unread message in a room that `reader` visited.
async function missMessageElsewhere(reader, room) {
  await reader.page.getByLabel("Join another").fill(room);
  await reader.page.getByLabel("Join another").press("Enter");
  await reader.waitForText("You joined");
  await reader.page.keyboard.press("Alt+ArrowUp");
  const writer = await DemoPage.open(browser, 1, { name: "Samuel", room });
  await writer.say("Node two is on the new build.");
  await reader.page.getByRole("button", { name: `${room} 1 unread` }).waitFor();
  return writer;
}

const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

test("desktop light, phone dark: nothing overflows, every part is reachable", LIMIT, async () => {
  const phone = { viewport: { width: 390, height: 760 }, deviceScaleFactor: 2, colorScheme: "dark", hasTouch: true, isMobile: true };
  const pages = await talkForThePicture("lobby", { ada: { colorScheme: "light" }, radia: phone });
  const [ada, grace, radia] = pages;
  pages.push(await missMessageElsewhere(ada, "deploys"));
  const typing = [ada, radia].map((page) => page.page.getByText("Grace is typing").waitFor());
  await Promise.all([...typing, grace.box.pressSequentially("Go")]);
  await Promise.all([ada.screenshot("desktop-light"), radia.screenshot("phone-dark")]);
  await ada.page.emulateMedia({ colorScheme: "dark" });
  await ada.screenshot("desktop-dark");
  const background = await ada.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const brightness = background.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
  assert.ok(brightness < 150, `dark background, not ${background}`);

  assert.equal(await overflow(radia.page), 0);
  for (const [part, label] of [["Rooms", "Join another"], ["Terminal", "Copy: curl"], ["People", null], ["Chat", "Message"]]) {
    await radia.page.getByRole("navigation").getByRole("button", { name: part }).click();
    if (label) await radia.page.getByLabel(label, { exact: true }).waitFor();
    else await radia.person("Ada").waitFor();
    assert.equal(await overflow(radia.page), 0, part);
    await radia.screenshot(`phone-${part.toLowerCase()}`);
  }
  await ada.page.setViewportSize({ width: 320, height: 560 });
  assert.equal(await overflow(ada.page), 0, "320 pixels wide");
  await ada.screenshot("phone-small");
  await closeAll(...pages);
});
