// Asks the farm: documents that are known are not sent again, refusals become `Refused`.

import { authorization } from "/page/farm/token.js";

const REMEMBERED = 40;
const known = new Map(); // path -> {etag, document}

// What the farm said no to, in its own sentence.
export class Refused extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `the farm answered ${status}`);
    this.status = status;
    this.code = document.code || "";
    this.problems = document.problems || [];
  }
}

// The farm did not answer.
export class Away extends Error {
  constructor() {
    super(navigator.onLine ? "the farm does not answer" : "this machine is offline");
    this.status = 0;
    this.code = "away";
  }
}

async function ask(path, options) {
  try {
    return await fetch(path, { cache: "no-store", credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Away();
  }
}

async function refusal(response) {
  let told = {};
  try {
    told = await response.json();
  } catch {
    /* not a problem document: perhaps a proxy's */
  }
  return new Refused(response.status, told);
}

// The document at `path`: the very same object as before if nothing changed.
export async function read(path, signal) {
  const before = known.get(path);
  const headers = { Accept: "application/json", ...authorization() };
  if (before) headers["If-None-Match"] = before.etag;
  const response = await ask(path, { headers, signal });
  if (response.status === 304 && before) return before.document;
  if (!response.ok) throw await refusal(response);
  const document = await response.json();
  const etag = response.headers.get("ETag");
  known.delete(path);
  if (etag) known.set(path, { etag, document });
  if (known.size > REMEMBERED) known.delete(known.keys().next().value);
  return document;
}

// The same, but null where this farm has nothing of the kind.
export async function perhaps(path, signal) {
  try {
    return await read(path, signal);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

// Ask for a change; the answer's document.
export async function write(path, body = null) {
  const headers = { Accept: "application/json", ...authorization() };
  if (body !== null) headers["Content-Type"] = "application/json";
  const response = await ask(path, {
    method: "POST",
    headers,
    body: body === null ? null : JSON.stringify(body),
  });
  if (!response.ok) throw await refusal(response);
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

// An answer to be read bit by bit: logs, and what is followed.
export async function open(path, headers, signal) {
  const response = await ask(path, { headers: { ...authorization(), ...headers }, signal });
  if (!response.ok) throw await refusal(response);
  return response;
}

// Forget all answers: somebody else asks from now on.
export function forget() {
  known.clear();
}
