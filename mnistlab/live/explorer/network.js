// A trained network in plain arithmetic: every cell of every stage, and the sum behind each of them.
//
// A stage is a layer with the ReLU behind it, if there is one; batch norms were folded into the weights before. Cells
// of a stage are counted map by map, row by row, so that a dense layer's inputs are the cells of the stage before it.

class Network {
  // stages: name, kind, relu, shape [maps, rows, columns]; of a window: kernel, stride, padding; of a norm: factors
  // weights: half floats, for each stage that has any: one row a map or unit, or a norm's factors, then the biases
  constructor({ stages, mean, std, temperature }, weights) {
    Object.assign(this, { mean, std, temperature });
    const numbers = Network.numbersOf(weights);
    let [at, from] = [0, { name: "pixels", kind: "pixels", shape: [1, 28, 28], size: 784 }];
    const take = (count) => numbers.subarray(at, (at += count));
    this.stages = [from];
    for (const said of stages) {
      const stage = { ...said, from, size: said.shape[0] * said.shape[1] * said.shape[2] };
      const inputs = { conv: from.shape[0] * stage.kernel ** 2, dense: from.size, norm: 1 }[stage.kind];
      const rows = stage.factors ?? stage.shape[0];
      if (inputs) Object.assign(stage, { inputs, weight: take(inputs * rows), bias: take(rows) });
      if (stage.kind === "conv") stage.braided = Network.braid(stage);
      this.stages.push(stage);
      from = stage;
    }
  }

  // Half floats, two bytes each, the low one first → Float32Array.
  static numbersOf(bytes) {
    const numbers = new Float32Array(bytes.length / 2);
    for (let i = 0; i < numbers.length; i++) {
      const half = bytes[2 * i] | (bytes[2 * i + 1] << 8);
      const [exponent, fraction] = [(half >> 10) & 31, half & 1023];
      const size = exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction;
      numbers[i] = half & 0x8000 ? -size : size;
    }
    return numbers;
  }

  // 784 grey levels → the cells of every stage, the pixels, normalised, first and the logits last.
  forward(digit) {
    const outputs = [Float32Array.from(digit, (grey) => (grey / 255 - this.mean) / this.std)];
    for (const stage of this.stages.slice(1)) {
      const output = Network[stage.kind](stage, outputs.at(-1), new Float32Array(stage.size));
      if (stage.relu) for (let i = 0; i < output.length; i++) if (output[i] < 0) output[i] = 0;
      outputs.push(output);
    }
    return outputs;
  }

  // Logits → probabilities that mean what they say: the temperature was measured on validation digits.
  probabilities(logits) {
    const most = Math.max(...logits);
    const powers = Array.from(logits, (logit) => Math.exp((logit - most) / this.temperature));
    const sum = powers.reduce((one, other) => one + other);
    return powers.map((power) => power / sum);
  }

  // For two cells at a time the windows are laid out in a row; then each map is a sum along that row. Four maps at
  // once, because eight running sums are as many as a processor keeps at hand. What is written behind the last map
  // or cell is lost, as typed arrays have it.
  static conv({ from, shape: [maps, rows, columns], inputs, braided, bias, ...window }, input, output) {
    const cells = rows * columns;
    const [one, two] = [new Float32Array(inputs), new Float32Array(inputs)];
    for (let cell = 0; cell < cells; cell += 2) {
      const next = Math.min(cell + 1, cells - 1);
      Network.gather(from, window, input, Math.floor(cell / columns), cell % columns, one);
      Network.gather(from, window, input, Math.floor(next / columns), next % columns, two);
      for (let map = 0, at = 0; map < maps; map += 4) {
        let a1 = bias[map], b1 = bias[map + 1], c1 = bias[map + 2], d1 = bias[map + 3];
        let a2 = a1, b2 = b1, c2 = c1, d2 = d1;
        for (let i = 0; i < inputs; i++, at += 4) {
          const x = one[i], y = two[i];
          const a = braided[at], b = braided[at + 1], c = braided[at + 2], d = braided[at + 3];
          a1 += a * x; a2 += a * y;
          b1 += b * x; b2 += b * y;
          c1 += c * x; c2 += c * y;
          d1 += d * x; d2 += d * y;
        }
        const first = map * cells + cell, second = map * cells + next;
        output[first] = a1; output[second] = a2;
        output[first + cells] = b1; output[second + cells] = b2;
        output[first + 2 * cells] = c1; output[second + 2 * cells] = c2;
        output[first + 3 * cells] = d1; output[second + 3 * cells] = d2;
      }
    }
    return output;
  }

  // The weights of four maps side by side, because they are wanted together; behind the last map zeros.
  static braid({ shape: [maps], inputs, weight }) {
    const braided = new Float32Array(Math.ceil(maps / 4) * 4 * inputs);
    for (let map = 0; map < maps; map++) {
      const first = (map - (map % 4)) * inputs + (map % 4);
      for (let i = 0; i < inputs; i++) braided[first + 4 * i] = weight[map * inputs + i];
    }
    return braided;
  }

  // What the window of one cell sees, all maps one after the other; 0 where it reaches over the edge.
  static gather({ shape: [maps, rows, columns] }, { kernel, stride, padding }, input, row, column, seen) {
    let at = 0;
    for (let map = 0; map < maps; map++) {
      for (let y = row * stride - padding, below = y + kernel; y < below; y++) {
        const start = (map * rows + y) * columns;
        for (let x = column * stride - padding, right = x + kernel; x < right; x++) {
          seen[at++] = y < 0 || y >= rows || x < 0 || x >= columns ? 0 : input[start + x];
        }
      }
    }
  }

  static dense({ inputs, weight, bias }, input, output) {
    for (let unit = 0; unit < output.length; unit++) {
      let sum = bias[unit];
      for (let i = 0, at = unit * inputs; i < inputs; i++) sum += weight[at + i] * input[i];
      output[unit] = sum;
    }
    return output;
  }

  // A factor and a shift for each map, or, behind a Flatten, for each cell.
  static norm({ size, factors, weight, bias }, input, output) {
    return output.map((_, cell) => {
      const row = Math.floor((cell * factors) / size);
      return weight[row] * input[cell] + bias[row];
    });
  }

  static maxpool(stage, input, output) {
    return Network.pool(stage, input, output.fill(-Infinity), (most, value) => (value > most ? value : most));
  }

  static avgpool(stage, input, output) {
    return Network.pool(stage, input, output, (sum, value) => sum + value / stage.kernel ** 2);
  }

  static pool({ from, shape: [maps, rows, columns], kernel, stride }, input, output, gather) {
    const [, height, width] = from.shape;
    for (let map = 0, cell = 0; map < maps; map++) {
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++, cell++) {
          const first = (map * height + row * stride) * width + column * stride;
          let value = output[cell];
          for (let y = 0; y < kernel; y++) {
            for (let x = 0; x < kernel; x++) value = gather(value, input[first + y * width + x]);
          }
          output[cell] = value;
        }
      }
    }
    return output;
  }

  // Which cells of the stage before a pooling looks at.
  static window({ from, shape: [, rows, columns], kernel, stride }, cell) {
    const [map, row, column] = [Math.floor(cell / (rows * columns)), Math.floor(cell / columns) % rows, cell % columns];
    const [, height, width] = from.shape;
    const first = (map * height + row * stride) * width + column * stride;
    return Array.from({ length: kernel ** 2 }, (_, i) => first + Math.floor(i / kernel) * width + (i % kernel));
  }

  // The sum behind a cell: its terms, each the cell of the stage before (null beyond its edge), what that holds, the
  // weight and their product; the bias; the sum, before a ReLU. Of a max pooling the winner has weight 1.
  ledger(number, cell, outputs) {
    const stage = this.stages[number];
    const [, rows, columns] = stage.shape;
    const input = outputs[number - 1];
    const map = Math.floor((cell * (stage.factors ?? stage.shape[0])) / stage.size);
    const term = (from, weight) => {
      const value = from === null ? 0 : input[from];
      return { from, value, weight, product: value * weight };
    };
    let terms;
    if (stage.kind === "conv") {
      const { kernel, stride, padding } = stage;
      const [, height, width] = stage.from.shape;
      const [top, left] = [Math.floor(cell / columns) % rows * stride - padding, cell % columns * stride - padding];
      terms = Array.from({ length: stage.inputs }, (_, i) => {
        const [y, x] = [top + Math.floor(i / kernel) % kernel, left + i % kernel];
        const outside = y < 0 || y >= height || x < 0 || x >= width;
        const from = outside ? null : (Math.floor(i / kernel ** 2) * height + y) * width + x;
        return term(from, stage.weight[map * stage.inputs + i]);
      });
    } else if (stage.kind === "dense") {
      terms = Array.from({ length: stage.inputs }, (_, i) => term(i, stage.weight[cell * stage.inputs + i]));
    } else if (stage.kind === "norm") {
      terms = [term(cell, stage.weight[map])];
    } else {
      const window = Network.window(stage, cell);
      const most = Math.max(...window.map((i) => input[i]));
      const winner = window.find((i) => input[i] === most);
      terms = window.map((i) => term(i, stage.kind === "avgpool" ? 1 / stage.kernel ** 2 : Number(i === winner)));
    }
    const bias = stage.bias?.[map] ?? 0;
    return { terms, bias, sum: terms.reduce((sum, { product }) => sum + product, bias) };
  }

  // The cells of the next stage that a cell goes into, with what it adds to each; of a pooling, whether it wins.
  next(number, cell, outputs) {
    const [stage, value] = [this.stages[number + 1], outputs[number][cell]];
    if (!stage) return [];
    if (stage.kind === "dense") {
      const weights = Array.from({ length: stage.size }, (_, unit) => stage.weight[unit * stage.inputs + cell]);
      return weights.map((weight, to) => ({ to, product: weight * value }));
    }
    const [, height, width] = this.stages[number].shape;
    const [maps, rows, columns] = stage.shape;
    const [map, y, x] = [Math.floor(cell / (height * width)), Math.floor(cell / width) % height, cell % width];
    if (stage.kind === "norm") return [{ to: cell, product: this.ledger(number + 1, cell, outputs).terms[0].product }];
    const { kernel, stride, padding = 0 } = stage;
    const found = [];
    for (let row = Math.ceil((y + padding - kernel + 1) / stride); row * stride <= y + padding; row++) {
      for (let column = Math.ceil((x + padding - kernel + 1) / stride); column * stride <= x + padding; column++) {
        if (row < 0 || row >= rows || column < 0 || column >= columns) continue;
        const place = row * columns + column;
        if (stage.kind === "conv") {
          const [i, j] = [y + padding - row * stride, x + padding - column * stride];
          for (let to = 0; to < maps; to++) {
            const weight = stage.weight[to * stage.inputs + (map * kernel + i) * kernel + j];
            found.push({ to: to * rows * columns + place, product: weight * value });
          }
        } else {
          const to = map * rows * columns + place;
          const { weight, product } = this.ledger(number + 1, to, outputs).terms.find(({ from }) => from === cell);
          found.push({ to, product, wins: weight === 1 });
        }
      }
    }
    return found;
  }

  // The pixels that a cell depends on: { top, bottom, left, right }, the last ones included.
  view(number, cell) {
    let [, rows, columns] = this.stages[number].shape;
    let [top, left] = [Math.floor(cell / columns) % rows, cell % columns];
    let [bottom, right] = [top, left];
    for (const { kind, from, kernel, stride, padding = 0 } of this.stages.slice(1, number + 1).reverse()) {
      [, rows, columns] = from.shape;
      if (kind === "dense") [top, left, bottom, right] = [0, 0, rows - 1, columns - 1];
      if (!kernel) continue;
      [top, left] = [top, left].map((first) => Math.max(first * stride - padding, 0));
      bottom = Math.min(bottom * stride - padding + kernel, rows) - 1;
      right = Math.min(right * stride - padding + kernel, columns) - 1;
    }
    return { top, bottom, left, right };
  }
}
