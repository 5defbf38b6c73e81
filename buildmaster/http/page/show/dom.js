// Elements made from plain descriptions, and the shown page turned into the wanted one.
//
// Text only ever becomes text nodes. What is shown already stays the same element as long
// as it can, so that focus, selection and scrolling survive every update.

// The page itself has a drawing, which knows the name space of drawings.
const DRAWINGS = document.querySelector("svg").namespaceURI;
const handlers = new WeakMap(); // element -> {event: function}
const kept = new WeakMap(); // placeholder -> element that stays as it is
const HEARD = ["click", "input", "change", "submit", "pointerover", "focusin"];

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") handlers.set(node, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value);
    }
  }
  node.append(...nodesOf(children));
  return node;
}

function nodesOf(children) {
  return children
    .flat(Infinity)
    .filter((each) => each !== null && each !== undefined && each !== false && each !== "")
    .map((each) => (each instanceof Node ? each : document.createTextNode(String(each))));
}

// An element of HTML. `on` has handlers by the name of their event.
export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

// An element of a drawing.
export function svg(name, attributes, ...children) {
  return fill(document.createElementNS(DRAWINGS, name), attributes, children);
}

// Stands for an element that looks after itself: it is put in place and otherwise left
// alone.
export function keep(element) {
  const place = document.createElement("span");
  place.setAttribute("data-kept", "");
  kept.set(place, element);
  element.isKept = true;
  return place;
}

function dispatch(event) {
  for (let node = event.target; node; node = node.parentNode) {
    const found = handlers.get(node);
    if (found && found[event.type]) {
      found[event.type](event, node);
      return;
    }
  }
}
for (const kind of HEARD) document.addEventListener(kind, dispatch);

const keyOf = (node) => (node.nodeType === 1 ? node.getAttribute("data-key") : null);

function isAlike(old, wanted) {
  return (
    old.nodeType === wanted.nodeType &&
    old.nodeName === wanted.nodeName &&
    keyOf(old) === keyOf(wanted) &&
    !old.isKept
  );
}

function update(old, wanted) {
  if (old.nodeType !== 1) {
    if (old.nodeValue !== wanted.nodeValue) old.nodeValue = wanted.nodeValue;
    return;
  }
  // What the reader opened stays open.
  const isTheirs = (name) => name === "open" && old.nodeName === "DETAILS";
  for (const { name } of [...old.attributes]) {
    if (!wanted.hasAttribute(name) && !isTheirs(name)) old.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (old.getAttribute(name) !== value && !isTheirs(name)) old.setAttribute(name, value);
  }
  if (handlers.has(wanted)) handlers.set(old, handlers.get(wanted));
  else handlers.delete(old);
  if (old.nodeName === "SELECT" || old.nodeName === "INPUT") {
    const value = wanted.value;
    merge(old, [...wanted.childNodes]);
    if (old !== document.activeElement && old.value !== value) old.value = value;
    return;
  }
  merge(old, [...wanted.childNodes]);
}

// A new element with what stays as it is put in its places.
function settled(wanted) {
  if (wanted.nodeType === 1) {
    for (const place of wanted.querySelectorAll("[data-kept]"))
      place.replaceWith(kept.get(place));
  }
  return wanted;
}

function merge(parent, wanted) {
  const keys = new Set(wanted.map(keyOf).filter(Boolean));
  const staying = new Set(wanted.map((each) => kept.get(each)).filter(Boolean));
  const keyed = new Map();
  for (const child of [...parent.childNodes]) {
    const key = keyOf(child);
    if (child.isKept ? !staying.has(child) : key && !keys.has(key)) child.remove();
    else if (key) keyed.set(key, child);
  }
  let at = parent.firstChild;
  for (const next of wanted) {
    const own = kept.get(next);
    const key = keyOf(next);
    let match = own && own.parentNode === parent ? own : null;
    if (!own && key) match = keyed.get(key) || null;
    else if (!own && at && isAlike(at, next)) match = at;
    if (match && !own && !isAlike(match, next)) match = null;
    if (!match) {
      parent.insertBefore(own || settled(next), at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else parent.insertBefore(match, at);
    if (!own) update(match, next);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

// Show `children` in `parent`, changing no more of it than has to be changed.
export function become(parent, ...children) {
  const focused = document.activeElement;
  const key = focused && parent.contains(focused) ? keyOf(focused) || focused.id : null;
  merge(parent, nodesOf(children));
  if (!key || document.activeElement === focused) return;
  const again = [...parent.querySelectorAll("[data-key], [id]")].find(
    (each) => keyOf(each) === key || each.id === key,
  );
  if (again) again.focus({ preventScroll: true });
}
