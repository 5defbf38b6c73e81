// Texts of others with nothing hidden in them: what turns the direction of writing, or
// cannot be seen, is shown by its number. Pure.

const HIDDEN = /[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]/g;
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

const byNumber = (each) =>
  `<U+${each.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}>`;

// What is hidden in `text`, shown.
export const unhidden = (text) => text.replace(HIDDEN, byNumber);

// The same for what is no log: control sequences are nothing but characters there.
export const plain = (text) => unhidden(String(text).replace(CONTROL, byNumber));

// A value as JSON, on one line, or on several that are indented.
export function json(value, isIndented = false) {
  const text = JSON.stringify(value, null, isIndented ? 2 : 0);
  return text === undefined ? "" : plain(text);
}
