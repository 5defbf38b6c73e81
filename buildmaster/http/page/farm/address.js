// What the part of the address after '#' names: a view, what it shows, and how. Pure.
//
//   #/jobs/12/log/L3-L9?attempt=1
//   kind "jobs", id "12", rest ["log", "L3-L9"], query {attempt: "1"}

// The place that a hash names; "overview" without one.
export function placeOf(hash) {
  const [path, query] = hash.replace(/^#/, "").split("?");
  const parts = path.split("/").filter(Boolean).map(decoded);
  return {
    kind: parts[0] || "overview",
    id: parts[1] ?? null,
    rest: parts.slice(2),
    query: Object.fromEntries(new URLSearchParams(query || "")),
  };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

// The hash of a place; queries that are empty are left out.
export function href(kind, id = null, query = {}, ...rest) {
  const parts = [kind === "overview" ? null : kind, id, ...rest]
    .filter((part) => part !== null && part !== undefined && part !== "")
    .map((part) => encodeURIComponent(part));
  return `#/${parts.join("/")}${queryOf(query)}`;
}

export function queryOf(query) {
  const given = Object.entries(query).filter(
    ([, value]) => value !== null && value !== undefined && value !== "",
  );
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

// The hash of the same place with another query.
export function changed(at, query) {
  return href(
    at.kind,
    at.id,
    { ...at.query, ...query, after: query.after ?? null },
    ...at.rest,
  );
}

// Of `query` only what a method of the API knows.
export function chosen(query, ...names) {
  return Object.fromEntries(
    names.filter((name) => query[name]).map((name) => [name, query[name]]),
  );
}

export const kindOfPath = (text) => (String(text).startsWith("/api/") ? text : null);

export const part = (text) => encodeURIComponent(text);
