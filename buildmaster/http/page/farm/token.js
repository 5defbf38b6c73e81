// The token that was typed in, if any: kept for this tab only, and sent with every
// question.

const NAME = "headrace-token";

export function token() {
  return sessionStorage.getItem(NAME);
}

export function setToken(text) {
  if (text) sessionStorage.setItem(NAME, text);
  else sessionStorage.removeItem(NAME);
}

export function authorization() {
  const known = token();
  return known ? { Authorization: `Bearer ${known}` } : {};
}
