// socket.io-client: a stream of numbered events to recovering clients, through what docs/delivery.md says they survive.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { client, cluster, connected, emitWithAck, ROUTES, TRAVELS } from "../lib/client.mjs";
import { Line } from "../lib/line.mjs";
import { Redis } from "../lib/processes.mjs";
import { command } from "../lib/resp.mjs";
import { WATCHDOG } from "../lib/settings.mjs";
import { emit, lose, Member, members, numbers, ROOM, Stream, STREAMS } from "../lib/stream.mjs";
import { until } from "../lib/wait.mjs";

const TWO = ROUTES["through a balancer"];
const persistently = () => Redis.start("--appendonly", "yes", "--appendfsync", "always");
/** Events are kept for as long as a slow machine may need to start Redis again. */
const PATIENT = { ...STREAMS, ROOMWIRE_BUS__SPOOL_AGE: "120s" };
const SHORT_LEASE = { ROOMWIRE_BUS__LEASE: "5s" };

describe("recovery: Redis is killed", WATCHDOG, () => {
  const persistent = cluster({ ...TWO, redis: persistently }, PATIENT);
  // Sessions are stored again within a third of this time.
  const empty = cluster(TWO, { ...PATIENT, ROOMWIRE_RECOVERY__WINDOW: "30s" });

  test("if it keeps its data, a stream continues, each event once and in order, also to clients that come back meanwhile", async (t) => {
    const line = await Line.start(persistent.nodes[1].port);
    t.after(() => line.stop());
    const unlucky = await members(t, line.url, TRAVELS);
    const all = [...(await members(t, persistent.url, TRAVELS)), ...unlucky];
    const stream = Stream.start(t, [persistent.nodes[0]]);
    for (let round = 0; round < 3; round++) {
      await stream.advance(50);
      await persistent.redis.kill();
      await stream.advance(50);
      // These come back while Redis is away.
      await lose(unlucky, () => line.cut());
      await sleep(500);
      await persistent.redis.restart();
      await stream.advance(50);
    }
    const sent = await stream.stop();
    for (const member of all) {
      await member.complete(sent);
      // Requests of polling clients that reach the other node need Redis.
      if (unlucky.includes(member)) assert.ok(member.returns >= 3);
      else if (member.socket.io.opts.transports[0] === "websocket") assert.equal(member.returns, 0);
      await member.recovered(member.returns);
      assert.equal(member.inOrder().length, 1);
    }
  });

  test("if it loses its data, the gap is named, and clients recover once their sessions are stored again", async (t) => {
    // Not through the balancer, because polling clients would lose their sessions while Redis is away.
    const line = await Line.start(empty.nodes[1].port);
    t.after(() => line.stop());
    const all = await members(t, line.url, TRAVELS);
    const taken = Stream.start(t, [empty.nodes[0]]);
    await taken.advance(50);
    const before = await taken.stop();
    // Nothing is on its way when Redis dies, which would take it along.
    for (const member of all) await member.complete(before);
    await empty.redis.kill();
    const stream = Stream.start(t, [empty.nodes[0]], 4, before);
    await stream.advance(50);
    await empty.redis.restart();
    await stream.advance(50);
    for (const member of all) {
      // Also for broadcasts, whose `room` is null.
      const gaps = () => member.gaps.filter(({ room }) => room === ROOM);
      await until("a gap", () => gaps().length > 0);
      const [{ after: last, before: first }] = gaps();
      assert.equal(gaps().length, 1);
      assert.notEqual(last.split("-")[0], first.split("-")[0]);
      assert.ok(member.positions.includes(last), "the last position before the gap was received");
      assert.equal(member.returns, 0);
    }
    await until("sessions in Redis", async () => (await command(empty.redis.port, "KEYS", "roomwire:0:session:*")).length >= all.length);
    await lose(all, () => line.cut());
    await stream.advance(50);
    const sent = await stream.stop();
    for (const member of all) {
      await member.recovered(1);
      await until("the last event", () => member.numbers.at(-1) === sent);
      assert.equal(member.inOrder().length, 2);
      // What was emitted while Redis was away arrived as well.
      assert.deepEqual(member.numbers, numbers(sent));
      const [{ after: last }] = member.gaps.filter(({ room }) => room === ROOM);
      assert.equal(member.numbers[member.positions.indexOf(last)], before);
    }
  });
});

describe("recovery: Redis is away for longer than events are kept", WATCHDOG, () => {
  const two = cluster({ ...TWO, redis: persistently }, { ...STREAMS, ROOMWIRE_BUS__SPOOL_AGE: "500ms" });

  test("the gap is named once, and the stream continues in order", async (t) => {
    const all = (await Promise.all(two.nodes.map(({ url }) => members(t, url, TRAVELS)))).flat();
    const stream = Stream.start(t, [two.nodes[0]], 10);
    await stream.advance(20);
    await two.redis.kill();
    await stream.advance(32);
    // These become too old.
    await sleep(1_000);
    await two.redis.restart();
    await stream.advance(20);
    for (const member of all) await until("the gap", () => member.gaps.length > 0);
    await stream.advance(20);
    const sent = await stream.stop();
    for (const member of all) {
      await until("the last event", () => member.numbers.at(-1) === sent);
      const missing = numbers(sent).filter((number) => !member.numbers.includes(number));
      assert.ok(missing.length >= 30, `${missing}`);
      assert.deepEqual(missing, missing.map((_, index) => missing[0] + index));
      assert.deepEqual(member.numbers, numbers(sent).filter((number) => !missing.includes(number)));
      assert.deepEqual(member.gaps, [{ room: ROOM, after: null, before: null }]);
      assert.equal(member.returns, 0);
      assert.equal(member.inOrder().length, 1);
    }
  });
});

describe("recovery: Redis returns to an older state", WATCHDOG, () => {
  const two = cluster(TWO, PATIENT);

  test("the loss of what it had acknowledged is named to members, and to those that recover later", async (t) => {
    const line = await Line.start(two.nodes[1].port);
    t.after(() => line.stop());
    const stay = (await Promise.all(two.nodes.map(({ url }) => members(t, url, TRAVELS)))).flat();
    const away = await members(t, line.url, TRAVELS, { reconnection: false });
    const kept = Stream.start(t, [two.nodes[0]]);
    await kept.advance(30);
    const saved = await kept.stop();
    for (const member of [...stay, ...away]) await member.complete(saved);
    await lose(away, () => line.cut());
    await command(two.redis.port, "SAVE");
    const unsaved = Stream.start(t, [two.nodes[0]], 4, saved);
    await unsaved.advance(30);
    const lost = await unsaved.stop();
    // An event on its way to the other node would be lost with Redis, as the gap says.
    for (const member of stay) await member.complete(lost);
    await two.redis.kill();
    const stream = Stream.start(t, [two.nodes[0]], 4, lost);
    await stream.advance(10);
    await two.redis.restart();
    await stream.advance(30);
    for (const { socket } of away) socket.connect();
    for (const member of away) await member.recovered(1);
    await stream.advance(10);
    const sent = await stream.stop();
    for (const member of [...stay, ...away]) {
      await until("the last event", () => member.numbers.at(-1) === sent);
      assert.deepEqual(member.gaps, [{ room: ROOM, after: null, before: null }]);
      assert.equal(member.inOrder().length, 1);
    }
    for (const member of stay) assert.deepEqual(member.numbers, numbers(sent));
    for (const member of away) {
      const missing = numbers(sent).filter((number) => !member.numbers.includes(number));
      assert.equal(member.numbers.length + missing.length, sent);
      // All that was acknowledged since, and nothing else, is missing.
      assert.deepEqual([missing[0], missing.at(-1) - missing[0]], [saved + 1, missing.length - 1]);
      assert.ok(missing.length >= lost - saved, `${missing}`);
    }
  });
});

describe("recovery: a node is paused past its lease", WATCHDOG, () => {
  const PINGS = { ROOMWIRE_ENGINE__PING_INTERVAL: "500ms", ROOMWIRE_ENGINE__PING_TIMEOUT: "1s" };
  // With presence, other nodes announce that users left.
  const folder = mkdtempSync(path.join(tmpdir(), "roomwire-fence-"));
  const file = path.join(folder, "roomwire.toml");
  writeFileSync(file, '[[presence.rooms]]\npattern = "team:*"\n');
  after(() => rmSync(folder, { recursive: true }));
  const FENCED = { ROOMWIRE_CONFIG: file };
  const noticing = cluster(TWO, { ...STREAMS, ...SHORT_LEASE, ...FENCED, ...PINGS });
  const patient = cluster(TWO, { ...STREAMS, ...SHORT_LEASE, ...FENCED });
  const unfenced = cluster(TWO, { ...STREAMS, ...SHORT_LEASE });

  for (const [what, two] of Object.entries({ "that notice it": noticing, "that notice nothing until it wakes": patient })) {
    test(`clients ${what} recover elsewhere, and receive nothing twice`, async (t) => {
      const [paused, survivor] = two.nodes;
      const all = [...(await members(t, paused.url, TRAVELS)), ...(await members(t, two.url, TRAVELS))];
      // Clients of the paused node come back to the other one.
      for (const member of all) member.socket.io.uri = survivor.url;
      const stream = Stream.start(t, [survivor], 20);
      await stream.advance(50);
      two.proxy.unhealthy.add(paused);
      paused.signal("SIGSTOP");
      await until("the announcement", () => survivor.log.includes("a node is lost"));
      const away = all.slice(0, 3);
      if (two === noticing) await until("the returns", () => away.every((member) => member.returns > 0));
      else assert.ok(away.every((member) => member.returns === 0));
      paused.signal("SIGCONT");
      await until("the fence", () => paused.log.includes("starting again, under another name"));
      await stream.advance(50);
      for (const member of away) await member.recovered(1);
      const sent = await stream.stop();
      for (const member of all) await member.complete(sent);
    });
  }

  test("without anything that other nodes announce, it keeps its sessions", async (t) => {
    const [paused, survivor] = unfenced.nodes;
    const all = await members(t, paused.url, TRAVELS);
    const stream = Stream.start(t, [survivor]);
    await stream.advance(50);
    paused.signal("SIGSTOP");
    // For twice the lease.
    await sleep(10_000);
    paused.signal("SIGCONT");
    await stream.advance(50);
    const sent = await stream.stop();
    for (const member of all) {
      await member.complete(sent);
      assert.equal(member.returns, 0);
    }
  });
});

describe("recovery: a rolling restart", WATCHDOG, () => {
  const three = cluster({ nodes: 3, upgrades: "next" }, { ...STREAMS, ROOMWIRE_DRAIN__GRACE: "200ms", ROOMWIRE_DRAIN__TIMEOUT: "3s" });

  test("clients of all nodes recover, each event once and in order", async (t) => {
    const all = [];
    for (let round = 0; round < 3; round++) all.push(...(await members(t, three.url, TRAVELS)));
    const stream = Stream.start(t, three.nodes);
    for (const node of three.nodes) {
      await stream.advance(30);
      three.proxy.unhealthy.add(node);
      node.signal("SIGTERM");
      assert.equal(await node.program.ended, "exit 0");
      await node.restart();
      three.proxy.unhealthy.delete(node);
      await stream.advance(30);
    }
    const sent = await stream.stop();
    for (const member of all) {
      await member.complete(sent);
      await member.recovered(1);
    }
  });
});

describe("recovery: connections are lost", WATCHDOG, () => {
  const two = cluster(TWO, STREAMS);
  let line;
  before(async () => {
    line = await Line.start(two.proxy.port);
  });
  after(() => line.stop());

  test("twice in a row, before what was missed the first time is received", async (t) => {
    const all = await members(t, line.url, TRAVELS);
    const stream = Stream.start(t, [two.nodes[0]]);
    for (let round = 1; round <= 3; round++) {
      await stream.advance(30);
      const returned = all.map((member) => member.returns);
      await lose(all, () => line.cut());
      await until("a first return", () => all.some((member, index) => member.returns > returned[index]));
      await lose(all, () => line.cut());
      await stream.advance(30);
    }
    const sent = await stream.stop();
    for (const member of all) {
      await member.complete(sent);
      assert.ok(member.returns >= 3);
      await member.recovered(member.returns);
    }
  });

  test("without the node noticing: clients are back before their former connections end", async (t) => {
    const all = await members(t, line.url, TRAVELS);
    const stream = Stream.start(t, [two.nodes[0]]);
    await stream.advance(30);
    await lose(all, () => line.strand());
    for (const member of all) await member.recovered(1);
    assert.ok(line.open > 0);
    await stream.advance(30);
    const sent = await stream.stop();
    for (const member of all) await member.complete(sent);
  });

  for (const [by, travel] of Object.entries(TRAVELS)) {
    test(`${by}: binary and personal events, exceptions, rooms joined and left, volatile events`, async (t) => {
      const [node] = two.nodes;
      const member = await Member.join(t, line.url, travel, { reconnection: false });
      const { socket } = member;
      const received = [];
      socket.onAny((event, ...args) => event.startsWith("roomwire:") || received.push([event, ...args]));
      const publisher = await connected(client(t, node.url, TRAVELS["websocket only"]));
      assert.equal((await emitWithAck(socket, "roomwire:join", "left")).ok, true);
      assert.equal((await emitWithAck(socket, "roomwire:leave", "left")).ok, true);
      await emit(node, { event: "first", rooms: [ROOM], args: [] });
      await until("the first event", () => received.length === 1);
      const former = socket.id;
      await lose([member], () => line.cut());
      const bytes = Buffer.from([0, 255, 13, 10]);
      for (const args of [[ROOM, "binary", bytes, { deep: [bytes] }], ["left", "not a member", 1], [ROOM, "text", "ä\u2028"]]) {
        assert.equal((await emitWithAck(publisher, "roomwire:emit", ...args)).ok, true);
      }
      await emit(node, { event: "personal", sockets: [former], args: [{ to: "you" }] });
      await emit(node, { event: "excepted", rooms: [ROOM], except: [former], args: [] });
      await emit(node, { event: "volatile", rooms: [ROOM], args: [], volatile: true });
      await emit(node, { event: "everybody", everybody: true, args: [null] });
      socket.connect();
      await member.recovered(1);
      await emit(node, { event: "personal", sockets: [former], args: ["later"] });
      await emit(node, { event: "last", rooms: [ROOM], args: [] });
      await until("the last event", () => received.some(([event]) => event === "last"));
      const positions = received.map((event) => event.pop());
      const expected = [
        ["first"],
        ["binary", bytes, { deep: [bytes] }],
        ["text", "ä\u2028"],
        ["personal", { to: "you" }],
        ["everybody", null],
        ["personal", "later"],
        ["last"],
      ];
      assert.deepEqual(received, expected);
      const numbers = positions.map((position) => Number(position.split("-")[1]));
      assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b));
    });
  }
});
