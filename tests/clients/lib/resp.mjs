// Commands to Redis, for tests that arrange servers.
import net from "node:net";
import { HOST } from "./processes.mjs";
import { within } from "./wait.mjs";

/** The response to a command; an error of Redis rejects. */
export function command(port, ...words) {
  const request = [`*${words.length}\r\n`, ...words.map((word) => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`)];
  const response = new Promise((resolve, reject) => {
    let text = "";
    const socket = net.connect(port, HOST, () => socket.write(request.join(""), "latin1"));
    socket.setEncoding("latin1");
    socket.on("data", (data) => {
      text += data;
      const parsed = parse(text, 0);
      if (!parsed) return;
      socket.destroy();
      if (parsed.value instanceof Error) reject(parsed.value);
      else resolve(parsed.value);
    });
    socket.once("error", reject);
    socket.once("close", () => reject(new Error(`connection to Redis closed during ${words[0]}`)));
  });
  return within(words.slice(0, 3).join(" "), response);
}

/** The value that begins at `at` and where it ends; undefined if it is not complete. Strings are Latin-1. */
function parse(text, at) {
  const end = text.indexOf("\r\n", at);
  if (end < 0) return undefined;
  const [kind, rest] = [text[at], text.slice(at + 1, end)];
  let next = end + 2;
  if (kind === "+") return { value: rest, next };
  if (kind === "-") return { value: new Error(rest), next };
  if (kind === ":") return { value: Number(rest), next };
  const length = Number(rest);
  if (length < 0) return { value: null, next };
  if (kind === "$") {
    if (text.length < next + length + 2) return undefined;
    return { value: text.slice(next, next + length), next: next + length + 2 };
  }
  const value = [];
  while (value.length < length) {
    const element = parse(text, next);
    if (!element) return undefined;
    value.push(element.value);
    next = element.next;
  }
  return { value, next };
}
