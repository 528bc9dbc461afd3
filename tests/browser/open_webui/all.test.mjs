// The stock frontend in Chromium, on a deployment with two stock backends and two Roomwire nodes behind nginx.
// scripts/open-webui-browser runs this.
import { after, before } from "node:test";
import { Deployment } from "./deployment.mjs";
import { Person, launch, until } from "./people.mjs";
import { settle } from "./town.mjs";
import { faults } from "./faults.mjs";
import { together } from "./together.mjs";

const world = {
  /** One tab of each, their sockets on different nodes. */
  async onTwoNodes(open) {
    const tabs = [await open(this.ada), await open(this.grace)];
    for (const tab of tabs) await tab.connected();
    await until("they are on two nodes", async () => {
      if (tabs[0].node !== tabs[1].node) return true;
      await tabs[1].reload();
      return false;
    });
    return tabs;
  },

  async close(...tabs) {
    for (const tab of tabs) await tab.page.close();
  },
};

before(async () => {
  world.deployment = await Deployment.start();
  world.town = await settle(world.deployment);
  world.browser = await launch();
  for (const name of ["ada", "grace"]) {
    world[name] = await Person.arrive(world.browser, world.deployment, world.town[name]);
    await world.close({ page: await world[name].signIn() });
  }
});

after(async () => {
  await world.browser?.close();
  await world.deployment?.stop();
});

together(world);
faults(world);
