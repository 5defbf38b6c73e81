// Says below the page what was done, and offers to undo it where that is possible.

import { become, h } from "/page/show/dom.js";
import { button } from "/page/show/parts.js";

const STAYS = 12_000; // ms
const place = document.getElementById("told");
let timer = null;

// `undo`, if given, is what takes it back.
export function tell(sentence, undo = null) {
  clearTimeout(timer);
  const back =
    undo &&
    button(
      "Undo",
      async (event) => {
        event.target.disabled = true;
        try {
          tell(await undo());
        } catch (error) {
          tell(`This could not be undone: ${error.message}`);
        }
      },
      { class: "plain" },
    );
  become(
    place,
    h(
      "p",
      {},
      h("span", {}, sentence),
      back,
      button("Close", clear, { class: "plain", "aria-label": "Close this message" }),
    ),
  );
  timer = setTimeout(clear, STAYS);
}

function clear() {
  // Not from under somebody's hands.
  if (place.contains(document.activeElement) && document.activeElement !== document.body) {
    document.getElementById("view").focus({ preventScroll: true });
  }
  become(place);
}
