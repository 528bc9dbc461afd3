// Names of people on the demo page, so that no two have the same. Pure; called by demo.js.

export const NAME_LENGTH = 24;
const NAMES = ["Ada", "Claude", "Edsger", "Elizabeth", "Frances", "Grace", "Hedy", "Jean", "Karen", "Radia", "Samuel", "Vint"];

/// A name for somebody new, free while there are free ones.
export function someName(taken) {
  const free = NAMES.filter((name) => !taken.has(name));
  const choice = free.length > 0 ? free : NAMES;
  return choice[Math.floor(Math.random() * choice.length)];
}

/// `name` itself, or with the first number that nobody has.
export function freeName(name, taken) {
  for (let number = 1; ; number += 1) {
    const suffix = number === 1 ? "" : ` ${number}`;
    const free = name.slice(0, NAME_LENGTH - suffix.length) + suffix;
    if (!taken.has(free)) return free;
  }
}

/// Whether I have to take another name because of `other`: the one who had it first keeps it. Both pages compare the
/// same two values, so exactly one of them gives way.
export function mustYield(me, other) {
  const wasFirst = other.since === me.since ? other.uid < me.uid : other.since < me.since;
  return other.name === me.name && wasFirst;
}
