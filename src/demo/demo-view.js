// Everything of the demo page that touches the document. No network, no state of its own beyond what is on screen.
// Text of other people only ever goes in as textContent. Called by demo.js.

const $ = (id) => document.getElementById(id);

function element(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

const HUES = [5, 75, 130, 165, 205, 245, 280, 320];

/// The same name has the same colour on every screen.
function paint(node, name) {
  let hash = 7;
  for (const char of name) hash = (hash * 31 + char.codePointAt(0)) % 9973;
  node.style.setProperty("--hue", HUES[hash % HUES.length]);
  return node;
}

export const milliseconds = (value) => (value < 9.95 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`);
const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

// --- connection ---

// How the wire is drawn, and what the button then does.
const LINK = {
  connecting: ["reaching", "Cut the wire"], up: ["whole", "Cut the wire"], lost: ["reaching", "Retry now"],
  cut: ["cut", "Restore"], rejected: ["cut", "Try again"],
};

/// `isAlone`: connected, to a node that reaches no other.
export function showLink({ state, isAlone = false, text }) {
  const [line, button] = LINK[state];
  $("wire").dataset.line = line;
  $("state").textContent = text;
  $("state").classList.toggle("alarm", ["cut", "lost", "rejected"].includes(state));
  $("state").classList.toggle("alone", isAlone);
  $("cut").textContent = button;
}

/// `wire`: {node, transport, ack, bus, busAway, far: [{node, people}]}
export function showWire({ node, transport, ack, bus, busAway, far }) {
  const others = far.map((stop) => `${stop.node}\u2009×\u2009${stop.people}`);
  const shown = others.length > 2 ? [...others.slice(0, 1), `${others.length - 1} more`] : others;
  $("wire-transport").textContent = transport ?? "";
  $("wire-ack").textContent = ack === null ? "" : milliseconds(ack);
  $("wire-node").textContent = node ?? "····";
  $("wire-bus").textContent = busAway ? `${bus} is away` : bus ?? "";
  $("wire-far").textContent = shown.join("  ") || (bus ? "nobody there yet" : "no other node");
  $("wire").dataset.far = others.length > 0 ? "some" : "none";
  $("wire").dataset.bus = busAway ? "away" : "up";
  const reach = busAway ? "Redis is away" : far.map((stop) => `${stop.people} on node ${stop.node}`).join(", ");
  $("wire-text").textContent = node ? `You are on node ${node} by ${transport}. ${reach}` : "Not connected";
}

/// A spark along the wire: out for what we send, in for what arrives; `far` when another node is involved.
export function pulse(direction, far) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const spans = far ? [$("span-client"), $("span-bus")] : [$("span-client")];
  const ordered = direction === "out" ? spans : spans.reverse();
  ordered.forEach((span, step) => {
    const spark = element("s");
    span.append(spark);
    const frames = [{ translate: "0", opacity: 0 }, { opacity: 1, offset: 0.3 }, { translate: `${span.offsetWidth}px`, opacity: 0 }];
    const motion = spark.animate(frames, {
      duration: 420, delay: step * 300, easing: "ease-in-out", fill: "backwards", direction: direction === "out" ? "normal" : "reverse",
    });
    motion.onfinish = () => spark.remove();
  });
}

// --- rooms and people ---

export function showRooms(rooms, current, onPick) {
  const items = rooms.map((room) => {
    const button = element("button", "", element("span", "hash", room.name));
    button.type = "button";
    button.dataset.room = room.name;
    if (room === current) button.setAttribute("aria-current", "true");
    if (room.unread > 0) button.append(" ", element("span", "count", String(room.unread), element("span", "sr", " unread")));
    button.onclick = () => onPick(room.name);
    return element("li", "", button);
  });
  const focused = $("rooms").contains(document.activeElement) ? document.activeElement.dataset.room : null;
  $("rooms").replaceChildren(...items);
  if (focused) [...$("rooms").querySelectorAll("button")].find((button) => button.dataset.room === focused)?.focus();
  const unread = rooms.reduce((sum, room) => sum + room.unread, 0);
  $("unread-total").textContent = unread || "";
  $("leave").hidden = rooms.length < (current.rejected ? 1 : 2);
  $("leave").textContent = current.rejected ? "Back" : "Leave";
  document.title = `${unread ? `(${unread}) ` : ""}#${current.name} · Roomwire`;
}

function personItem(person) {
  const name = paint(element("b", "who", person.name), person.name);
  const item = element("li", person.quiet ? "quiet" : "", name);
  if (person.me) item.append(" ", element("span", "me", "you"));
  item.append(element("span", "how", person.quiet ? (person.me ? "cut off" : "no sign of life") : person.transport));
  item.dataset.node = person.node;
  return item;
}

/// `people` sorted with ourselves first; grouped by node, ours on top.
export function showPeople(people, ownNode) {
  const nodes = [...new Set(people.map((person) => person.node))].sort((a, b) => (b === ownNode) - (a === ownNode) || (a < b ? -1 : 1));
  const groups = nodes.map((node) => {
    const title = element("h3", "", "node ", element("code", "", node), node === ownNode ? element("span", "here", "yours") : "");
    return element("div", "node", title, element("ul", "", ...people.filter((person) => person.node === node).map(personItem)));
  });
  $("people").replaceChildren(...groups);
  $("people-count").textContent = $("people-total").textContent = String(people.length);
}

export function showTyping(names) {
  const who = names.length > 2 ? `${names.length} people` : names.join(" and ");
  $("typing").textContent = names.length ? `${who} ${names.length === 1 ? "is" : "are"} typing` : "";
}

// --- the log ---

const ACK = { waiting: "waiting", sent: "…", rejected: "rejected" };

function metaOf(entry) {
  const meta = element("span", "meta");
  if (entry.own) {
    const acked = entry.status === "acked";
    const here = acked && entry.nodeOnly;
    const text = here ? "this node" : acked ? milliseconds(entry.latency) : ACK[entry.status];
    const ack = element("span", `ack ${here ? "here" : entry.status}`, text);
    ack.title = here ? "Redis was away: other nodes receive this late, or not at all"
      : acked ? "Time until this page received the acknowledgement" : entry.reason ?? "";
    meta.append(ack);
  } else if (entry.via) {
    const via = element("code", "via", entry.via);
    via.title = `Came from node ${entry.via}`;
    meta.append(via);
  }
  meta.append(element("time", "", clock(entry.at)));
  return meta;
}

function entryItem(entry, previous) {
  if (entry.line) return element("li", entry.rejected ? "line rejected" : "line", element("p", "", entry.line), metaOf(entry));
  const item = element("li", entry.own ? "own" : "", paint(element("b", "who", entry.name), entry.name), element("p", "", entry.text), metaOf(entry));
  const followsOn = previous && !previous.line && previous.name === entry.name && previous.uid === entry.uid;
  item.classList.add(followsOn ? "more" : "first");
  item.dataset.id = entry.id;
  return item;
}

// The log stays at its end, also when its height changes, until the reader scrolls up.
let following = true;
$("log").addEventListener("scroll", () => {
  following = $("log").scrollHeight - $("log").scrollTop - $("log").clientHeight < 60;
  if (following) $("newer").hidden = true;
});
new ResizeObserver(() => following && scrollToEnd()).observe($("log"));

export function scrollToEnd() {
  following = true;
  $("log").scrollTop = $("log").scrollHeight;
  $("newer").hidden = true;
}

function intro(name, secondWindow) {
  const link = element("a", "", "a second window");
  link.href = secondWindow;
  link.target = "_blank";
  return element("li", "intro", element("p", "", "Open ", link, ", or this page on another node, and meet in ", element("strong", "", `#${name}`),
    ". Nothing is stored: you see what is said while you are here."));
}

export function showRoom(room, secondWindow) {
  $("title").textContent = room.name;
  $("title").classList.toggle("rejected", room.rejected === true);
  for (const field of $("composer").elements) field.disabled = room.rejected === true;
  $("text").placeholder = room.rejected ? "You are not in this room" : "Say something";
  const items = room.entries.map((entry, index) => entryItem(entry, room.entries[index - 1]));
  $("log").replaceChildren(...(room.rejected ? [] : [intro(room.name, secondWindow)]), ...items);
  scrollToEnd();
}

export function appendEntry(entry, previous) {
  const follow = following || entry.own;
  $("log").append(entryItem(entry, previous));
  if ($("log").children.length > 400) $("log").children[1].remove();
  if (follow) scrollToEnd();
  else $("newer").hidden = false;
}

export function updateEntry(entry) {
  const item = [...$("log").children].findLast((child) => child.dataset.id === entry.id);
  item?.querySelector(".meta").replaceWith(metaOf(entry));
}

// --- terminal ---

async function copy(button, code) {
  try {
    await navigator.clipboard.writeText(code);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select and copy";
  }
  button.addEventListener("blur", () => { button.textContent = "Copy"; }, { once: true });
}

export function showSnippets(list) {
  const open = new Set([...$("snippets").querySelectorAll("details[open]")].map((details) => details.dataset.id));
  $("snippets").replaceChildren(...list.map(({ id, title, about, code }) => {
    const button = element("button", "", "Copy");
    button.type = "button";
    button.setAttribute("aria-label", `Copy: ${title}`);
    button.onclick = () => copy(button, code);
    const pre = element("pre", "", element("code", "", code));
    pre.tabIndex = 0;
    const details = element("details", "", element("summary", "", title), element("p", "", about), element("div", "code", pre, button));
    details.dataset.id = id;
    details.open = open.has(id) || (open.size === 0 && id === "curl");
    return details;
  }));
}

export function showPane(name) {
  $("main").dataset.pane = name;
  for (const button of document.querySelectorAll(".panes button")) button.setAttribute("aria-pressed", String(button.dataset.pane === name));
  if (name === "chat") scrollToEnd();
}
