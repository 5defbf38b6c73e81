// Texts whose contrast with what is behind them is below 4.5, as WCAG counts it.
(() => {
  const canvas = document
    .createElement("canvas")
    .getContext("2d", { willReadFrequently: true });

  function rgba(colour) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  }

  const over = (top, under) =>
    under.map((value, at) => top[at] * top[3] + value * (1 - top[3]));

  function light(colour) {
    const [r, g, b] = colour
      .map((value) => value / 255)
      .map((value) =>
        value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4,
      );
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  function behind(element) {
    const layers = [];
    for (let node = element; node; node = node.parentElement) {
      layers.unshift(rgba(getComputedStyle(node).backgroundColor));
    }
    return layers.reduce((under, top) => over(top, under), [255, 255, 255]);
  }

  const bad = [];
  for (const element of document.querySelectorAll("body *")) {
    const hasText = [...element.childNodes].some(
      (node) => node.nodeType === 3 && node.nodeValue.trim(),
    );
    if (!hasText || !element.getBoundingClientRect().width) continue;
    if (element.closest(".unseen, .skip, noscript, [disabled]")) continue;
    const style = getComputedStyle(element);
    const ground = behind(element);
    const ink = over(rgba(element.ownerSVGElement ? style.fill : style.color), ground);
    const [low, high] = [light(ink), light(ground)].sort((one, other) => one - other);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5)
      bad.push(`${contrast.toFixed(2)} ${element.outerHTML.slice(0, 120)}`);
  }
  return bad.slice(0, 8);
})();
