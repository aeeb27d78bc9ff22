/* What a weight beta did: real reconstructions, KL and active units of trained nets, beside the water level and linear
theory, all moved by one slider.

Fills every <div class="collapse-slider"> from the JSON inside it. No network, no dependency, nothing global; a page
without such a div is left alone. tests/test_slider.py compares what it shows with lib/theory/collapse.py. */
(function () {
  "use strict";

  const EMPTY_NATS = 0.05; // a code with less is empty, as in lib/vae/alarm.py
  const SAME = 0.02; // an error so close to the mean picture's, relatively, is that of the mean picture
  const THUMB = 24; // width of the slider's thumb in slider.css: its centre stays half of it inside the track
  const LETTER = 6.6; // mean width of a letter in the drawings, in pixels
  const SPECTRUM = 270, CHART = 210; // heights, in pixels
  const SVG = ["svg", "line", "circle", "text", "rect", "path"];
  const MEASURES = [["kl", "KL, nats"], ["active_units", "active units"], ["mse", "error (MSE)"],
    ["relative", "share of the mean’s"]];
  let instances = 0; // for ids that differ when a page holds several sliders

  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
  const percent = (x) => `${Math.round(100 * x)}\u00a0%`;
  const error = (x) => x >= 1e-4 && x < 1e3 ? x.toPrecision(3) : readable(x);
  const nats = (x) => String(Number(Number(x.toPrecision(3)).toFixed(2)));
  const level = (data, beta) => beta * data.n_values / 2;

  function readable(x, digits = 3) {
    if (x !== 0 && (Math.abs(x) < 1e-6 || Math.abs(x) >= 1e6)) return x.toExponential(digits - 1).replace("e+", "e");
    return String(Math.abs(x) >= 1000 && digits > 2 ? Math.round(x) : Number(x.toPrecision(digits)));
  }

  function element(tag, attributes = {}, ...children) {
    const made = SVG.includes(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag)
      : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  const line = (x1, y1, x2, y2, kind) => element("line", { x1, y1, x2, y2, class: kind });
  const text = (words, x, y, more = {}) => element("text", { x, y, "text-anchor": "middle", ...more }, words);

  // `predict` of lib/theory/collapse.py, with the error for z = mu, for any beta: the lines between the stops.
  function predict(data, latents, beta) {
    const water = level(data, beta), lead = data.eigenvalues.slice(0, Math.min(latents, data.n_values));
    const active = lead.filter((value) => value > water);
    return {
      kl: 0.5 * sum(active.map((value) => Math.log(value / water))),
      active_units: active.length,
      mse: (sum(active.map((value) => water * (water / value))) + data.total - sum(active)) / data.n_values,
    };
  }

  const measured = (data, stop) => ({ ...stop, relative: stop.mse / data.mean_mse });
  const expected = (data, found) => ({ ...found, relative: found.mse * data.n_values / data.total });

  // What is wrong with a payload, in words for whoever wrote it.
  function check(payload) {
    const demand = (good, words) => { if (!good) throw new Error(words); };
    const above = (...values) => values.every((value) => Number.isFinite(value) && value > 0);
    const counted = (one) => [one?.kl, one?.active_units, one?.mse].every((x) => Number.isFinite(x) && x >= 0);
    const picture = (src) => typeof src === "string" && src.startsWith("data:image/");
    demand(Array.isArray(payload?.datasets) && payload.datasets.length, "there is no data set in it.");
    demand(above(payload.report_beta, payload.latents), "report_beta and latents must be numbers above 0.");
    for (const data of payload.datasets) {
      const { name, stops, eigenvalues: values } = data, of = `in the data set “${name}” `;
      demand(above(data.n_values, data.total, data.edge, data.mean_mse),
        `${of}n_values, total, edge and mean_mse must be numbers above 0.`);
      const needed = Math.min(payload.latents, data.n_values);
      demand(Array.isArray(values) && values.length >= needed && values[0] > 0
        && values.every((value, i) => value >= 0 && value <= values[Math.max(i - 1, 0)]),
      `${of}eigenvalues must be ${needed} or more numbers, descending.`);
      demand(above(data.columns, ...[data.tile ?? NaN].flat()) && picture(data.originals?.src),
        `${of}the originals need a picture as a data: address, its columns and the size of a tile.`);
      demand(Array.isArray(stops) && stops.length > 1, `${of}there must be two stops or more.`);
      stops.forEach((stop, i) => {
        demand(above(stop.beta) && (i === 0 || stop.beta > stops[i - 1].beta),
          `${of}the betas of the stops must be above 0 and ascend.`);
        demand(counted(stop) && counted(stop.predicted) && picture(stop.src),
          `${of}the stop at beta ${stop.beta} lacks a number or its picture.`);
      });
    }
  }

  function distance(data, beta) {
    const times = beta / data.edge, near = readable(Math.max(times, 1 / times), 2);
    return near === "1" ? "at the edge" : `${near} times ${times > 1 ? "beyond" : "below"} the edge`;
  }

  function sentence(data, stop, latents) {
    const water = level(data, stop.beta), first = data.eigenvalues[0], times = readable(water / first, 2);
    const { relative } = measured(data, stop), share = `the error is ${percent(relative)} of the mean picture’s`;
    const empty = stop.active_units === 0 && stop.kl < EMPTY_NATS;
    const mean = empty && Math.abs(relative - 1) < SAME;
    const some = (count) => count === latents ? `all ${latents} units` : `${readable(count)} of ${latents} units`;
    const code = empty ? "the code is empty"
      : `${some(stop.active_units)} ${stop.active_units === 1 ? "is" : "are"} active, the code carries ` +
        `${nats(stop.kl)} nats`;
    const opening = `beta = ${readable(stop.beta)} assumes noise of variance ${readable(water)}`;
    if (water >= first) {
      const more = times === "1" ? "just above" : `${times} times`;
      return `${opening}: ${more} the largest variance in the data, ${readable(first)}. No unit can pay for itself` +
        (mean ? ": the code is empty and every picture is the mean."
          : empty ? `: the code is empty, and ${share}.` : ` in linear theory. Yet in this net ${code}, and ${share}.`);
    }
    const kept = predict(data, latents, stop.beta).active_units;
    const above = kept === latents ? `All ${latents} units find a component with more variance than that`
      : kept === 1 ? "One component has more variance than that" : `${kept} components have more variance than that`;
    return `${opening}. ${above}, so in linear theory ${some(kept)} can pay for ` +
      `${kept === 1 ? "itself" : "themselves"}. In this net ${code}, and ${share}.`;
  }

  // A place between `from` and `to`, in pixels, of a value on a logarithmic axis from low to high.
  const logarithmic = (low, high, from, to) => (value) =>
    from + (to - from) * Math.log(value / low) / Math.log(high / low);

  // Powers of ten, every one or as many as there is room for.
  function powers(low, high, most) {
    const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9), found = [];
    const stride = Math.max(1, Math.ceil((last - first + 1) / most));
    for (let power = first; power <= last; power += stride) found.push(Number(`1e${power}`));
    return found;
  }

  // Round numbers from 0 to high, about four of them.
  function round(high) {
    const rough = high / 4, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
    return Array.from({ length: Math.floor(high / step + 1e-9) + 1 }, (_, i) => i * step);
  }

  // Labels { at, words } get a place x of their own and the first row in which they touch none before them.
  function settle(labels, left, right) {
    const rows = [];
    return labels.map((label) => {
      const half = label.words.length * LETTER / 2;
      const x = clamp(label.at, left + half, Math.max(right - half, left + half));
      let row = rows.findIndex((taken) => taken.every((one) => Math.abs(one.x - x) > one.half + half + 8));
      if (row < 0) row = rows.push([]) - 1;
      rows[row].push({ x, half });
      return { ...label, x, row };
    });
  }

  // Where a beta lies under the slider, counted in stops: between two of them by its logarithm; NaN outside.
  function place(stops, beta) {
    const after = stops.findIndex((stop) => stop.beta >= beta * (1 - 1e-9));
    if (after < 0 || (after === 0 && stops[0].beta > beta * (1 + 1e-9))) return NaN;
    if (after === 0) return 0;
    const [low, high] = [stops[after - 1].beta, stops[after].beta];
    return after - 1 + Math.min(Math.log(beta / low) / Math.log(high / low), 1);
  }

  // Ticks under the slider: every stop, and by name the first, the last, the edge and the report's.
  function drawAxis(svg, data, report) {
    const width = svg.parentNode.clientWidth || 600, last = data.stops.length - 1;
    const x = (i) => THUMB / 2 + (width - THUMB) * i / last;
    const edge = x(place(data.stops, data.edge)), there = x(place(data.stops, report));
    const same = (i) => Math.abs(data.stops[i].beta / report - 1) < 1e-9;
    const labels = [0, last].map((i) => ({ at: x(i), kind: same(i) ? "report" : "stop",
      words: `${readable(data.stops[i].beta)}${same(i) ? ", the report’s" : ""}` }));
    if (edge >= 0) labels.push({ at: edge, kind: "edge", words: `edge ${readable(data.edge)}` });
    if (there >= 0 && !same(0) && !same(last)) {
      labels.push({ at: there, kind: "report", words: `${readable(report)}, the report’s` });
    }
    const settled = settle(labels, 0, width), height = 26 + 16 * Math.max(...settled.map((label) => label.row));
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    svg.replaceChildren(...data.stops.map((_, i) => line(x(i), 0, x(i), 6, "tick")),
      ...settled.map((label) => line(label.at, 0, label.at, 11 + 16 * label.row, label.kind)),
      ...settled.map((label) => text(label.words, label.x, 23 + 16 * label.row, { class: label.kind })));
    svg.parentNode.style.setProperty("--slider-edge", edge >= 0 ? `${edge}px` : data.edge > data.stops[last].beta
      ? "100%" : "0%");
  }

  // The frame of the spectrum: an axis that stays while the water rises, with room above the largest variance.
  function frame(data, width) {
    const left = 58, right = width - 8, top = 24, bottom = SPECTRUM - 44, values = data.eigenvalues;
    const smallest = Math.min(...values.filter((value) => value > 0)), high = values[0] * 5;
    const low = Math.max(Math.min(smallest, level(data, data.stops[0].beta)), smallest / 1e3) / 2;
    const step = (right - left) / values.length;
    return { left, right, top, bottom, low, high, step, x: (i) => left + step * (i + 0.5),
      y: logarithmic(low, high, bottom, top) };
  }

  // A pole as high as the variance: what stands above the water is in full colour, a drowned pole is hollow.
  function poles({ x, y, bottom, step }, values, water, surface, latents) {
    const wide = Math.min(step * 0.5, 18);
    return values.flatMap((value, i) => {
      const pole = (from, to, kind) => element("rect", { x: x(i) - wide / 2, width: wide, y: from, height: to - from,
        class: kind });
      if (!(value > 0)) return [];
      if (i >= latents) return [pole(y(value), bottom, "unused")];
      if (value <= water) return [pole(y(value), bottom, "drowned")];
      return [pole(surface, bottom, "active below"), pole(y(value), surface, "active")];
    });
  }

  function drawSpectrum(svg, data, stop, latents) {
    const width = svg.parentNode.clientWidth || 600, values = data.eigenvalues, place = frame(data, width);
    const { left, right, top, bottom, low, high, step, x, y } = place, water = level(data, stop.beta);
    const surface = clamp(y(water), top, bottom), active = predict(data, latents, stop.beta).active_units;
    const beyond = water > high ? "↑ " : water < low ? "↓ " : "";
    const words = `${beyond}water level σ² = ${readable(water)}`;
    const under = Math.max(Math.floor((right - words.length * LETTER - left) / step), 0); // first pole below the words
    const parts = powers(low, high, 8).flatMap((value) => [line(left, y(value), right, y(value), "grid"),
      text(readable(value), left - 7, y(value) + 4, { "text-anchor": "end" })]);
    parts.push(element("rect", { x: left, y: surface, width: right - left, height: bottom - surface, class: "water" }),
      ...poles(place, values, water, surface, latents), line(left, bottom, right, bottom, "axis"));
    if (!beyond) parts.push(line(left, surface, right, surface, "water"));
    const stride = Math.ceil(22 / step);
    for (let i = 0; i < values.length; i += stride) parts.push(text(i + 1, x(i), bottom + 16));
    parts.push(text(words, right, Math.min(surface, y(values[under])) - 8, { "text-anchor": "end", class: "water" }),
      text("component", (left + right) / 2, SPECTRUM - 8),
      text("variance along component (λ)", 0, 0, { transform: `translate(12 ${(top + bottom) / 2}) rotate(-90)` }));
    svg.setAttribute("viewBox", `0 0 ${width} ${SPECTRUM}`);
    svg.setAttribute("aria-label", `Variance along the first ${values.length} components, on a logarithmic axis, ` +
      `from ${readable(values[0])} down to ${readable(values[values.length - 1])}. The water level σ² is ` +
      `${readable(water)}${{ "↑ ": ", beyond the top of the plot", "↓ ": ", below its bottom" }[beyond] ?? ""}: ` +
      `${active} of ${latents} units stand above it.`);
    svg.dataset.level = water;
    svg.replaceChildren(...parts);
  }

  // One measure over beta: every stop a point, linear theory a line, the current stop under the cursor.
  function drawChart(svg, data, current, payload, name, say) {
    const width = svg.parentNode.clientWidth || 320, left = 48, right = width - 12, bottom = CHART - 38;
    const { report_beta: report, latents } = payload, { stops, edge } = data, last = stops.length - 1;
    const ends = [stops[0].beta, stops[last].beta, edge, report];
    const low = Math.min(...ends) / 1.3, high = Math.max(...ends) * 1.3, x = logarithmic(low, high, left, right);
    const theory = (beta) => expected(data, predict(data, latents, beta))[name];
    const points = stops.map((stop) => measured(data, stop)[name]);
    const most = 1.08 * Math.max(...points, theory(low), name === "relative" ? 1 : 1e-3);
    const labels = settle([{ at: x(edge), words: "edge", kind: "edge" },
      { at: x(report), words: "the report’s", kind: "report" }], left, width);
    const top = 22 + 15 * labels[1].row, y = (value) => bottom - (bottom - top) * value / most;
    const betas = Array.from({ length: 161 }, (_, i) => low * (high / low) ** (i / 160));
    const path = betas.map((beta, i) => `${i ? "L" : "M"}${x(beta).toFixed(1)} ${y(theory(beta)).toFixed(1)}`).join("");
    const parts = [
      element("rect", { x: x(edge), y: top, width: right - x(edge), height: bottom - top, class: "water" }),
      ...round(most).flatMap((value) => [line(left, y(value), right, y(value), "grid"),
        text(say(value), left - 7, y(value) + 4, { "text-anchor": "end" })]),
      ...powers(low, high, Math.floor((right - left) / 58)).flatMap((value) => [
        line(x(value), bottom, x(value), bottom + 4, "axis"), text(readable(value), x(value), bottom + 17)]),
      ...labels.flatMap(({ at, x: middle, row, words, kind }) => [line(at, 18 + 15 * row, at, bottom, kind),
        text(words, middle, 13 + 15 * row, { class: kind })]),
      line(left, bottom, right, bottom, "axis"), text("beta", (left + right) / 2, CHART - 5),
      line(x(current.beta), top - 4, x(current.beta), bottom, "cursor"), element("path", { d: path, class: "theory" }),
      ...stops.map((stop, i) => element("circle", { cx: x(stop.beta), cy: y(points[i]), "data-value": points[i],
        r: stop === current ? 6.5 : 3.5,
        class: `${stop.active_units > 0 ? "active" : "drowned"}${stop === current ? " current" : ""}` })),
    ];
    svg.setAttribute("viewBox", `0 0 ${width} ${CHART}`);
    svg.setAttribute("aria-label", `Over beta from ${readable(stops[0].beta)} to ${readable(stops[last].beta)}, ` +
      `logarithmic: from ${say(points[0])} to ${say(points[last])} in the trained nets. At beta ` +
      `${readable(current.beta)} it is ${say(measured(data, current)[name])}, in linear theory ` +
      `${say(theory(current.beta))}. The edge is at ${readable(edge)}, the report trained at ${readable(report)}.`);
    svg.replaceChildren(...parts);
  }

  // What lies beside the slider, in words: nothing where both marks stand under it.
  function outside(data, report) {
    const { stops } = data, marks = [[report, "The report’s"], [data.edge, "The edge,"]];
    return marks.filter(([beta]) => Number.isNaN(place(stops, beta))).map(([beta, name]) => {
      const above = beta > stops[0].beta, end = readable(stops[above ? stops.length - 1 : 0].beta);
      return `${name} beta = ${readable(beta)}${name.endsWith(",") ? "," : ""} lies ` +
        `${above ? "beyond the last" : "before the first"} stop, ${end}.`;
    }).join(" ");
  }

  // Nets are measured on examples that theory has not seen: where those vary more or less, only the shares compare.
  function basis(data) {
    const told = data.total / data.n_values;
    if (Math.abs(data.mean_mse / told - 1) < SAME) return "";
    return `The mean picture’s error is ${error(data.mean_mse)} where the nets are measured, ${error(told)} in the ` +
      "data that theory is told from: compare the shares.";
  }

  // Every element of one slider by its name; nothing else is looked up later.
  function build(root, payload) {
    const id = `slider-${++instances}`, several = payload.datasets.length > 1;
    const output = (name, more = {}) => element("output", { name, "aria-live": "off", ...more });
    const ui = {
      datasets: payload.datasets.map((data, i) => element("input", { type: "radio", name: `${id}-dataset`, value: i,
        id: `${id}-dataset-${i}`, autocomplete: "off" })),
      slider: element("input", { name: "slider", type: "range", min: 0, step: 1, id: `${id}-slider`,
        autocomplete: "off", "aria-describedby": `${id}-hint ${id}-outside` }),
      beta: output("beta"),
      distance: output("distance"),
      axis: element("svg", { "aria-hidden": "true", class: "slider-axis" }),
      outside: element("p", { class: "slider-outside", id: `${id}-outside` }),
      basis: element("p", { class: "slider-hint" }),
      verdict: element("output", { name: "verdict", "aria-live": "polite" }),
      originals: element("img", { "data-picture": "originals" }),
      reconstructions: element("img", { "data-picture": "reconstructions" }),
      originals_caption: element("figcaption", {}, "Originals"),
      reconstructions_caption: element("figcaption"),
      cells: {},
    };
    for (const name of ["spectrum", "kl", "relative"]) {
      ui[name] = element("svg", { role: "img", height: name === "spectrum" ? SPECTRUM : CHART, "data-chart": name });
    }
    const choice = element("fieldset", {}, element("legend", {}, "Data set"), ...ui.datasets.map((radio, i) =>
      element("span", {}, radio, element("label", { for: radio.id }, payload.datasets[i].name))));
    const control = element("div", { class: "slider-control" },
      element("div", { class: "slider-head" }, element("label", { for: ui.slider.id }, "beta, weight of the KL:"),
        ui.beta, ui.distance),
      element("div", { class: "slider-track" }, ui.slider, ui.axis));
    const hint = element("p", { class: "slider-hint", id: `${id}-hint` },
      "Drag, or use the arrow keys. Each stop is a net trained at that beta.");
    const rows = MEASURES.map(([name, words]) => {
      ui.cells[name] = [output(name), output(`predicted_${name}`)];
      return element("tr", {}, element("th", { scope: "row" }, words),
        ...ui.cells[name].map((cell) => element("td", {}, cell)));
    });
    const heads = ["", "trained net", "linear theory"].map((words) =>
      words ? element("th", { scope: "col" }, words) : element("td"));
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)),
      element("tbody", {}, ...rows));
    const figure = (kind, words, svg) => element("figure", { class: kind }, element("figcaption", {}, words),
      element("div", {}, svg));
    const key = (...pairs) => element("p", { class: "slider-key" }, ...pairs.map(([kind, words]) =>
      element("span", { class: kind }, words)));
    root.append(several ? choice : element("p", { class: "slider-name" }, payload.datasets[0].name), control, hint,
      ui.outside, element("div", { class: "slider-verdict" }, ui.verdict),
      element("div", { class: "slider-pictures" }, ...["originals", "reconstructions"].map((name) =>
        element("figure", {}, ui[`${name}_caption`], element("div", { class: "slider-row" }, ui[name])))),
      element("div", { class: "slider-pair" },
        element("div", {}, figure("slider-chart", "Eigenvalues of the data, and the water", ui.spectrum),
          key(["active", "above the water: its unit pays"], ["drowned", "drowned: its unit is off"])),
        element("div", {}, table, ui.basis)),
      element("div", { class: "slider-pair slider-even" },
        figure("slider-chart", "KL, nats per example", ui.kl),
        figure("slider-chart", "Error, share of the mean picture’s", ui.relative)),
      key(["point", "trained nets (hollow: no active unit)"], ["theory", "linear theory"],
        ["cursor", "this stop"], ["edge", "edge"], ["report", "the report’s beta"]));
    return ui;
  }

  function start(root) {
    const script = root.querySelector("script[type='application/json']");
    if (!script) throw new Error("its data are missing.");
    const payload = JSON.parse(script.textContent);
    check(payload);
    const { latents, report_beta: report } = payload, ui = build(root, payload);
    let data = payload.datasets[0];

    function nearest(beta) {
      const far = data.stops.map((stop) => Math.abs(Math.log(stop.beta / beta)));
      return far.indexOf(Math.min(...far));
    }

    function tell(output, value, words) {
      output.dataset.value = value;
      output.textContent = words;
    }

    function draw(stop) {
      drawAxis(ui.axis, data, report);
      drawSpectrum(ui.spectrum, data, stop, latents);
      drawChart(ui.kl, data, stop, payload, "kl", nats);
      drawChart(ui.relative, data, stop, payload, "relative", percent);
    }

    function update() {
      const stop = data.stops[Number(ui.slider.value)], beta = readable(stop.beta);
      const columns = [measured(data, stop), expected(data, stop.predicted)];
      const say = { kl: nats, active_units: (x) => `${readable(x)} of ${latents}`, mse: error, relative: percent };
      for (const [name] of MEASURES) {
        columns.forEach((column, i) => tell(ui.cells[name][i], column[name], say[name](column[name])));
      }
      tell(ui.beta, stop.beta, beta);
      tell(ui.distance, stop.beta / data.edge, distance(data, stop.beta));
      ui.slider.setAttribute("aria-valuetext", `beta ${beta}, ${distance(data, stop.beta)}: KL ${nats(stop.kl)} ` +
        `nats, ${readable(stop.active_units)} of ${latents} units active`);
      ui.verdict.textContent = sentence(data, stop, latents);
      root.classList.toggle("slider-beyond", stop.beta >= data.edge);
      const words = `error ${error(stop.mse)}, ${percent(columns[0].relative)} of the mean picture’s`;
      ui.reconstructions.src = stop.src;
      ui.reconstructions.alt = `reconstructions at beta ${beta}: ${words}`;
      ui.reconstructions_caption.textContent = `Reconstructions at beta = ${beta}: ${words}`;
      draw(stop);
    }

    function chooseDataset(chosen) {
      const beta = data.stops[Number(ui.slider.value)]?.beta ?? report;
      data = chosen;
      ui.slider.max = data.stops.length - 1;
      ui.slider.value = nearest(beta);
      const [height, width] = data.tile;
      for (const image of [ui.originals, ui.reconstructions]) {
        image.width = data.columns * width;
        image.height = height;
        image.parentNode.style.setProperty("--slider-tile", `${100 / data.columns}%`);
      }
      ui.originals.src = data.originals.src;
      ui.originals.alt = data.originals.alt ?? `originals of ${data.name}`;
      ui.outside.textContent = outside(data, report);
      ui.basis.textContent = basis(data);
      // The longest sentence keeps its room, unseen, so that nothing below jumps.
      const sentences = data.stops.map((stop) => sentence(data, stop, latents));
      ui.verdict.parentNode.dataset.longest = sentences.reduce((a, b) => b.length > a.length ? b : a);
      update();
    }

    ui.slider.max = data.stops.length - 1;
    ui.slider.value = nearest(report);
    ui.datasets[0].checked = true;
    ui.slider.addEventListener("input", update);
    ui.datasets.forEach((radio, i) => radio.addEventListener("input", () => chooseDataset(payload.datasets[i])));
    new ResizeObserver(() => draw(data.stops[Number(ui.slider.value)])).observe(root); // text keeps its size
    chooseDataset(data);
  }

  function startAll() {
    for (const root of document.querySelectorAll("div.collapse-slider")) {
      try {
        start(root);
      } catch (error) { // one bad payload must not take the others with it
        root.append(element("p", { class: "slider-message" }, `This slider cannot be shown: ${error.message}`));
      }
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", startAll);
  else startAll();
})();
