/* What a weight beta will do, computed on the page: `predict` of lib/theory/collapse.py for the linear VAE, in double precision.

Fills every <div class="collapse-calculator"> from the JSON inside it. No network, no dependency, nothing global; a page
without such a div is left alone. tests/test_browser.py compares every number with Python. */
(function () {
  "use strict";

  // By reduction: its name, and the noise variance sigma^2 of weight 1 with n values and k latents (theory.REDUCTIONS).
  const REDUCTIONS = {
    "mean-sum": ["mean squared error + beta × KL summed over latents (the report’s)", (n) => n / 2],
    "mean-mean": ["mean squared error + beta × KL averaged over latents", (n, k) => n / (2 * k)],
    "sum-sum": ["summed squared error + beta × KL summed over latents", () => 1 / 2],
    "half-sum-sum": ["half the summed squared error + beta × KL summed over latents", () => 1],
  };
  const OUTPUTS = {
    sigma2: "noise variance σ² that this beta implies",
    active: "active units",
    kl_nats: "KL, nats per example",
    mse_sampled: "mean squared error, z sampled as in training",
    mse_mu: "mean squared error, z = mu",
    edge: "edge: the beta from which on no unit is active",
    calibrated_beta: "calibrated beta: σ² is the mean of the discarded eigenvalues",
  };
  const GREY = [[0, 0, 0], [255, 255, 255]];
  const MAGMA = [[0, 0, 4], [34, 17, 80], [95, 24, 127], [152, 45, 128], // matplotlib's, at sevenths of its way
    [211, 67, 110], [248, 118, 92], [254, 187, 129], [252, 253, 191]];
  const LEGEND = {
    active: "active unit: its stem is its KL, ½ ln(variance / σ²)",
    dead: "collapsed unit",
    unused: "no unit for it",
  };
  const STEP = 0.02; // of the slider, in log10(beta): 4.7 %
  const HEIGHT = 260; // of the spectrum, in pixels
  let instances = 0; // for ids that differ when a page holds several calculators

  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const readable = (x) => x !== 0 && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e5)
    ? x.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e") : String(Number(x.toPrecision(4)));
  const most = (data) => data.eigenvalues.length >= data.n_values ? 64 : Math.min(64, data.eigenvalues.length);

  function element(tag, attributes = {}, ...children) {
    const svg = ["svg", "line", "circle", "text"].includes(tag);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // `predict`, `edge_beta` and `calibrated_sigma2` of lib/theory/collapse.py; the last two as weights of the chosen loss.
  function predict(data, reduction, beta, latents) {
    const n = data.n_values, unit = REDUCTIONS[reduction][1](n, latents), level = beta * unit;
    const lead = data.eigenvalues.slice(0, Math.min(latents, n)), rest = data.total - sum(lead);
    const active = lead.filter((value) => value > level);
    return {
      sigma2: level,
      active: active.length,
      kl_nats: 0.5 * sum(active.map((value) => Math.log(value) - Math.log(level))),
      mse_sampled: (sum(lead.map((value) => Math.min(value, level))) + Math.max(rest, 0)) / n,
      mse_mu: (sum(active.map((value) => level * (level / value))) + data.total - sum(active)) / n,
      edge: data.eigenvalues[0] / unit,
      calibrated_beta: latents < n ? rest / (n - latents) / unit : null,
    };
  }

  function verdict(data, found, latents) {
    if (found.active) {
      return `Keeps ${found.active} of ${latents} units: they carry ${readable(found.kl_nats)} nats per example.`;
    }
    const first = data.eigenvalues[0], times = readable(found.sigma2 / first);
    return `Collapses completely: the noise variance σ² = ${readable(found.sigma2)} is ${times} times the largest ` +
      `eigenvalue, ${readable(first)}. No unit is active; every input gets the average.`;
  }

  // Numbers from base64, unpacked when first drawn: unsigned bytes have an offset, signed ones are scaled only.
  const unpacked = new WeakMap();
  function numbers(packed) {
    if (!unpacked.has(packed)) {
      const { data, scale, offset } = packed;
      const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
      const whole = offset === undefined ? new Int8Array(bytes.buffer) : bytes;
      unpacked.set(packed, Float64Array.from(whole, (q) => (offset ?? 0) + scale * q));
    }
    return unpacked.get(packed);
  }

  // z = mu of the linear VAE: an active coefficient shrinks by 1 - level / eigenvalue, the others vanish.
  function reconstruction(data, picture, found) {
    const values = numbers(data.mean).slice(), components = numbers(data.components);
    for (let k = 0; k < found.active; k++) {
      const gain = (1 - found.sigma2 / data.eigenvalues[k]) * picture.coefficients[k];
      for (let i = 0; i < values.length; i++) values[i] += gain * components[k * values.length + i];
    }
    return values;
  }

  function colour(stops, t) {
    const place = t * (stops.length - 1), below = Math.min(Math.floor(place), stops.length - 2);
    return stops[below].map((low, i) => low + (place - below) * (stops[below + 1][i] - low));
  }

  // Row 0 of a spectrogram (origin "lower") is its lowest frequency and belongs at the bottom.
  function paint(canvas, data, values) {
    const [rows, columns] = data.shape, [low, high] = data.range, lower = data.origin === "lower";
    canvas.width = columns;
    canvas.height = rows;
    const image = new ImageData(columns, rows);
    values.forEach((value, i) => {
      const row = Math.floor(i / columns), t = Math.min(Math.max((value - low) / (high - low), 0), 1);
      const at = (lower ? rows - 1 - row : row) * columns + i % columns;
      image.data.set([...colour(lower ? MAGMA : GREY, t), 255], 4 * at);
    });
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  // Powers of ten between two numbers, about six of them; where they would be few, also 2 and 5 times each.
  function ticks(low, high) {
    const span = Math.log10(high / low), stride = Math.ceil(span / 7), found = [];
    const factors = span < 2.5 ? [1, 2, 5] : [1];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += stride) {
      found.push(...factors.map((factor) => Number(`${factor}e${power}`)));
    }
    return found.filter((value) => value >= low && value <= high);
  }

  const text = (words, x, y, more = {}) => element("text", { x, y, "text-anchor": "middle", ...more }, words);
  const line = (x1, y1, x2, y2, kind) => element("line", { x1, y1, x2, y2, class: kind });

  // The frame of the spectrum and where a component and a variance lie in it, in pixels.
  function frame(data, level, width) {
    const left = 56, right = width - 10, top = 12, bottom = HEIGHT - 42, count = data.eigenvalues.length;
    const shown = [...data.eigenvalues.filter((value) => value > 0), level];
    const low = Math.min(...shown) / 1.4, high = Math.max(...shown) * 1.4;
    return {
      left, right, top, bottom, low, high,
      x: (k) => left + 8 + (right - left - 16) * (k - 0.5) / count,
      y: (value) => bottom - (bottom - top) * Math.log(value / low) / Math.log(high / low),
    };
  }

  function axes({ left, right, top, bottom, low, high, x, y }, count) {
    const parts = [line(left, top, left, bottom, "axis"), line(left, bottom, right, bottom, "axis")];
    for (const value of ticks(low, high)) {
      parts.push(line(left - 4, y(value), left, y(value), "axis"));
      parts.push(text(readable(value), left - 7, y(value) + 4, { "text-anchor": "end" }));
    }
    const stride = count > 20 ? 16 : Math.ceil(count / 5);
    for (let k = 1; k <= count; k++) if (k === 1 || k % stride === 0) parts.push(text(k, x(k), bottom + 16));
    parts.push(text("component", (left + right) / 2, HEIGHT - 6));
    parts.push(text("variance", 0, 0, { transform: `translate(11 ${(top + bottom) / 2}) rotate(-90)` }));
    return parts;
  }

  // A unit's KL is half the natural logarithm of its height above the water: the stem of an active unit shows it.
  function units({ x, y }, values, level, active, latents, radius) {
    return values.flatMap((value, i) => {
      const kind = i < active ? "active" : i < latents ? "dead" : "unused";
      const stem = i < active ? [line(x(i + 1), y(level), x(i + 1), y(value), kind)] : [];
      return value > 0 ? [...stem, element("circle", { cx: x(i + 1), cy: y(value), r: radius, class: kind })] : [];
    });
  }

  function water({ left, right, top, y }, level) {
    const at = y(level), words = at < top + 20 ? at + 16 : at - 6; // below the line where there is no room above
    return [line(left, at, right, at, "water"),
      text(`water level σ² = ${readable(level)}`, right, words, { "text-anchor": "end", class: "water" })];
  }

  function drawSpectrum(svg, data, { sigma2, active }, latents) {
    const width = svg.parentNode.clientWidth || 600, values = data.eigenvalues, place = frame(data, sigma2, width);
    const radius = width > 500 ? 3 : 1.8;
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.setAttribute("aria-label", `Variance of the first ${values.length} of ${data.n_values} components, on a ` +
      `logarithmic axis, from ${readable(values[0])} down to ${readable(values[values.length - 1])}. The water level ` +
      `is σ² = ${readable(sigma2)}: ${active} of ${latents} units lie above it.`);
    svg.replaceChildren(...axes(place, values.length), ...units(place, values, sigma2, active, latents, radius),
      ...water(place, sigma2));
  }

  const option = (value, words) => element("option", { value }, words);
  const message = (id) => element("span", { class: "collapse-message", id, "aria-live": "polite" });

  // Every element of one calculator by its name; nothing else is looked up later.
  function build(root, payload) {
    const id = `collapse-${++instances}`;
    const losses = Object.entries(REDUCTIONS).map(([key, [words]]) => option(key, words));
    const ui = {
      dataset: element("select", { name: "dataset" }, ...payload.datasets.map((data) => option(data.key, data.name))),
      reduction: element("select", { name: "reduction" }, ...losses),
      beta: element("input", { name: "beta", type: "text", inputmode: "decimal", "aria-describedby": `${id}-beta-message` }),
      slider: element("input", { name: "slider", type: "range", step: STEP, "aria-label": "beta, logarithmic" }),
      latents: element("input", { name: "latents", type: "number", min: 1, "aria-describedby": `${id}-latents-message` }),
      picture: element("select", { name: "picture" }),
      beta_message: message(`${id}-beta-message`),
      latents_message: message(`${id}-latents-message`),
      verdict: element("output", { name: "verdict", class: "collapse-verdict", "aria-live": "polite" }),
      spectrum: element("svg", { role: "img", height: HEIGHT }),
      results: element("div", { class: "collapse-results" }),
    };
    const block = (words, name, ...more) => {
      ui[name].id = `${id}-${name}`;
      return element("div", {}, element("label", { for: ui[name].id }, words), ui[name], ...more);
    };
    const controls = element("div", { class: "collapse-controls" }, block("Data set", "dataset"),
      block("Example", "picture"), block("Latent units", "latents", ui.latents_message),
      block("Loss", "reduction"), block("beta", "beta", ui.slider, ui.beta_message));
    const list = element("dl");
    for (const [name, words] of Object.entries(OUTPUTS)) {
      ui[name] = element("output", { name, "aria-live": "off" }); // the verdict speaks for all of them
      list.append(element("div", {}, element("dt", {}, words), element("dd", {}, ui[name])));
    }
    const pictures = element("div", { class: "collapse-pictures" });
    for (const name of ["example", "predicted", "average"]) {
      ui[name] = element("canvas", { role: "img", "data-picture": name });
      pictures.append(element("figure", {}, ui[name], element("figcaption")));
    }
    const legend = Object.entries(LEGEND).map(([kind, words]) => element("span", { class: kind }, words));
    ui.results.append(list, element("figure", { class: "collapse-spectrum" }, ui.spectrum,
      element("figcaption", {}, ...legend)), pictures);
    root.append(controls, ui.verdict, ui.results);
    return ui;
  }

  function complain(control, place, good, words) {
    place.textContent = good ? "" : words;
    control.setAttribute("aria-invalid", !good);
  }

  function start(root) {
    const payload = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    const ui = build(root, payload), defaults = payload.defaults;
    const data = () => payload.datasets.find((one) => one.key === ui.dataset.value);
    const number = (control) => control.value.trim() === "" ? NaN : Number(control.value);

    function report(found, latents) {
      for (const name of Object.keys(OUTPUTS)) {
        ui[name].dataset.value = found[name] ?? "";
        ui[name].textContent = found[name] === null ? "none" : readable(found[name]);
      }
      ui.active.textContent += ` of ${latents}`;
      ui.verdict.textContent = verdict(data(), found, latents);
      ui.verdict.classList.toggle("collapse-total", found.active === 0);
      drawSpectrum(ui.spectrum, data(), found, latents);
      const picture = data().pictures[Number(ui.picture.value)];
      const from = found.active ? `from ${found.active} of ${latents} units (z = mu)` : "is the average";
      show("example", numbers(picture.data), `Example: ${picture.name}`);
      show("predicted", reconstruction(data(), picture, found), `Predicted reconstruction ${from}`);
      show("average", numbers(data().mean), `Average of ${data().name}`);
    }

    function show(name, values, caption) {
      paint(ui[name], data(), values);
      ui[name].setAttribute("aria-label", caption);
      ui[name].nextSibling.textContent = caption;
    }

    function clear() { // no number may stay that does not belong to what stands in the fields
      for (const name of Object.keys(OUTPUTS)) ui[name].textContent = ui[name].dataset.value = "";
      ui.verdict.textContent = "No prediction: see the message above.";
    }

    // The slider's range follows the edge, so that collapse begins at the same place for every loss and data set.
    function moveSlider(edge, beta) {
      const middle = Math.round(Math.log10(edge));
      ui.slider.min = middle - 5;
      ui.slider.max = middle + 4;
      ui.slider.value = Math.log10(beta);
      ui.slider.setAttribute("aria-valuetext", `beta ${readable(beta)}`);
    }

    function update() {
      const beta = number(ui.beta), latents = number(ui.latents), limit = most(data());
      const good_beta = beta >= 1e-100 && beta <= 1e100; // beyond, squares and ratios leave the range of doubles
      const good_latents = Number.isInteger(latents) && latents >= 1 && latents <= limit;
      complain(ui.beta, ui.beta_message, good_beta, "Write a number above 0 and up to 1e100, such as 0.01 or 1e-4.");
      complain(ui.latents, ui.latents_message, good_latents, `Write a whole number from 1 to ${limit}.`);
      ui.results.classList.toggle("collapse-hidden", !good_beta || !good_latents);
      if (!good_beta || !good_latents) return clear();
      const found = predict(data(), ui.reduction.value, beta, latents);
      moveSlider(found.edge, beta);
      report(found, latents);
    }

    function setBeta(beta) {
      ui.beta.value = Number(beta.toPrecision(3));
      update();
    }

    function chooseDataset() {
      ui.latents.max = most(data());
      ui.picture.replaceChildren(...data().pictures.map((picture, i) => option(i, picture.name)));
      update();
    }

    for (const name of ["dataset", "reduction", "beta", "latents"]) ui[name].value = defaults[name];
    for (const control of [ui.reduction, ui.beta, ui.latents, ui.picture]) control.addEventListener("input", update);
    ui.dataset.addEventListener("input", chooseDataset);
    ui.slider.addEventListener("input", () => setBeta(10 ** Number(ui.slider.value)));
    ui.beta.addEventListener("keydown", (event) => {
      const way = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (!way || !(number(ui.beta) > 0)) return;
      event.preventDefault();
      setBeta(number(ui.beta) * 10 ** (way * STEP));
    });
    new ResizeObserver(update).observe(ui.spectrum.parentNode); // text keeps its size: the drawing is made anew
    chooseDataset();
  }

  function startAll() {
    for (const root of document.querySelectorAll("div.collapse-calculator")) {
      try {
        start(root);
      } catch (error) { // one bad payload must not take the others with it
        root.append(element("p", { class: "collapse-message" }, `This calculator cannot be shown: ${error.message}`));
      }
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", startAll);
  else startAll();
})();
