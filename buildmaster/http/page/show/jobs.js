// Jobs as rows of a table.

import { h } from "/page/show/dom.js";
import * as parts from "/page/show/parts.js";
import { isRed } from "/page/show/states.js";

export function place(job) {
  return [job.architecture || "any", job.series].filter(Boolean).join(" ");
}

// The place of a job in a matrix, without what is told of it elsewhere.
export function cellOf(job) {
  return (job.cell || "")
    .split(",")
    .filter((each) => !/^(arch|series)=/.test(each))
    .join(",");
}

export function jobTable(jobs, nothing) {
  return parts.table(
    "Jobs",
    [
      ["Job", "narrow"],
      ["State", "narrow"],
      ["Name", ""],
      ["For", "narrow"],
      ["Source", "source"],
      ["Owner", ""],
      ["Worker", "narrow"],
      ["Began", "narrow"],
      ["Took", "narrow number"],
      ["Reason", "wide"],
    ],
    jobs.map((job) => ({
      key: `job ${job.id}`,
      tone: isRed(job.result, job.classification) ? "red" : "",
      cells: [
        parts.jobLink(job.id),
        parts.badge(job.state, job.result, job.classification),
        [
          parts.name(job.name),
          cellOf(job) ? h("span", { class: "quiet" }, " ", parts.name(cellOf(job))) : null,
        ],
        place(job),
        [parts.project(job.repository), " ", parts.revision(job)],
        parts.name(job.owner || ""),
        job.worker ? parts.link("workers", job.worker) : null,
        parts.when(job.started_at),
        parts.took(job.started_at, job.finished_at),
        parts.name(job.reason || ""),
      ],
    })),
    nothing,
  );
}
