// Numbers, times and sizes as people say them. Pure, but for the clock in `ago`.

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"];

// Seconds as two units at most: 4.2 s, 3 min 20 s, 2 h 5 min, 3 d 4 h.
export function span(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "";
  const whole = Math.max(0, seconds);
  if (whole < 0.0005) return "0 s";
  if (whole < 10) return `${whole.toFixed(whole < 1 ? 2 : 1)} s`;
  if (whole < 60) return `${Math.floor(whole)} s`;
  if (whole < 3600) return pair(whole, 60, "min", 1, "s");
  if (whole < 86400) return pair(whole, 3600, "h", 60, "min");
  return pair(whole, 86400, "d", 3600, "h");
}

function pair(seconds, large, name, small, less) {
  const first = Math.floor(seconds / large);
  const second = Math.floor((seconds - first * large) / small);
  return second ? `${first} ${name} ${second} ${less}` : `${first} ${name}`;
}

// One unit, for narrow places: 4s, 3m, 2h, 3d.
export function shortSpan(seconds) {
  const whole = Math.max(0, seconds);
  if (whole < 99.5) return `${Math.round(whole)}s`;
  if (whole < 5970) return `${Math.round(whole / 60)}m`;
  if (whole < 172800) return `${Math.round(whole / 3600)}h`;
  return `${Math.round(whole / 86400)}d`;
}

export function secondsBetween(from, to) {
  if (!from) return null;
  return ((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000;
}

// How far a moment is from now: "3 min ago", "in 2 h".
export function ago(moment, now = Date.now()) {
  const seconds = (now - Date.parse(moment)) / 1000;
  if (Math.abs(seconds) < 1.5) return "now";
  const told = oneUnit(Math.abs(seconds));
  return seconds > 0 ? `${told} ago` : `in ${told}`;
}

function oneUnit(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

// The moment itself, for titles: here, and in UTC.
export function exactly(moment) {
  const here = new Date(moment).toLocaleString("en-GB", {
    dateStyle: "medium",
    timeStyle: "medium",
  });
  return `${here} (${String(moment).replace(/\.[0-9]+Z$/, "Z")})`;
}

export function size(bytes) {
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit ? value.toFixed(1) : value} ${UNITS[unit]}`;
}

export const number = (value) => Number(value).toLocaleString("en-US");

export function count(amount, one, many = `${one}s`) {
  return `${number(amount)} ${amount === 1 ? one : many}`;
}

// The end of a repository's address, by which people know it.
export function project(repository) {
  if (!repository) return "";
  const parts = String(repository)
    .replace(/\.git$/, "")
    .split("/")
    .filter(Boolean);
  return parts.slice(-1)[0] || String(repository);
}

export function digest(text) {
  return text
    ? String(text)
        .replace(/^sha256:/, "")
        .slice(0, 10)
    : "";
}
