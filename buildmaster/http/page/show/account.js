// Who is signed in, in the head of the page; and how to become somebody.

import { href } from "/page/farm/address.js";
import { forget, write } from "/page/farm/client.js";
import { learn, may, useToken, who } from "/page/farm/me.js";
import { token } from "/page/farm/token.js";
import { ask } from "/page/show/dialog.js";
import { become, h } from "/page/show/dom.js";
import * as parts from "/page/show/parts.js";
import { button, problem } from "/page/show/parts.js";
import { tell } from "/page/show/told.js";

const place = document.getElementById("account");

// Show it; `changed` is called when somebody else looks at the page from now on.
export function account(changed) {
  const me = who();
  const isKnown = Boolean(me.who) && me.by !== "open";
  become(
    place,
    isKnown || token()
      ? h("span", { class: "who" }, h("bdi", {}, me.display || me.who || "with a token"))
      : null,
    isKnown && !token() && me.by !== "proxy"
      ? button("Sign out", () => signOut(changed), { class: "plain", id: "sign-out" })
      : null,
    token()
      ? button("Forget the token", () => change(null, changed), {
          class: "plain",
          id: "forget-token",
        })
      : null,
    may("admin") ? h("a", { href: "#/audit" }, "Audit") : null,
    isKnown || token() ? null : ways(changed),
  );
}

function ways(changed) {
  const links = (who().login || []).map((way) =>
    h("a", { href: localPath(way.url) }, way.label || "Sign in"),
  );
  return [
    ...links,
    button("Use a token", () => typed(changed), { class: "plain", id: "use-token" }),
  ];
}

// Only addresses of this farm: it is the farm that sends people elsewhere.
function localPath(url) {
  const found = new URL(url, location.href);
  if (found.origin !== location.origin) return "/login";
  found.searchParams.set("next", `/${location.hash}`);
  return found.pathname + found.search;
}

function typed(changed) {
  return ask({
    title: "Use a token",
    yes: "Use it",
    text: "It is kept in this tab until the tab is closed, and sent to this farm only.",
    fields: [{ name: "token", label: "Token", type: "password", required: true }],
    act: (given) => change(given.token, changed),
  });
}

async function change(text, changed) {
  try {
    await useToken(text);
  } catch (error) {
    await useToken(null).catch(() => null);
    throw error;
  }
  changed();
}

async function signOut(changed) {
  try {
    await write("/logout");
    forget();
    await learn();
    changed();
  } catch (error) {
    tell(`You are still signed in: ${error.message}`);
  }
}

// For whom may see some projects only: where these are.
export function projects() {
  const named = new Set((who().grants || []).map((grant) => grant.project).filter(Boolean));
  if (!named.size) return null;
  return h(
    "ul",
    {},
    [...named].map((repository) =>
      h(
        "li",
        {},
        h("a", { href: href("grid", null, { repository }) }, parts.name(repository)),
      ),
    ),
  );
}

// Instead of a page that not everybody may read.
export function signIn(view, changed) {
  become(
    view,
    h("h1", {}, "This farm shows its state to those it knows"),
    token() ? problem(new Error("It does not know the token that was typed in.")) : null,
    h("p", { class: "buttons" }, ways(changed)),
  );
}
