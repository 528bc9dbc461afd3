// The container check: builds the image, starts compose.yaml and takes it apart under load. Run by scripts/container-check.
import assert from "node:assert/strict";
import { Crowd } from "./crowd.mjs";
import { docker, Project, removeImage } from "./engine.mjs";
import * as promises from "./promises.mjs";
import { until } from "../lib/wait.mjs";

const REPLICAS = 3;
/** People on each transport: with three nodes, some of each on every one. */
const HALF = 9;
const started = Date.now();
const project = await Project.of("compose.yaml");
const single = await Project.of("compose.single.yaml");
let crowd;

const seconds = (since) => `${((Date.now() - since) / 1000).toFixed(1)} s`;
const valkey = (...command) => project.compose("exec", "-T", "valkey", "valkey-cli", ...command);
const nodes = () => project.containers("roomwire");

async function step(what, act) {
  const from = Date.now();
  console.log(`.. ${what}`);
  const summary = await act();
  console.log(`ok ${what}${summary ? `: ${summary}` : ""} (${seconds(from)})`);
}

/** Clients until every replica has been reached through the balancer. */
async function allReplicasReached() {
  await until(`${REPLICAS} nodes reached`, async () => {
    const more = await Crowd.gather(project.url, 1);
    const reached = new Set([...crowd.nodes, ...more.nodes]);
    more.leave();
    return reached.size === REPLICAS;
  }, 60_000);
}

async function up() {
  await project.compose("up", "-d", "--no-build");
  await project.healthy("valkey", 1);
  await project.healthy("roomwire", REPLICAS);
  await project.healthy("balancer", 1);
  await project.serving();
}

async function gather() {
  crowd = await Crowd.gather(project.url, HALF);
  await crowd.converses();
  assert.equal(crowd.nodes.length, REPLICAS, "everybody is spread over all nodes");
  const share = (node) => crowd.people.filter((each) => each.node === node).length;
  return `${crowd.people.length} people on ${crowd.nodes.map((node) => `${node}: ${share(node)}`).join(", ")}`;
}

/** The container of the node called `name`, by its own log: the last name it gave itself. */
async function containerOf(name) {
  for (const container of await nodes()) {
    const log = await logOf(container);
    const names = [...log.matchAll(/listening on \S+ node=(\S+)/g)].map((match) => match[1]);
    if (names.at(-1) === name) return container;
  }
  throw new Error(`no container has the node name ${name}`);
}

async function logOf(container) {
  return project.compose("logs", "--no-color", "--no-log-prefix", `--index=${container.Config.Labels["com.docker.compose.container-number"]}`, "roomwire");
}

/** Takes a node away by `take` and brings it back by `bring`, while everybody talks; whom it does not concern loses nothing. */
async function loseNode(take, bring) {
  const lost = crowd.people[0].node;
  const container = await containerOf(lost);
  const undisturbed = crowd.undisturbed(lost);
  const away = new Map(undisturbed.map((each) => [each, each.away]));
  assert.ok(undisturbed.length > 1, "some clients are on other nodes");
  const from = crowd.marks();
  const summary = await take(container);
  await until("the people of the lost node are gone from it", () => crowd.people.every((each) => each.node !== lost), 60_000);
  await crowd.converses();
  for (const each of undisturbed) assert.equal(each.away, away.get(each), `${each.name} on ${each.node} was disturbed`);
  crowd.assertNothingLost(undisturbed, from);
  await bring(container);
  await project.healthy("roomwire", REPLICAS);
  await allReplicasReached();
  await crowd.converses();
  return `${lost} lost, ${undisturbed.length} clients on other nodes missed nothing${summary ? `; ${summary}` : ""}`;
}

async function stop(container) {
  const from = Date.now();
  await docker(["stop", container.Id]);
  const [{ State }] = JSON.parse(await docker(["inspect", container.Id]));
  assert.equal(State.ExitCode, 0, "a stopped node ends with 0");
  return `stopped in ${seconds(from)} with 0`;
}

async function crash(container) {
  await promises.crash(container);
  await until("the engine restarts it", async () => {
    const [it] = JSON.parse(await docker(["inspect", container.Id]));
    return it.RestartCount > container.RestartCount && it.State.Running;
  }, 60_000);
  return "restarted by its policy";
}

/** As in docs/deploy.md#rolling-restart: one node after the other, each once the previous one is healthy. */
async function rollingRestart() {
  const before = await nodes();
  for (const container of before) {
    await docker(["stop", container.Id]);
    await docker(["rm", container.Id]);
    await project.compose("up", "-d", "--no-recreate", "--no-build", "--wait", "roomwire");
    await crowd.converses();
  }
  const after = (await nodes()).map((it) => it.Id);
  assert.equal(after.length, REPLICAS);
  assert.ok(before.every((it) => !after.includes(it.Id)), "every container is a new one");
  await allReplicasReached();
}

async function restartValkey() {
  // From here on a message may come twice: docs/bus.md, "When Redis is away".
  crowd.assertNothingTwice();
  const away = crowd.people.filter((each) => each.transport === "websocket").map((each) => [each, each.away]);
  await project.compose("restart", "valkey");
  await project.healthy("valkey", 1);
  await crowd.converses();
  for (const [each, before] of away) assert.equal(each.away, before, `${each.name} was disconnected`);
  assert.equal(await valkey("GET", "container-check"), "kept");
  return "no websocket was disconnected";
}

async function downAndUp() {
  await project.compose("down", "-t", "20");
  await up();
  assert.equal(await valkey("GET", "container-check"), "kept");
  await crowd.converses();
}

async function cleanStop() {
  const deliveries = crowd.deliveries;
  crowd.leave();
  const log = await project.logs("roomwire");
  assert.doesNotMatch(log, /panicked|ERROR/);
  await project.compose("stop");
  for (const container of await nodes()) assert.equal(container.State.ExitCode, 0, `${container.Name} ended with ${container.State.ExitCode}`);
  return `${deliveries} deliveries in all`;
}

async function alone() {
  await single.compose("up", "-d", "--no-build");
  await single.healthy("roomwire", 1);
  await single.serving();
  const pair = await Crowd.gather(single.url, 1);
  await pair.converses();
  pair.leave();
  single.remove();
}

function cleanUp() {
  crowd?.leave();
  project.remove();
  single.remove();
  removeImage();
}

process.once("exit", cleanUp);
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130));
try {
  await step("build", () => project.compose("build", "roomwire").then(() => undefined));
  await step("the image keeps its promises", promises.image);
  await step("a node that starts heeds SIGTERM", promises.stopWhileStarting);
  await step("one node without Redis", alone);
  await step(`up, ${REPLICAS} replicas and Valkey healthy, one URL is served`, up);
  for (const container of await nodes()) await step(`${container.Name} is confined`, () => promises.confinement(container));
  await valkey("SET", "container-check", "kept");
  await step("messages across replicas, by websocket and by polling", gather);
  await step("a replica is stopped under load", () => loseNode(stop, (container) => docker(["start", container.Id])));
  await step("a replica is killed with -9 under load", () => loseNode(crash, () => undefined));
  await step("rolling restart under load", rollingRestart);
  await step("Valkey is restarted", restartValkey);
  await step("down and up again: the volume is kept", downAndUp);
  await step("clean stop", cleanStop);
  console.log(`container-check: passed (${seconds(started)})`);
  process.exit(0);
} catch (error) {
  console.log(`container-check: FAILED (${seconds(started)})\n${error.stack}`);
  console.log((await project.logs().catch(String)).split("\n").slice(-60).join("\n"));
  process.exit(1);
}
