// Jobs as rows of a table.

import { h } from "/page/show/dom.js";
import * as parts from "/page/show/parts.js";
import { isRed } from "/page/show/states.js";

export function place(job) {
  return [job.architecture || "any", job.series].filter(Boolean).join(" ");
}

export function jobTable(jobs, nothing) {
  return parts.table("Jobs", [["Job", "narrow"], ["State", "narrow"], ["Name", ""], ["For", "narrow"], ["Source", ""],
    ["Owner", ""], ["Worker", "narrow"], ["Began", "narrow"], ["Took", "narrow number"], ["Reason", "wide"]],
  jobs.map((job) => ({ key: `job ${job.id}`, tone: isRed(job.result, job.classification) ? "red" : "", cells: [
    parts.jobLink(job.id), parts.badge(job.state, job.result, job.classification),
    [parts.name(job.name), job.cell ? h("span", { class: "quiet" }, " ", parts.name(job.cell)) : null],
    place(job), [parts.project(job.repository), " ", parts.revision(job)], parts.name(job.owner || ""),
    job.worker ? parts.link("workers", job.worker) : null,
    parts.when(job.started_at), parts.took(job.started_at, job.finished_at),
    parts.name(job.reason || "")] })), nothing);
}
