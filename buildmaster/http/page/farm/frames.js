// Server-sent events out of the pieces in which their text arrives. Pure.

export class Frames {
  #rest = "";

  // The events that are complete with this piece: [{id, kind, data}].
  take(text) {
    this.#rest += text;
    const blocks = this.#rest.split("\n\n");
    this.#rest = blocks.pop();
    return blocks.map(frame).filter((each) => each.data !== null);
  }
}

function frame(block) {
  const found = { id: null, kind: "message", data: null };
  for (const line of block.split("\n")) {
    const [, field, value] = line.match(/^([a-z]+): ?(.*)$/s) || [];
    if (field === "id") found.id = value;
    else if (field === "event") found.kind = value;
    else if (field === "data")
      found.data = found.data === null ? value : `${found.data}\n${value}`;
  }
  return found;
}
