// A question in a dialog: fields, a button that acts, and the farm's own words if it
// refuses.

import { h } from "/page/show/dom.js";
import { button } from "/page/show/parts.js";

let numbers = 0;

function control(field, id) {
  const shared = { id, name: field.name, required: field.required };
  if (field.options) {
    return h(
      "select",
      shared,
      field.options.map(([value, text]) =>
        h("option", { value, selected: value === field.value }, text),
      ),
    );
  }
  if (field.lines)
    return h(
      "textarea",
      { ...shared, rows: field.lines, maxlength: field.longest || 1000 },
      field.value || "",
    );
  return h("input", {
    ...shared,
    type: field.type || "text",
    value: field.value ?? null,
    min: field.min,
    max: field.max,
    maxlength: field.longest || 1000,
    placeholder: field.example,
    autocomplete: "off",
  });
}

// Ask; `act` gets the values of the fields, and the dialog closes when it has succeeded.
// Fires with what `act` gave, or with null when nobody wanted it.
export function ask({ title, text = null, fields = [], yes, danger = false, act }) {
  numbers += 1;
  const id = `dialog-${numbers}`;
  const before = document.activeElement;
  const refusal = h("p", { class: "error", role: "alert" });
  const inputs = fields.map((field, place) => [field, control(field, `${id}-${place}`)]);
  const confirm = h("button", { type: "submit", class: danger ? "danger" : "main" }, yes);
  const cancel = button("Not now", () => dialog.close(), { class: "plain" });
  let outcome = null;

  async function submit(event) {
    event.preventDefault();
    refusal.textContent = "";
    const values = Object.fromEntries(
      inputs.map(([field, input]) => [field.name, input.value.trim()]),
    );
    confirm.disabled = true;
    form.setAttribute("aria-busy", "true");
    try {
      outcome = { given: await act(values) };
      dialog.close();
    } catch (error) {
      refusal.textContent = error.message;
    } finally {
      confirm.disabled = false;
      form.removeAttribute("aria-busy");
    }
  }

  const form = h(
    "form",
    { method: "dialog", on: { submit } },
    h("h2", { id }, title),
    text && h("p", {}, text),
    inputs.map(([field, input]) =>
      h(
        "label",
        { class: "line" },
        h("span", {}, field.label),
        input,
        field.hint && h("small", {}, field.hint),
      ),
    ),
    refusal,
    h("div", { class: "buttons" }, cancel, confirm),
  );
  const dialog = h("dialog", { "aria-labelledby": id }, form);
  document.body.append(dialog);
  dialog.showModal();
  if (inputs.length) inputs[0][1].focus();
  else cancel.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before && before.isConnected) before.focus({ preventScroll: true });
      resolve(outcome && outcome.given);
    });
  });
}

// Show something until it is closed.
export function show(title, ...children) {
  numbers += 1;
  const id = `dialog-${numbers}`;
  const before = document.activeElement;
  const dialog = h(
    "dialog",
    { "aria-labelledby": id, class: "wide" },
    h("h2", { id }, title),
    children,
    h(
      "div",
      { class: "buttons" },
      button("Close", () => dialog.close(), { class: "main" }),
    ),
  );
  document.body.append(dialog);
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before && before.isConnected) before.focus({ preventScroll: true });
  });
  dialog.showModal();
}
