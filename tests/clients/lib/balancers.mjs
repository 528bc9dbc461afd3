// HAProxy and nginx with the configuration files of `deploy/`, word for word but for addresses, in front of nodes under test.
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { HOST, Program, answersOk, freePort, ready } from "./processes.mjs";
import { ROOT } from "./settings.mjs";

/** The example file `name` with `edits`, pairs of a pattern and what stands there instead; each must be found. */
function example(name, edits) {
  return edits.reduce((text, [pattern, replacement]) => {
    const edited = text.replace(pattern, replacement);
    assert.notEqual(edited, text, `${name} has no ${pattern}`);
    return edited;
  }, readFileSync(path.join(ROOT, "deploy", name), "utf8"));
}

/** The lines of an example's servers, one for each node, `line` being the first of them. */
function servers(line, nodes) {
  return nodes.map((node, index) => line.replace(/10\.0\.0\.\d+:8080/, node.host).replace("node1", `node${index + 1}`)).join("\n");
}

class Balancer {
  static async start(nodes) {
    const balancer = new this();
    balancer.port = await freePort();
    balancer.url = `http://${HOST}:${balancer.port}`;
    balancer.folder = mkdtempSync(path.join(os.tmpdir(), "roomwire-balancer-"));
    // Workers that are not root must get in.
    chmodSync(balancer.folder, 0o755);
    balancer.program = balancer.run(nodes);
    await ready(balancer.program, this.name, () => answersOk(`${balancer.url}/`));
    return balancer;
  }

  write(name, text) {
    const file = path.join(this.folder, name);
    writeFileSync(file, text);
    return file;
  }

  async stop() {
    if (!this.program.over) await this.program.kill("SIGTERM");
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** `deploy/haproxy/roomwire.cfg` */
export class HAProxy extends Balancer {
  run(nodes) {
    const edits = [
      ["log /dev/log local0 notice", "log stderr format raw local0 notice"],
      ["hard-stop-after 5m", "hard-stop-after 1s"],
      ["bind :80\n", `bind ${HOST}:${this.port}\n`],
      [/( *server node1 .*)\n( *server node.*\n)+/, (_, first) => `${servers(first, nodes)}\n`],
    ];
    return new Program("haproxy", ["-W", "-db", "-f", this.write("haproxy.cfg", example("haproxy/roomwire.cfg", edits))]);
  }
}

/** `deploy/nginx/roomwire.conf`, included by a main file as a package has it. */
export class Nginx extends Balancer {
  run(nodes) {
    const edits = [
      ["listen 80;", `listen ${HOST}:${this.port};`],
      [/( *server 10\..*)\n( *server 10\..*\n)+/, (_, first) => `${servers(first, nodes)}\n`],
    ];
    const site = this.write("roomwire.conf", example("nginx/roomwire.conf", edits));
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${this.folder}/${kind};`);
    const main = [
      "daemon off;",
      `pid ${this.folder}/nginx.pid;`,
      "error_log stderr warn;",
      "events { worker_connections 1024; }",
      `http { access_log off; ${temporary.join(" ")} include ${site}; }`,
    ];
    return new Program("nginx", ["-e", "stderr", "-c", this.write("nginx.conf", main.join("\n"))]);
  }
}
