// Follows the farm: takes up where it was after every break, and says how it stands.
//
// States: connecting, live, reconnecting, late (the line stands, and nothing comes),
// offline, refused. The farm says something every 15 s at least, so silence means a dead
// line.

import { open } from "/page/farm/client.js";
import { Frames } from "/page/farm/frames.js";

const SILENCE = 40_000; // ms until a line counts as dead
const LATE = 25_000; // ms until that is shown
const SLOWEST = 10_000; // ms between two tries

export class Live {
  #number = 0; // counts followings: what an older one hears is nobody's business
  #abort = null;
  #wake = null;

  // `tell` gets events and snapshots, `state` gets words, `lost` hears that the place is
  // unknown.
  constructor({ tell, state, lost }) {
    this.tell = tell;
    this.state = state;
    this.lost = lost;
    addEventListener("online", () => this.#again());
    addEventListener("offline", () => this.state("offline"));
  }

  // Follow the answer at `path`; with `since` without a snapshot.
  follow(path, since = null) {
    this.stop();
    const number = this.#number;
    this.state("connecting");
    this.#run(number, path, since);
  }

  stop() {
    this.#number += 1;
    this.#again();
    if (this.#abort) this.#abort.abort();
  }

  #again() {
    if (this.#wake) this.#wake();
  }

  async #run(number, path, since) {
    let last = since;
    let wait = 500;
    while (number === this.#number) {
      const abort = new AbortController();
      this.#abort = abort;
      try {
        const asked = last === null ? {} : { "Last-Event-ID": last };
        const response = await open(
          path,
          { Accept: "text/event-stream", ...asked },
          abort.signal,
        );
        if (number !== this.#number) return abort.abort();
        this.state("live");
        wait = 500;
        last = await this.#listen(number, response, abort, last);
      } catch (error) {
        if (number !== this.#number) return undefined;
        if (error.code === "bad_event_id") return this.lost();
        if ([401, 403, 404].includes(error.status)) return this.state("refused");
        last = error.last ?? last;
      }
      if (number !== this.#number) return undefined;
      this.state(navigator.onLine ? "reconnecting" : "offline");
      await this.#pause(wait);
      wait = Math.min(SLOWEST, wait * 2);
    }
    return undefined;
  }

  #pause(wait) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    }).then(() => {
      this.#wake = null;
    });
  }

  async #listen(number, response, abort, since) {
    let last = since;
    let heard = performance.now();
    let isLate = false;
    const watch = setInterval(() => {
      const silent = performance.now() - heard;
      if (silent > LATE && !isLate) {
        isLate = true;
        this.state("late");
      }
      if (silent > SILENCE) abort.abort();
    }, 5000);
    const frames = new Frames();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    try {
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        if (number !== this.#number) return last;
        heard = performance.now();
        if (isLate) {
          isLate = false;
          this.state("live");
        }
        const news = frames.take(part.value);
        for (const each of news) if (each.id) last = each.id;
        if (news.length) this.tell(news.map(read).filter(Boolean));
      }
      return last;
    } catch (error) {
      error.last = last; // a read that broke does not lose the place
      throw error;
    } finally {
      clearInterval(watch);
    }
  }
}

function read(frame) {
  if (frame.kind === "too-slow" || frame.kind === "refused") return null;
  try {
    return { kind: frame.kind, document: JSON.parse(frame.data) };
  } catch {
    return null;
  }
}
