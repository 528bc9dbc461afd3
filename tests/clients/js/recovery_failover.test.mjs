// socket.io-client: a stream of numbered events to recovering clients while masters of Redis change: by Sentinels, and in a
// Redis Cluster.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { cluster, ROUTES, TRAVELS } from "../lib/client.mjs";
import { Line } from "../lib/line.mjs";
import { RedisCluster, Sentinels } from "../lib/redis_groups.mjs";
import { WATCHDOG } from "../lib/settings.mjs";
import { lose, members, numbers, ROOM, Stream, STREAMS } from "../lib/stream.mjs";
import { until } from "../lib/wait.mjs";

const TWO = ROUTES["through a balancer"];
const PATIENT = { ...STREAMS, ROOMWIRE_BUS__SPOOL_AGE: "120s", ROOMWIRE_BUS__PING_INTERVAL: "500ms" };
/** Milliseconds in which the servers may elect a master. */
const ELECTION = 90_000;

/**
 * Through `fault`, all events arrive, each once and in order: also to clients whose connections are lost before and after.
 * Missing may be only what the former master accepted in the last moment and had not replicated; then a gap is named.
 * Clients whose connections the fault breaks may begin anew, if Redis does not respond in time; then they are notified.
 */
async function survives(t, { nodes, lines }, fault) {
  const join = ({ url }) => members(t, url, TRAVELS);
  const [stay, lost] = (await Promise.all([nodes, lines.slice(0, 2)].map((to) => Promise.all(to.map(join))))).map((all) => all.flat());
  const unlucky = await join(lines[2]);
  const stream = Stream.start(t, [nodes[0]], 10);
  const loss = async (times) => {
    await lose(lost, () => lines.slice(0, 2).forEach((line) => line.cut()));
    for (const member of lost) await member.recovered(times);
  };
  await stream.advance(30);
  await loss(1);
  const first = stream.sent + 1;
  await fault(() => lose(unlucky, () => lines[2].cut()));
  // One more may be on its way.
  const published = stream.sent + 1;
  await until("a master", () => stay.every((member) => member.numbers.at(-1) > published), ELECTION);
  await loss(2);
  await stream.advance(30);
  const sent = await stream.stop();
  const complete = async (member) => {
    await until("the last event", () => member.numbers.at(-1) === sent, ELECTION).catch(({ message }) => {
      assert.fail(`${message}: ${member.numbers.at(-1)} of ${sent}, ${JSON.stringify([member.sessions, member.gaps])}`);
    });
    const missing = numbers(sent).filter((number) => !member.numbers.includes(number));
    assert.ok(missing.every((number) => number >= first && number <= published), `${missing}`);
    assert.deepEqual(member.numbers, numbers(sent).filter((number) => !missing.includes(number)));
    if (missing.length > 0) await until("the gap", () => member.gaps.length > 0);
    for (const gap of member.gaps) assert.deepEqual(gap, { room: ROOM, after: null, before: null });
    assert.equal(member.inOrder().length, 1);
  };
  for (const member of [...stay, ...lost]) await complete(member);
  for (const member of unlucky) {
    await until("a return", () => member.returns > 0);
    const { recovered, gap } = member.sessions.find((state, index) => index > 0 && !state.recovered) ?? member.sessions[1];
    if (recovered) await complete(member);
    else assert.deepEqual([gap, member.numbers], [{ reason: "unavailable", room: null }, numbers(member.numbers.length)]);
  }
}

function arranged(start) {
  const it = cluster({ ...TWO, redis: start }, PATIENT);
  before(async () => {
    it.lines = await Promise.all([0, 1, 1].map((index) => Line.start(it.nodes[index].port)));
  });
  after(() => it.lines?.forEach((line) => line.stop()));
  return it;
}

describe("recovery: a failover by Sentinels", WATCHDOG, () => {
  const it = arranged(() => Sentinels.start());

  test("a killed master: the stream continues, each event once and in order", async (t) => {
    await survives(t, it, async (lose) => {
      await it.redis.master.kill();
      await lose();
      await it.redis.promoted();
    });
  });
});

describe("recovery: a planned failover by Sentinels", WATCHDOG, () => {
  const it = arranged(() => Sentinels.start());

  test("the stream continues, each event once and in order", async (t) => {
    await survives(t, it, async (lose) => {
      await it.redis.failOver();
      await lose();
    });
  });
});

describe("recovery: a Redis Cluster", WATCHDOG, () => {
  const it = arranged(() => RedisCluster.start());

  test("the slot of the logs moves with its keys, twice: the stream continues, each event once and in order", async (t) => {
    const slot = await it.redis.slot("{roomwire:0:log}:head");
    await survives(t, it, async (lose) => {
      const source = await it.redis.owner(slot);
      const [target] = it.redis.masters.filter((master) => master !== source);
      await it.redis.move(slot, target);
      await lose();
      await it.redis.move(slot, source);
    });
  });

  test("the master of the logs is killed: the stream continues, each event once and in order", async (t) => {
    const slot = await it.redis.slot("{roomwire:0:log}:head");
    await survives(t, it, async (lose) => {
      const owner = await it.redis.owner(slot);
      await owner.kill();
      await lose();
    });
  });
});
