// Shows the page that the address names, and keeps it true: after an event it asks again
// for the documents that the page is made of, and changes only what is different.

import { placeOf } from "/page/farm/address.js";
import { perhaps, read } from "/page/farm/client.js";
import { Live } from "/page/farm/live.js";
import { learn } from "/page/farm/me.js";
import { account, projects, signIn } from "/page/show/account.js";
import { start as startClock } from "/page/show/clock.js";
import { become, h } from "/page/show/dom.js";
import { ownKeys } from "/page/show/keys.js";
import { problem } from "/page/show/parts.js";

const GATHERED = 150; // ms in which events are gathered into one reading
const SELDOM = 1000; // ms at least between two readings
const AGAIN = 3000; // ms until a farm that did not answer is asked again
const POLLED = 15_000; // ms between two readings of a page that may not be followed

// Each is loaded when it is first shown. The second word is what the navigation marks.
const PAGES = {
  overview: "overview",
  grid: "grid",
  runs: "runs",
  jobs: "jobs",
  queue: "queue",
  timeline: "timeline",
  workers: "workers",
  workflows: "workflows",
  schedules: "schedules",
  history: "history",
  rules: "rules",
  audit: "audit",
};

const view = document.getElementById("view");
const shownState = document.getElementById("live");

class Shown {
  constructor(at, page) {
    this.at = at;
    this.page = page;
    this.documents = {};
    this.isOver = false;
    this.reading = false;
    this.wanted = false;
    this.readAt = 0;
    this.timer = null;
    this.abort = new AbortController();
  }

  // Ask for all documents of the page and draw them, also while some are still to come.
  async read() {
    if (this.isOver) return;
    if (this.reading) {
      this.wanted = true;
      return;
    }
    this.reading = true;
    this.readAt = performance.now();
    try {
      const asked = Object.entries(this.page.asks()).filter(([name]) => !this.comes(name));
      await Promise.all(asked.map(([name, path]) => this.ask(name, path)));
      this.failed = null;
      this.follow();
    } catch (error) {
      if (this.isOver || error.name === "AbortError") return;
      this.failed = error;
      if (error.status === 401) return signIn(view, again);
      this.draw();
      if (![400, 403, 404].includes(error.status)) this.later(AGAIN);
      else if (this.page.follows) this.follow();
    } finally {
      this.reading = false;
    }
    if (this.wanted) {
      this.wanted = false;
      this.later();
    }
    if (this.isRefused) this.later(POLLED);
  }

  // Whether a document comes by following: at first as a snapshot, or always.
  comes(name) {
    return (
      this.page.snapshot === name &&
      !this.isRefused &&
      (!this.documents[name] || this.page.isRenewed)
    );
  }

  // It may be looked at, but not followed: then it is asked for now and then.
  refused() {
    this.isRefused = true;
    this.later(Object.values(this.documents).some(Boolean) ? POLLED : 0);
  }

  async ask(name, path) {
    const isOptional = (this.page.optional || []).includes(name);
    const found = await (isOptional ? perhaps : read)(path, this.abort.signal);
    if (this.isOver) return;
    const isNew = this.documents[name] !== found;
    this.documents[name] = found;
    if (isNew) this.draw();
  }

  draw() {
    if (this.isOver) return;
    const failed = this.failed ? [problem(this.failed)] : [];
    if (this.failed && this.failed.code === "outside_project") failed.push(projects());
    const isKnown = Object.values(this.documents).some(Boolean);
    let shown = [];
    try {
      shown =
        isKnown || !this.failed
          ? this.page.draw(this.documents)
          : [h("h1", {}, this.page.title())];
    } catch (error) {
      console.error(error);
      failed.push(problem(error));
    }
    become(view, failed, shown);
    view.removeAttribute("aria-busy");
    document.title = `${this.page.title(this.documents)} · Headrace`;
  }

  follow() {
    if (this.followed || !this.page.follows) return;
    const path = this.page.follows(this.documents);
    if (!path) return;
    this.followed = true;
    const first = Object.values(this.documents).find((each) => each && each.cursor);
    live.follow(path, this.page.snapshot ? null : first ? first.cursor : null);
  }

  // Something happened: perhaps the page knows itself what to change.
  happened(news) {
    const events = [];
    for (const each of news) {
      if (each.kind === "snapshot") {
        if (!this.page.snapshot) continue;
        // What else is shown may be others than before, too.
        if (this.documents[this.page.snapshot]) this.later();
        this.documents[this.page.snapshot] = each.document;
        this.draw();
      } else events.push(each.document);
    }
    if (!events.length) return;
    if (this.page.happened && this.page.happened(events)) return;
    this.later();
  }

  later(wait = GATHERED) {
    if (this.isOver || this.timer !== null) return;
    const soonest = Math.max(wait, this.readAt + SELDOM - performance.now());
    this.timer = setTimeout(() => {
      this.timer = null;
      this.read();
    }, soonest);
  }

  close() {
    this.isOver = true;
    clearTimeout(this.timer);
    this.abort.abort();
    if (this.page.close) this.page.close();
  }
}

let shown = null;
let walked = 0; // addresses gone to: what an earlier one brought late is not shown
const live = new Live({
  tell: (news) => {
    if (shown) shown.happened(news);
  },
  state: (word) => {
    document.documentElement.dataset.live = word;
    shownState.className = `is-${word}`;
    if (shownState.textContent !== word) shownState.textContent = word;
    if (word === "refused" && shown) shown.refused();
    // What was missed is told on coming back; what is not an event is asked for.
    if (word === "live" && shown && shown.failed) shown.later();
  },
  lost: () => {
    if (shown) {
      shown.followed = false;
      shown.documents = {};
      shown.read();
    }
  },
});

function mark(kind) {
  for (const each of document.querySelectorAll("nav a")) {
    const [, named] = each.hash.split("/");
    if ((named || "overview") === kind) {
      each.setAttribute("aria-current", "page");
      each.parentNode.scrollLeft = each.offsetLeft - each.parentNode.offsetLeft - 40;
    } else each.removeAttribute("aria-current");
  }
}

async function go() {
  walked += 1;
  const number = walked;
  const at = placeOf(location.hash);
  if (
    shown &&
    shown.page.moved &&
    shown.at.kind === at.kind &&
    shown.at.id === at.id &&
    shown.page.moved(at)
  ) {
    shown.at = at;
    return;
  }
  const before = shown;
  if (before) before.close();
  live.stop();
  shown = null;
  mark(at.kind);
  const file = PAGES[at.kind];
  if (!file) {
    document.title = "Nothing here · Headrace";
    ownKeys({});
    become(
      view,
      h("h1", {}, "There is nothing at this address"),
      h("p", {}, h("a", { href: "#/" }, "To the overview")),
    );
    return;
  }
  view.setAttribute("aria-busy", "true");
  const { create } = await import(`/page/pages/${file}.js`);
  if (number !== walked) return; // gone on meanwhile
  const next = new Shown(at, null);
  next.page = create(at, {
    again: () => next.later(0),
    draw: () => next.draw(),
    documents: next.documents,
    signal: next.abort.signal,
  });
  shown = next;
  if (before && before.at.kind !== at.kind) {
    view.scrollTop = 0;
    scrollTo(0, 0);
  }
  ownKeys(next.page.keys);
  next.draw();
  if (next.page.snapshot) next.follow();
  next.read();
}

// Read everything anew, as somebody else perhaps.
function again() {
  account(again);
  go();
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the part after '#' names what is shown
  view.focus();
});
addEventListener("hashchange", go);
startClock();
go();
learn()
  .catch(() => null)
  .then(() => {
    account(again);
    if (shown) shown.draw();
  });
