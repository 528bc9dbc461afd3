// The initial data: two users, a channel, a note and a chat that they share, and a model that streams.
import { Account } from "./deployment.mjs";

export const MODEL = "storyteller";
/** The reply of the model, streamed word by word. */
export const STORY = "Once upon a time two nodes shared one Redis and nobody ever noticed which of them carried the words";

const PIPE = `
import asyncio


class Pipe:
    async def pipe(self, body):
        for word in ${JSON.stringify(STORY)}.split():
            yield word + " "
            await asyncio.sleep(0.15)
`;

export async function settle({ url, admin }) {
  const boss = await Account.signIn(url, admin.email, admin.password);
  const rights = await boss.get("/api/v1/users/default/permissions");
  rights.features.channels = true;
  rights.features.notes = true;
  rights.sharing.notes = true;
  await boss.post("/api/v1/users/default/permissions", rights);
  const [ada, grace] = [await citizen(boss, "Ada"), await citizen(boss, "Grace")];
  await model(boss);
  const channel = await boss.post("/api/v1/channels/create", { name: "night-shift", type: "group", user_ids: [ada.id, grace.id] });
  return { boss, ada, grace, channel: channel.id, note: await note(ada, grace), chat: await chat(ada, grace) };
}

async function citizen(boss, name) {
  const [email, password] = [`${name.toLowerCase()}@example.org`, `Passw0rd!${name}`];
  await boss.post("/api/v1/auths/add", { email, password, name, role: "user" });
  return Account.signIn(boss.url, email, password);
}

/** A pipe function of the backends, available to all users. */
async function model(boss) {
  const everybody = [{ principal_type: "user", principal_id: "*", permission: "read" }];
  await boss.post("/api/v1/functions/create", { id: MODEL, name: MODEL, content: PIPE, meta: { description: "tells one story" } });
  await boss.post(`/api/v1/functions/id/${MODEL}/toggle`);
  await boss.post("/api/v1/models/create", { id: MODEL, name: MODEL, base_model_id: null, meta: {}, params: {}, access_grants: everybody });
}

const grants = (person, ...permissions) =>
  permissions.map((permission) => ({ principal_type: "user", principal_id: person.id, permission }));

export async function note(owner, other, title = "Handover") {
  const data = { content: { json: null, html: "", md: "" } };
  const body = { title, data, meta: null, access_grants: grants(other, "read", "write") };
  return (await owner.post("/api/v1/notes/create", body)).id;
}

async function chat(owner, other) {
  const empty = { title: "Stories", models: [MODEL], messages: [], history: { messages: {}, currentId: null } };
  const { id } = await owner.post("/api/v1/chats/new", { chat: empty });
  await owner.post(`/api/v1/chats/${id}/share`);
  await owner.post(`/api/v1/chats/shared/${id}/access/update`, { access_grants: grants(other, "read"), share_mode: "continue" });
  return id;
}
