// Which bars stand in which lane of a timeline, so that none covers another. Pure.

// Workers with bars (as the API gives them) -> [{name, top, lanes, bars: [{…, lane}]}].
export function lanesOf(timeline) {
  const workers = timeline.workers.map((worker) => ({
    ...worker,
    bars: [],
    lanes: 1,
    top: 0,
  }));
  for (const [
    worker,
    job,
    attempt,
    name,
    started,
    finished,
    result,
    state,
    slots,
  ] of timeline.bars) {
    if (!workers[worker]) continue;
    workers[worker].bars.push({
      job,
      attempt,
      name: timeline.names[name],
      started,
      finished,
      result,
      state,
      slots,
    });
  }
  let top = 0;
  for (const worker of workers) {
    const free = []; // when each lane is free again
    worker.bars.sort((one, other) => one.started - other.started || one.job - other.job);
    for (const bar of worker.bars) {
      let lane = free.findIndex((end) => end <= bar.started);
      if (lane < 0) {
        lane = free.length;
        free.push(0);
      }
      free[lane] = bar.finished ?? Infinity;
      bar.lane = lane;
    }
    worker.lanes = Math.max(1, free.length);
    worker.top = top;
    top += worker.lanes;
  }
  return { workers, lanes: top };
}

// Round times for the marks of an axis: about `count` of them, in microseconds.
export function ticks(from, to, count) {
  const steps = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
    86400, 172800, 604800,
  ];
  const wanted = (to - from) / 1e6 / Math.max(1, count);
  const step = (steps.find((each) => each >= wanted) || steps[steps.length - 1]) * 1e6;
  const zone = new Date(from / 1000).getTimezoneOffset() * -6e7; // hours of here
  const marks = [];
  for (let at = Math.ceil((from + zone) / step) * step - zone; at <= to; at += step)
    marks.push(at);
  return { step, marks };
}
