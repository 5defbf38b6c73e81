// Documents of the API -> DOM nodes. Text from the farm only ever becomes text.

const GOOD = new Set(["success", "reused", "skipped"]);
const VOID = new Set(["unrun", "cancelled"]);
const BUSY = new Set(["running", "assigned", "connected"]);

export function element(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined) {
      node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
  }
  return node;
}

function badge(state, result) {
  const word = result || state;
  let kind = "";
  if (result) kind = GOOD.has(result) ? "good" : VOID.has(result) ? "void" : "bad";
  else if (BUSY.has(state)) kind = state === "connected" ? "good" : "busy";
  else if (state === "unreachable") kind = "bad";
  else if (state === "offline") kind = "void";
  return element("span", { class: `badge ${kind}` }, word);
}

function time(text) {
  if (!text) return "";
  const shown = new Date(text).toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
  return element("time", { datetime: text, title: text }, shown);
}

function duration(from, to) {
  if (!from) return "";
  const seconds = Math.max(0, (to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000;
  if (seconds < 60) return `${seconds.toFixed(to ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function size(bytes) {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) { bytes /= 1024; unit += 1; }
  return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
}

function table(columns, rows, nothing) {
  if (!rows.length) return element("p", { class: "quiet" }, nothing);
  const head = columns.map(([name, kind]) => element("th", { scope: "col", class: kind }, name));
  const body = rows.map((cells) => element("tr", {}, cells.map(
    (cell, place) => element("td", { class: columns[place][1] }, cell))));
  return element("div", { class: "scroll" },
    element("table", {}, element("thead", {}, element("tr", {}, head)), element("tbody", {}, body)));
}

function facts(pairs) {
  return element("dl", {}, pairs.filter(([, value]) => value !== "" && value !== null
    && value !== undefined).map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

function revision(thing) {
  if (!thing.source_digest) return "";
  const short = thing.source_digest.replace(/^sha256:/, "").slice(0, 12);
  return element("code", { title: thing.source_digest }, short);
}

function link(place, id, text) {
  return element("a", { href: `#/${place}/${encodeURIComponent(id)}`, "data-key": `${place}/${id}` }, text);
}

function more(page, place) {
  if (!page.next) return null;
  const query = new URLSearchParams(location.hash.split("?")[1] || "");
  query.set("after", page.next);
  return element("p", {}, element("a", { href: `#/${place}?${query}` }, "Older ones"));
}

export function runs(page) {
  const rows = page.runs.map((run) => [
    link("runs", run.id, run.id),
    badge(run.state, run.result),
    [element("span", {}, run.repository || run.name || ""), " ", revision(run)],
    element("div", { class: "chips" }, run.jobs.map((job) => element("span", {},
      link("jobs", job.id, `${job.architecture || job.name} ${job.series}`), " ", badge(job.state, job.result)))),
    run.requester, time(run.created_at), duration(run.created_at, run.finished_at),
  ]);
  return [element("h1", {}, "Runs"), table([["Run", "narrow"], ["State", "narrow"], ["Source", ""],
    ["Jobs", ""], ["By", ""], ["Asked", "narrow"], ["Took", "narrow"]], rows, "Nothing was asked of this farm yet."),
    more(page, "runs")];
}

function jobTable(jobs, nothing) {
  const rows = jobs.map((job) => [
    link("jobs", job.id, job.id), badge(job.state, job.result),
    [job.name, job.cell ? ` (${job.cell})` : ""], `${job.architecture || "any"} ${job.series}`,
    job.worker ? link("workers", job.worker, job.worker) : "",
    time(job.started_at), duration(job.started_at, job.finished_at), job.reason,
  ]);
  return table([["Job", "narrow"], ["State", "narrow"], ["Name", ""], ["For", "narrow"], ["Worker", "narrow"],
    ["Began", "narrow"], ["Took", "narrow"], ["Reason", ""]], rows, nothing);
}

export function jobs(page) {
  return [element("h1", {}, "Jobs"), jobTable(page.jobs, "There are no jobs."), more(page, "jobs")];
}

export function run(run) {
  return [
    element("h1", {}, `Run ${run.id} `, badge(run.state, run.result)),
    facts([["Name", run.name], ["Source", run.repository || ""], ["Revision", revision(run)], ["Refs", run.refs.join(", ")],
      ["Asked by", run.requester], ["Asked", time(run.created_at)], ["Ended", time(run.finished_at)],
      ["Took", duration(run.created_at, run.finished_at)]]),
    element("h2", {}, "Jobs"), jobTable(run.jobs, "This run has no jobs."),
    run.job_count > run.jobs.length
      ? element("p", {}, element("a", { href: `#/jobs?run=${Number(run.id)}` }, `All ${run.job_count} jobs`)) : null,
    run.skipped.length ? [element("h2", {}, "Left out"), table([["Architecture", "narrow"], ["Series", "narrow"],
      ["Jobs", ""], ["Reason", ""]], run.skipped.map((each) => [each.architecture, each.series || "",
      (each.jobs || []).join(", "), each.reason]), "")] : null,
    run.notes.length ? [element("h2", {}, "Notes"), element("ul", {}, run.notes.map((note) =>
      element("li", {}, typeof note === "string" ? note : JSON.stringify(note))))] : null,
  ];
}

function pipelineJobs(job) {
  const rows = job.pipeline_jobs.map((each) => [
    String(each.stage + 1), badge(each.state, each.result),
    element("a", { href: `#/jobs/${Number(job.id)}/log?attempt=${Number(job.attempt)}&name=${encodeURIComponent(each.name)}&index=${Number(each.index)}` }, each.title),
    each.series, duration(each.started_at, each.finished_at),
    [each.reason, each.kept_from ? ` (kept from attempt ${each.kept_from})` : ""],
    element("div", {}, each.artifacts.map((file) => element("div", {},
      element("a", { href: `/api/v1/artifacts/${encodeURIComponent(file.sha256)}`, download: "" }, file.path),
      ` ${size(file.size)}`))),
  ]);
  return table([["Stage", "narrow"], ["State", "narrow"], ["Pipeline job", ""], ["Series", "narrow"],
    ["Took", "narrow"], ["Reason", ""], ["Files", ""]], rows, "The current attempt has not begun.");
}

export function job(job) {
  const log = `#/jobs/${Number(job.id)}/log`;
  return [
    element("h1", {}, `Job ${job.id}: ${job.name} `, badge(job.state, job.result)),
    job.reason ? element("p", {}, job.reason) : null,
    facts([["For", `${job.architecture || "any"} ${job.series}, ${job.isolation}`], ["Cell", job.cell],
      ["Runs", job.runs.length ? job.runs.map((id) => [link("runs", id, id), " "]) : ""],
      ["Performs", job.performs || ""], ["Arguments", job.arguments ? JSON.stringify(job.arguments) : ""],
      ["Source", job.repository || ""], ["Revision", revision(job)],
      ["Root cause", job.root_cause ? link("jobs", job.root_cause, `job ${job.root_cause}`) : ""],
      ["Worker", job.worker ? link("workers", job.worker, job.worker) : ""],
      ["Attempt", job.attempt], ["Began", time(job.started_at)], ["Took", duration(job.started_at, job.finished_at)],
      ["Log", [element("a", { href: log }, "read"), " ",
        element("a", { href: `/api/v1/jobs/${Number(job.id)}/log` }, "raw")]]]),
    job.pipeline_jobs.length ? [element("h2", {}, "Pipeline jobs"), pipelineJobs(job)] : null,
    edges("Needs", job.needs), edges("Wanted by", job.wanted_by),
    element("h2", {}, "Attempts"), table([["Attempt", "narrow"], ["Result", "narrow"], ["Worker", "narrow"],
      ["Queued", "narrow"], ["Took", "narrow"], ["Log", "narrow"], ["Reason", ""]], job.attempts.map((each) => [
      each.number, each.result ? badge("", each.result) : "", each.worker || "", time(each.queued_at),
      duration(each.started_at, each.finished_at),
      element("a", { href: `${log}?attempt=${Number(each.number)}` }, size(each.log_length)), each.reason,
    ]), "There was none yet."),
  ];
}

function edges(title, list) {
  if (!list.length) return null;
  return [element("h2", {}, title), element("ul", {}, list.map((edge) => element("li", {},
    link("jobs", edge.job, `job ${edge.job}`), edge.stage === null ? "" : `, stage ${edge.stage + 1}`,
    `, ${edge.require}`, edge.resolved_at ? ", resolved" : "")))];
}

function workerRow(worker) {
  const offers = worker.offers.map((offer) => `${offer.isolation} ${offer.architecture}`).join(", ");
  return [link("workers", worker.name, worker.name), badge(worker.state), offers,
    `${worker.running.length} of ${worker.slots}`,
    worker.running.map((each) => [link("jobs", each.job, each.job), " "]), worker.software, time(worker.last_heard_at)];
}

export function workers(page) {
  const list = page.workers || [page];
  return [element("h1", {}, page.workers ? "Workers" : `Worker ${page.name}`),
    table([["Worker", ""], ["State", "narrow"], ["Offers", ""], ["Busy", "narrow"], ["Runs", ""],
      ["Software", ""], ["Last heard", "narrow"]], list.map(workerRow), "No worker has ever connected."),
    page.next ? element("p", {}, element("a", { href: `#/workers${new URL(page.next, location.href).search}` }, "More")) : null];
}
