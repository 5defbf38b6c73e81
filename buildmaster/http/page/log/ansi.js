// The bytes of a terminal as lines of styled text. Pure: nothing it reads can do anything.
//
// Understood: SGR (colours of 16, 256 and 16 million, bold, faint, italic, underline,
// inverse, struck out), carriage return, backspace, erasing in a line. All other control
// sequences are dropped, also those of links and titles (OSC); what would change the
// direction of writing, or is a control character, is made visible.

import { unhidden } from "/page/show/plain.js";

const LONGEST_SEQUENCE = 4096; // characters after which one that never ends is text
const MOST_SPANS = 5000; // of a line; what follows has the style of the last
const LONGEST_REWRITTEN = 20_000; // characters of a line that may be written over in part
const PLAIN = Object.freeze({});
const TEXT_END = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/g;

export class Ansi {
  #held = ""; // the beginning of a sequence that is not complete yet
  #style = PLAIN;
  #line = new Line();

  // Lines that end within `text`, each {text, spans}; a span is [first character, style].
  feed(text) {
    const lines = [];
    const all = this.#held + text;
    this.#held = "";
    let at = 0;
    while (at < all.length) {
      TEXT_END.lastIndex = at;
      const found = TEXT_END.exec(all);
      const end = found ? found.index : all.length;
      if (end > at) this.#line.write(all.slice(at, end), this.#style);
      if (!found) break;
      const character = found[0];
      if (character === "\n") {
        lines.push(this.#line.finished());
        this.#line = new Line();
        at = end + 1;
      } else if (character === "\r") {
        if (end + 1 === all.length) {
          // perhaps half of a line's end
          this.#held = "\r";
          break;
        }
        if (all[end + 1] !== "\n") this.#line.toStart();
        at = end + 1;
      } else if (
        character === "\u001b" ||
        character === "\u009b" ||
        character === "\u009d"
      ) {
        const next = this.#sequence(all, end);
        if (next === null) {
          this.#held = all.slice(end);
          break;
        }
        at = next;
      } else {
        if (character === "\b") this.#line.back();
        else this.#line.write(visible(character), this.#style);
        at = end + 1;
      }
    }
    return lines;
  }

  // The line that has not ended yet.
  get rest() {
    return this.#line.finished();
  }

  // Where the sequence that begins at `start` ends; null if that is not here yet.
  #sequence(all, start) {
    const kind =
      all[start] === "\u001b" ? all[start + 1] : all[start] === "\u009b" ? "[" : "]";
    const body = all[start] === "\u001b" ? start + 2 : start + 1;
    if (kind === undefined) return null;
    const isTooLong = all.length - start > LONGEST_SEQUENCE;
    if (kind === "[") {
      let end = body;
      while (
        end < all.length &&
        end - body < LONGEST_SEQUENCE &&
        /[\u0020-\u003f]/.test(all[end])
      )
        end += 1;
      if (end >= all.length) return isTooLong ? body : null;
      if (all[end] === "m") this.#style = styled(this.#style, all.slice(body, end));
      else if (all[end] === "K") this.#line.erase(all.slice(body, end));
      return /[@-~]/.test(all[end]) ? end + 1 : end;
    }
    if ("]PX^_".includes(kind)) {
      for (let end = body; end < all.length && end - body < LONGEST_SEQUENCE; end += 1) {
        if (all[end] === "\u0007" || all[end] === "\u009c") return end + 1;
        if (all[end] === "\u001b" && all[end + 1] === "\\") return end + 2;
        if (all[end] === "\n") return end; // a line's end ends it, or a log would vanish
      }
      return isTooLong ? body : null;
    }
    if (/[\u0020-\u002f]/.test(kind)) return body + 1 > all.length ? null : body + 1;
    return body;
  }
}

// Control characters as pictures of themselves, or as a sign that there was one.
function visible(character) {
  const code = character.charCodeAt(0);
  if (code < 32) return String.fromCharCode(0x2400 + code);
  return code === 127 ? "\u2421" : "\ufffd";
}

class Line {
  text = "";
  spans = [];
  #column = 0;

  write(given, style) {
    const told = unhidden(given);
    if (this.#column >= this.text.length) {
      this.#begin(this.text.length, style);
      this.text += told;
      this.#column = this.text.length;
      return;
    }
    if (this.text.length > LONGEST_REWRITTEN) {
      // one that long is written anew
      this.text = "";
      this.spans = [];
      this.#column = 0;
      this.write(told, style);
      return;
    }
    const end = this.#column + told.length;
    const after = end < this.text.length ? this.#styleAt(end) : null;
    this.text = this.text.slice(0, this.#column) + told + this.text.slice(end);
    this.spans = this.spans.filter(([start]) => start < this.#column || start > end);
    const place = this.spans.findIndex(([start]) => start > end);
    const added = [[this.#column, style]];
    if (after) added.push([end, after]);
    if (place < 0) this.spans.push(...added);
    else this.spans.splice(place, 0, ...added);
    this.#column = end;
  }

  #begin(start, style) {
    const last = this.spans[this.spans.length - 1];
    if (this.spans.length >= MOST_SPANS || (last ? last[1] === style : style === PLAIN))
      return;
    if (last && last[0] === start) last[1] = style;
    else this.spans.push([start, style]);
  }

  #styleAt(place) {
    let found = PLAIN;
    for (const [start, style] of this.spans) if (start <= place) found = style;
    return found;
  }

  toStart() {
    this.#column = 0;
  }

  back() {
    this.#column = Math.max(0, this.#column - 1);
  }

  erase(how) {
    if (how === "2") {
      this.text = "";
      this.spans = [];
      this.#column = 0;
      return;
    }
    if (how !== "" && how !== "0") return;
    this.text = this.text.slice(0, this.#column);
    this.spans = this.spans.filter(([start]) => start < this.#column);
  }

  // However the text came in pieces, the same spans.
  finished() {
    let before = PLAIN;
    const spans = this.spans.filter(([, style]) => {
      const isNew = style !== before;
      before = style;
      return isNew;
    });
    return { text: this.text, spans };
  }
}

const ON = {
  1: "bold",
  2: "faint",
  3: "italic",
  4: "underline",
  7: "inverse",
  9: "struck",
};
const OFF = {
  22: ["bold", "faint"],
  23: ["italic"],
  24: ["underline"],
  27: ["inverse"],
  29: ["struck"],
  39: ["fg"],
  49: ["bg"],
};

function styled(before, parameters) {
  const numbers = parameters
    .slice(0, 200)
    .split(/[;:]/)
    .map((each) => Number.parseInt(each || "0", 10));
  let style = { ...before };
  for (let at = 0; at < numbers.length; at += 1) {
    const code = numbers[at];
    if (code === 0) style = {};
    else if (ON[code]) style[ON[code]] = true;
    else if (OFF[code]) for (const name of OFF[code]) delete style[name];
    else if (code >= 30 && code <= 37) style.fg = code - 30;
    else if (code >= 90 && code <= 97) style.fg = code - 82;
    else if (code >= 40 && code <= 47) style.bg = code - 40;
    else if (code >= 100 && code <= 107) style.bg = code - 92;
    else if (code === 38 || code === 48) {
      const [colour, used] = colourOf(numbers, at + 1);
      if (colour !== null) style[code === 38 ? "fg" : "bg"] = colour;
      at += used;
    }
  }
  return Object.keys(style).length ? style : PLAIN;
}

// A number of the palette below 16, or "#rrggbb"; and how many parameters it took.
function colourOf(numbers, at) {
  const isByte = (value) => Number.isInteger(value) && value >= 0 && value <= 255;
  if (numbers[at] === 5)
    return [isByte(numbers[at + 1]) ? of256(numbers[at + 1]) : null, 2];
  if (numbers[at] === 2) {
    const parts = numbers.slice(at + 1, at + 4);
    return [parts.length === 3 && parts.every(isByte) ? hex(...parts) : null, 4];
  }
  return [null, 0];
}

function of256(number) {
  if (number < 16) return number;
  if (number >= 232) return hex(...Array(3).fill(8 + 10 * (number - 232)));
  const level = (value) => (value ? 55 + 40 * value : 0);
  const place = number - 16;
  return hex(
    level(Math.floor(place / 36)),
    level(Math.floor(place / 6) % 6),
    level(place % 6),
  );
}

const hex = (...parts) =>
  `#${parts.map((each) => each.toString(16).padStart(2, "0")).join("")}`;
