// Two users without faults: a channel, a note, a chat with a model.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { letters, until } from "./people.mjs";
import { STORY } from "./town.mjs";

const LIMIT = { timeout: 240000 };

export function together(world) {
  describe("two people on two nodes", () => {
    test("they talk in a channel and see each other type", LIMIT, async () => {
      const { town } = world;
      const [hers, other] = await world.onTwoNodes((person) => person.channel(town.channel));
      await hers.input.pressSequentially("Grace, are you on the other node?");
      await other.waitForText("Ada is typing...");
      await other.screenshot("channel-typing");
      await hers.page.keyboard.press("Enter");
      await other.waitForText("are you on the other node?");
      await other.input.pressSequentially("I am. You reach me over Redis.");
      await hers.waitForText("Grace is typing...");
      await other.page.keyboard.press("Enter");
      await hers.waitForText("You reach me over Redis.");
      await Promise.all([hers, other].map((tab) => tab.page.getByText("is typing...").waitFor({ state: "detached" })));
      await Promise.all([hers, other].map((tab) => tab.screenshot("channel")));
      await world.close(hers, other);
    });

    test("they edit one note, and it is saved", LIMIT, async () => {
      const { town } = world;
      const [hers, other] = await world.onTwoNodes((person) => person.note(town.note));
      await hers.write("Ada begins. ");
      await other.waitForText("Ada begins.");
      await other.write("\nGrace goes on. ");
      await hers.waitForText("Grace goes on.");
      await Promise.all([hers.write("Both at once, says Ada. ", "first line"), other.write("And so says Grace. ")]);
      const sentences = ["Ada begins.", "Both at once, says Ada.", "Grace goes on.", "And so says Grace."].map(letters);
      let text;
      await until("both have it all", async () => {
        text = await hers.read();
        // Where a cursor stands when the other one writes is up to the editor.
        const length = sentences.join("").length;
        return text.length === length && sentences.every((sentence) => text.includes(sentence)) && (await other.read()) === text;
      });
      await Promise.all([hers, other].map((tab) => tab.screenshot("note")));
      await until("the note is saved", async () => letters((await town.ada.get(`/api/v1/notes/${town.note}`)).data.content.md) === text);
      await world.close(hers);
      await other.reload();
      await until("the text is there after a reload", async () => (await other.read()) === text);
      await world.close(other);
    });

    test("both receive the reply of a model word by word", LIMIT, async () => {
      const { town } = world;
      const [hers, other] = await world.onTwoNodes((person) => person.chat(town.chat));
      await Promise.all([hers, other].map((tab) => tab.page.locator("[data-chat-participants]").waitFor()));
      await Promise.all([hers, other].map(watchGrowth));
      await hers.say("Tell me a story");
      await until("the story grows at both", async () => (await Promise.all([hers, other].map(growth))).every((steps) => steps >= 3));
      await Promise.all([hers, other].map((tab) => tab.screenshot("chat-streaming")));
      await Promise.all([hers, other].map((tab) => tab.waitForText(STORY)));
      for (const tab of [hers, other]) assert.ok((await growth(tab)) >= 5, "the reply arrived in parts");
      await hers.input.pressSequentially("Another one");
      await other.waitForText("Ada is typing...");
      await other.screenshot("chat-typing");
      await world.close(hers, other);
    });
  });
}

/** Counts in the page how many lengths of the story it has shown. */
async function watchGrowth(tab) {
  await tab.page.evaluate((story) => {
    const seen = (globalThis.storyLengths = new Set());
    const look = () => {
      const text = document.body.textContent.replace(/\s+/g, " ");
      const at = text.lastIndexOf(story.slice(0, 9));
      if (at < 0) return;
      let length = 0;
      while (length < story.length && text[at + length] === story[length]) length += 1;
      seen.add(length);
    };
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
  }, STORY);
}

const growth = (tab) => tab.page.evaluate(() => globalThis.storyLengths.size);
