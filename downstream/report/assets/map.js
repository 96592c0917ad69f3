// A map of points on a canvas: drag, pinch, wheel (once clicked, or with Ctrl), buttons and keys move it; hovering or
// tapping shows the image. Where few points are in view their thumbnails take the place of dots.
"use strict";
for (const root of document.querySelectorAll(".map")) {
  const data = JSON.parse(root.querySelector("script").textContent);
  const count = data.x.length, thumbs = 200, reach = 18;
  const sheet = root.querySelector("img.atlas"), still = root.querySelector(".still");
  const make = (name, props = {}) => Object.assign(document.createElement(name), props);
  const stage = make("div", { className: "stage" }), canvas = make("canvas", { className: "points", tabIndex: 0 });
  const tip = make("div", { className: "tip", hidden: true }), tools = make("div", { className: "tools" });
  const small = make("canvas", { width: data.tile, height: data.tile }), words = make("div");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", still.alt + "; arrows move, plus and minus zoom, 0 shows all");
  if (sheet) tip.append(small);
  tip.append(words);
  stage.append(canvas, tools, tip);
  still.replaceWith(stage);
  const pen = canvas.getContext("2d");

  let width = 1, height = 1, ratio = 1, scale = 1, left = 0, top = 0, hovered = -1, waiting = false;
  const shown = data.classes.map(() => true), seen = new Int32Array(count);
  const visible = (i) => data.label[i] < 0 || shown[data.label[i]];
  const colour = (i) => data.colours[Math.max(data.label[i], 0) % data.colours.length];

  const radius = () => Math.min(6, 2.2 * Math.sqrt(scale / fit()));
  const fit = () => Math.min(width, height) / (data.side * 1.06);
  // Dots are written straight into pixels: for 10 000 of them that takes 3 ms without a GPU, drawImage takes 250.
  const inks = data.colours.map((hex) => { const v = parseInt(hex.slice(1), 16); return (v >> 16) | (v & 0xff00) | ((v & 255) << 16); });
  const ink = (i) => inks[Math.max(data.label[i], 0) % inks.length];
  let image, pixels, reached = 0, offsets = [], alphas = [];
  function shape(r) { // which pixels about its centre a dot covers, and how much of each
    reached = Math.ceil(r + 1);
    offsets = [];
    alphas = [];
    for (let b = -reached; b <= reached; b++) for (let a = -reached; a <= reached; a++) {
      const cover = Math.min(1, r + 0.5 - Math.hypot(a, b));
      if (cover > 0) { offsets.push(b * canvas.width + a); alphas.push(Math.round(cover * 225)); }
    }
  }
  function dots(n) {
    shape(radius() * ratio);
    pixels.fill(0);
    const right = canvas.width - reached, bottom = canvas.height - reached;
    for (let k = 0; k < n; k++) {
      const i = seen[k], x = Math.round((data.x[i] * scale + left) * ratio), y = Math.round((data.y[i] * scale + top) * ratio);
      if (x < reached || y < reached || x >= right || y >= bottom) continue;
      const at = y * canvas.width + x, colour = ink(i);
      for (let m = 0; m < offsets.length; m++) {
        const p = at + offsets[m];
        if (pixels[p] >>> 24 < alphas[m]) pixels[p] = colour | (alphas[m] << 24);
      }
    }
    pen.putImageData(image, 0, 0);
  }

  function draw() {
    waiting = false;
    if (!image) return;
    const edge = 24;
    let n = 0;
    for (let i = 0; i < count; i++) {
      const x = data.x[i] * scale + left, y = data.y[i] * scale + top;
      if (x > -edge && y > -edge && x < width + edge && y < height + edge && visible(i)) seen[n++] = i;
    }
    const pictures = sheet && sheet.complete && n <= thumbs;
    const side = (pictures ? Math.min(64, Math.max(24, Math.sqrt(width * height / (n + 1)) / 2)) : 0) * ratio;
    if (pictures) {
      pen.clearRect(0, 0, canvas.width, canvas.height);
      for (let k = 0; k < n; k++) picture(seen[k], (data.x[seen[k]] * scale + left) * ratio, (data.y[seen[k]] * scale + top) * ratio, side);
    } else dots(n);
    if (hovered >= 0) ring((data.x[hovered] * scale + left) * ratio, (data.y[hovered] * scale + top) * ratio, side);
  }
  function picture(i, x, y, side) {
    const t = data.tile;
    pen.fillStyle = colour(i);
    pen.fillRect(x - side / 2 - 2 * ratio, y - side / 2 - 2 * ratio, side + 4 * ratio, side + 4 * ratio);
    pen.drawImage(sheet, (i % data.columns) * t, Math.floor(i / data.columns) * t, t, t, x - side / 2, y - side / 2, side, side);
  }
  function ring(x, y, side) {
    pen.strokeStyle = getComputedStyle(root).color;
    pen.lineWidth = 2 * ratio;
    pen.beginPath();
    if (side) pen.rect(x - side / 2 - 2 * ratio, y - side / 2 - 2 * ratio, side + 4 * ratio, side + 4 * ratio);
    else pen.arc(x, y, (radius() + 3) * ratio, 0, 7);
    pen.stroke();
  }
  const later = () => { if (!waiting) { waiting = true; requestAnimationFrame(draw); } };

  function all() {
    scale = fit();
    left = (width - data.side * scale) / 2;
    top = (height - data.side * scale) / 2;
    later();
  }
  function zoom(by, x = width / 2, y = height / 2) {
    const to = Math.min(Math.max(scale * by, fit() / 2), fit() * 400);
    left = x - (x - left) * to / scale;
    top = y - (y - top) * to / scale;
    scale = to;
    later();
  }
  function move(x, y) { left += x; top += y; later(); }

  function hover(x, y) {
    let best = reach * reach, found = -1;
    for (let i = 0; i < count; i++) {
      const a = data.x[i] * scale + left - x, b = data.y[i] * scale + top - y;
      if (a * a + b * b < best && visible(i)) { best = a * a + b * b; found = i; }
    }
    if (found !== hovered) { hovered = found; later(); }
    tip.hidden = found < 0;
    if (found < 0) return;
    if (sheet) small.getContext("2d").drawImage(sheet, (found % data.columns) * data.tile,
      Math.floor(found / data.columns) * data.tile, data.tile, data.tile, 0, 0, data.tile, data.tile);
    words.textContent = (data.classes[data.label[found]] ?? "") + " " + data.keys[found];
    tip.style.left = Math.max(0, Math.min(x + 14, width - tip.offsetWidth)) + "px";
    tip.style.top = (y + 14 + tip.offsetHeight < height ? y + 14 : Math.max(0, y - 14 - tip.offsetHeight)) + "px";
  }

  const held = new Map();
  const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const spread = () => { const [a, b] = [...held.values()]; return [Math.hypot(a[0] - b[0], a[1] - b[1]), (a[0] + b[0]) / 2, (a[1] + b[1]) / 2]; };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); held.set(event.pointerId, place(event)); });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event), before = held.get(event.pointerId);
    if (!before) return hover(x, y);
    tip.hidden = true;
    if (held.size === 2) {
      const [far, midX, midY] = spread();
      held.set(event.pointerId, [x, y]);
      const [now, nowX, nowY] = spread();
      zoom(now / Math.max(far, 1), midX, midY);
      move(nowX - midX, nowY - midY);
    } else {
      held.set(event.pointerId, [x, y]);
      move(x - before[0], y - before[1]);
    }
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => { held.delete(event.pointerId); hover(...place(event)); });
  canvas.addEventListener("pointerleave", () => { hovered = -1; tip.hidden = true; later(); });
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas && !event.ctrlKey) return; // the page scrolls on
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), ...place(event));
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => zoom(2, ...place(event)));
  const keys = { "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: all,
    ArrowLeft: () => move(60, 0), ArrowRight: () => move(-60, 0), ArrowUp: () => move(0, 60), ArrowDown: () => move(0, -60) };
  canvas.addEventListener("keydown", (event) => { if (keys[event.key]) { event.preventDefault(); keys[event.key](); } });
  for (const [text, label, act] of [["+", "zoom in", () => zoom(1.6)], ["−", "zoom out", () => zoom(1 / 1.6)], ["⤢", "show all", all]]) {
    const button = make("button", { type: "button", textContent: text, title: label, onclick: act });
    button.setAttribute("aria-label", label);
    tools.append(button);
  }
  root.querySelectorAll(".legend li").forEach((item, i) => {
    const button = make("button", { type: "button" });
    button.append(...item.childNodes);
    button.setAttribute("aria-pressed", "true");
    button.onclick = () => { shown[i] = !shown[i]; button.setAttribute("aria-pressed", String(shown[i])); later(); };
    item.append(button);
  });
  new ResizeObserver(() => {
    if (!canvas.clientWidth || !canvas.clientHeight) return; // not laid out, as in a hidden tab
    const first = width === 1;
    [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio || 1];
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    image = pen.createImageData(canvas.width, canvas.height);
    pixels = new Uint32Array(image.data.buffer);
    if (first) all(); else later();
  }).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later);
  if (sheet) sheet.decode().then(later, () => {});
}
