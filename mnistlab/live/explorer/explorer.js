// The explorer: a pad to draw on, the network at work on what was drawn, and the sum behind any of its cells.
//
//   mount(element, model, options) → { read, pick, put, say, removed }
//
// model: what mnistlab.live.explorer packs: stages, mean, std, temperature, weights as base64 or bytes, and the names of
//   its classes where they are not the ten digits; null for a pad alone, which shows how a picture comes into MNIST's form.
// options: digits, [{ label, pixels: base64 of 784 grey levels }], that can be picked; heard(picture, digit), called
//   whenever another picture stands on the pad, with the bytes of its file, or null where the reader did not put it
//   there, and with its 784 grey levels, or null where there is no digit on it.
//
// Before this file stand STYLE, the style sheet; COLOURS, as #rrggbb; SEEN, how many pixels of a picture's longer side
// are looked at; and `thinking`, a function that returns { prepare, Network }: all arithmetic, without a page, so that a
// worker can have it too.

const PAPER = 280; // pixels of the pad's sides
const LARGEST = 10e6; // bytes of a file; Jupyter's server loses what is much larger, without a word
const UNDOABLE = 50; // steps
const LISTED = 5; // terms of a sum that are shown one by one

const ROUNDED = "Computed in full and shown rounded, so a last digit may differ by one. Maps, rows and columns count from 0.";
const STEPS = { ink: "ink found", "one digit": "cropped", pen: "pen, if thin, wider", "28×28": "28×28, centred" };
const READY = "28×28 already";
const [BLUE, ORANGE] = [COLOURS.BLUE, COLOURS.ORANGE].map((name) =>
  [1, 3, 5].map((at) => parseInt(name.slice(at, at + 2), 16)));

const DESK = `<div class="explorer">
  <div class="desk">
    <div class="drawing" role="group" aria-label="Drawing pad">
      <canvas class="pad" role="img" tabindex="0" width="${PAPER}" height="${PAPER}"></canvas>
      <div class="buttons">
        <button type="button" data-does="undo">Undo</button>
        <button type="button" data-does="clear">Clear</button>
        <button type="button" data-does="choose">Picture…</button>
        <input type="file" accept="image/*" hidden>
      </div>
      <output class="said"></output>
    </div>
    <div class="seeing">
      <div class="label">From the paper to the network</div>
      <div class="steps"></div>
      <div class="label samples-label">Or take one of these</div>
      <div class="samples"></div>
    </div>
    <div class="answer">
      <output class="verdict"></output>
      <div class="bars"></div>
      <div class="note"></div>
    </div>
  </div>
  <div class="network">
    <p class="legend">Each small square is a number that the network computed: <i class="below"></i> below zero,
      <i class="zero"></i> zero, <i class="above"></i> above. Click one to see the sum behind it.</p>
  </div>
</div>`;

const text = (number, places = 2) => {
  const shown = number.toFixed(places);
  return Number(shown) === 0 ? shown.replace("-", "") : shown.replace("-", "−");
};
const signed = (number) => (Number(number.toFixed(2)) > 0 ? "+" : "") + text(number);
const count = (number, one) => `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;
const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
const same = (one, other) => one.length === other.length && one.every((byte, i) => byte === other[i]);

// A new element: make("td.sum", { title: "…" }, "text", child, …).
function make(selector, attributes = {}, ...children) {
  const [tag, ...classes] = selector.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// Zero white, positive orange, negative blue; `most` has the full colour.
function colour(value, most) {
  const share = most ? Math.min(Math.abs(value) / most, 1) : 0;
  return (value < 0 ? BLUE : ORANGE).map((full) => Math.round(255 + share * (full - 255)));
}

// Colours of −1 … 1 in 511 steps, as a canvas keeps them.
const palette = (paint) => {
  const bytes = Array.from({ length: 511 }, (_, i) => [...paint((i - 255) / 255), 255]);
  return new Uint32Array(Uint8Array.from(bytes.flat()).buffer);
};
const SIGNED = palette((share) => colour(share, 1));
const GREY = palette((share) => Array(3).fill(255 * Math.max(share, 0)));

// Numbers → a small canvas, a pixel a number; `most` has the full colour.
function picture(values, rows, columns, most, colours = SIGNED) {
  const canvas = make("canvas", { width: columns, height: rows });
  const image = new ImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  const scale = most ? 255 / most : 0;
  for (let i = 0; i < pixels.length; i++) {
    pixels[i] = colours[255 + Math.round(Math.max(-255, Math.min(255, values[i] * scale)))];
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

async function decoded(file) {
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([file]));
  await image.decode().finally(() => URL.revokeObjectURL(image.src));
  return image;
}

// The pixels of a picture, at most SEEN a side.
function pixelsOf(image) {
  const scale = Math.min(1, SEEN / Math.max(image.width, image.height));
  const [width, height] = [image.width, image.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = make("canvas", { width, height });
  const paper = canvas.getContext("2d", { willReadFrequently: true });
  paper.imageSmoothingQuality = "high";
  paper.drawImage(image, 0, 0, width, height);
  return paper.getImageData(0, 0, width, height);
}

// Thoughts in a thread of their own, so that the pen never waits. Only the newest picture counts: one that comes while
// another is being thought about replaces any that waits. Where workers are forbidden, the page itself thinks.
function thinker(model, weights, done) {
  const { prepare, Network } = thinking();
  const think = (network, { data, width, height }) => {
    const prepared = prepare(data, width, height);
    const digit = prepared.digits[prepared.subject] ?? null;
    return { ...prepared, digit, outputs: digit && network ? network.forward(digit) : null };
  };
  const network = model && new Network(model, weights);
  let [busy, waiting, worker] = [null, null, null];

  function start(request) {
    [busy, waiting] = [request, null];
    if (worker) worker.postMessage({ image: request.image });
    else setTimeout(() => finish(() => think(network, request.image)));
  }

  function finish(thought) {
    const request = busy;
    busy = null;
    try {
      done(thought(), request);
    } finally {
      if (waiting) start(waiting);
    }
  }

  try {
    const source = `const { prepare, Network } = (${thinking})(); const think = ${think}; let network = null;
      onmessage = ({ data: { model, weights, image } }) => {
        if (model) network = new Network(model, weights);
        else postMessage(think(network, image));
      };`;
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    worker = new Worker(address);
    if (model) worker.postMessage({ model, weights });
    worker.onmessage = ({ data }) => finish(() => data);
    worker.onerror = () => {
      worker = null;
      if (busy) start(waiting ?? busy);
    };
  } catch {
    worker = null;
  }

  return {
    network,
    ask: (request) => (busy ? (waiting = request) : start(request)),
    stop: () => worker?.terminate(),
  };
}

function mount(element, model, { digits = [], heard = () => {} } = {}) {
  // A root of its own, so that neither the page's style nor ours reaches over the border.
  const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
  element.dataset.lmSuppressShortcuts = ""; // or keys would be JupyterLab's, for which two d's delete a cell
  root.innerHTML = `<style>${STYLE}</style>${DESK}`;
  const find = (selector) => root.querySelector(selector);
  const [canvas, said, verdict, bars] = [".pad", ".said", ".verdict", ".bars"].map(find);
  const weights = typeof model?.weights === "string" ? bytesOf(model.weights) : model?.weights;
  const { network, ask, stop } = thinker(model && { ...model, weights: null }, weights, show);
  const stages = network?.stages ?? [];
  const names = model?.classes ?? Array.from({ length: stages.at(-1)?.size ?? 0 }, (_, number) => `${number}`);
  const what = model?.classes ? "sign" : "digit"; // what a reader is asked to draw
  const HINT = `Draw a ${what}, or choose, drop or paste a picture of one.`;
  let thought = null; // of the newest picture: { image, blank, steps, digits, subject, digit, outputs }
  let told = ""; // what Python says of it

  // --- the pad

  const pen = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  Object.assign(pen, { lineWidth: PAPER / 14, lineCap: "round", strokeStyle: "black", fillStyle: "white" });
  const steps = []; // each: the paper's pixels; what is read, the same or a picture's own; its file, if any; blank
  let stroke = null; // its pointer, where that was last, and the middle of the last stretch

  const paper = () => pen.getImageData(0, 0, PAPER, PAPER);
  const wipe = () => pen.fillRect(0, 0, PAPER, PAPER);

  // What is on the paper becomes a step that can be undone. by: "reader", or "others", whom nobody need tell of it.
  function keep(by, image = null, file = null) {
    const pixels = paper();
    const last = steps.at(-1);
    if (last && !image && !file && !last.file && same(pixels.data, last.pixels.data)) return;
    steps.push({ pixels, image: image ?? pixels, file, blank: !file && pixels.data.every((level) => level === 255) });
    if (steps.length > UNDOABLE) steps.shift();
    if (by === "reader") told = ""; // that was of another picture
    ask({ ...steps.at(-1), by });
  }

  // What was not drawn here, as large as fits.
  function put(by, image, file, read = pixelsOf(image)) {
    wipe();
    const scale = PAPER / Math.max(image.width, image.height);
    const [width, height] = [image.width * scale, image.height * scale];
    pen.imageSmoothingEnabled = scale < 4;
    pen.drawImage(image, (PAPER - width) / 2, (PAPER - height) / 2, width, height);
    keep(by, read, file);
  }

  async function take(file) {
    if (file.size > LARGEST) {
      said.textContent = `${file.name} has more than ${LARGEST / 1e6} MB. Make it smaller.`;
      return;
    }
    try {
      const bytes = new Uint8Array(await file.arrayBuffer());
      put("reader", await decoded(bytes), bytes);
    } catch {
      said.textContent = `${file.name} is not a picture that this browser can show.`;
    }
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top].map((at) => (at * PAPER) / box.width);
  }

  // Curves from the middle of one stretch to the middle of the next, so that there are no corners.
  function curve(through, to) {
    pen.beginPath();
    pen.moveTo(...stroke.middle);
    pen.quadraticCurveTo(...through, ...to);
    pen.stroke();
    stroke.middle = to;
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (stroke || event.button) return;
    canvas.setPointerCapture(event.pointerId);
    if (steps.at(-1).image.width === 28) wipe(); // who begins to draw is done with the digit that was picked
    const [x, y] = place(event);
    stroke = { pointer: event.pointerId, last: [x, y], middle: [x - 0.01, y] }; // nothing is drawn without a length
    curve(stroke.last, stroke.last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== stroke?.pointer) return;
    for (const at of (event.getCoalescedEvents?.() ?? [event]).map(place)) {
      curve(stroke.last, at.map((value, i) => (value + stroke.last[i]) / 2));
      stroke.last = at;
    }
    ask({ image: paper(), blank: false, by: null }); // on its way: nothing for others yet
  });
  canvas.addEventListener("lostpointercapture", (event) => {
    if (event.pointerId !== stroke?.pointer) return;
    curve(stroke.last, stroke.last);
    stroke = null;
    keep("reader");
  });

  const does = {
    undo() {
      if (steps.length === 1) return;
      steps.pop();
      pen.putImageData(steps.at(-1).pixels, 0, 0);
      told = "";
      ask({ ...steps.at(-1), by: "reader" });
    },
    clear() {
      wipe();
      keep("reader");
    },
    choose: () => find("input[type=file]").click(),
  };
  find(".buttons").addEventListener("click", (event) => does[event.target.dataset.does]?.());
  find("input[type=file]").addEventListener("change", ({ target }) => {
    take(target.files[0]);
    target.value = ""; // so that the same file can be chosen again
  });
  const drawing = find(".drawing");
  drawing.addEventListener("dragover", (event) => event.preventDefault());
  drawing.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
  // On the document, because browsers tell it rather than the pad, which has no text.
  const gone = new AbortController();
  document.addEventListener("paste", (event) => {
    if (!element.matches(":focus-within") || !event.clipboardData.files.length) return;
    event.preventDefault();
    take(event.clipboardData.files[0]);
  }, { signal: gone.signal });

  const png = (image) => {
    const canvas = make("canvas", { width: image.width, height: image.height });
    canvas.getContext("2d").putImageData(image, 0, 0);
    return bytesOf(canvas.toDataURL().split(",")[1]);
  };

  const samples = digits.map(({ label, pixels }) => {
    const small = picture(bytesOf(pixels), 28, 28, 255, GREY);
    const pick = (by) => put(by, small, png(pixelsOf(small)));
    const name = label === null ? `Take this ${what}` : `Take this ${label}`;
    const button = { type: "button", onclick: () => pick("reader"), "aria-label": name, title: name };
    find(".samples").append(make("button", button, small));
    return pick;
  });
  find(".samples-label").hidden = !digits.length;

  // --- the answer

  bars.style.setProperty("--names", `${Math.max(1, ...names.map((name) => 0.6 * name.length))}rem`);
  bars.classList.toggle("many", names.length > 12);
  const rows = names.map((name, digit) => {
    const parts = { bar: make("i"), share: make("b"), logit: make("small") };
    const track = make("span.track", {}, parts.bar);
    const row = make("button", { type: "button", title: "Show the sum behind it" },
      make("span", {}, name), track, parts.share, parts.logit);
    row.addEventListener("click", (event) => visit(stages.length - 1, digit, bars, event));
    bars.append(row);
    return { row, ...parts };
  });
  find(".answer").hidden = find(".network").hidden = !network;

  function show(newest, { image, file, blank, by }) {
    thought = { ...newest, blank, image };
    const { digit, outputs } = thought;
    canvas.setAttribute("aria-label", blank ? "Blank paper" : "Paper with a picture");
    remark();
    const figures = blank ? [] : thought.steps.length ? thought.steps
      : [{ name: READY, width: 28, height: 28, values: Float32Array.from(digit, (level) => level / 255) }];
    find(".steps").replaceChildren(...figures.map(({ name, width, height, values }) =>
      make("figure", {}, picture(values, height, width, 1, GREY), make("figcaption", {}, STEPS[name] ?? name))));
    if (network) {
      verdict.setAttribute("aria-live", by ? "polite" : "off"); // nobody wants to be read every stage of a stroke
      answer(outputs);
      explain();
      draw();
    }
    if (by) heard(by === "reader" ? file ?? (blank ? new Uint8Array() : png(image)) : null, digit);
  }

  function remark() {
    const { digits: { length }, blank } = thought ?? { digits: [], blank: true };
    const seen = length > 1 ? `${length} ${what}s; the largest is read.` : length ? "" : `No ${what} is to be seen on it.`;
    said.textContent = told || (blank ? HINT : seen);
  }

  const ranked = (values) => [...values.keys()].sort((one, other) => values[other] - values[one]);
  const total = (values) => values.reduce((sum, value) => sum + value, 0);
  const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

  function answer(outputs) {
    const logits = outputs?.at(-1) ?? [];
    const probabilities = outputs ? network.probabilities(logits) : [];
    const [first, second] = ranked(probabilities);
    const shown = (digit) => Number((100 * probabilities[digit]).toFixed(1)); // as it is shown
    const percent = (share) => `${text(100 * share, 1)}%`;
    verdict.replaceChildren(...(outputs ? [
      make(names[first].length > 3 ? "b.long" : "b", {}, names[first]),
      make("span", {}, `${percent(probabilities[first])} sure`, make("br"),
        `${text(shown(first) - shown(second), 1)} points ahead of ${names[second]}`),
    ] : [make("span", {}, "Nothing to read yet.")]));
    rows.forEach(({ row, bar, share, logit }, digit) => {
      const probability = probabilities[digit] ?? 0;
      bar.style.width = `${100 * probability}%`;
      share.textContent = outputs ? percent(probability) : "";
      logit.textContent = outputs ? text(logits[digit]) : "";
      row.classList.toggle("first", digit === first);
    });
  }
  if (network) {
    const divided = network.temperature === 1 ? "them" : `logits ÷ ${text(network.temperature)}`;
    find(".note").textContent = `Right: logits, the network’s last numbers. Softmax makes percentages of ${divided}.`;
  }

  // --- the network at a glance

  const KINDS = { conv: "convolution", dense: "dense", norm: "norm", maxpool: "max pooling", avgpool: "mean pooling" };
  const sizes = ({ shape: [maps, height, width], size }) =>
    height * width === 1 ? count(size, "number") : `${count(maps, "map")} of ${height}×${width}`;
  const whole = stages.slice(1).map((stage, i) => {
    const number = i + 1;
    const board = make("canvas", { role: "img", "aria-label": `${stage.name}: ${sizes(stage)}, as colours` });
    const range = make("small", { title: "Its smallest and its largest number" });
    const look = make("button", { type: "button", title: "Look into its largest number" }, stage.name);
    const what = `${KINDS[stage.kind]}${stage.relu ? " + ReLU" : ""} · ${sizes(stage)}`;
    const row = make("div.stage", {}, make("div.title", {}, look, make("span", {}, what), range), board);
    look.addEventListener("click", (event) => visit(number, strongest(number), row, event));
    find(".network").append(row);
    board.addEventListener("click", (event) => visit(number, cellAt(stage, event), row));
    return { number, stage, row, board, range };
  });
  const resized = new ResizeObserver(() => draw());
  if (network) resized.observe(find(".network"));

  const strongest = (number) => {
    const output = thought.outputs?.[number];
    return output ? output.indexOf(Math.max(...output)) : 0;
  };

  // Tiles of a stage on its canvas: how many in a row, and their size and distance in pixels of the screen.
  function tiling({ shape: [maps, height, width] }) {
    const room = find(".network").clientWidth * devicePixelRatio;
    const across = Math.min(maps, (height * width === 1 ? 2 : 1) * (room < 600 * devicePixelRatio ? 16 : 32));
    const step = Math.min(Math.floor(room / across), Math.round((maps < 32 ? 28 : 60) * devicePixelRatio));
    return { across, step, side: step - (step > 12 ? 2 : 1), high: Math.ceil(maps / across) };
  }

  function draw() {
    if (!find(".network").clientWidth) return;
    for (const { number, stage, board, range } of whole) {
      const [maps, height, width] = stage.shape;
      const { across, step, side, high } = tiling(stage);
      [board.width, board.height] = [across * step, high * step];
      board.style.width = `${board.width / devicePixelRatio}px`;
      const output = thought?.outputs?.[number];
      range.textContent = output ? `${text(Math.min(...output))} … ${text(Math.max(...output))}` : "";
      const screen = board.getContext("2d");
      const all = picture(output ?? new Float32Array(stage.size), maps * height, width, output ? largest(output) : 0);
      screen.imageSmoothingEnabled = width > side;
      for (let map = 0; map < maps; map++) {
        const [x, y] = [(map % across) * step, Math.floor(map / across) * step];
        screen.drawImage(all, 0, map * height, width, height, x, y, side, side);
      }
      if (at?.number !== number) continue;
      const map = Math.floor(at.cell / (height * width));
      Object.assign(screen, { strokeStyle: COLOURS.GREEN, lineWidth: 2 * devicePixelRatio });
      screen.strokeRect((map % across) * step, Math.floor(map / across) * step, side, side);
    }
  }

  function cellAt(stage, { target, offsetX, offsetY }) {
    const [maps, height, width] = stage.shape;
    const { across, step, side } = tiling(stage);
    const [x, y] = [offsetX, offsetY].map((place) => (place * target.width) / target.clientWidth);
    const tile = (place, most) => Math.max(0, Math.min(Math.floor(place / step), most - 1));
    const map = Math.min(tile(y, maps) * across + tile(x, across), maps - 1);
    const within = (place, cells) => Math.max(0, Math.min(Math.floor(((place % step) / side) * cells), cells - 1));
    return (map * height + within(y, height)) * width + within(x, width);
  }

  // --- one cell and the sum behind it

  let at = null; // the cell that is looked into: { number, cell } and whether the reader chose it
  const trail = []; // the cells before it
  let through = null; // the map of the stage before, whose window is shown; null: the one that adds most
  let rival = null; // the digit that another is set against; null: the likeliest other
  const parts = {
    back: make("button", { type: "button", onclick: () => look(trail.pop()) }, "Back"),
    title: make("div.cell-title", { tabIndex: -1, role: "heading", "aria-level": "3" }),
    pickers: make("div.pickers"),
    field: make("canvas", { width: 168, height: 168, role: "img" }),
    map: make("canvas", { width: 168, height: 168, role: "img", tabIndex: 0 }),
    seen: make("figcaption"),
    mapped: make("figcaption"),
    sum: make("div.sum"),
  };
  const panel = make("div.cell", { role: "group", "aria-label": "One number and the sum behind it" },
    make("div.where", {}, parts.title, parts.pickers, parts.back,
      make("button", { type: "button", onclick: () => find(".desk").scrollIntoView() }, "To the paper")),
    make("div.pictures", {}, make("figure", {}, parts.field, parts.seen), make("figure", {}, parts.map, parts.mapped)),
    parts.sum, make("p.note.rounded", {}, ROUNDED));
  if (network) whole.at(-1).row.after(panel);

  function whereabouts({ number, cell }) {
    const [, height, width] = stages[number].shape;
    return { map: Math.floor(cell / (height * width)), row: Math.floor(cell / width) % height, column: cell % width };
  }

  // "map 12 of conv3, row 4, column 7", or as far as there are several.
  function named(number, cell) {
    const { name, shape: [, height, width] } = stages[number];
    const { map, row, column } = whereabouts({ number, cell });
    if (number === stages.length - 1) return `the logit of ${cell}`;
    if (height * width === 1) return `unit ${map} of ${name}`;
    return `${number === 0 ? "pixel" : `map ${map} of ${name},`} row ${row}, column ${column}`;
  }

  // Shows another cell, below its stage; what the reader clicked, `still`, stays where it is on the screen.
  function look(to, still = panel, from = null) {
    const focused = panel.contains(root.activeElement);
    const top = still.getBoundingClientRect().top;
    at = to;
    through = from;
    explain();
    draw();
    const stage = whole[at.number - 1]?.row ?? find(".legend");
    if (stage.nextSibling !== panel) stage.after(panel);
    scrollBy({ top: still.getBoundingClientRect().top - top, behavior: "instant" });
    const lost = !panel.contains(root.activeElement) || root.activeElement.disabled;
    if (focused && lost) parts.title.focus({ preventScroll: true });
  }

  function visit(number, cell, still, event = null) {
    if (!thought.outputs) return;
    // Who comes forward into a convolution sees first what came along.
    const from = at && number === at.number + 1 && stages[number].kind === "conv" ? whereabouts(at).map : null;
    if (at && (at.number !== number || at.cell !== cell)) trail.push(at);
    look({ number, cell, chosen: true }, still, from);
    const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
    panel.scrollIntoView({ block: "nearest", behavior });
    if (event?.detail === 0) parts.title.focus({ preventScroll: true }); // by a key, not by a pointer
  }

  function go(number, cell, label = named(number, cell)) {
    const title = `Look into ${named(number, cell)}`;
    return make("button.go", { type: "button", title, onclick: () => visit(number, cell, panel) }, label);
  }

  function explain() {
    const outputs = thought.outputs;
    panel.classList.toggle("idle", !outputs);
    if (!outputs) return;
    if (!at?.chosen) at = { number: stages.length - 1, cell: ranked(outputs.at(-1))[0] };
    const { number, cell } = at;
    const title = named(number, cell);
    parts.title.textContent = `${title[0].toUpperCase()}${title.slice(1)}: ${text(outputs[number][cell])}`;
    parts.back.disabled = !trail.length;
    showPickers(stages[number]);
    showField(number, cell);
    showMap(stages[number], outputs[number]);
    parts.sum.replaceChildren(
      ...(number === 0 ? pixelSum(cell, outputs[0][cell]) : cellSum(number, cell, outputs)),
      ...onward(number, cell, outputs),
    );
  }

  // Numbers to choose the cell with. They stay where they are while one types.
  function showPickers({ shape: [maps, height, width] }) {
    const places = whereabouts(at);
    const wanted = [[height * width === 1 ? "unit" : "map", maps], ["row", height], ["column", width]]
      .filter(([, most]) => most > 1);
    const key = `${at.number} ${wanted}`;
    if (parts.pickers.dataset.key !== key) {
      parts.pickers.dataset.key = key;
      parts.pickers.replaceChildren(...wanted.map(([name, most]) => make("label", {}, `${name} `,
        make("input", { type: "number", name, min: 0, max: most - 1, oninput: pick, onblur: restore }))));
    }
    for (const input of parts.pickers.querySelectorAll("input")) {
      if (root.activeElement !== input) input.value = places[input.name === "unit" ? "map" : input.name];
    }
  }

  const restore = () => showPickers(stages[at.number]); // what was typed and meant no cell

  function pick({ target: input }) {
    if (input.value === "" || !input.checkValidity()) return;
    move({ ...whereabouts(at), [input.name === "unit" ? "map" : input.name]: Number(input.value) });
  }

  // To another cell of the same stage.
  function move({ map, row, column }) {
    const [, height, width] = stages[at.number].shape;
    if (row < 0 || row >= height || column < 0 || column >= width) return;
    look({ number: at.number, cell: (map * height + row) * width + column, chosen: true });
  }

  // The digit, and what of it the cell can see.
  function showField(number, cell) {
    const screen = parts.field.getContext("2d");
    const unit = parts.field.width / 28;
    screen.imageSmoothingEnabled = false;
    screen.drawImage(picture(thought.digit, 28, 28, 255, GREY), 0, 0, 28 * unit, 28 * unit);
    const { top, bottom, left, right } = network.view(number, cell);
    const [high, wide] = [bottom - top + 1, right - left + 1];
    Object.assign(screen, { strokeStyle: COLOURS.GREEN, lineWidth: 2 });
    screen.strokeRect(left * unit + 1, top * unit + 1, wide * unit - 2, high * unit - 2);
    const part = high * wide === 784 ? "the whole digit" : `${high}×${wide} pixels`;
    parts.seen.textContent = number === 0 ? "the pixel" : `sees ${part}`;
    parts.field.setAttribute("aria-label",
      `The digit; ${parts.seen.textContent}, rows ${top} to ${bottom}, columns ${left} to ${right}`);
  }

  function showMap({ name, shape: [, height, width] }, output) {
    const { map, row, column } = whereabouts(at);
    parts.map.parentElement.hidden = height * width === 1;
    if (height * width === 1) return;
    const values = output.subarray(map * height * width, (map + 1) * height * width);
    const screen = parts.map.getContext("2d");
    const [high, wide] = [parts.map.height / height, parts.map.width / width];
    screen.imageSmoothingEnabled = false;
    screen.drawImage(picture(values, height, width, largest(output)), 0, 0, parts.map.width, parts.map.height);
    Object.assign(screen, { strokeStyle: COLOURS.GREEN, lineWidth: 3 });
    screen.strokeRect(column * wide, row * high, wide, high);
    parts.mapped.textContent = at.number === 0 ? "normalised pixels" : `map ${map} of ${name}`;
    parts.map.setAttribute("aria-label",
      `${parts.mapped.textContent}; arrow keys move the cell, now row ${row}, column ${column}`);
    parts.mapped.append(make("br"), "click, or arrow keys");
  }

  function clicked({ target, offsetX, offsetY }, rows, columns) {
    const share = (place, side, cells) => Math.max(0, Math.min(Math.floor((place / side) * cells), cells - 1));
    return { row: share(offsetY, target.clientHeight, rows), column: share(offsetX, target.clientWidth, columns) };
  }
  parts.map.addEventListener("click", (event) => {
    const [, height, width] = stages[at.number].shape;
    move({ ...whereabouts(at), ...clicked(event, height, width) });
  });
  const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  parts.map.addEventListener("keydown", (event) => {
    if (!ARROWS[event.key]) return;
    event.preventDefault();
    const { map, row, column } = whereabouts(at);
    move({ map, row: row + ARROWS[event.key][0], column: column + ARROWS[event.key][1] });
  });
  parts.field.addEventListener("click", (event) => {
    const { row, column } = clicked(event, 28, 28);
    visit(0, row * 28 + column, panel);
  });

  const line = (...children) => make("p", {}, ...children);
  const section = (...children) => make("div", {}, ...children);
  const bold = (number) => make("b", {}, text(number));
  const heading = (content) => make("th", { scope: "row" }, content);

  function tint(value, most) {
    const [red, green, blue] = colour(Math.max(-most, Math.min(most, value)), 1.6 * most); // pale, for the text on it
    return { style: `background: rgb(${red} ${green} ${blue})` };
  }
  const tinted = (value, most) => make("td.tinted", tint(text(value) === "0.00" ? 0 : value, most), signed(value));

  function pixelSum(cell, value) {
    const grey = thought.digit[cell];
    const sum = `(${grey} ÷ 255 − ${text(network.mean, 4)}) ÷ ${text(network.std, 4)}`;
    return [line(`Grey level ${grey} of 255. The network is given ${sum} = `, bold(value),
      ", so that pixels are 0 on average, with a standard deviation of 1.")];
  }

  function cellSum(number, cell, outputs) {
    const stage = stages[number];
    const { terms, bias, sum } = network.ledger(number, cell, outputs);
    const after = stage.relu ? [" → ReLU → ", bold(Math.max(sum, 0))] : [];
    const note = stage.relu ? [make("p.note", {}, "ReLU makes 0 of what is negative, and leaves the rest.")] : [];
    const rest = number === stages.length - 1 && stage.weight ? versus(number, cell, outputs) : [];
    if (stage.kind === "conv") return [...convSum(number, terms, bias, sum, after, note), ...rest];
    if (stage.kind === "maxpool" || stage.kind === "avgpool") {
      const how = stage.kind === "maxpool" ? "The largest" : "The mean";
      const winner = (term) => stage.kind === "maxpool" && term.weight;
      return [section(line(`${how} of these ${terms.length} numbers is `, bold(sum), ...after, "."),
        make("div.grids", {}, grid(number, terms, `${stage.from.name}`, "value", winner)), ...note)];
    }
    const what = stage.kind === "norm" ? "One number, times a factor, plus a shift:"
      : `Each of the ${count(terms.length, "number")} of ${stage.from.name}, times a weight of its own:`;
    return [section(line(what), table(number, terms, bias, sum, stage.relu), ...note), ...rest];
  }

  // The largest terms one by one, all others as one, the bias, and the sum.
  function table(number, terms, bias, sum, relu = false) {
    const products = terms.map(({ product }) => product);
    const order = ranked(products.map(Math.abs)).slice(0, LISTED);
    const most = Math.abs(products[order[0]]);
    const rest = terms.length - order.length;
    const row = (head, sum, product) => make("tr", {}, heading(head), make("td", {}, sum), tinted(product, most));
    return make("table.terms", {},
      ...order.map((i) => {
        const { from, value, weight, product } = terms[i];
        const head = from === null ? "beyond the edge" : go(number - 1, from);
        return row(head, `${text(value)} × ${text(weight, 3)}`, product);
      }),
      rest ? row(count(rest, "other"), "", total(products) - total(order.map((i) => products[i]))) : null,
      row("bias", "", bias),
      ...totals(sum, relu, make("td")));
  }

  function totals(sum, relu, ...between) {
    const row = (name, number) => make("tr", {}, heading(name), ...between.map((cell) => cell.cloneNode()),
      make("td", {}, bold(number)));
    const rows = [row("sum", sum), ...(relu ? [row("after ReLU", Math.max(sum, 0))] : [])];
    rows[0].className = "total";
    return rows;
  }

  // A convolution's sum, map by map of the stage before; and of one of them, the window.
  function convSum(number, terms, bias, sum, after, note) {
    const { from, kernel, relu } = stages[number];
    const area = kernel ** 2;
    const windows = Array.from({ length: from.shape[0] }, (_, map) => terms.slice(map * area, (map + 1) * area));
    const sums = windows.map((window) => total(window.map(({ product }) => product)));
    const order = ranked(sums.map(Math.abs));
    const map = through ?? order[0];
    const grids = make("div.grids", {},
      grid(number, windows[map], "what it sees", "value"),
      make("div", {}, "×", grid(number, windows[map], "weights", "weight")),
      make("div", {}, "=", grid(number, windows[map], "products", "product")));
    if (windows.length === 1) {
      return [section(line(`Each of the ${area} ${from.name} that it sees, times a weight:`), grids,
        line(`Together ${signed(sums[0])}, with the bias of ${signed(bias)}: `, bold(sum), ...after, "."), ...note)];
    }
    const most = Math.abs(sums[order[0]]);
    const listed = order.slice(0, LISTED);
    if (!listed.includes(map)) listed.push(map);
    const rest = sums.length - listed.length;
    const choice = (i) => {
      const does = { type: "button", title: "Show its window", onclick: () => openMap(i) };
      return make("button.choose", { ...does, "aria-pressed": `${i === map}`, "data-map": i }, `map ${i} of ${from.name}`);
    };
    const row = (head, value) => make("tr", {}, heading(head), tinted(value, most));
    return [
      section(line(`What it sees on each of the ${from.shape[0]} maps adds up:`), make("table.terms", {},
        ...listed.map((i) => row(choice(i), sums[i])),
        rest ? row(count(rest, "other map"), total(sums) - total(listed.map((i) => sums[i]))) : null,
        row("bias", bias),
        ...totals(sum, relu)), ...note),
      section(line(`On map ${map} of ${from.name}, each number that it sees times a weight; together `,
        make("b", {}, signed(sums[map])), ":"), grids,
        make("p.note", {}, "Click a number that it sees to go there.")),
    ];
  }

  function openMap(map) {
    through = map;
    explain();
    parts.sum.querySelector(`[data-map="${map}"]`).focus();
  }

  // A window as a square of numbers; those seen lead to their cells.
  function grid(number, window, caption, field, chosen = () => false) {
    const side = Math.round(Math.sqrt(window.length));
    const most = largest(window.map((term) => term[field]));
    const content = ({ from, [field]: value }) => field !== "value" ? text(value, 3)
      : from === null ? make("span", { title: "beyond the edge" }, "0") : go(number - 1, from, text(value));
    const cell = (term) => make(`td${chosen(term) ? ".winner" : ""}`, tint(term[field], most), content(term));
    return make("table.grid", {}, make("caption", {}, caption), ...Array.from({ length: side }, (_, row) =>
      make("tr", {}, ...window.slice(row * side, (row + 1) * side).map(cell))));
  }

  // What separates a logit from another's: the same inputs, under two rows of weights.
  function versus(number, cell, outputs) {
    const digits = ranked(outputs[number]).filter((digit) => digit !== cell);
    const other = digits.includes(rival) ? rival : digits[0];
    const [mine, theirs] = [cell, other].map((digit) => network.ledger(number, digit, outputs));
    const terms = mine.terms.map(({ from, value, weight, product }, i) =>
      ({ from, value, weight: weight - theirs.terms[i].weight, product: product - theirs.terms[i].product }));
    const choose = ({ target }) => {
      rival = Number(target.value);
      explain();
      parts.sum.querySelector("select").focus();
    };
    const option = (digit) => make("option", { value: digit, selected: digit === other }, names[digit]);
    const options = digits.sort((one, two) => one - two).map(option);
    const choice = make("select", { onchange: choose, "aria-label": `The other ${what}` }, ...options);
    const first = ranked(outputs[number])[0] === cell ? `Why ${names[cell]} and not ` : `${names[cell]} against `;
    return [section(
      line(first, choice, "? Each number times the difference of its two weights:"),
      table(number, terms, mine.bias - theirs.bias, mine.sum - theirs.sum))];
  }

  // Where a cell's value goes from here.
  function onward(number, cell, outputs) {
    const next = stages[number + 1];
    if (!next) {
      const share = network.probabilities(outputs[number])[cell];
      const percent = make("b", {}, `${text(100 * share, 1)}%`);
      return [line("Beside the nine other logits, softmax makes ", percent, " of it.")];
    }
    const found = network.next(number, cell, outputs);
    if (!found.length) return [line(`No window of ${next.name} reaches it.`)];
    if (next.kind === "maxpool") {
      return [section(...found.map(({ to, wins }) => line(wins ? "It is the largest in its window, and goes on into "
        : "Another of its window, as large or larger, goes on into ", go(number + 1, to))))];
    }
    if (outputs[number][cell] === 0) return [line(`It is 0, so it adds nothing to ${next.name}.`)];
    const order = ranked(found.map(({ product }) => Math.abs(product))).slice(0, LISTED);
    const most = Math.abs(found[order[0]].product);
    const row = ({ to, product }) => make("tr", {}, heading(go(number + 1, to)), tinted(product, most));
    const what = found.length > LISTED ? "adds most to these" : "adds";
    return [section(line(`It goes into the sums of ${count(found.length, "number")} of ${next.name}, and ${what}:`),
      make("table.terms", {}, ...order.map((i) => row(found[i]))))];
  }

  // --- to begin with

  wipe();
  keep(null);
  let coming = null; // the newest picture that Python put

  return {
    read: () => thought,
    pick: (number) => samples[number]?.("others"),
    // Shows the picture of a file; Python may send even one that browsers cannot show, which leaves the paper blank.
    async put(file) {
      coming = file;
      const image = file.length ? await decoded(file).catch(() => null) : null;
      if (coming !== file) return; // another came while this one was decoded
      if (image) return put("others", image, file);
      wipe();
      keep("others", null, file.length ? file : null);
    },
    say(words) {
      told = words;
      remark();
    },
    removed() {
      gone.abort();
      resized.disconnect();
      stop();
    },
  };
}

// What anywidget asks for: the same page, with a model that Python sees.
function render({ model, el }) {
  const bytes = (name) => {
    const { buffer, byteOffset, byteLength } = model.get(name);
    return new Uint8Array(buffer.slice(byteOffset, byteOffset + byteLength));
  };
  el.dataset.explorer = model.get("mark"); // so that the page beside it knows that it is alive
  const network = model.get("network");
  let known = null; // the picture on this pad, as Python has it
  const explorer = mount(el, network && { ...network, weights: bytes("weights") }, {
    digits: model.get("digits"),
    heard(picture, digit) {
      model.set("digit", digit ?? new Uint8Array());
      if (picture) {
        model.set("said", ""); // that was of another picture
        model.set("picture", (known = picture));
      }
      model.save_changes();
    },
  });
  // Python, or another view of this explorer, may put a picture.
  const follow = () => {
    const picture = model.get("picture");
    if (picture !== known) explorer.put(bytes("picture"));
    known = picture;
  };
  const say = () => explorer.say(model.get("said"));
  model.on("change:picture", follow);
  model.on("change:said", say);
  if (model.get("picture").byteLength) follow();
  say();
  return () => {
    model.off("change:picture", follow);
    model.off("change:said", say);
    explorer.removed();
  };
}

export { mount };
export default { render };
