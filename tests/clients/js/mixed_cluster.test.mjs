// One cluster of stock servers in Node, a stock server in Python, and Roomwire nodes: what any of them does reaches the clients
// of all, once, and does so again after each of them was killed and started again.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { emit, MixedCluster } from "../lib/mixed.mjs";
import { until } from "../lib/wait.mjs";
import { WATCHDOG } from "../lib/settings.mjs";

const names = (guests) => guests.map(({ member }) => member.name);

describe("one cluster of three kinds of servers", WATCHDOG, () => {
  let it;
  before(async () => (it = await MixedCluster.start()));
  after(() => it?.stop());

  let number = 0;
  const unique = (name) => `${name} ${(number += 1)}`;

  /** What arrived under each name, once what `member` emits last has reached all guests. */
  async function settled(member, guests, namespace = "/") {
    const { turns } = it;
    const end = unique("end");
    await emit(member, { namespace, event: end });
    const missing = () => guests.filter((guest) => guest.of(end).length === 0);
    await until(`${end} of ${member.name}`, () => missing().length === 0 || it.turns !== turns).catch((error) => {
      throw new Error(`${error.message}: not at ${names(missing())}`);
    });
    if (missing().length > 0) await settled(member, guests, namespace);
  }

  /** Repeats what was done while the translating node changed. */
  async function steadily(what) {
    for (;;) {
      const { turns } = it;
      const failed = await what().then(() => undefined, (error) => error);
      if (it.turns === turns) {
        if (failed) throw failed;
        return;
      }
      // Without an order of messages and turns, a node begins to translate 1 s after its turn begins.
      await sleep(2_000);
    }
  }

  async function receivers(member, guests, fields) {
    let received;
    await steadily(async () => {
      const event = unique("event");
      await emit(member, { ...fields, event, args: fields.args ?? [1] });
      await settled(member, guests, fields.namespace);
      for (const guest of guests) assert.ok(guest.of(event).length < 2, `${event} twice at ${guest.member.name}`);
      received = guests.filter((guest) => guest.of(event).length > 0);
    });
    return received;
  }

  for (const namespace of ["/", "/custom"]) {
    test(`events to all in ${namespace}, with every kind of value and binary`, async (t) => {
      const guests = await it.guests(t, namespace);
      const bytes = { base64: "AQL/" };
      const args = [1, -1.5, "é", null, true, [{ a: [bytes, 2 ** 40] }], bytes];
      const expected = [1, -1.5, "é", null, true, [{ a: [Buffer.from([1, 2, 255]), 2 ** 40] }], Buffer.from([1, 2, 255])];
      for (const member of it.kinds) {
        await steadily(async () => {
          const event = unique("all");
          await emit(member, { namespace, event, args });
          await settled(member, guests, namespace);
          for (const guest of guests) assert.deepEqual(guest.of(event), [expected], `${member.name} to ${guest.member.name}`);
        });
      }
    });
  }

  test("events to a room, also one without members at Roomwire", async (t) => {
    const guests = await it.guests(t);
    const [, second, python, roomwire] = guests;
    for (const [room, members] of Object.entries({ mixed: [second, python, roomwire], foreign: [second, python], "a#b": [second, python] })) {
      for (const member of members) await member.join(room);
      await it.allReach(members, "/", [room]);
      for (const source of it.kinds) {
        assert.deepEqual(names(await receivers(source, guests, { rooms: [room] })), names(members), `${source.name} to ${room}`);
        const rooms = [room, second.id, guests[4].id];
        const several = new Set([...members, guests[4]]);
        const received = await receivers(source, guests, { rooms });
        assert.deepEqual(names(received), names(guests.filter((guest) => several.has(guest))), `${source.name} to ${rooms}`);
      }
    }
  });

  test("a client emits to a room of all, apart from itself", async (t) => {
    const guests = await it.guests(t);
    for (const guest of guests) await guest.join("chat");
    await it.allReach(guests, "/", ["chat"]);
    for (const sender of [guests[0], guests[2], guests[3]]) {
      await steadily(async () => {
        const event = unique("chat");
        await sender.socket.emitWithAck("roomwire:emit", "chat", event, "hello");
        await settled(sender.member, guests);
        for (const guest of guests) assert.deepEqual(guest.of(event), guest === sender ? [] : [["hello"]], `${sender.member.name} to ${guest.member.name}`);
      });
    }
  });

  test("events to one socket, and to all but one", async (t) => {
    const guests = await it.guests(t);
    for (const source of it.kinds) {
      for (const guest of guests) {
        assert.deepEqual(names(await receivers(source, guests, { rooms: [guest.id] })), [guest.member.name], source.name);
        const others = guests.filter((other) => other !== guest);
        assert.deepEqual(names(await receivers(source, guests, { except: [guest.id] })), names(others), source.name);
      }
    }
  });

  test("a server in Python cannot leave out a room: its clients do not receive such an event", async (t) => {
    const guests = await it.guests(t);
    const [first, second, python, roomwire, last] = guests;
    for (const guest of [second, python, roomwire]) await guest.join("left out");
    await it.allReach([second, python, roomwire], "/", ["left out"]);
    for (const source of [it.node, it.roomwire]) {
      assert.deepEqual(names(await receivers(source, guests, { except: ["left out"] })), names([first, last]), source.name);
    }
  });

  test("acks", async (t) => {
    const guests = await it.guests(t);
    const call = (member, rooms, timeout = 10_000) => member.control("call", { namespace: "/", rooms, event: "ask", args: ["ack"], timeout });
    for (const guest of guests) {
      const expected = { acks: [`ack of ${guest.member.name}`] };
      assert.deepEqual(await call(it.python, [guest.id]), expected, "python");
      assert.deepEqual(await call(it.roomwire, [guest.id]), expected, "roomwire");
      // A server in Node expects as many acks as members count. The translating node counts for the server in Python.
      assert.deepEqual(await call(it.node, [guest.id]), expected, "node");
    }
    // A socket that no member has: the server in Node has its answer before its timeout, which would be an error.
    assert.deepEqual(await call(it.node, ["AAAAAAAAAAAAAAAAAAAB"]), { acks: [] });
    const [, second, python, roomwire] = guests;
    for (const guest of [second, python, roomwire]) await guest.join("asked");
    await it.allReach([second, python, roomwire], "/", ["asked"]);
    assert.deepEqual((await call(it.node, ["asked"])).acks.sort(), ["ack of node 2", "ack of roomwire 1"]);
    const any = names([second, python, roomwire]).map((name) => `ack of ${name}`);
    for (const source of [it.python, it.roomwire]) {
      const { acks } = await call(source, ["asked"]);
      assert.ok(acks.length === 1 && any.includes(acks[0]), `${source.name}: ${acks}`);
    }
  });

  test("a query of a node lists the sockets of servers in Node, and misses none", async (t) => {
    const guests = await it.guests(t);
    const [first, second, , third, fourth] = guests;
    for (const guest of [first, third, fourth]) await guest.join("queried");
    await it.allReach([first, third, fourth], "/", ["queried"]);
    const ids = (list) => list.map(({ id }) => id).sort();
    for (const member of [it.roomwire, it.roomwire2]) {
      // The translating node receives the requests by a pattern too, which PUBLISH counts and PUBSUB NUMSUB does not.
      for (const [target, expected] of [[{ everybody: true }, [first, second, third, fourth]], [{ rooms: ["queried"] }, [first, third, fourth]]]) {
        const { sockets, total, missing } = await member.api("sockets", target);
        assert.deepEqual(sockets.map(({ socket }) => socket).sort(), ids(expected), member.name);
        assert.deepEqual([total, missing], [expected.length, []], member.name);
      }
      const { rooms, missing } = await member.api("rooms", { prefix: "queried" });
      assert.deepEqual([rooms, missing], [[{ room: "queried", sockets: 3 }], []], member.name);
    }
  });

  test("sockets join and leave rooms, and rooms are closed, from afar", async (t) => {
    const guests = await it.guests(t);
    for (const source of it.kinds) {
      for (const guest of guests) {
        await steadily(async () => {
          const room = unique("room");
          await source.control("join", { namespace: "/", sid: guest.id, room });
          await it.allReach([guest], "/", [room]);
          assert.deepEqual(names(await receivers(source, guests, { rooms: [room] })), [guest.member.name], `${source.name} joins`);
          await source.control("leave", { namespace: "/", sid: guest.id, room });
          await settled(source, guests);
          assert.deepEqual(await receivers(source, guests, { rooms: [room] }), [], `${source.name} takes ${guest.member.name} out`);
        });
      }
      await steadily(async () => {
        const room = unique("closed");
        for (const guest of guests) await guest.join(room);
        await it.allReach(guests, "/", [room]);
        await source.control("close_room", { namespace: "/", room });
        await settled(source, guests);
        // For a server in Node this is a change of the members of a room, which one in Python does not support.
        const left = source === it.node ? ["python"] : [];
        assert.deepEqual(names(await receivers(source, guests, { rooms: [room] })), left, source.name);
      });
    }
  });

  test("sockets are disconnected from afar", async (t) => {
    for (const source of it.kinds) {
      const guests = await it.guests(t);
      for (const guest of guests) {
        await source.control("disconnect", { namespace: "/", sid: guest.id });
        await until(`${source.name} disconnects ${guest.member.name}`, () => guest.ends.length > 0);
        assert.deepEqual(guest.ends, ["io server disconnect"]);
      }
      assert.ok(guests.every((guest) => guest.ends.length === 1));
    }
  });
});

/** A sequence of numbers of 0 to 1 that the seed determines (mulberry32). */
function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** When a server in Node could not publish. */
function notPublished(member) {
  return [...member.program.output.matchAll(/not published at (\d+)/g)].map(([, time]) => Number(time));
}

describe("restarts of a cluster of three kinds of servers", WATCHDOG, () => {
  const seed = Number(process.env.MIXED_SEED ?? Date.now() % 2 ** 31);
  let it;
  before(async () => (it = await MixedCluster.start()));
  after(() => it?.stop());

  test(`all reach all again after each restart, and nothing arrives twice (MIXED_SEED=${seed})`, async (t) => {
    const random = seeded(seed);
    const guests = await it.guests(t);
    for (const guest of guests) await guest.keepJoined("stream");
    await it.allReach(guests, "/", ["stream"]);

    let streams = true;
    const sent = {};
    const failed = new Set();
    const emitting = it.kinds.map(async (member) => {
      for (sent[member.name] = 0; streams; sent[member.name] += 1) {
        const number = sent[member.name];
        await emit(member, { rooms: ["stream"], event: `stream of ${member.name}`, args: [number] }).catch(() => {
          failed.add(`${member.name} ${number}`);
          return sleep(50);
        });
        await sleep(5 + 20 * random());
        // No faster than the slowest member delivers; what is lost while one is away is not waited for.
        const arrived = () => guests.every((guest) => guest.of(`stream of ${member.name}`).at(-1)?.[0] >= number);
        await until("delivery", arrived, 200).catch(() => {});
      }
    });
    const healthy = new Set();
    const numbers = (guest, member) => guest.of(`stream of ${member.name}`).map(([number]) => number);

    /** Each member has sent more than one event since `from`, of which the first may have begun before. */
    const goneOn = (from) => until("events of all members", () => it.kinds.every(({ name }) => sent[name] > from[name] + 2));

    /** Everything that each member sent between these two states of `sent`, while all of them worked, reaches each guest. */
    async function allArrived(from, to) {
      const kind = ({ name }) => name.split(" ")[0];
      // Nothing else is lost when the translating node changes.
      const isTranslated = (...ends) => !ends.includes(it.roomwire) && !ends.includes(it.roomwire2) && kind(ends[0]) !== kind(ends[1]);
      const mayLose = (...ends) => it.turns !== from.turns && isTranslated(...ends);
      for (const member of it.kinds) {
        const [first, next] = [from[member.name] + 1, to[member.name]];
        assert.ok(next > first, `${member.name} sent nothing`);
        for (let number = first; number < next; number += 1) {
          healthy.add(`${member.name} ${number}`);
          assert.ok(!failed.has(`${member.name} ${number}`), `${number} of ${member.name} failed`);
        }
        for (const guest of guests) {
          const lost = () => {
            const received = new Set(numbers(guest, member));
            return Array.from({ length: next - first }, (_, index) => first + index).filter((number) => !received.has(number));
          };
          await until("all arrived", () => lost().length === 0 || mayLose(member, guest.member)).catch(() => {
            assert.fail(`${lost()} of ${first} to ${next - 1} from ${member.name} are lost at ${guest.member.name}`);
          });
        }
      }
    }

    const victims = [...it.members, it.redis, it.members[3 + Math.floor(2 * random())], it.redis]
      .map((victim) => [random(), victim])
      .sort(([left], [right]) => left - right)
      .map(([, victim]) => victim);
    const killed = new Map();
    const outages = [];
    const unpublished = [];
    for (const victim of victims) {
      const from = { ...sent, turns: it.turns };
      await sleep(500 + 1000 * random());
      await goneOn(from);
      await allArrived(from, { ...sent });
      t.diagnostic(`kill -9 ${victim.name ?? "redis"}`);
      killed.set(victim, (killed.get(victim) ?? 0) + 1);
      const began = Date.now();
      await victim.kill();
      unpublished.push(...notPublished(victim));
      await sleep(1500 * random());
      await victim.restart();
      for (const guest of guests) await guest.connected();
      await it.allReach(guests, "/", ["stream"]);
      if (victim === it.redis) outages.push([began, Date.now()]);
    }
    const from = { ...sent, turns: it.turns };
    await sleep(500);
    await goneOn(from);
    streams = false;
    await Promise.all(emitting);
    await allArrived(from, sent);
    for (const member of it.members) unpublished.push(...notPublished(member));
    for (const time of unpublished) {
      assert.ok(outages.some(([began, ended]) => began <= time && time <= ended), `not published at ${time}, outages ${JSON.stringify(outages)}`);
    }

    for (const guest of guests) {
      for (const member of it.kinds) {
        const received = numbers(guest, member);
        const share = `${received.length} of ${sent[member.name]} from ${member.name} at ${guest.member.name}`;
        t.diagnostic(share);
        assert.equal(new Set(received).size, received.length, `twice: ${share}`);
        // Messages sent while a member or Redis was away may be lost or late.
        const inOrder = received.filter((number) => healthy.has(`${member.name} ${number}`));
        assert.ok(inOrder.every((number, index) => index === 0 || inOrder[index - 1] < number), `out of order: ${inOrder}`);
      }
      // Only the connections to a server that was killed ended.
      assert.equal(guest.ends.length, killed.get(guest.member) ?? 0, `${guest.member.name}: ${guest.ends}`);
      assert.ok(guest.ends.every((reason) => reason.startsWith("transport")), `${guest.ends}`);
    }
    for (const member of it.members) assert.equal(member.program.over, undefined, `${member.name}: ${member.program.output}`);
  });
});
