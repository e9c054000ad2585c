// What a page looks like to a browser, as faults in words; an empty list is a page without any.
() => {
  const faults = [];
  const width = document.documentElement.clientWidth;
  const named = (e) => `<${e.tagName.toLowerCase()} class="${e.getAttribute("class") || ""}"> ` +
    `"${(e.textContent || "").trim().replace(/\s+/g, " ").slice(0, 50)}"`;
  const isAway = (e) => e.closest(".away, .skip, thead") &&
    ["hidden", "clip"].includes(getComputedStyle(e.closest(".away, .skip, thead")).overflowX) ||
    e.closest(".skip");
  const isShown = (e) => e.checkVisibility({checkVisibilityCSS: true}) && !isAway(e);

  // nothing goes beyond the page, nor beyond the box that it stands in
  if (document.documentElement.scrollWidth > width) faults.push(`the page is ${document.documentElement.scrollWidth} wide`);
  for (const e of document.body.querySelectorAll("*")) {
    if (!isShown(e)) continue;
    const box = e.getBoundingClientRect();
    if (box.width && (box.right > width + 1 || box.left < -1)) faults.push(`beyond the page: ${named(e)}`);
    if (e.closest("svg")) continue;
    const style = getComputedStyle(e);
    if (style.display !== "inline" && e.scrollWidth > e.clientWidth + 1) faults.push(`beyond its box: ${named(e)}`);
    if (style.overflowY !== "visible" && e.scrollHeight > e.clientHeight + 1) faults.push(`cut: ${named(e)}`);
  }

  // text: inside what holds it, large enough in charts, in contrast to what is behind it
  const read = new Map();
  const channels = (colour) => {
    if (!read.has(colour)) {
      const context = Object.assign(document.createElement("canvas"), {width: 1, height: 1}).getContext("2d");
      context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
      read.set(colour, {rgb: [r, g, b], alpha: a / 255});
    }
    return read.get(colour);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const root = channels(getComputedStyle(document.documentElement).backgroundColor);
  const canvas = root.alpha ? root.rgb : [255, 255, 255];
  const behindAll = () => {
    const body = channels(getComputedStyle(document.body).backgroundColor);
    return body.alpha ? body.rgb : canvas;
  };
  if (matchMedia("(prefers-color-scheme: dark)").matches !== luminance(behindAll()) < 0.2) faults.push("not in the scheme that was asked for");
  const behind = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const found = channels(getComputedStyle(at).backgroundColor);
      if (found.alpha > 0.99) return found.rgb;
    }
    return canvas;
  };
  const cache = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const charts = new Map();
  while (walker.nextNode()) {
    const node = walker.currentNode, e = node.parentElement;
    if (!node.data.trim() || ["STYLE", "SCRIPT", "title", "desc"].includes(e.tagName) || !isShown(e)) continue;
    const style = getComputedStyle(e), isDrawn = e.closest("svg");
    const ink = isDrawn ? style.fill : style.color;
    const key = ink + behind(e).join();
    if (!cache.has(key)) {
      const pair = [luminance(channels(ink).rgb), luminance(behind(e))].sort((a, b) => a - b);
      cache.set(key, (pair[1] + 0.05) / (pair[0] + 0.05));
    }
    if (cache.get(key) < 4.5) faults.push(`contrast ${cache.get(key).toFixed(2)}: ${named(e)}`);
    const range = document.createRange();
    range.selectNodeContents(node);
    const boxes = [...range.getClientRects()];
    if (boxes.some((b) => b.right > width + 1 || b.left < -1)) faults.push(`text beyond the page: ${named(e)}`);
    const size = parseFloat(style.fontSize) * (isDrawn ? Math.abs(e.getScreenCTM().d) : 1);
    if (size < 11) faults.push(`${size.toFixed(1)} px: ${named(e)}`);
    if (isDrawn) {
      const chart = e.closest("svg"), frame = chart.getBoundingClientRect(), box = e.getBoundingClientRect();
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        faults.push(`text beyond its chart: ${named(e)}`);
      charts.set(chart, [...(charts.get(chart) || []), [e, box]]);
    }
  }
  for (const texts of charts.values())
    texts.forEach(([e, a], i) => texts.slice(i + 1).forEach(([f, b]) => {
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top + 2 < b.bottom - 1 && b.top + 2 < a.bottom - 1)
        faults.push(`${named(e)} lies on ${named(f)}`);
    }));

  // who does not see it: names of pictures, order of headings, heads and captions of tables
  for (const e of document.querySelectorAll("svg, img"))
    if (!(e.getAttribute("aria-label") || e.getAttribute("alt") || e.getAttribute("aria-labelledby") || e.querySelector(":scope > title")) ||
        (e.tagName === "svg" && e.getAttribute("role") !== "img")) faults.push(`no name: ${named(e)}`);
  let last = 0;
  for (const e of document.querySelectorAll("h1, h2, h3, h4")) {
    const level = Number(e.tagName[1]);
    if (level > last + 1) faults.push(`a heading skips a level: ${named(e)}`);
    last = level;
  }
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  if (!document.documentElement.lang) faults.push("no language");
  for (const e of document.querySelectorAll("table")) if (!e.caption) faults.push(`no caption: ${named(e)}`);
  for (const e of document.querySelectorAll("th")) if (!e.scope) faults.push(`no scope: ${named(e)}`);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of new Set(ids)) if (ids.filter((i) => i === id).length > 1) faults.push(`twice: #${id}`);
  for (const e of document.querySelectorAll('a[href^="#"]'))
    if (!document.getElementById(decodeURIComponent(e.getAttribute("href").slice(1)))) faults.push(`leads nowhere: ${named(e)}`);
  return [...new Set(faults)];
}
