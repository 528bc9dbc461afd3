// Faults while both users have a channel and a note open: they continue without a reload, and losses are printed.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { letters, until } from "./people.mjs";
import { STORY, note } from "./town.mjs";

const LIMIT = { timeout: 300000 };
/** A message counts as lost after this time, and the next one is tried. */
const MESSAGE = 4000;

export function faults(world) {
  const command = (...words) => world.deployment.command(...words);
  const nodeOf = (tab) => world.deployment.nodeNamed(tab.node);
  const restart = async (process) => {
    await command("stop", process);
    await command("start", process);
  };

  describe("both users continue when", () => {
    test("one backend after the other is restarted", LIMIT, () =>
      survives(world, "a backend", async (away) => {
        await command("stop", "backend-1");
        await away();
        await command("start", "backend-1");
        await restart("backend-2");
      }));

    test("all backends are away at once", LIMIT, () =>
      survives(world, "all backends", async () => {
        for (const backend of ["backend-1", "backend-2"]) await command("stop", backend);
        for (const backend of ["backend-1", "backend-2"]) await command("start", backend);
      }));

    test("Redis is restarted", LIMIT, () =>
      survives(world, "Redis", async (away) => {
        await command("stop", "redis");
        await away();
        await command("start", "redis");
      }));

    test("Redis is killed and comes back empty", LIMIT, () =>
      survives(world, "an emptied Redis", async () => {
        await command("kill", "redis");
        await command("forget");
        await command("start", "redis");
      }));

    test("a node is killed and started again", LIMIT, () =>
      survives(world, "a node", async (away, desk) => {
        const node = await nodeOf(desk[0].channel);
        await command("kill", node);
        await away();
        await command("start", node);
      }));

    test("the upstream connections are reset", LIMIT, () =>
      survives(world, "upstream connections", async (away) => {
        const { connections } = await command("cut");
        assert.ok(connections >= 2, `only ${connections} connections were open`);
        await away();
      }));

    test("a node is killed while a model generates", LIMIT, async () => {
      const tabs = await world.onTwoNodes((person) => person.chat(world.town.chat));
      const [hers, other] = tabs;
      const stories = (tab) => tab.page.getByText(STORY).count();
      const before = await Promise.all(tabs.map(stories));
      await hers.say("And another story");
      await other.page.getByText("And another story").waitFor();
      const node = await nodeOf(hers);
      await command("kill", node);
      for (const [tab, known] of tabs.map((tab, index) => [tab, before[index]])) {
        await until(`${tab.name} has the whole story`, async () => (await stories(tab)) > known);
        await tab.neverReloaded();
        await tab.screenshot("fault-streaming");
      }
      await command("start", node);
      await world.close(...tabs);
    });
  });
}

/** Opens a channel and a note for both users, on different nodes, and writes into the note. */
async function openTabs(world, name) {
  const { town } = world;
  const paper = await note(town.ada, town.grace, name);
  const channels = await world.onTwoNodes((person) => person.channel(town.channel));
  const notes = await world.onTwoNodes((person) => person.note(paper));
  for (const tab of notes) await tab.open();
  await notes[0].write("Before. ");
  await notes[1].waitForText("Before.");
  const desk = channels.map((channel, index) => ({ channel, note: notes[index] }));
  const tabs = [...channels, ...notes];
  for (const tab of tabs) tab.ends.length = 0;
  return { desk, tabs, paper };
}

async function survives(world, name, fault) {
  const { desk, tabs, paper } = await openTabs(world, name);
  const posts = [];
  // A third user posts a message while the fault lasts.
  const away = async () => {
    const content = `While ${name} was away`;
    const posted = await world.town.boss.post(`/api/v1/channels/${world.town.channel}/messages/post`, { content }).then(() => true, String);
    posts.push({ content, posted });
  };
  await fault(away, desk);
  const begun = Date.now();
  const [adas, graces] = desk.map(({ channel }) => channel);
  const tries = [await sendUntilReceived(adas, graces, name, posts), await sendUntilReceived(graces, adas, name, posts)];
  const took = Date.now() - begun;
  await bothWrite(world, desk, paper);
  await until("every socket is in the session pool", async () => {
    const { sids } = await world.deployment.command("pool");
    return tabs.every((tab) => sids.includes(tab.sids.at(-1)));
  });
  const all = Date.now() - begun;
  for (const tab of tabs) {
    await tab.neverReloaded();
    await tab.screenshot(`fault-${name.replaceAll(" ", "-")}-${tab.page.url().includes("/notes/") ? "note" : "channel"}`);
  }
  const ends = desk.map(({ channel, note }) => `${channel.name}: channel ${channel.ends}, note ${note.ends}`);
  console.log(`${name}: connections that ended (${ends.join("; ")}); tries ${tries}; talking after ${took} ms, all after ${all} ms`);
  for (const { content, posted } of posts) console.log(`   "${content}": ${posted === true ? await whoSaw(desk, content) : `rejected: ${posted}`}`);
  await checkHistory(world, posts);
  await world.close(...tabs);
}

/** Sends messages, each with another text, until one is received; returns their number. */
async function sendUntilReceived(from, to, name, posts) {
  let tries = 0;
  await until(`${to.name} receives ${from.name} again`, async () => {
    tries += 1;
    const content = `${name}: ${from.name} ${tries}`;
    posts.push({ content, posted: true });
    await from.say(content);
    return to.receives(content, MESSAGE);
  });
  return tries;
}

async function bothWrite(world, desk, paper) {
  const [hers, other] = desk.map(({ note }) => note);
  for (const tab of [hers, other]) await tab.open();
  await hers.write("After, says Ada. ");
  await other.waitForText("After, says Ada.");
  await other.write("After, says Grace. ");
  await hers.waitForText("After, says Grace.");
  const text = letters("Before. After, says Ada. After, says Grace.");
  await until("the note is saved", async () => letters((await world.town.ada.get(`/api/v1/notes/${paper}`)).data.content.md) === text);
}

async function whoSaw(desk, content) {
  const seen = [];
  for (const { channel } of desk) if (await channel.receives(content, 500)) seen.push(channel.name);
  return seen.length > 0 ? `shown to ${seen.join(" and ")}` : "shown to nobody until the channel is opened again";
}

/** Every message that was accepted is in the history of the channel. */
async function checkHistory(world, posts) {
  const messages = await world.town.ada.get(`/api/v1/channels/${world.town.channel}/messages?limit=50`);
  const contents = messages.map((message) => message.content);
  for (const { content, posted } of posts) if (posted === true) assert.ok(contents.includes(content), `"${content}" is kept`);
}
