// The copy-paste commands of the demo page, made from the page's config and the current room.
// Pure: config and room in, texts out. Called by demo.js whenever the room changes.

/// Quotes a text for a POSIX shell.
const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function curl(room, config, origin) {
  const hello = JSON.stringify(["roomwire:emit", room, "message", { room, name: "curl", text: "Hello from curl" }]);
  return {
    id: "curl", title: "curl",
    about: "Long polling by hand: open, connect, say hello, close.",
    code: `(U=${shell(`${origin}${config.path}/?EIO=4&transport=polling`)}
SID=$(curl -s "$U" | sed 's/.*"sid":"\\([^"]*\\)".*/\\1/')
io() { curl -s -H 'content-type: text/plain' "$U&sid=$SID" "$@"; }
io -d 40; io; io -d ${shell(`42${hello}`)}; io -d 1; echo)`,
  };
}

function redisCli(room, redis) {
  const event = {
    method: "emit", event: "message", data: [{ room, name: "redis-cli", text: "Hello over Redis" }], binary: false,
    namespace: "/", room, skip_sid: null, callback: null, host_id: "redis-cli",
  };
  return {
    id: "redis", title: "redis-cli",
    about: `What a python-socketio server publishes; each node delivers it to its members.${
      redis.url_masked.includes("*") ? " Put the password where the stars are." : ""}`,
    code: `redis-cli -u ${shell(redis.url_masked)} PUBLISH ${shell(redis.channel)} ${shell(JSON.stringify(event))}`,
  };
}

function secondNode(config) {
  return {
    id: "node", title: "A second node",
    about: config.redis ? "Joins this cluster over the same Redis. Open its page and meet in the same room."
      : "This node runs alone. Two nodes become one cluster over a Redis.",
    code: config.second_node_command,
  };
}

function stockClient(room, config, origin) {
  const options = config.path === "/socket.io" ? "" : `, { path: ${JSON.stringify(config.path)} }`;
  const name = JSON.stringify(room);
  const program = `const s = require("socket.io-client")(${JSON.stringify(origin)}${options});
s.on("message", (m) => console.log(m.name + ": " + m.text));
s.emit("roomwire:join", ${name}, console.log);
s.emit("roomwire:emit", ${name}, "message",
  { room: ${name}, name: "node", text: "Hello from Node" });`;
  return {
    id: "client", title: "The stock client",
    about: "Stays in the room and prints what is said, until Ctrl-C.",
    code: `npm install socket.io-client && node -e ${shell(program)}`,
  };
}

/// The snippets that make sense for this node: `[{id, title, about, code}]`.
export function snippets(room, config, origin) {
  return [
    curl(room, config, origin),
    ...(config.redis?.python ? [redisCli(room, config.redis)] : []),
    ...(config.second_node_command ? [secondNode(config)] : []),
    stockClient(room, config, origin),
  ];
}
