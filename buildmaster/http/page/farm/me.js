// Who looks at the page, and what they may do; a farm without accounts lets a token say it.

import { forget, perhaps, read } from "/page/farm/client.js";
import { setToken, token } from "/page/farm/token.js";

const NOBODY = { who: "", by: "open", display: "", scopes: [], grants: [], login: [] };
let me = NOBODY;

// Ask again who this is.
export async function learn() {
  const told = await perhaps("/api/v1/me");
  // A token that is not known is refused here, whatever is asked.
  if (!told && token()) await read("/api/v1/holds");
  // A farm that does not say: the token will show what it is good for.
  me = told || { ...NOBODY, scopes: token() ? ["admin"] : [] };
  return me;
}

export function who() {
  return me;
}

// Whether a button makes sense: the farm itself decides when it is pressed.
export function may(scope, repository = null) {
  const covers = (scopes) =>
    (scopes || []).some((each) => each === scope || each === "admin");
  if (!me.grants || !me.grants.length) return covers(me.scopes);
  return me.grants.some(
    (grant) =>
      covers(grant.scopes) &&
      (!grant.project || (repository !== null && isBelow(grant.project, repository))),
  );
}

function isBelow(project, repository) {
  const top = project.replace(/\/+$/, "");
  return repository === top || repository.startsWith(`${top}/`);
}

export async function useToken(text) {
  setToken(text);
  forget();
  return learn();
}
