// The lines of a log that is still written: kept within bounds, found by text, folded.
// Pure.

import { Ansi } from "/page/log/ansi.js";

const MOST_LINES = 300_000;
const MOST_CHARACTERS = 24_000_000;
const TITLE = /^== (.{1,300}?:[0-9]{1,9}): /;

export class Lines {
  #ansi = new Ansi();
  #characters = 0;
  lines = []; // those that are kept
  first = 1; // the number of the first that is kept
  sections = []; // {title, line}: where each pipeline job begins
  folded = new Set(); // titles
  isOver = false;
  #titles;
  #shown = null;

  // Sections begin at lines that name one of `titles`.
  constructor(titles, first = 1) {
    this.#titles = new Set(titles);
    this.first = first;
  }

  add(text) {
    for (const line of this.#ansi.feed(text)) {
      this.lines.push(line);
      this.#characters += line.text.length + 40;
      const found = TITLE.exec(line.text.slice(0, 400));
      if (
        found &&
        this.#titles.has(found[1]) &&
        !this.sections.some((each) => each.title === found[1])
      ) {
        this.sections.push({ title: found[1], line: this.first + this.lines.length - 1 });
      }
    }
    if (this.lines.length > MOST_LINES || this.#characters > MOST_CHARACTERS)
      this.#forget();
    this.#shown = null;
  }

  // Nothing more comes: what stands there last is a line, too.
  end() {
    if (this.#ansi.rest.text) this.add("\n");
    this.isOver = true;
    this.#shown = null;
  }

  #forget() {
    let dropped = 0;
    const most = this.lines.length - 1;
    while (
      dropped < most &&
      (this.lines.length - dropped > MOST_LINES * 0.9 ||
        this.#characters > MOST_CHARACTERS * 0.9)
    ) {
      this.#characters -= this.lines[dropped].text.length + 40;
      dropped += 1;
    }
    this.lines.splice(0, dropped);
    this.first += dropped;
  }

  get last() {
    return this.first + this.lines.length - 1;
  }

  line(number) {
    return this.lines[number - this.first];
  }

  // The line that is not complete yet, if anything of it is there.
  get rest() {
    const line = this.#ansi.rest;
    return line.text ? line : null;
  }

  sectionOf(number) {
    let found = null;
    for (const each of this.sections) if (each.line <= number) found = each;
    return found;
  }

  // Numbers of the lines that are shown: of what is folded only the first.
  get shown() {
    if (this.#shown) return this.#shown;
    const numbers = [];
    const starts = new Map(this.sections.map((each) => [each.line, each.title]));
    let hidden = false;
    for (let number = this.first; number <= this.last; number += 1) {
      const title = starts.get(number);
      if (title !== undefined) hidden = this.folded.has(title);
      if (!hidden || title !== undefined) numbers.push(number);
    }
    this.#shown = numbers;
    return numbers;
  }

  fold(title, isFolded) {
    if (isFolded) this.folded.add(title);
    else this.folded.delete(title);
    this.#shown = null;
  }

  // Numbers of the lines that have `text`, whatever the case.
  find(text) {
    const wanted = text.toLowerCase();
    if (!wanted) return [];
    const found = [];
    this.lines.forEach((line, place) => {
      if (line.text.toLowerCase().includes(wanted)) found.push(this.first + place);
    });
    return found;
  }
}
