// Shows one view of the farm, named by the part of the address after '#', and keeps it
// up to date: after an event the document is asked for again (and rarely sent again).

import * as views from "/page/views.js";
import { element } from "/page/views.js";

const LOG_SHOWN = 2_000_000; // characters kept in the page
const PATIENCE = 200; // ms in which events are gathered into one reading

const KINDS = ["run.created", "run.done", "run.reopened", "job.waiting", "job.ready",
  "job.assigned", "job.running", "job.parked", "job.cancelling", "job.done", "job.retried",
  "pipeline-job.running", "pipeline-job.done", "worker.connected", "worker.unreachable",
  "worker.offline"];

const view = document.getElementById("view");
const live = document.getElementById("live");
let shown = 0; // counts views, so that a late answer does not replace a newer view
let source = null;
let timer = null;
let stopLog = null;

function place() {
  const [path, query] = (location.hash.slice(1) || "/").split("?");
  const parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  return { kind: parts[0] || "runs", id: parts[1], sub: parts[2], query: query ? `?${query}` : "" };
}

function address(at) {
  const known = ["runs", "jobs", "workers"].includes(at.kind) ? at.kind : "runs";
  return `/api/v1/${known}${at.id ? `/${encodeURIComponent(at.id)}` : at.query}`;
}

async function read(url) {
  const response = await fetch(url, { cache: "no-cache", headers: { Accept: "application/json" } });
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail || response.statusText);
  return body;
}

function draw(at, document_) {
  if (at.kind === "jobs") return at.id ? views.job(document_) : views.jobs(document_);
  if (at.kind === "workers") return views.workers(document_);
  return at.id ? views.run(document_) : views.runs(document_);
}

function put(nodes) {
  const key = document.activeElement && document.activeElement.getAttribute("data-key");
  view.replaceChildren(...[nodes].flat(Infinity).filter(Boolean));
  if (key) {
    const again = [...view.querySelectorAll("a[data-key]")].find((a) => a.getAttribute("data-key") === key);
    if (again) again.focus({ preventScroll: true });
  }
}

async function refresh() {
  const at = place();
  if (at.sub === "log") return;
  const number = shown;
  try {
    const found = await read(address(at));
    if (number !== shown) return;
    put(draw(at, found));
    if (!source) follow(found.cursor);
  } catch (error) {
    if (number !== shown) return;
    put(element("p", { class: "error" }, `This cannot be shown: ${error.message}`));
    if (!source) setTimeout(() => { if (!source) refresh(); }, 3000);
  }
}

function soon() {
  if (timer === null) timer = setTimeout(() => { timer = null; refresh(); }, PATIENCE);
}

function follow(cursor) {
  source = new EventSource(`/api/v1/events?since=${encodeURIComponent(cursor || "0-0")}`);
  for (const kind of KINDS) source.addEventListener(kind, soon);
  source.onmessage = soon;
  source.onopen = () => { live.textContent = "live"; live.className = "is-live"; soon(); };
  source.onerror = () => {
    live.textContent = "reconnecting";
    live.className = "";
    if (source && source.readyState === EventSource.CLOSED) { source = null; setTimeout(refresh, 3000); }
  };
}

async function showLog(at) {
  const number = shown;
  if (!source) live.textContent = "";
  const url = `/api/v1/jobs/${encodeURIComponent(at.id)}/log${at.query}`;
  const text = element("pre", { tabindex: "0", "aria-label": "log" });
  const end = element("p", { class: "quiet", role: "status" }, "reading …");
  put([element("h1", {}, `Log of job ${at.id}`), element("p", {},
    element("a", { href: `#/jobs/${encodeURIComponent(at.id)}` }, "Back to the job"), " ",
    element("a", { href: url }, "raw")), text, end]);
  const stop = new AbortController();
  stopLog = () => stop.abort();
  try {
    const response = await fetch(`${url}${at.query ? "&" : "?"}follow=1`, { signal: stop.signal });
    if (!response.ok) throw new Error((await response.json()).detail);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let length = 0;
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const atEnd = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
      // Colours and other control sequences mean nothing here.
      const plain = part.value.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, "");
      text.append(document.createTextNode(plain));
      length += plain.length;
      while (length > LOG_SHOWN && text.childNodes.length > 1) {
        length -= text.firstChild.length;
        text.firstChild.remove();
      }
      if (atEnd) text.scrollTop = text.scrollHeight;
    }
    end.textContent = "the log has ended";
  } catch (error) {
    if (number === shown) end.textContent = `the log broke off: ${error.message}`;
  }
}

function show() {
  shown += 1;
  if (stopLog) { stopLog(); stopLog = null; }
  const at = place();
  for (const each of document.querySelectorAll("nav a")) {
    const [, kind] = each.hash.split("/");
    if ((kind || "runs") === at.kind) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  document.title = at.id ? `${at.kind} ${at.id} · Headrace` : "Headrace";
  if (at.kind === "jobs" && at.id && at.sub === "log") showLog(at);
  else refresh();
}

function move(step) {
  const rows = [...view.querySelectorAll("tbody tr")].map((row) => row.querySelector("a")).filter(Boolean);
  const here = rows.findIndex((each) => each.closest("tr").contains(document.activeElement));
  const next = rows[Math.min(rows.length - 1, Math.max(0, here + step))];
  if (next) next.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "u") {
    const at = place();
    location.hash = at.sub ? `#/jobs/${encodeURIComponent(at.id)}` : at.id ? `#/${at.kind}` : "#/";
  }
});
addEventListener("hashchange", show);
setInterval(() => { if (view.querySelector(".busy")) soon(); }, 10_000); // running times
show();
