// A pad to draw on. Its picture goes to Python as the bytes of a file: a PNG of the paper, or the very file that was
// chosen, dropped or pasted. What Python says of it stands underneath.

const HINT = "Draw a digit, or choose, drop or paste a picture of one.";
const UNDOABLE = 50; // steps
const LARGEST = 10e6; // bytes; Jupyter's server loses what is much larger, without a word

const PAD = `<div class="mnistlab-pad" role="group" aria-label="Drawing pad">
  <canvas role="img" tabindex="0"></canvas>
  <div class="buttons">
    <button type="button" data-does="undo">Undo</button>
    <button type="button" data-does="clear">Clear</button>
    <button type="button" data-does="choose">Picture…</button>
    <input type="file" accept="image/*" hidden>
  </div>
  <output></output></div>`;

const same = (one, other) => one.length === other.length && one.every((byte, i) => byte === other[i]);

async function decoded(picture) {
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([picture]));
  await image.decode().finally(() => URL.revokeObjectURL(image.src));
  return image;
}

function render({ model, el }) {
  el.innerHTML = PAD;
  const [root, canvas, buttons, input, output] = [
    ".mnistlab-pad", "canvas", ".buttons", "input", "output",
  ].map((selector) => el.querySelector(selector));
  // Without it, keys would be JupyterLab's, for which two d's delete a cell. It stands on each that can have focus.
  for (const each of [canvas, ...buttons.children]) each.dataset.lmSuppressShortcuts = "";
  const size = model.get("size");
  canvas.width = canvas.height = size;
  const pen = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  Object.assign(pen, { lineWidth: size / 14, lineCap: "round", strokeStyle: "black", fillStyle: "white" });

  const steps = []; // each: picture, as Python gets it, and pixels, as the paper shows it
  const current = () => steps.at(-1).picture;

  const wipe = () => pen.fillRect(0, 0, size, size);

  function refresh() {
    const blank = !current().length;
    canvas.setAttribute("aria-label", blank ? "Blank paper" : "Paper with a picture");
    output.textContent = model.get("said") || (blank ? HINT : "");
  }

  // Takes what is on the paper for a step; whether it is another picture than before.
  function keep(picture) {
    if (steps.length && same(picture, current())) return false;
    steps.push({ picture, pixels: pen.getImageData(0, 0, size, size) });
    if (steps.length > UNDOABLE) steps.shift();
    refresh();
    return true;
  }

  function tell() {
    model.set("said", ""); // that was of another picture
    model.set("picture", current());
    model.save_changes();
    refresh();
  }

  // What was not drawn here, as large as fits.
  function put(picture, image) {
    wipe();
    if (image) {
      const scale = size / Math.max(image.width, image.height);
      const [width, height] = [image.width * scale, image.height * scale];
      pen.drawImage(image, (size - width) / 2, (size - height) / 2, width, height);
    }
    return keep(picture);
  }

  async function take(file) {
    if (file.size > LARGEST) {
      output.textContent = `${file.name} has more than ${LARGEST / 1e6} MB. Make it smaller.`;
      return;
    }
    try {
      const picture = new Uint8Array(await file.arrayBuffer());
      if (put(picture, await decoded(picture))) tell();
    } catch {
      output.textContent = `${file.name} is not a picture that this browser can show.`;
    }
  }

  // Strokes: curves from the middle of one stretch to the middle of the next, so that there are no corners.
  let stroke = null; // its pointer, where that was last, and the middle of the last stretch

  function place(event) {
    const box = canvas.getBoundingClientRect();
    const scale = size / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

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
  });
  canvas.addEventListener("lostpointercapture", (event) => {
    if (event.pointerId !== stroke?.pointer) return;
    curve(stroke.last, stroke.last);
    stroke = null;
    const png = atob(canvas.toDataURL().split(",")[1]);
    if (keep(Uint8Array.from(png, (letter) => letter.charCodeAt(0)))) tell();
  });

  const does = {
    undo() {
      if (steps.length === 1) return;
      steps.pop();
      pen.putImageData(steps.at(-1).pixels, 0, 0);
      tell();
    },
    clear() {
      wipe();
      if (keep(new Uint8Array())) tell();
    },
    choose: () => input.click(),
  };
  buttons.addEventListener("click", (event) => does[event.target.dataset.does]?.());
  input.addEventListener("change", () => {
    take(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
  root.addEventListener("dragover", (event) => event.preventDefault());
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
  // On the document, because browsers tell it rather than the pad, which has no text.
  const removed = new AbortController();
  document.addEventListener("paste", (event) => {
    if (!root.matches(":focus-within") || !event.clipboardData.files.length) return;
    event.preventDefault();
    take(event.clipboardData.files[0]);
  }, { signal: removed.signal });

  // Python, or another view of this pad, may put a picture; Python even one that browsers cannot show.
  async function follow() {
    const view = model.get("picture");
    if (view === current()) return;
    const picture = new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
    const image = await decoded(picture).catch(() => null);
    if (model.get("picture") === view) put(picture, image);
  }
  model.on("change:picture", follow);
  model.on("change:said", refresh);

  wipe();
  keep(new Uint8Array());
  if (model.get("picture").byteLength) follow();
  return () => removed.abort();
}

export default { render };
