// What surrounds the protocol on the public port: origins, preflights, the cookie, the client's files.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { CLIENT_DIR, WATCHDOG } from "../clients/lib/settings.mjs";
import { address, ENGINE, request, Socket, SOCKET } from "../clients/lib/wire.mjs";
import { CALM, server } from "./servers.mjs";

const FRIEND = "http://friend.example";
const STRANGER = "http://stranger.example";
const polling = { transport: "polling" };
const from = (origin) => ({ headers: { origin } });

function preflight(origin) {
  return { method: "OPTIONS", headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": "x-mine" } };
}

describe("same origin by default", WATCHDOG, () => {
  const calm = server(CALM);

  test("no Origin, as native clients send: welcome, and no CORS headers", async () => {
    const response = await request(address(calm.node, SOCKET, polling));
    assert.equal(response.status, 200);
    assert.equal(response.headers["access-control-allow-origin"], undefined);
    (await Socket.session(calm.node, SOCKET)).terminate();
  });

  test("the page's own origin: welcome", async () => {
    const response = await request(address(calm.node, SOCKET, polling), from(calm.node.url));
    assert.equal(response.status, 200);
    (await Socket.session(calm.node, SOCKET, { origin: calm.node.url })).terminate();
  });

  test("another origin is rejected and named", async () => {
    const response = await request(address(calm.node, SOCKET, polling), from(STRANGER));
    assert.equal(response.status, 403);
    const { code, message } = JSON.parse(response.text);
    assert.equal(code, 4);
    assert.ok(message.includes(STRANGER), message);
  });

  test("a websocket of another origin is rejected too", async () => {
    const response = await Socket.rejected(calm.node, SOCKET, {}, { origin: STRANGER });
    assert.ok([400, 403].includes(response.status), `status ${response.status}`);
    assert.ok(response.text.includes(STRANGER), response.text);
  });

  test("no cookie is set by default", async () => {
    const response = await request(address(calm.node, ENGINE, polling));
    assert.equal(response.headers["set-cookie"], undefined);
  });

  test("client files are off by default, and the 404 names their key", async () => {
    const response = await request(new URL("/socket.io/socket.io.js", calm.node.url));
    assert.equal(response.status, 404);
    assert.match(response.text, /client_dir/i);
  });
});

describe("origins listed", WATCHDOG, () => {
  const calm = server({ ...CALM, ROOMWIRE_CORS__ORIGINS: FRIEND, ROOMWIRE_CORS__CREDENTIALS: "true" });

  test("a listed origin is accepted, with CORS headers", async () => {
    const response = await request(address(calm.node, SOCKET, polling), from(FRIEND));
    assert.equal(response.status, 200);
    friendly(response);
    (await Socket.session(calm.node, SOCKET, { origin: FRIEND })).terminate();
  });

  test("errors carry the headers too", async () => {
    const response = await request(address(calm.node, SOCKET, { ...polling, sid: "AAAAAAAAAAAAAAAAAAAA" }), from(FRIEND));
    assert.equal(response.status, 400);
    friendly(response);
  });

  test("a preflight is accepted", async () => {
    const response = await request(address(calm.node, SOCKET, polling), preflight(FRIEND));
    assert.ok([200, 204].includes(response.status), `status ${response.status}`);
    friendly(response);
    const methods = response.headers["access-control-allow-methods"];
    for (const method of ["GET", "POST"]) assert.ok(methods.includes(method), methods);
    assert.match(response.headers["access-control-allow-headers"], /x-mine/i);
  });

  test("an origin that is not listed gets no leave", async () => {
    const response = await request(address(calm.node, SOCKET, polling), from(STRANGER));
    assert.notEqual(response.headers["access-control-allow-origin"], STRANGER);
    assert.notEqual(response.headers["access-control-allow-origin"], "*");
  });

  function friendly(response) {
    assert.equal(response.headers["access-control-allow-origin"], FRIEND);
    assert.match(response.headers.vary, /origin/i);
    assert.equal(response.headers["access-control-allow-credentials"], "true");
  }
});

describe("every origin", WATCHDOG, () => {
  const calm = server({ ...CALM, ROOMWIRE_CORS__ORIGINS: "*" });

  test("anyone is welcome, over either transport", async () => {
    const response = await request(address(calm.node, SOCKET, polling), from(STRANGER));
    assert.equal(response.status, 200);
    assert.ok(["*", STRANGER].includes(response.headers["access-control-allow-origin"]));
    (await Socket.session(calm.node, SOCKET, { origin: STRANGER })).terminate();
  });
});

describe("cookie", WATCHDOG, () => {
  const calm = server({ ...CALM, ROOMWIRE_ENGINE__COOKIE: "io" });

  test("is set on the handshake and on nothing else", async () => {
    const opened = await request(address(calm.node, ENGINE, polling));
    const { sid } = JSON.parse(opened.text.slice(1));
    assert.deepEqual(opened.headers["set-cookie"], [`io=${sid}; Path=/; HttpOnly; SameSite=Lax`]);
    const posted = await request(address(calm.node, ENGINE, { ...polling, sid }), { method: "POST", body: "4x" });
    assert.equal(posted.headers["set-cookie"], undefined);
  });
});

describe("client files", WATCHDOG, () => {
  const calm = server({ ...CALM, ROOMWIRE_SERVER__CLIENT_DIR: CLIENT_DIR });
  const NAMES = ["socket.io.js", "socket.io.min.js", "socket.io.msgpack.min.js", "socket.io.esm.min.js", "socket.io.min.js.map"];

  for (const name of NAMES) {
    test(`${name}, with an ETag that saves the second download`, async () => {
      const url = new URL(`/socket.io/${name}`, calm.node.url);
      const first = await request(url);
      assert.equal(first.status, 200);
      assert.match(first.headers["content-type"], name.endsWith(".map") ? /json/ : /javascript/);
      assert.equal(first.headers["cache-control"], "public, max-age=0");
      assert.ok(first.headers.etag);
      const again = await request(url, { headers: { "if-none-match": first.headers.etag } });
      assert.equal(again.status, 304);
      assert.equal(again.text, "");
    });
  }

  // Paths as they are: `URL` would resolve the dots before they are sent.
  for (const path of ["/socket.io/nothing.js", "/socket.io/../package.json", "/socket.io/%2e%2e/package.json", "/socket.io/..%2fpackage.json"]) {
    test(`nothing else: ${path}`, async () => {
      const { status } = await request(new URL(calm.node.url), { path });
      assert.ok(status >= 400 && status < 500, `status ${status}`);
    });
  }
});
