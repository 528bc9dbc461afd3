// What the image and its containers promise about themselves: size, user, capabilities, file system, health check.
import assert from "node:assert/strict";
import { beside, docker, IMAGE } from "./engine.mjs";

const LARGEST_IMAGE = 60_000_000;
const NOBODYS_USER = "65532";
/** Seconds a stop may take before the engine kills. */
const STOP_TIMEOUT = 15;

export async function image() {
  const [it] = JSON.parse(await docker(["image", "inspect", IMAGE]));
  assert.ok(it.Size < LARGEST_IMAGE, `the image has ${it.Size} bytes`);
  assert.equal(it.Config.User, `${NOBODYS_USER}:${NOBODYS_USER}`);
  assert.deepEqual(it.Config.Healthcheck.Test, ["CMD", "/usr/local/bin/roomwire", "health"]);
  for (const label of ["title", "description", "licenses", "version", "revision"]) {
    assert.ok(it.Config.Labels[`org.opencontainers.image.${label}`], `label ${label}`);
  }
  await assert.rejects(docker(["run", "--rm", "--entrypoint=sh", IMAGE, "-c", "true"]), /executable file not found/);
  const version = await docker(["run", "--rm", "--read-only", "--cap-drop=ALL", "--network=none", IMAGE, "--version"]);
  assert.equal(version, `roomwire ${it.Config.Labels["org.opencontainers.image.version"]}`);
  return `${(it.Size / 1e6).toFixed(1)} MB, ${it.Os}/${it.Architecture}, ${version}`;
}

/** SIGTERM while a node starts, as process 1 and with an unresponsive Redis, stops it. */
export async function stopWhileStarting() {
  const delays = [0, 50, 200, 1_000];
  for (const delay of delays) {
    const silent = "ROOMWIRE_BUS__REDIS_URL=redis://192.0.2.1:6379/0";
    const id = await docker(["run", "-d", "--read-only", "--cap-drop=ALL", "-e", silent, IMAGE]);
    try {
      await new Promise((resolve) => setTimeout(resolve, delay));
      await docker(["stop", "-t", String(STOP_TIMEOUT), id]);
      const [{ State }] = JSON.parse(await docker(["inspect", id]));
      assert.equal(State.ExitCode, 0, `stopped after ${delay} ms: ${await docker(["logs", id])}`);
    } finally {
      await docker(["rm", "-f", id]);
    }
  }
  return `after ${delays.join(", ")} ms`;
}

/** Asked of the kernel beside the process, not of the file that set it up. */
export async function confinement(container) {
  const { HostConfig, Config } = container;
  assert.equal(HostConfig.ReadonlyRootfs, true);
  assert.ok(HostConfig.Memory > 0 && HostConfig.NanoCpus > 0 && HostConfig.PidsLimit > 0, "resource limits");
  assert.equal(HostConfig.Init, true);
  assert.equal(Config.Env.some((line) => /password|secret/i.test(line)), false);
  const status = await beside(container.Id, NOBODYS_USER, FIND_NODE + 'cat "$found/status" && cat "$found/mounts"');
  const field = (name) => new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1];
  assert.deepEqual(field("Uid").split(/\s+/), Array(4).fill(NOBODYS_USER));
  for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) assert.match(field(set), /^0+$/, set);
  assert.equal(field("NoNewPrivs"), "1");
  assert.match(status, /^\S+ \/ \S+ ro[, ]/m, "the root file system is read-only");
  return `uid ${NOBODYS_USER}, no capability, no new privileges, root read-only`;
}

/** Kills the node of a container as by a crash, without the engine. */
export async function crash(container) {
  await beside(container.Id, NOBODYS_USER, `${FIND_NODE} kill -9 "\${found#/proc/}"`);
}

// Process 1 is the engine's init; the node is the process whose command begins with the binary.
const FIND_NODE = `
for each in /proc/[0-9]*; do
  case "$(tr '\\0' ' ' <"$each/cmdline")" in /usr/local/bin/roomwire*) found=$each ;; esac
done
[ -n "$found" ] || exit 1
`;
