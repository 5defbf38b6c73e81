// Where the nodes of a graph stand: in layers by what they wait for, with few crossings.
// Pure.

const SWEEPS = 6;
const BEND = 0.3; // rows that an edge takes where it passes a layer
const MOST_BENDS = 1500; // places in between that long edges get

// `nodes` are ids, `edges` {from, to} -> {place: Map id -> {layer, row}, layers, rows,
// bends}
export function arrange(nodes, edges) {
  const known = new Set(nodes);
  const ours = edges.filter(
    (edge) => known.has(edge.from) && known.has(edge.to) && edge.from !== edge.to,
  );
  const layerOf = layersOf(nodes, ours);
  const layers = [];
  for (const node of nodes) (layers[layerOf.get(node)] ||= []).push(node);
  const { links, bends } = withBends(ours, layerOf, layers);
  untangle(layers, links);
  const room = (node) => (known.has(node) ? 1 : BEND);
  const heights = layers.map((layer) => layer.reduce((all, node) => all + room(node), 0));
  const highest = Math.max(1, ...heights);
  const place = new Map();
  layers.forEach((layer, number) => {
    let row = (highest - heights[number]) / 2;
    for (const node of layer) {
      // Of a bend as if it were in the middle of a whole row.
      place.set(node, { layer: number, row: row + (room(node) - 1) / 2 });
      row += room(node);
    }
  });
  return { place, layers: layers.length, rows: highest, bends };
}

// What an edge is called among the bends.
export const ends = ({ from, to }) => `${from} ${to}`;

// The longest way from a node that waits for nothing; a circle, which no farm makes, is
// cut.
function layersOf(nodes, edges) {
  const waits = new Map(nodes.map((node) => [node, 0]));
  const next = new Map(nodes.map((node) => [node, []]));
  for (const { from, to } of edges) {
    waits.set(to, waits.get(to) + 1);
    next.get(from).push(to);
  }
  const layer = new Map(nodes.map((node) => [node, 0]));
  const ready = nodes.filter((node) => !waits.get(node));
  for (let at = 0; at < ready.length; at += 1) {
    for (const to of next.get(ready[at])) {
      layer.set(to, Math.max(layer.get(to), layer.get(ready[at]) + 1));
      waits.set(to, waits.get(to) - 1);
      if (!waits.get(to)) ready.push(to);
    }
  }
  return layer;
}

// Long edges go through places of their own in the layers between, so that they cross no
// node.
function withBends(edges, layerOf, layers) {
  const links = [];
  const bends = new Map(); // the two ends of an edge -> its places
  let count = 0;
  for (const edge of edges) {
    const first = layerOf.get(edge.from);
    const last = layerOf.get(edge.to);
    const between = last - first - 1;
    if (bends.has(ends(edge))) continue; // for another stage of the same job
    if (between <= 0 || count + between > MOST_BENDS) {
      links.push([edge.from, edge.to]);
      continue;
    }
    const way = [];
    for (let layer = first + 1; layer < last; layer += 1) {
      const bend = `bend ${count}`;
      count += 1;
      layers[layer].push(bend);
      way.push(bend);
    }
    bends.set(ends(edge), way);
    [edge.from, ...way, edge.to].forEach((each, place, all) => {
      if (place) links.push([all[place - 1], each]);
    });
  }
  return { links, bends };
}

// Sort each layer by where its neighbours stand, forwards and backwards some times.
function untangle(layers, links) {
  const before = new Map();
  const after = new Map();
  for (const [from, to] of links) {
    (after.get(from) || after.set(from, []).get(from)).push(to);
    (before.get(to) || before.set(to, []).get(to)).push(from);
  }
  const row = new Map();
  for (const layer of layers)
    layer.forEach((node, place) => row.set(node, place / layer.length));
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const near = sweep % 2 ? after : before;
    for (const layer of sweep % 2 ? [...layers].reverse() : layers) {
      const wanted = new Map(
        layer.map((node) => {
          const others = near.get(node);
          return [
            node,
            others
              ? others.reduce((all, each) => all + row.get(each), 0) / others.length
              : row.get(node),
          ];
        }),
      );
      layer.sort((one, other) => wanted.get(one) - wanted.get(other));
      layer.forEach((node, place) => row.set(node, place / layer.length));
    }
  }
}
