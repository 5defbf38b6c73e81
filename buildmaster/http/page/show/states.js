// How each state, result and classification looks: a word, a sign, and a tone. Pure.
//
// The sign tells them apart without colours; the tone is a class of the style sheet.

export const RESULTS = {
  success: ["✓", "good"],
  reused: ["↻", "good"],
  skipped: ["⤼", "void"],
  failure: ["✗", "bad"],
  error: ["!", "bad"],
  timeout: ["◷", "bad"],
  malformed: ["⌇", "bad"],
  unrun: ["–", "void"],
  cancelled: ["⊘", "void"],
};
export const STATES = {
  waiting: ["·", "wait"],
  ready: ["○", "wait"],
  assigned: ["◔", "busy"],
  running: ["▶", "busy"],
  parked: ["‖", "wait"],
  open: ["▶", "busy"],
  sealed: ["▶", "busy"],
  done: ["✓", "good"],
  connected: ["●", "good"],
  unreachable: ["!", "bad"],
  offline: ["○", "void"],
};
// What the farm calls it, and what people would.
const WORDS = { open: "under way", sealed: "under way" };
export const DUTIES = {
  active: ["●", "void"],
  paused: ["‖", "busy"],
  draining: ["▽", "busy"],
  retired: ["⊘", "void"],
};
export const CLASSIFICATIONS = {
  known_issue: ["K", "known issue"],
  infrastructure: ["I", "infrastructure"],
  flaky: ["F", "flaky"],
};
export const BAD = ["failure", "error", "timeout", "malformed"];
export const UNFINISHED = ["waiting", "ready", "assigned", "running", "parked"];

// The sign, the tone and the word of something that is in `state` or ended as `result`.
export function look(state, result) {
  const found = result ? RESULTS[result] : STATES[state];
  const [sign, tone] = found || ["?", "void"];
  return { sign, tone, word: result || WORDS[state] || state || "unknown" };
}

export const isBad = (result) => BAD.includes(result);

// A failure that nobody has said a cause of: what people should look at first.
export const isRed = (result, classification) => isBad(result) && !classification;

export function classWord(classification) {
  const found = CLASSIFICATIONS[classification];
  return found ? found[1] : classification || "";
}
