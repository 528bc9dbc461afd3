// socket.io-client: users of a room, over two nodes. Clients without an identity count as users by the ids of their sockets.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, describe, test } from "node:test";
import { client, cluster, collect, emitWithAck, PAIRS, settled } from "../lib/client.mjs";
import { WATCHDOG } from "../lib/settings.mjs";

const folder = mkdtempSync(path.join(tmpdir(), "roomwire-presence-"));
const file = path.join(folder, "roomwire.toml");
writeFileSync(file, '[[presence.rooms]]\npattern = "team:*"\nleave_delay = "200ms"\n');
after(() => rmSync(folder, { recursive: true }));
const SETTINGS = { ROOMWIRE_CONFIG: file, ROOMWIRE_APP__RELAY__MEMBERS: "members" };

for (const { name, travel, route } of PAIRS) {
  describe(`presence: ${name}`, WATCHDOG, () => {
    const it = cluster(route, SETTINGS);

    test("members learn who comes, goes and has other data, and list each other", async (t) => {
      const [watcher, other] = await Promise.all([0, 1].map(() => settled(client(t, it.url, travel))));
      const room = "team:1";
      await emitWithAck(watcher, "roomwire:join", room);
      const [joins, updates, leaves] = ["join", "update", "leave"].map((kind) => collect(watcher, `presence:${kind}`));
      const user = other.id;
      assert.equal((await emitWithAck(other, "roomwire:join", room)).ok, true);
      const [joined] = await joins.next();
      assert.deepEqual(joined, { room, user, version: joined.version });
      const data = { status: "away", since: 1.5 };
      assert.equal((await emitWithAck(other, "roomwire:presence", room, data)).ok, true);
      const [updated] = await updates.next();
      assert.deepEqual(updated, { room, user, data, version: updated.version });
      assert.ok(updated.version > joined.version);
      const list = await emitWithAck(other, "roomwire:members", room, { limit: 10 });
      assert.equal(list.count, 2);
      const expected = [{ user, data }, { user: watcher.id }].sort((a, b) => (a.user < b.user ? -1 : 1));
      assert.deepEqual(list.users, expected);
      other.disconnect();
      const [left] = await leaves.next();
      assert.deepEqual(left, { room, user, version: left.version });
      assert.ok(left.version > updated.version);
      assert.equal((await emitWithAck(watcher, "roomwire:members", room)).count, 1);
    });
  });
}
