// What fails, while both have a channel and a note open: they go on without a reload, and what was lost is told.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { letters, until } from "./people.mjs";
import { STORY, note } from "./town.mjs";

const LIMIT = { timeout: 300000 };
/** How long a message may take before it counts as lost and the next one is tried. */
const MESSAGE = 4000;

export function faults(world) {
  const order = (...words) => world.deployment.order(...words);
  const nodeOf = (tab) => world.deployment.nodeNamed(tab.node);
  const restart = async (process) => {
    await order("stop", process);
    await order("start", process);
  };

  describe("they go on when", () => {
    test("one backend after the other is restarted", LIMIT, () =>
      survives(world, "a backend", async (away) => {
        await order("stop", "backend-1");
        await away();
        await order("start", "backend-1");
        await restart("backend-2");
      }));

    test("all backends are away at once", LIMIT, () =>
      survives(world, "all backends", async () => {
        for (const backend of ["backend-1", "backend-2"]) await order("stop", backend);
        for (const backend of ["backend-1", "backend-2"]) await order("start", backend);
      }));

    test("Redis is restarted", LIMIT, () =>
      survives(world, "Redis", async (away) => {
        await order("stop", "redis");
        await away();
        await order("start", "redis");
      }));

    test("Redis is killed and comes back empty", LIMIT, () =>
      survives(world, "an emptied Redis", async () => {
        await order("kill", "redis");
        await order("forget");
        await order("start", "redis");
      }));

    test("a node is killed and started again", LIMIT, () =>
      survives(world, "a node", async (away, desk) => {
        const node = await nodeOf(desk[0].channel);
        await order("kill", node);
        await away();
        await order("start", node);
      }));

    test("the upstream connections are reset", LIMIT, () =>
      survives(world, "upstream connections", async (away) => {
        const { connections } = await order("cut");
        assert.ok(connections >= 2, `only ${connections} connections were open`);
        await away();
      }));

    test("a node is killed while a model answers", LIMIT, async () => {
      const tabs = await world.onTwoNodes((person) => person.chat(world.town.chat));
      const [hers, other] = tabs;
      const told = (tab) => tab.page.getByText(STORY).count();
      const before = await Promise.all(tabs.map(told));
      await hers.say("And another story");
      await other.page.getByText("And another story").waitFor();
      const node = await nodeOf(hers);
      await order("kill", node);
      for (const [tab, stories] of tabs.map((tab, index) => [tab, before[index]])) {
        await until(`${tab.name} has the whole story`, async () => (await told(tab)) > stories);
        await tab.neverReloaded();
        await tab.screenshot("fault-streaming");
      }
      await order("start", node);
      await world.close(...tabs);
    });
  });
}

/** A channel and a note, open at both; the notes are on different nodes, and something stands in them. */
async function sitDown(world, name) {
  const { town } = world;
  const paper = await note(town.ada, town.grace, name);
  const channels = await world.onTwoNodes((person) => person.channel(town.channel));
  const notes = await world.onTwoNodes((person) => person.note(paper));
  for (const tab of notes) await tab.open();
  await notes[0].write("Before. ");
  await notes[1].sees("Before.");
  const desk = channels.map((channel, index) => ({ channel, note: notes[index] }));
  const tabs = [...channels, ...notes];
  for (const tab of tabs) tab.ends.length = 0;
  return { desk, tabs, paper };
}

async function survives(world, name, fault) {
  const { desk, tabs, paper } = await sitDown(world, name);
  const said = [];
  // Somebody else says something while the fault lasts.
  const away = async () => {
    const content = `While ${name} was away`;
    const posted = await world.town.boss.post(`/api/v1/channels/${world.town.channel}/messages/post`, { content }).then(() => true, String);
    said.push({ content, posted });
  };
  await fault(away, desk);
  const begun = Date.now();
  const [adas, graces] = desk.map(({ channel }) => channel);
  const tries = [await reaches(adas, graces, name, said), await reaches(graces, adas, name, said)];
  const took = Date.now() - begun;
  await bothWrite(world, desk, paper);
  await until("the backends know every socket", async () => {
    const { sids } = await world.deployment.order("pool");
    return tabs.every((tab) => sids.includes(tab.sids.at(-1)));
  });
  const all = Date.now() - begun;
  for (const tab of tabs) {
    await tab.neverReloaded();
    await tab.screenshot(`fault-${name.replaceAll(" ", "-")}-${tab.page.url().includes("/notes/") ? "note" : "channel"}`);
  }
  const ends = desk.map(({ channel, note }) => `${channel.name}: channel ${channel.ends}, note ${note.ends}`);
  console.log(`${name}: connections that ended (${ends.join("; ")}); tries ${tries}; talking after ${took} ms, all after ${all} ms`);
  for (const { content, posted } of said) console.log(`   "${content}": ${posted === true ? await whoSaw(desk, content) : `not taken: ${posted}`}`);
  await kept(world, said);
  await world.close(...tabs);
}

/** Says it until it is heard, each time in other words, and returns how often. */
async function reaches(from, to, name, said) {
  let tries = 0;
  await until(`${to.name} hears ${from.name} again`, async () => {
    tries += 1;
    const content = `${name}: ${from.name} ${tries}`;
    said.push({ content, posted: true });
    await from.say(content);
    return to.hears(content, MESSAGE);
  });
  return tries;
}

async function bothWrite(world, desk, paper) {
  const [hers, other] = desk.map(({ note }) => note);
  for (const tab of [hers, other]) await tab.open();
  await hers.write("After, says Ada. ");
  await other.sees("After, says Ada.");
  await other.write("After, says Grace. ");
  await hers.sees("After, says Grace.");
  const text = letters("Before. After, says Ada. After, says Grace.");
  await until("the note is saved", async () => letters((await world.town.ada.get(`/api/v1/notes/${paper}`)).data.content.md) === text);
}

async function whoSaw(desk, content) {
  const seen = [];
  for (const { channel } of desk) if (await channel.hears(content, 500)) seen.push(channel.name);
  return seen.length > 0 ? `shown to ${seen.join(" and ")}` : "shown to nobody until the channel is opened again";
}

/** What the product took is there for whoever opens the channel anew. */
async function kept(world, said) {
  const messages = await world.town.ada.get(`/api/v1/channels/${world.town.channel}/messages?limit=50`);
  const contents = messages.map((message) => message.content);
  for (const { content, posted } of said) if (posted === true) assert.ok(contents.includes(content), `"${content}" is kept`);
}
