// Takes over the film of a player: has the browser decode its frames one by one and draws them on a canvas with
// controls. Whatever it does not understand, it leaves to the browser: then the WebP stays as it is.
(() => {
  "use strict";

  const KEEP = 16; // every 16th picture is kept, so that going back costs no more than 16 frames
  const must = (condition) => {
    if (!condition) throw new Error("mnistlab-player: this film is left to the browser");
  };

  function bytesOf(address) {
    const text = atob(address.slice(address.indexOf(",") + 1));
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
  }

  // The film's size and its frames: where each lies, how long it stays; pixels are still packed.
  function parse(bytes) {
    const view = new DataView(bytes.buffer);
    const name = (at) => String.fromCharCode(...bytes.subarray(at, at + 4));
    const size = (at) => view.getUint32(at, true);
    const three = (at) => view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    const after = (at) => at + 8 + size(at + 4) + (size(at + 4) & 1); // where the chunk after this one begins

    must(name(0) === "RIFF" && name(8) === "WEBP" && after(0) <= bytes.length && name(12) === "VP8X");
    must(!(bytes[20] & 0x28)); // a colour profile, or what a camera says, perhaps which way is up
    const film = { width: three(24) + 1, height: three(27) + 1, frames: [], duration: 0 };
    for (let at = after(12); at < after(0); at = after(at)) {
      must(after(at) <= after(0));
      if (name(at) !== "ANMF") continue;
      const data = at + 24;
      must(name(data) === "VP8L" && after(data) === after(at)); // lossless, and nothing beside it
      const [x, y, width, height, delay] = [0, 3, 6, 9, 12].map((field) => three(at + 8 + field));
      const [clear, blend] = [bytes[data - 1] & 1, !(bytes[data - 1] & 2)];
      const frame = { x: 2 * x, y: 2 * y, width: width + 1, height: height + 1, clear, blend, start: film.duration };
      must(frame.x + frame.width <= film.width && frame.y + frame.height <= film.height);
      // Browsers take 0.01 s or less for a mistake and wait for 0.1 s.
      frame.delay = delay > 10 ? delay : 100;
      frame.chunk = bytes.subarray(data, after(data));
      film.frames.push(frame);
      film.duration += frame.delay;
    }
    must(film.frames.length);
    return film;
  }

  // A frame's pixels: to the browser each is a whole still picture.
  async function unpack({ chunk, width, height }) {
    const length = chunk.length + 4;
    const bytes = Uint8Array.of(length, length >> 8, length >> 16, length >> 24);
    const file = new Blob(["RIFF", bytes, "WEBP", chunk], { type: "image/webp" });
    const picture = await createImageBitmap(file, { premultiplyAlpha: "none", colorSpaceConversion: "none" });
    must(picture.width === width && picture.height === height);
    return picture;
  }

  // The film, with a function that draws any of its frames.
  function projector(bytes, canvas) {
    const film = parse(bytes);
    [canvas.width, canvas.height] = [film.width, film.height];
    const screen = canvas.getContext("2d");
    screen.globalCompositeOperation = "copy";
    // Pictures come about here, where nobody sees those on the way to the one that is wanted.
    const pad = canvas.cloneNode().getContext("2d", { willReadFrequently: true });
    const kept = [];
    let at = -1; // the frame on `pad`
    let shown = -1; // the frame on `screen`
    let wanted = -1;
    let busy = false;

    async function advance() {
      const last = film.frames[at];
      const frame = film.frames[at + 1];
      const picture = await unpack(frame);
      if (last?.clear) pad.clearRect(last.x, last.y, last.width, last.height);
      if (!frame.blend) pad.clearRect(frame.x, frame.y, frame.width, frame.height);
      pad.drawImage(picture, frame.x, frame.y);
      picture.close();
      at++;
      if (at % KEEP === 0) kept[at / KEEP] ??= pad.getImageData(0, 0, film.width, film.height);
    }

    // Asked for another frame while it is on the way to one, it goes on to the new one and resolves at once.
    async function draw(target) {
      wanted = target;
      if (busy) return;
      busy = true;
      while (shown !== wanted) {
        const nearest = Math.min(Math.floor(wanted / KEEP), kept.length - 1);
        if (at > wanted || at < nearest * KEEP) {
          pad.putImageData(kept[nearest], 0, 0);
          at = nearest * KEEP;
        }
        if (at < wanted) {
          await advance();
        } else {
          screen.drawImage(pad.canvas, 0, 0);
          canvas.dataset.frame = shown = at;
        }
      }
      busy = false;
    }
    return { ...film, draw, behind: () => busy };
  }

  const PLAY = "M4 2v12l9-6z";
  const PAUSE = "M4 3h2v10H4zM10 3h2v10h-2z";
  const icon = (path) => `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${path}"/></svg>`;
  const button = (name, label, key, path) =>
    `<button type="button" data-does="${name}" aria-label="${label}" title="${label} (${key})">${icon(path)}</button>`;
  // Without the data attribute, JupyterLab takes the arrow keys for its own.
  const STAGE = `<div class="stage" tabindex="0" role="group" aria-label="Film player" data-lm-suppress-shortcuts>
    <canvas role="img"></canvas><div class="panel"><div class="track"><div class="ticks" aria-hidden="true"></div>
    <input type="range" min="0" step="1" value="0" aria-label="Frame"></div>
    <div class="buttons">${button("previousScene", "Previous scene", "Page Up", "M2 3h1v10H2zM9 3v10L4 8zM14 3v10L9 8z")}
      ${button("back", "One frame back", "←", "M11 3v10L5 8z")}
      ${button("play", "Play", "space", PLAY)}
      ${button("forward", "One frame forward", "→", "M5 3v10l6-5z")}
      ${button("nextScene", "Next scene", "Page Down", "M13 3h1v10h-1zM7 3v10l5-5zM2 3v10l5-5z")}</div>
    <div class="readout"></div><div class="said" aria-live="polite"></div></div></div>`;

  async function take(root) {
    root.dataset.taken = "";
    const img = root.querySelector("img");
    const holder = document.createElement("div");
    holder.innerHTML = STAGE;
    const [stage, canvas, panel, bar, ticks, playButton, readout, said] = [
      ".stage", "canvas", ".panel", "input", ".ticks", "[data-does=play]", ".readout", ".said",
    ].map((selector) => holder.querySelector(selector));
    let film;
    try {
      film = projector(bytesOf(img.src), canvas);
      await film.draw(0);
    } catch {
      return;
    }
    const { frames } = film;
    const last = frames.length - 1;
    const scenes = JSON.parse(root.dataset.scenes).filter(([first]) => first <= last); // [first frame, title]
    if (!scenes.length) scenes.push([0, ""]);
    canvas.setAttribute("aria-label", img.alt);
    // On each that can have focus: JupyterLab asks the element itself, and would delete the cell for two d's.
    for (const each of stage.querySelectorAll("input, button")) each.dataset.lmSuppressShortcuts = "";

    let at = 0;
    let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches; // what the reader wants
    let visible = false;
    let [request, due] = [0, 0];

    const share = (frame) => `${(100 * frame) / Math.max(last, 1)}%`;
    const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
    const titleAt = (frame) => scenes.findLast(([first]) => first <= frame)?.[1] ?? "";
    bar.max = last;
    for (const [first] of scenes) ticks.appendChild(document.createElement("i")).style.left = share(first);

    function giveBack() {
      playing = false;
      cancelAnimationFrame(request);
      stage.replaceWith(img);
    }

    function go(frame) {
      film.draw(frame).catch(giveBack);
      at = frame;
      const time = `${seconds(frames[at].start)} of ${seconds(film.duration).replace(".0", "")}`;
      readout.textContent = [time, titleAt(at)].filter(Boolean).join(" · ");
      bar.value = at;
      bar.setAttribute("aria-valuetext", readout.textContent);
      bar.style.setProperty("--done", share(at));
    }

    function run() {
      cancelAnimationFrame(request);
      if (playing && visible) {
        due = performance.now() + frames[at].delay;
        request = requestAnimationFrame(tick);
      }
      const label = playing ? "Pause" : "Play";
      playButton.innerHTML = icon(playing ? PAUSE : PLAY);
      playButton.setAttribute("aria-label", label);
      playButton.title = `${label} (space)`;
    }

    function tick(now) {
      // A machine too slow for the film shows it slower: if it hurried on, it might never get to show a frame.
      if (now >= due && !film.behind()) {
        go((at + 1) % frames.length);
        // Late, because the page was hidden or the machine busy: go on from now and do not hurry after.
        due = (now - due > 100 ? now : due) + frames[at].delay;
      }
      if (playing) request = requestAnimationFrame(tick);
    }

    function pauseAt(frame) {
      playing = false;
      go((frame + frames.length) % frames.length);
      run();
    }

    function jumpTo([first, title]) {
      go(first);
      run();
      said.textContent = title;
    }

    const does = {
      play() {
        playing = !playing;
        run();
        said.textContent = playing ? "" : `Paused. ${readout.textContent}`;
      },
      back: () => pauseAt(at - 1),
      forward: () => pauseAt(at + 1),
      previousScene() {
        // While the film runs, a second press within a second goes on to the scene before.
        const now = frames[at].start - (playing ? 1000 : 0);
        jumpTo(scenes.findLast(([first]) => frames[first].start < now) ?? scenes.at(-1));
      },
      nextScene: () => jumpTo(scenes.find(([first]) => first > at) ?? scenes[0]),
    };
    const keys = {
      " ": does.play, ArrowLeft: does.back, ArrowRight: does.forward,
      Home: () => pauseAt(0), End: () => pauseAt(last),
      PageUp: does.previousScene, PageDown: does.nextScene,
      "Shift+ArrowLeft": does.previousScene, "Shift+ArrowRight": does.nextScene,
    };
    stage.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.key === " " && event.target.matches("button")) return; // its own click follows
      const act = keys[(event.shiftKey ? "Shift+" : "") + event.key];
      if (!act) return;
      event.preventDefault();
      act();
    });
    panel.addEventListener("click", (event) => does[event.target.closest("button")?.dataset.does]?.());
    canvas.addEventListener("click", does.play);
    bar.addEventListener("input", () => pauseAt(Number(bar.value)));

    go(0);
    img.replaceWith(stage);
    new IntersectionObserver((entries) => {
      visible = entries.at(-1).intersectionRatio > 0.2;
      run();
    }, { threshold: [0, 0.21] }).observe(canvas);
  }

  // The player around this script; where nobody says which that is, each that has not been taken yet.
  const own = document.currentScript?.closest(".mnistlab-player");
  for (const root of own ? [own] : document.querySelectorAll(".mnistlab-player")) {
    if (!("taken" in root.dataset)) take(root);
  }
})();
