// HAProxy and nginx with the configuration files of `deploy/`, word for word but for addresses, in front of nodes under test.
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { HOST, Program, returnsOk, freePort, ready } from "./processes.mjs";
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
  static async start(nodes, ...more) {
    const balancer = await this.launch(nodes, ...more);
    await ready(balancer.program, this.name, () => returnsOk(`${balancer.url}/`));
    return balancer;
  }

  /** Started, though it may have no node to send anybody to. */
  static async launch(...what) {
    const balancer = new this();
    balancer.port = await freePort();
    balancer.url = `http://${HOST}:${balancer.port}`;
    balancer.folder = mkdtempSync(path.join(os.tmpdir(), "roomwire-balancer-"));
    // Workers that are not root must get in.
    chmodSync(balancer.folder, 0o755);
    balancer.program = await balancer.run(...what);
    return balancer;
  }

  write(name, text) {
    const file = path.join(this.folder, name);
    writeFileSync(file, text);
    return file;
  }

  haproxy(text) {
    return new Program("haproxy", ["-W", "-db", "-f", this.write("haproxy.cfg", text)]);
  }

  /** nginx with `text` as a site, included by a main file as a package has it. */
  nginx(text) {
    const site = this.write("site.conf", text);
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
    return this.haproxy(example("haproxy/roomwire.cfg", edits));
  }
}

/** `deploy/nginx/roomwire.conf` */
export class Nginx extends Balancer {
  run(nodes) {
    const edits = [
      ["listen 80;", `listen ${HOST}:${this.port};`],
      [/( *server 10\..*)\n( *server 10\..*\n)+/, (_, first) => `${servers(first, nodes)}\n`],
    ];
    return this.nginx(example("nginx/roomwire.conf", edits));
  }
}

/** `deploy/haproxy/compose.cfg`, which finds nodes on `port` by the name `roomwire`. */
export class ComposedHAProxy extends Balancer {
  async run(names, port) {
    this.health = `http://${HOST}:${await freePort()}/health`;
    const edits = [
      ["log stdout", "log stderr"],
      ["hard-stop-after 10s", "hard-stop-after 1s"],
      ["nameserver engine 127.0.0.11:53", `nameserver engine ${names.host}`],
      ["bind 127.0.0.1:8404", `bind ${new URL(this.health).host}`],
      ["bind :8080\n", `bind ${HOST}:${this.port}\n`],
      ["roomwire:8080", `roomwire:${port}`],
    ];
    return this.haproxy(example("haproxy/compose.cfg", edits));
  }
}

/** `deploy/open-webui/nginx.conf`, which finds nodes and backends on `port` by the names `roomwire` and `open-webui`. */
export class ComposedNginx extends Balancer {
  run(names, port) {
    this.health = `${this.url}/health`;
    const edits = [
      ["listen 80;", `listen ${HOST}:${this.port};`],
      ["resolver 127.0.0.11 ", `resolver ${names.host} `],
      ["roomwire:8080", `roomwire:${port}`],
      ["open-webui:8080", `open-webui:${port}`],
    ];
    return this.nginx(example("open-webui/nginx.conf", edits));
  }
}
