// A picture of digits → MNIST's own form: the procedure of picture.py, function by function and under the
// same names, for a page without Python. What OpenCV, numpy and Pillow do there stands at the end, no more of it than
// is needed. Change both files together: tests/reading/test_picture_js.py compares what they do. The numbers in
// capitals, SIZE to FAINT, are picture.py's own; its `script` writes them before this file.
//
// An image is { width, height, values }, row by row; a mask is an image of 0 and 1; a colour picture is three images.

// RGBA as in an ImageData → steps, each an image with a name; digits, left to right; the number of the largest.
function prepare(pixels, width, height) {
  const picture = _pixels(pixels, width, height);
  if (_isInForm(picture)) return { steps: [], digits: [Uint8Array.from(picture[0].values, round)], subject: 0 };
  const [ink, noise] = _ink(picture);
  const steps = [{ name: "ink", ...ink }];
  const [groups, subject] = _groups(_withoutRules(_strokes(ink, noise), ink));
  const full = noise === 0 ? ink : _saturated(ink, noise);
  const digits = groups.map((group, number) => {
    const alone = _cropped(mapped(full, (covered, i) => covered * group.values[i]));
    const penned = _pen(alone);
    const digit = _inForm(penned);
    if (number === subject) {
      const last = { width: 28, height: 28, values: Float32Array.from(digit, (level) => level / 255) };
      steps.push({ name: "one digit", ...alone }, { name: "pen", ...penned }, { name: "28×28", ...last });
    }
    return digit;
  });
  return { steps, digits, subject };
}

// --- ink on paper

// How much ink covers each pixel, 0…1, and its noise on bare paper (0: none, as if drawn).
function _ink(picture) {
  const drawn = _oneColour(picture);
  const longest = Math.max(picture[0].width, picture[0].height);
  let [ink, noise, level] = [null, 0, 0];
  if (drawn) {
    ink = _along(picture.map((channel, c) => minus(channel, filled(channel, drawn[c]))));
    level = largest(ink.values);
  } else {
    for (const share of [300, 120, 60]) { // of the picture's size, as blur, until ink stands out from noise
      ink = _along(_differences(picture.map((channel) => gaussianBlur(channel, longest / share))));
      ink = minus(ink, filled(ink, median(ink.values)));
      const { values } = ink;
      const paper = _otsu(ink);
      noise = Math.fround(median(filtered(values, (i) => values[i] < paper).map(Math.abs))) * 1.4826;
      const mask = _withoutEdges(above(ink, paper));
      const inked = filtered(values, (i) => values[i] > 0 && mask.values[i]);
      level = inked.length ? percentile(inked, 0.75) : 0;
      if (level > 8 * noise) break;
    }
  }
  if (level < Math.max(FAINT, 5 * noise)) return [filled(ink, 0), noise];
  for (let i = 0; i < ink.values.length; i++) ink.values[i] = Math.min(Math.max(ink.values[i] / level, 0), 1);
  return [ink, noise / level];
}

// Parts of the mask that lie along the picture's border, as the edge of a sheet does.
function _alongBorder(mask) {
  const { width, height } = mask;
  const { labels, parts } = connectedComponents(mask);
  const contact = new Int32Array(parts.length);
  for (let x = 0; x < width; x++) for (const y of [0, height - 1]) contact[labels[y * width + x]]++;
  for (let y = 1; y < height - 1; y++) for (const x of [0, width - 1]) contact[labels[y * width + x]]++;
  const along = parts.map((part, n) => n > 0 && contact[n] > 0.35 * (part.width + part.height));
  return partsOf(labels, along, mask);
}

// The mask without what lies along the border and is no stroke, unless nothing would be left but specks.
function _withoutEdges(mask) {
  const size = Math.sqrt(mask.width * mask.height);
  const along = _alongBorder(mask);
  if (!along.values.includes(1)) return mask;
  const { labels, parts } = connectedComponents(along);
  const edge = parts.map(({ width, height }) => {
    const [short, long] = [Math.min(width, height), Math.max(width, height)];
    return short < (long > 0.8 * size ? 0.2 : 0.1) * size;
  });
  const thick = erodeMask(along, _disc(0.2 * size), 0).values;
  for (let i = 0; i < labels.length; i++) if (thick[i]) edge[labels[i]] = true;
  edge[0] = false; // a digit that the border cuts is neither thick nor thin
  const inner = minus(mask, partsOf(labels, edge, mask));
  const enough = connectedComponents(inner).parts.some((part) => part.area > 0.003 * mask.values.length);
  return enough ? inner : mask;
}

// An ellipse, as how far each of its rows reaches to either side.
function _disc(diameter) {
  const radius = Math.max(3, round(diameter) | 1) >> 1;
  return Array.from({ length: 2 * radius + 1 }, (_, y) => round(Math.sqrt(radius ** 2 - (y - radius) ** 2)));
}

// The paper's colour where much of the picture, and most of its border, has exactly that; else null.
function _oneColour(picture) {
  const { width, height } = picture[0];
  const [red, green, blue] = picture.map((channel) => channel.values);
  const code = (i) => (red[i] << 16) | (green[i] << 8) | blue[i];
  const border = [];
  for (let x = 0; x < width; x++) border.push(code(x), code(width * (height - 1) + x));
  for (let y = 0; y < height; y++) border.push(code(y * width), code((y + 1) * width - 1));
  const counts = new Map();
  for (const colour of border) counts.set(colour, (counts.get(colour) ?? 0) + 1);
  const [colour, most] = [...counts].reduce((a, b) => (b[1] > a[1] || (b[1] === a[1] && b[0] < a[0]) ? b : a));
  let same = 0;
  for (let i = 0; i < red.length; i++) if (code(i) === colour) same++;
  if (most < 0.5 * border.length || same < 0.25 * red.length) return null;
  return [colour >> 16, (colour >> 8) & 255, colour & 255];
}

// Three images of differences from the paper → one, their length along the strongest ones' mean direction.
function _along(differences) {
  const [red, green, blue] = differences.map((channel) => channel.values);
  const along = filled(differences[0], 0);
  const strength = new Float32Array(red.length);
  for (let i = 0; i < red.length; i++) strength[i] = Math.abs(red[i]) + Math.abs(green[i]) + Math.abs(blue[i]);
  const strong = 0.6 * percentile(strength, 0.99);
  let [rr, rg, rb, gg, gb, bb] = [0, 0, 0, 0, 0, 0];
  for (let i = 0; i < strength.length; i++) {
    if (strength[i] < strong) continue;
    const [r, g, b] = [red[i], green[i], blue[i]];
    rr += r * r;
    rg += r * g;
    rb += r * b;
    gg += g * g;
    gb += g * b;
    bb += b * b;
  }
  // A high power of the matrix leaves nothing but its main direction.
  let matrix = [[rr, rg, rb], [rg, gg, gb], [rb, gb, bb]];
  for (let n = 0; n < 30; n++) {
    const trace = matrix[0][0] + matrix[1][1] + matrix[2][2] || 1;
    matrix = matrix.map((row) => row.map((v) => v / trace));
    matrix = matrix.map((row) => matrix.map((other) => row[0] * other[0] + row[1] * other[1] + row[2] * other[2]));
  }
  const direction = matrix.reduce((a, b, n) => (b[n] > a[n] ? b : a));
  const length = direction.reduce((sum, v) => sum + Math.abs(v), 0) || 1;
  const [x, y, z] = direction.map((v) => v / length);
  const weight = _centreWeight(along);
  let sum = 0;
  for (let i = 0; i < red.length; i++) {
    const v = along.values[i] = red[i] * x + green[i] * y + blue[i] * z;
    sum += v * v * v * weight[i];
  }
  return sum >= 0 ? along : negative(along);
}

function _centreWeight({ width, height }) {
  const [rows, columns] = [height, width].map((n) => linspace(n).map((v) => Math.exp(-v * v)));
  const weight = new Float32Array(width * height);
  for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++, i++) weight[i] = rows[y] * columns[x];
  return weight;
}

// How far each pixel is from the paper behind it, in grey levels as in full light.
function _differences(picture) {
  const size = Math.sqrt(picture[0].width * picture[0].height);
  const over = (one, other, f) => one.map((channel, c) => f(channel, other[c]));
  let paper = _surface(picture);
  const [grey, behind] = [_grey(picture), _grey(paper)];
  const darker = _isDarker(grey, behind);
  let [marked, away] = _marked(grey, behind, darker);
  const thick = dilate(erodeMask(marked, _disc(0.16 * size), 0), _disc(0.16 * size));
  const beside = _alongBorder(dilate(thick, _disc(0.03 * size)));
  const anyBeside = beside.values.includes(1);
  const shadow = anyBeside && _writtenOn(grey, beside, darker);
  if (anyBeside && !shadow) { // a table beside the sheet, or an empty corner in the dark
    picture = over(picture, paper, (one, other) => mapped(one, (v, i) => (beside.values[i] ? other.values[i] : v)));
    [marked, away] = _marked(_grey(picture), behind, darker);
  }
  const inked = filtered(away.values, (i) => marked.values[i]);
  const bare = filtered(away.values, (i) => !marked.values[i]);
  for (let i = 0; i < bare.length; i++) bare[i] = Math.abs(bare[i]);
  if (shadow || (inked.length && percentile(bare, 0.95) > 0.3 * median(inked))) {
    const how = darker ? closing : opening;
    paper = over(picture, paper, (one, other) => {
      const flat = medianBlur(mapped(minus(one, other), (v) => Math.floor(Math.min(Math.max(v + 128, 0), 255))));
      const narrow = gaussianBlur(_filled(flat, how, 0.25), 0.02 * size);
      return mapped(other, (v, i) => v + narrow.values[i] - 128);
    });
  }
  return over(picture, paper, (one, other) => {
    const light = other.values;
    const away = minus(one, other);
    for (let i = 0; darker && i < light.length; i++) away.values[i] *= 255 / Math.max(light[i], 25);
    return away;
  });
}

function _grey(picture) {
  const [red, green, blue] = picture.map((channel) => channel.values);
  const grey = filled(picture[0], 0);
  for (let i = 0; i < red.length; i++) grey.values[i] = (red[i] + green[i] + blue[i]) / 3;
  return grey;
}

// A closing or an opening: what is narrower than that share of the page is filled from its sides.
function _filled(page, how, widest) {
  const { width, height } = page;
  const scale = Math.min(1, 120 / Math.max(width, height));
  const small = resize(page, Math.max(1, round(width * scale)), Math.max(1, round(height * scale)), areaTaps);
  return resize(how(small, _disc(widest * Math.min(small.width, small.height))), width, height, linearTaps);
}

// Whether what is narrow is rather darker than the paper, or lighter.
function _isDarker(grey, paper) {
  const weight = _centreWeight(grey);
  const amount = (one, other) => {
    let sum = 0;
    for (let i = 0; i < weight.length; i++) {
      sum += Math.max(Math.min(one.values[i], other.values[i]), 0) ** 2 * weight[i];
    }
    return sum;
  };
  const dark = amount(minus(_filled(grey, closing, 0.25), grey), minus(paper, grey));
  return dark >= amount(minus(grey, _filled(grey, opening, 0.25)), minus(grey, paper));
}

// Where a picture differs from the paper as ink does, and by how much.
function _marked(grey, paper, darker) {
  const away = darker ? minus(paper, grey) : minus(grey, paper);
  return [above(away, _otsu(away)), away];
}

// Whether there are strokes within a part of the picture: then it lies in a shadow, and is no table.
function _writtenOn(grey, part, darker) {
  const inside = erodeMask(part, _disc(0.16 * Math.min(grey.width, grey.height)), 1);
  const strokes = minus(_filled(grey, darker ? closing : opening, 0.15), grey).values.map(Math.abs);
  const least = 0.5 * percentile(strokes, 0.98);
  return filtered(strokes, (i) => strokes[i] > least && inside.values[i]).length > 0.0015 * strokes.length;
}

// For each channel the polynomial of second degree that most pixels lie on.
function _surface(picture) {
  const places = linspace(48);
  const at = (solution, x, y) => solution[0] + solution[1] * x + solution[2] * y
    + solution[3] * x * y + solution[4] * x * x + solution[5] * y * y;
  const small = picture.map((channel) => resize(channel, 48, 48, areaTaps));
  let surfaces = small.map(({ values }) => [median(values), 0, 0, 0, 0, 0]);
  for (let n = 0; n < 8; n++) {
    const off = small.map((channel, c) =>
      mapped(channel, (v, i, x, y) => Math.abs(v - at(surfaces[c], places[x], places[y]))));
    const far = _grey(off).values;
    const scale = Math.max(2, 1.5 * median(far));
    const equations = Array.from({ length: 6 }, () => new Float64Array(9)); // the normal ones, of least squares
    for (let i = 0; i < far.length; i++) {
      const [x, y] = [places[i % 48], places[Math.floor(i / 48)]];
      const terms = [1, x, y, x * y, x * x, y * y];
      const weight = (1 / (1 + (far[i] / scale) ** 4)) ** 2;
      for (let k = 0; k < 6; k++) {
        for (let j = 0; j < 6; j++) equations[k][j] += weight * terms[k] * terms[j];
        for (let c = 0; c < 3; c++) equations[k][6 + c] += weight * terms[k] * small[c].values[i];
      }
    }
    surfaces = solved(equations);
  }
  const [columns, rows] = [linspace(picture[0].width), linspace(picture[0].height)];
  return surfaces.map(([a, b, c, d, e, f]) => {
    const paper = filled(picture[0], 0);
    for (let y = 0, i = 0; y < paper.height; y++) {
      const [level, slope] = [a + (c + f * rows[y]) * rows[y], b + d * rows[y]];
      for (let x = 0; x < paper.width; x++, i++) paper.values[i] = level + (slope + e * columns[x]) * columns[x];
    }
    return paper;
  });
}

// Of the ink's positive part.
function _otsu({ values }) {
  const scale = Math.max(largest(values), 0) || 1;
  const counts = new Float64Array(256);
  const times = Math.fround(255 / scale);
  for (let i = 0; i < values.length; i++) counts[Math.floor(Math.fround(Math.max(values[i], 0) * times))]++;
  const mean = counts.reduce((sum, count, level) => sum + level * count, 0) / values.length;
  let [below, belowMean, best, most] = [0, 0, 0, 0];
  for (let level = 0; level < 256; level++) {
    const share = counts[level] / values.length;
    belowMean *= below;
    below += share;
    if (Math.min(below, 1 - below) < 1.2e-7 || Math.max(below, 1 - below) > 1 - 1.2e-7) continue;
    belowMean = (belowMean + level * share) / below;
    const apart = below * (1 - below) * (belowMean - (mean - below * belowMean) / (1 - below)) ** 2;
    if (apart > most) [most, best] = [apart, level];
  }
  return (best * scale) / 255;
}

// Ink from a camera or a scanner as MNIST has it: bare paper exactly 0, strokes full in their middle.
function _saturated(ink, noise) {
  const low = Math.max(0.2, 3 * noise);
  return mapped(ink, (v) => Math.min(Math.max((v - low) / (0.8 - low), 0), 1));
}

// --- strokes and what is none

// Where there surely is ink; paler ink counts where it hangs together with such.
function _strokes(ink, noise) {
  const [low, high] = noise === 0 ? [0.15, 0.5] : [Math.max(0.35, 4 * noise), Math.max(0.55, 5 * noise)];
  const { labels, parts } = connectedComponents(above(ink, low));
  const strong = parts.map(() => false);
  for (let i = 0; i < labels.length; i++) if (ink.values[i] > high) strong[labels[i]] = true;
  strong[0] = false;
  const mask = partsOf(labels, strong, ink);
  return noise ? closing(_withoutEdges(mask), Array(7).fill(3)) : mask; // chalk leaves gaps
}

// The mask without straight lines that run from border to border; strokes that cross them stay.
function _withoutRules(mask, ink) {
  const { width: wide, height: high } = mask;
  if (!profiles(mask).some((profile) => profile[0] || profile.at(-1))) return mask;
  mask = { ...mask, values: mask.values.slice() };
  for (const upright of [false, true]) { // level lines, then upright ones, for which rows and columns are swapped
    const [width, height] = upright ? [high, wide] : [wide, high];
    const at = upright ? (row, column) => column * wide + row : (row, column) => row * wide + column;
    const sheet = { width, height, at, mask: mask.values, ink: ink.values };
    const [rows, middles] = [[], []];
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const near = mask.values[at(row, column)] || (row && mask.values[at(row - 1, column)]);
        if (!near && !(row < height - 1 && mask.values[at(row + 1, column)])) continue;
        rows.push(row);
        middles.push(column - width / 2);
      }
    }
    if (!rows.length) break;
    const found = [];
    for (let n = 0; n <= 50; n++) {
      const slope = -0.25 + 0.01 * n; // rows a column; a line starts, in the middle column, at `start`
      const counts = new Int32Array(height + 2 * width);
      for (let i = 0; i < rows.length; i++) counts[round(rows[i] - slope * middles[i]) + width]++;
      counts.forEach((count, i) => {
        const start = i - width;
        const crossings = [-start, height - 1 - start].map((rise) => rise / (slope || 1e-9));
        const [one, other] = crossings.map((v) => Math.min(Math.max(v, -width / 2), width / 2));
        const length = Math.abs(other - one);
        if (length > 0.5 * width && count > LINE * length) found.push([count, start, slope]);
      });
    }
    found.sort((a, b) => b[0] - a[0] || b[1] - a[1] || b[2] - a[2]);
    for (const [, start, slope] of found) _eraseLine(sheet, (x) => round(start + slope * (x - width / 2)));
  }
  return mask;
}

// Clears what a line of one row a column covers, except where a darker or broader stroke crosses it.
function _eraseLine({ width, height, at, mask, ink }, line) {
  const thick = Math.max(3, round(0.04 * height));
  const columns = Array.from({ length: width }, (_, column) => ({ column, row: line(column) }))
    .filter(({ row }) => row >= 1 && row < height - 1);
  if (columns.length < 0.5 * width) return;
  const ends = Math.max(3, Math.floor(columns.length / 16));
  const met = columns.map(({ row, column }) => [0, -1, 1].some((step) => mask[at(row + step, column)]));
  const share = (some) => some.filter(Boolean).length / some.length;
  if (share(met) < LINE || Math.min(share(met.slice(0, ends)), share(met.slice(-ends))) < 0.5) return;
  const there = columns.filter((_, i) => met[i]);
  for (const one of there) {
    const covered = (row) => row >= 0 && row < height && mask[at(row, one.column)];
    [one.top, one.bottom] = [one.row, one.row];
    while (one.row - one.top < thick && covered(one.top - 1)) one.top--;
    while (one.bottom - one.row < thick && covered(one.bottom + 1)) one.bottom++;
    one.length = one.bottom - one.top + 1;
    one.shade = Math.max(...[-1, 0, 1].map((step) => ink[at(one.row + step, one.column)]));
  }
  const [usual, pale] = [median(there.map((one) => one.length)), median(there.map((one) => one.shade))];
  if (usual > 0.035 * height) return; // a stroke of a digit as large as the picture
  for (const { column, top, bottom, length, shade } of there) {
    if (length > usual + 2 || shade >= 1.4 * pale) continue;
    for (let row = top; row <= bottom; row++) mask[at(row, column)] = 0;
  }
}

// The strokes of each digit, left to right, with room for the soft edge of a stroke, and the number of the largest.
// Beside a whole digit, what the border cuts is left out.
function _groups(mask) {
  const { width, height } = mask;
  const { labels, parts } = connectedComponents(mask);
  if (parts.length === 1) return [[], 0];
  const speck = SPECK * Math.max(...parts.map((part) => part.area));
  const numbers = [...parts.keys()].sort((a, b) => parts[b].area - parts[a].area || b - a).slice(0, MOST_PARTS)
    .filter((n) => parts[n].area >= speck);
  let strokes = numbers.filter((n) => !_isFrame(mask, labels, parts, n, numbers));
  if (!strokes.length) strokes = numbers.slice(0, 1);
  const edges = new Set();
  const along = _alongBorder(mask).values;
  for (let i = 0; i < labels.length; i++) if (along[i]) edges.add(labels[i]);
  const together = new Map(strokes.map((n) => [n, new Set([n])]));
  for (const n of strokes) {
    const others = strokes.filter((other) => !together.get(n).has(other) && edges.has(n) === edges.has(other));
    if (!others.length) continue;
    const away = distanceTransform(partsOf(labels, parts.map((_, other) => other !== n), mask), NEAR_3).values;
    const gaps = new Float32Array(parts.length).fill(Infinity);
    for (let i = 0; i < labels.length; i++) if (away[i] < gaps[labels[i]]) gaps[labels[i]] = away[i];
    for (const other of others) {
      if (together.get(n).has(other) || !_oneDigit(parts[n], parts[other], gaps[other])) continue;
      const joined = new Set([...together.get(n), ...together.get(other)]);
      for (const each of joined) together.set(each, joined);
    }
  }
  const groups = [...new Set(together.values())].map((group) => [...group]);
  const sizes = groups.map((group) => group.reduce((sum, n) => sum + parts[n].area, 0));
  const boxes = groups.map((group) => _box(group.map((n) => parts[n])));
  const inner = boxes.map((box) => !_touches(box, mask));
  const whole = sizes.map((size, n) => (inner[n] && size > 0.003 * width * height ? size : 0));
  const ranked = whole.some(Boolean) ? whole : sizes;
  const subject = ranked.indexOf(Math.max(...ranked));
  const kept = [...groups.keys()]
    .filter((n) => inner[n] || !whole.some(Boolean))
    .filter((n) => sizes[n] > 0.15 * sizes[subject] && boxes[n].height > 0.4 * boxes[subject].height)
    .sort((a, b) => boxes[a].left - boxes[b].left);
  const soft = Math.max(1, Math.floor(Math.max(width, height) / 100));
  const square = new Array(2 * soft + 1).fill(soft);
  const masks = kept.map((n) => partsOf(labels, parts.map((_, part) => groups[n].includes(part)), mask));
  return [masks.map((part) => dilate(part, square)), kept.indexOf(subject)];
}

// What is around several parts.
function _box(parts) {
  const [left, top] = ["left", "top"].map((side) => Math.min(...parts.map((part) => part[side])));
  const right = Math.max(...parts.map((part) => part.left + part.width));
  const bottom = Math.max(...parts.map((part) => part.top + part.height));
  return { left, top, width: right - left, height: bottom - top };
}

function _touches(box, { width, height }) {
  return box.left === 0 || box.top === 0 || box.left + box.width === width || box.top + box.height === height;
}

// Whether two parts, `gap` pixels apart, are strokes of one digit: a 5 and its hat, the two bars of a 4.
function _oneDigit(one, other, gap) {
  const [long, otherLong] = [one, other].map((part) => Math.max(part.width, part.height));
  const size = Math.min(1.5 * Math.min(long, otherLong), Math.max(long, otherLong));
  const [left, right] = [Math.max(one.left, other.left), Math.min(one.left + one.width, other.left + other.width)];
  if (gap <= 0.05 * size) return true;
  if (right - left > 0.3 * Math.min(one.width, other.width)) return gap <= 0.3 * size; // above each other
  const low = Math.min(one.height, other.height) / Math.max(one.height, other.height);
  return gap <= (low < 0.4 ? 0.25 : 0.2) * size && low < 0.75; // a 5's hat may float off to the right
}

// Whether a part is a printed box around others.
function _isFrame(mask, labels, parts, number, numbers) {
  const { left, top, width, height, area } = parts[number];
  const within = (part) => left <= part.left && top <= part.top
    && part.left + part.width <= left + width && part.top + part.height <= top + height;
  if (!numbers.some((n) => n !== number && within(parts[n]))) return false;
  if (Math.min(width, height) < 0.5 * Math.min(mask.width, mask.height)) return false;
  const rim = Math.max(2, round(0.08 * Math.max(width, height)));
  let inside = 0;
  for (let y = top + rim; y < top + height - rim; y++) {
    for (let x = left + rim; x < left + width - rim; x++) inside += labels[y * mask.width + x] === number;
  }
  return inside < 0.1 * area;
}

// --- one digit

function _cropped(ink) {
  const [rows, columns] = profiles(ink);
  const [top, left] = [rows, columns].map((profile) => profile.findIndex((v) => v > 0));
  const [bottom, right] = [rows, columns].map((profile) => profile.findLastIndex((v) => v > 0) + 1);
  const [width, height] = [right - left, bottom - top];
  const cut = { width, height, values: new Float32Array(width * height) };
  return mapped(cut, (_, i, x, y) => ink.values[(top + y) * ink.width + left + x]);
}

function _padded({ width, height, values }, by) {
  const wide = width + 2 * by;
  const padded = new Float32Array(wide * (height + 2 * by));
  for (let y = 0; y < height; y++) padded.set(values.subarray(y * width, (y + 1) * width), (y + by) * wide + by);
  return { width: wide, height: height + 2 * by, values: padded };
}

// Thin strokes widened to a pen like those MNIST was written with; others as they are.
function _pen(ink) {
  const scale = BOX / Math.max(ink.width, ink.height);
  const [width, height] = [ink.width, ink.height].map((n) => Math.max(1, round(n * scale)));
  const big = mapped(resize(ink, width, height, scale < 1 ? areaTaps : cubicTaps), (v) => Math.min(Math.max(v, 0), 1));
  const pen = _penWidth(big) / BOX;
  if (pen >= PEN[0]) return ink;
  const grow = round(((PEN[1] - pen) * BOX) / 2);
  return dilate(_padded(big, grow), _disc(2 * grow + 1));
}

// Pixels across a stroke, the median over its middle line.
function _penWidth(ink) {
  const inside = distanceTransform(above(_padded(ink, 1), 0.5), NEAR_5);
  const most = dilate(inside, [1, 1, 1]).values;
  const ridge = filtered(most, (i) => most[i] > 0 && inside.values[i] >= most[i]);
  return ridge.length ? 2 * median(ridge) - 0.5 : 0;
}

// 20 pixels on the longer side, the centre of mass nearest to (14, 14): one antialiased resample does both.
function _inForm(ink) {
  const edges = _edges(ink);
  const scale = Math.max(...edges.map(([first, last]) => last - first)) / 20;
  const total = summed(ink, (v) => v);
  const centres = [
    summed(ink, (v, i, x, y) => v * (y + 0.5)) / total,
    summed(ink, (v, i, x) => v * (x + 0.5)) / total,
  ];
  const margin = Math.ceil(28 * scale);
  const [rows, columns] = edges.map(([start], axis) => {
    const first = start - Math.floor(15.0001 - (centres[axis] - start) / scale) * scale;
    const length = axis ? ink.width : ink.height;
    return lanczosTaps(length, Math.fround(first + margin), Math.fround(first + margin + 28 * scale), margin);
  });
  const byte = (v) => Math.min(Math.max(Math.floor(v + 0.5), 0), 255); // as Pillow has it after either pass
  const page = transposed(mapped(ink, (v) => round(Math.fround(v * 255)))); // its columns come first, as in Pillow
  return Uint8Array.from(transposed(resampledRows(resampledRows(page, columns, byte), rows, byte)).values);
}

// Whether a picture is a digit as MNIST has them already: 20 pixels high or wide, centred, light on black.
function _isInForm(picture) {
  if (picture[0].width !== 28 || picture[0].height !== 28) return false;
  const [grey, green, blue] = picture.map((channel) => mapped(channel, round));
  if (grey.values.some((v, i) => v !== green.values[i] || v !== blue.values[i])) return false;
  if (largest(grey.values) < 200) return false;
  const digit = _cropped(grey);
  if (![19, 20].includes(Math.max(digit.width, digit.height))) return false;
  const total = summed(grey, (v) => v);
  const off = [summed(grey, (v, i, x) => v * (x - 14)), summed(grey, (v, i, x, y) => v * (y - 14))];
  return off.every((moment) => Math.abs(moment / total) <= 0.5);
}

// [top, bottom], [left, right]: where the ink begins. On a soft edge, half-way up its first half pixel of 20.
function _edges(ink) {
  const sides = profiles(ink);
  let edges = sides.map((profile) => [0, profile.length]);
  for (let n = 0; n < 2; n++) {
    const half = round(Math.max(...edges.map(([first, last]) => last - first)) / 40);
    edges = sides.map((p) => [_rise(p, half), p.length - _rise(p.slice().reverse(), half)]);
  }
  return edges;
}

function _rise(profile, half) {
  return Math.max(0, profile.findIndex((v, i) => v > 0.004 && v >= 0.5 * (profile[i + half] ?? 0)));
}

// --- pixels

// RGBA → red, green and blue on paper, SIZE pixels at most a side.
function _pixels(pixels, width, height) {
  const picture = _onPaper(pixels, width, height);
  const longest = Math.max(width, height);
  if (longest <= SIZE) return picture;
  const [wide, high] = [width, height].map((n) => Math.max(1, round((n * SIZE) / longest)));
  return picture.map((channel) => mapped(resize(channel, wide, high, areaTaps), round));
}

// What is transparent becomes paper that the rest stands out from.
function _onPaper(pixels, width, height) {
  const channels = [0, 1, 2, 3].map(() => ({ width, height, values: new Float32Array(width * height) }));
  channels.forEach(({ values }, c) => {
    for (let i = 0; i < values.length; i++) values[i] = pixels[4 * i + c];
  });
  const colours = channels.slice(0, 3);
  if (-largest(negative(channels[3]).values) === 255) return colours;
  const opaque = mapped(channels[3], (v) => v / 255).values;
  const total = opaque.reduce((sum, v) => sum + v, 0);
  const share = total / opaque.length;
  if (share === 0) return colours;
  const mean = colours.reduce((sum, colour) => sum + summed(colour, (v, i) => v * opaque[i]), 0) / total / 3;
  const lonely = mean < 140 ? 255 : 0; // a drawing on nothing: the opposite of its ink
  return colours.map((colour) => {
    const paper = share < 0.5 ? lonely : median(filtered(colour.values, (i) => opaque[i] >= 0.5));
    return mapped(colour, (v, i) => Math.fround(v * opaque[i]) + paper * (1 - opaque[i]));
  });
}

// --- what OpenCV, numpy and Pillow do for picture.py

// What is done to all pixels of a picture is a plain loop: a function that is called for each takes five times as long.
const filled = (image, v) => ({ ...image, values: new Float32Array(image.values.length).fill(v) });

function minus(one, other) {
  const result = filled(one, 0);
  for (let i = 0; i < one.values.length; i++) result.values[i] = one.values[i] - other.values[i];
  return result;
}

const negative = (image) => minus(filled(image, 0), image);

function above(image, level) {
  const mask = filled(image, 0);
  for (let i = 0; i < image.values.length; i++) if (image.values[i] > level) mask.values[i] = 1;
  return mask;
}

// The mask of those parts, of connectedComponents, that are wanted.
function partsOf(labels, wanted, image) {
  const mask = filled(image, 0);
  for (let i = 0; i < labels.length; i++) if (wanted[labels[i]]) mask.values[i] = 1;
  return mask;
}

function mapped(image, f) {
  const { values } = image;
  const result = filled(image, 0);
  for (let y = 0, i = 0; y < image.height; y++) {
    for (let x = 0; x < image.width; x++, i++) result.values[i] = f(values[i], i, x, y);
  }
  return result;
}

function filtered(values, f) {
  const result = new Float32Array(values.length);
  let count = 0;
  for (let i = 0; i < values.length; i++) if (f(i)) result[count++] = values[i];
  return result.subarray(0, count);
}

function summed(image, f) {
  let sum = 0;
  mapped(image, (v, i, x, y) => { sum += f(v, i, x, y); });
  return sum;
}

function largest(values) {
  let most = -Infinity;
  for (let i = 0; i < values.length; i++) if (values[i] > most) most = values[i];
  return most;
}

const linspace = (n) => Float64Array.from({ length: n }, (_, i) => -1 + (2 * i) / (n - 1 || 1)); // from -1 to 1

// The largest value of each row and of each column.
function profiles(image) {
  const [rows, columns] = [new Float32Array(image.height), new Float32Array(image.width)];
  for (let y = 0, i = 0; y < image.height; y++) {
    for (let x = 0; x < image.width; x++, i++) {
      const v = image.values[i];
      if (v > rows[y]) rows[y] = v;
      if (v > columns[x]) columns[x] = v;
    }
  }
  return [rows, columns];
}

// To the nearest whole number, halves to the even one, as Python does.
function round(v) {
  const low = Math.floor(v);
  return v - low > 0.5 || (v - low === 0.5 && low % 2) ? low + 1 : low;
}

function percentile(values, share) {
  const sorted = new Float32Array(values); // as far as it must be, by quickselect
  const at = share * (sorted.length - 1);
  const middle = Math.floor(at);
  let [first, last] = [0, sorted.length - 1];
  while (first < last) {
    const pivot = sorted[(first + last) >> 1];
    let [low, high] = [first, last];
    while (low <= high) {
      while (sorted[low] < pivot) low++;
      while (sorted[high] > pivot) high--;
      if (low > high) break;
      const other = sorted[low];
      sorted[low++] = sorted[high];
      sorted[high--] = other;
    }
    if (middle <= high) last = high;
    else if (middle >= low) first = low;
    else break;
  }
  if (at === middle) return sorted[middle];
  let next = Infinity;
  for (let i = middle + 1; i < sorted.length; i++) if (sorted[i] < next) next = sorted[i];
  return sorted[middle] + (next - sorted[middle]) * (at - middle);
}

function median(values) {
  return percentile(values, 0.5);
}

// The unknowns of linear equations, for each of the columns behind their square, by Gauss and Jordan.
function solved(rows) {
  const count = rows.length;
  for (let n = 0; n < count; n++) {
    const pivot = rows.slice(n).reduce((a, b) => (Math.abs(b[n]) > Math.abs(a[n]) ? b : a));
    rows[rows.indexOf(pivot)] = rows[n];
    rows[n] = pivot.map((v) => v / pivot[n]);
    rows.forEach((row, k) => { if (k !== n) rows[k] = row.map((v, j) => v - row[n] * rows[n][j]); });
  }
  return Array.from({ length: rows[0].length - count }, (_, c) => rows.map((row) => row[count + c]));
}

// Each new row is a sum over old ones, `from`, by `weights`: its taps. What comes out is transposed.
function resampledRows({ width, height, values }, taps, finish) {
  const result = new Float32Array(width * taps.length);
  const sums = new Float64Array(width);
  taps.forEach(({ from, weights }, y) => {
    sums.fill(0);
    for (let k = 0; k < from.length; k++) {
      const start = from[k] * width;
      const weight = weights[k];
      for (let x = 0; x < width; x++) sums[x] += weight * values[start + x];
    }
    for (let x = 0; x < width; x++) result[x * taps.length + y] = finish ? finish(sums[x]) : sums[x];
  });
  return { width: taps.length, height: width, values: result };
}

const resampled = (image, rows, columns) => resampledRows(resampledRows(image, rows), columns);
const transposed = (image) => resampledRows(image, listed(image.height, (y) => tap([y], [1])));

function resize(image, width, height, taps) {
  if (taps === areaTaps && (width > image.width || height > image.height)) taps = coarseTaps;
  return resampled(image, taps(image.height, height), taps(image.width, width));
}

const listed = (length, f) => Array.from({ length }, (_, i) => f(i));
const clamped = (from, length) => from.map((i) => Math.min(Math.max(i, 0), length - 1));
const tap = (from, weights) => ({ from: Int32Array.from(from), weights: Float64Array.from(weights) });

function areaTaps(length, size) {
  const scale = length / size;
  return listed(size, (i) => {
    const [start, end] = [i * scale, Math.min((i + 1) * scale, length)];
    const from = listed(Math.min(Math.ceil(end), length) - Math.floor(start), (k) => Math.floor(start) + k)
      .filter((n) => Math.min(end, n + 1) - Math.max(start, n) > 1e-3);
    return tap(from, from.map((n) => (Math.min(end, n + 1) - Math.max(start, n)) / (end - start)));
  });
}

// What OpenCV makes of an area that is smaller than a pixel.
function coarseTaps(length, size) {
  return listed(size, (i) => {
    const first = Math.floor((i * length) / size);
    const rest = Math.max(i + 1 - ((first + 1) * size) / length, 0) % 1;
    return tap(clamped([first, first + 1], length), [1 - rest, rest]);
  });
}

function linearTaps(length, size) {
  return listed(size, (i) => {
    const at = ((i + 0.5) * length) / size - 0.5;
    const first = Math.floor(at);
    return tap(clamped([first, first + 1], length), [1 - (at - first), at - first]);
  });
}

function cubicTaps(length, size) {
  const near = (x) => (1.25 * x - 2.25) * x * x + 1;
  const far = (x) => ((-0.75 * x + 3.75) * x - 6) * x + 3;
  return listed(size, (i) => {
    const at = ((i + 0.5) * length) / size - 0.5;
    const [first, x] = [Math.floor(at), at - Math.floor(at)];
    const weights = [far(1 + x), near(x), near(1 - x), far(2 - x)];
    return tap(clamped([-1, 0, 1, 2].map((k) => first + k), length), weights);
  });
}

// 28 pixels out of start…end on a page with an empty margin; Pillow's weights are whole numbers of 2⁻²².
function lanczosTaps(length, start, end, margin) {
  const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
  const scale = (end - start) / 28;
  const wide = Math.max(scale, 1);
  return listed(28, (i) => {
    const centre = start + (i + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - 3 * wide + 0.5), 0);
    const last = Math.min(Math.trunc(centre + 3 * wide + 0.5), length + 2 * margin);
    const all = listed(last - first, (k) => {
      const x = (first + k - centre + 0.5) / wide;
      return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
    });
    const total = all.reduce((sum, v) => sum + v, 0);
    const whole = all.map((v) => (Math.sign(v) * Math.floor((Math.abs(v) / total) * 2 ** 22 + 0.5)) / 2 ** 22);
    const from = all.map((_, k) => first + k - margin);
    const inside = (_, k) => from[k] >= 0 && from[k] < length;
    return tap(from.filter(inside), whole.filter(inside));
  });
}

function gaussianBlur(image, sigma) {
  const half = (round(8 * sigma + 1) | 1) >> 1;
  const all = listed(2 * half + 1, (k) => Math.exp(-0.5 * ((k - half) / sigma) ** 2));
  const total = all.reduce((sum, v) => sum + v, 0);
  const weights = all.map((v) => v / total);
  const taps = (length) => listed(length, (i) => {
    const period = 2 * (length - 1) || 1; // mirrored at the border's pixels
    const from = all.map((_, k) => (((i + k - half) % period) + period) % period);
    return tap(from.map((n) => (n < length ? n : period - n)), weights);
  });
  return resampled(image, taps(image.height), taps(image.width));
}

// The median of 5×5 whole numbers below 256, from a count of them that moves along each row.
function medianBlur({ width, height, values }) {
  const result = new Float32Array(values.length);
  for (let y = 0; y < height; y++) {
    const rows = clamped([-2, -1, 0, 1, 2].map((k) => y + k), height);
    const counts = new Int32Array(256);
    let level = 0;
    let below = 0; // how many are less than the level
    const count = (x, by) => {
      const column = Math.min(Math.max(x, 0), width - 1);
      for (let k = 0; k < 5; k++) {
        const v = values[rows[k] * width + column];
        counts[v] += by;
        if (v < level) below += by;
      }
    };
    for (let x = -3; x < 2; x++) count(x, 1);
    for (let x = 0; x < width; x++) {
      count(x - 3, -1);
      count(x + 2, 1);
      while (below > 12) below -= counts[--level];
      while (below + counts[level] <= 12) below += counts[level++];
      result[y * width + x] = level;
    }
  }
  return { width, height, values: result };
}

// The largest value near each pixel, as far as the rows of a form reach.
function dilate({ width, height, values }, reach) {
  if (values.every((v) => v === values[0])) return { width, height, values };
  const radius = reach.length >> 1;
  const result = values.slice();
  let [row, last] = [values.slice(), values.slice()]; // the largest value up to `far` to either side
  for (let far = 0; far <= reach[radius]; far++) {
    for (let start = 0; far && start < row.length; start += width) {
      let left = -Infinity;
      let here = last[start];
      for (let i = start; i < start + width; i++) {
        const right = i < start + width - 1 ? last[i + 1] : -Infinity;
        const sides = left > right ? left : right;
        row[i] = sides > here ? sides : here;
        left = here;
        here = right;
      }
    }
    for (let step = -radius; step <= radius; step++) {
      if (reach[step + radius] !== far) continue;
      const shift = step * width;
      const end = Math.min(row.length, row.length - shift);
      for (let i = Math.max(0, -shift); i < end; i++) if (row[i + shift] > result[i]) result[i] = row[i + shift];
    }
    [row, last] = [last, row];
  }
  return { width, height, values: result };
}

const erode = (image, reach) => negative(dilate(negative(image), reach));
const closing = (image, reach) => erode(dilate(image, reach), reach);
const opening = (image, reach) => dilate(erode(image, reach), reach);

// As `erode`, for a mask: no 1 stays unless as many to either side, in each row of the form, are 1.
function erodeMask(mask, reach, outside) {
  const { width, height, values } = mask;
  const radius = reach.length >> 1;
  const runs = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += width) {
    let run = outside ? Infinity : 0;
    for (let i = start; i < start + width; i++) runs[i] = run = values[i] ? run + 1 : 0;
    run = outside ? Infinity : 0;
    for (let i = start + width - 1; i >= start; i--) runs[i] = Math.min(runs[i], run = values[i] ? run + 1 : 0);
  }
  const thick = filled(mask, 0);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      let step = runs[i] > reach[radius] ? -radius : Infinity;
      for (; step <= radius; step++) {
        const there = y + step >= 0 && y + step < height;
        if (there ? runs[i + step * width] <= reach[radius + step] : !outside) break;
      }
      if (step === radius + 1) thick.values[i] = 1;
    }
  }
  return thick;
}

// Parts of a mask that hang together, also by corners: each pixel's number, from 1, and each part's box and area.
function connectedComponents({ width, height, values }) {
  const labels = new Int32Array(values.length);
  const parts = [{ left: 0, top: 0, width: 0, height: 0, area: 0 }]; // 0 is what is between them
  const waiting = new Int32Array(values.length);
  for (let start = 0; start < values.length; start++) {
    if (!values[start] || labels[start]) continue;
    const label = parts.length;
    let [left, top, right, bottom, area, end] = [width, height, -1, -1, 0, 1];
    waiting[0] = start;
    labels[start] = label;
    for (; area < end; area++) {
      const i = waiting[area];
      const x = i % width;
      const y = (i - x) / width;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      if (y > bottom) bottom = y;
      for (let row = y && y - 1; row <= y + 1 && row < height; row++) {
        for (let column = x && x - 1; column <= x + 1 && column < width; column++) {
          const near = row * width + column;
          if (!values[near] || labels[near]) continue;
          labels[near] = label;
          waiting[end++] = near;
        }
      }
    }
    parts.push({ left, top, width: right - left + 1, height: bottom - top + 1, area });
  }
  return { labels, parts };
}

// From each pixel of a mask to the nearest that is 0, in steps to some pixels near by, each as long as OpenCV has it.
const NEAR_3 = [[0, -1, 0.955], [-1, -1, 1.3693], [-1, 0, 0.955], [-1, 1, 1.3693]];
const NEAR_5 = [
  [0, -1, 1], [-1, -1, 1.4], [-1, 0, 1], [-1, 1, 1.4], [-1, -2, 2.1969], [-2, -1, 2.1969], [-2, 1, 2.1969],
  [-1, 2, 2.1969],
];

function distanceTransform(mask, near) {
  const { width, height, values } = _padded(mask, 2); // room for steps across the border, far from anything
  const far = new Float32Array(values.length).fill(Infinity);
  const steps = near.map(([y, x]) => y * width + x);
  const lengths = near.map((step) => Math.fround(step[2]));
  const nearest = (i, sign) => {
    let least = values[i] ? far[i] : 0;
    for (let k = 0; k < steps.length; k++) {
      const there = Math.fround(far[i + sign * steps[k]] + lengths[k]);
      if (there < least) least = there;
    }
    far[i] = least;
  };
  for (let y = 2; y < height - 2; y++) for (let x = 2; x < width - 2; x++) nearest(y * width + x, 1);
  for (let y = height - 3; y > 1; y--) for (let x = width - 3; x > 1; x--) nearest(y * width + x, -1);
  return mapped(mask, (_, i, x, y) => far[(y + 2) * width + x + 2]);
}
