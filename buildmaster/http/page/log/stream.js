// The text of a log as it comes, also while it is written; a broken line is taken up again.

import { open } from "/page/farm/client.js";
import { count, size } from "/page/show/words.js";

const MOST = 16 * 1024 * 1024; // bytes of a log that is over; of a longer one the end is read
const SLOWEST = 10_000; // ms between two tries

export class LogStream {
  #abort = new AbortController();
  #received = 0;
  #decoder = new TextDecoder();
  #tries = 0;

  // `length` in bytes of a log that is over, or null.
  constructor(path, length, { text, note, left, end }) {
    this.path = path;
    this.length = length;
    this.tell = { text, note, left, end };
  }

  async start() {
    if (this.length !== null && this.length > MOST) this.tell.left(this.length - MOST);
    for (let wait = 500; !this.#abort.signal.aborted; wait = Math.min(SLOWEST, 2 * wait)) {
      try {
        await this.#read();
        this.tell.text(this.#decoder.decode());
        this.tell.note(size(this.#received));
        this.tell.end();
        return;
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        if (error.status >= 400 && error.status < 500) {
          this.tell.note(error.status === 404 ? "there is no log yet" : error.message);
          if (error.status !== 404) return;
        } else {
          this.#tries += 1;
          this.tell.note(`the log broke off; trying again (${count(this.#tries, "time")})`);
        }
        await new Promise((resolve) => {
          setTimeout(resolve, wait);
        });
      }
    }
  }

  stop() {
    this.#abort.abort();
  }

  async #read() {
    const isLong = this.length !== null && this.length > MOST;
    const headers = isLong ? { Range: `bytes=${this.length - MOST}-` } : {};
    const path = isLong
      ? this.path
      : `${this.path}${this.path.includes("?") ? "&" : "?"}follow=1`;
    const response = await open(
      path,
      { Accept: "text/plain", ...headers },
      this.#abort.signal,
    );
    this.tell.note(this.length === null ? "following" : "reading …");
    const reader = response.body.getReader();
    let skip = this.#received; // what was shown before the line broke
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const given = part.value.subarray(Math.min(skip, part.value.length));
      skip -= part.value.length - given.length;
      this.#received += given.length;
      if (given.length) this.tell.text(this.#decoder.decode(given, { stream: true }));
    }
  }
}
