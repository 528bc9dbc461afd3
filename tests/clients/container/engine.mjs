// Docker and Compose for the container check: one project of its own name, port and image, which leaves nothing behind.
import { execFile, execFileSync } from "node:child_process";
import { promisify } from "node:util";
import { freePort } from "../lib/processes.mjs";
import { ROOT } from "../lib/settings.mjs";
import { until } from "../lib/wait.mjs";

const run = promisify(execFile);
const NAME = `roomwire-check-${process.pid}`;
export const IMAGE = `${NAME}:latest`;
export const VALKEY = "docker.io/valkey/valkey:8.0.1-alpine";
/** Milliseconds a container may take to become healthy, and any command but a build to end. */
const TIMEOUT = 120_000;
const BUILD_TIMEOUT = 3_600_000;

/** Runs `docker` and returns its standard output; fails with its standard error. */
export async function docker(args, { env = {}, timeout = TIMEOUT } = {}) {
  const options = { cwd: ROOT, env: { ...process.env, ...env }, timeout, maxBuffer: 64 << 20 };
  try {
    return (await run("docker", args, options)).stdout.trim();
  } catch (error) {
    throw new Error(`docker ${args.join(" ")}: ${error.stderr || error.message}`);
  }
}

/** One of the compose files, up under a name of its own. */
export class Project {
  static async of(file) {
    const project = new Project();
    project.port = await freePort();
    project.url = `http://127.0.0.1:${project.port}`;
    project.env = { ROOMWIRE_IMAGE: IMAGE, ROOMWIRE_PORT: String(project.port), ROOMWIRE_ADDRESS: "127.0.0.1" };
    project.args = ["compose", "-p", NAME, "-f", file];
    return project;
  }

  compose(...args) {
    const timeout = args[0] === "build" ? BUILD_TIMEOUT : TIMEOUT;
    return docker([...this.args, ...args], { env: this.env, timeout });
  }

  /** Inspected containers of a service, stopped ones too, in order of their number. */
  async containers(service) {
    const ids = (await this.compose("ps", "-aq", service)).split("\n").filter(Boolean);
    if (ids.length === 0) return [];
    const found = JSON.parse(await docker(["inspect", ...ids]));
    return found.sort((a, b) => a.Name.localeCompare(b.Name));
  }

  /** Waits until `count` containers of a service are healthy. */
  async healthy(service, count) {
    await until(`${count} healthy ${service}`, async () => {
      const states = (await this.containers(service)).map((it) => it.State.Health?.Status ?? "without a health check");
      return states.filter((state) => state === "healthy").length === count;
    }, TIMEOUT);
  }

  /** Waits until the demo page is served at the one URL. */
  async serving() {
    await until(`the page at ${this.url}`, async () => {
      const response = await fetch(this.url, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined);
      return response?.status === 200 && (await response.text()).includes("<title>");
    }, TIMEOUT);
  }

  logs(...services) {
    return this.compose("logs", "--no-color", ...services);
  }

  /** However the check ends: containers, networks and volumes of the project. */
  remove() {
    execFileSync("docker", [...this.args, "down", "-v", "--remove-orphans", "-t", "5"], {
      cwd: ROOT,
      env: { ...process.env, ...this.env },
      stdio: "ignore",
    });
  }
}

/** Runs shell commands beside process 1 of a container, as `user`: its own image has no shell. */
export function beside(container, user, commands) {
  const args = ["run", "--rm", `--pid=container:${container}`, `--user=${user}`, "--entrypoint=sh", VALKEY, "-c", commands];
  return docker(args);
}

export function removeImage() {
  execFileSync("docker", ["rmi", "-f", IMAGE], { stdio: "ignore" });
}
