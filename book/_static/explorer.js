/* The latent explorer: a map of codes whose points show their spectrograms and sound.

Fills every <div class="latent-explorer" data-folder="..."> from the JSON inside it; pictures and sounds are files of
that folder. No network, no fetch, nothing global but D3, which only a page with such a div loads: it stands outside
_static because jupyter-book puts every script that lies there on every page. tests/test_explorer.py tests it. */
(function () {
  "use strict";

  const LIBRARY = new URL("../vendor/d3/d3.min.js", document.currentScript.src);
  const COLUMNS = ["x", "y", "effect", "corpus", "group", "split", "clip", "settings"];
  const FILTERS = { effect: "Effect", corpus: "Corpus", split: "Split" }; // a fieldset each
  const GROUPS = { speech: "Person", music: "Song" }; // what a group of a corpus is
  const SOUNDS = { // a button and a key each
    wet: ["Wet", "w", "with the effect"],
    dry: ["Dry", "d", "without it"],
    reconstruction: ["Reconstruction", "r", "from the code"],
  };
  const PICTURES = { wet: "Wet", reconstruction: "Reconstruction" }; // in the order of their tiles
  const MARKERS = { // matplotlib's letter: D3's symbol or the corners of a polygon, and by how many degrees it is turned
    o: ["symbolCircle", 0], s: ["symbolSquare", 0], D: ["symbolSquare", 45], d: ["symbolDiamond", 0],
    "^": ["symbolTriangle", 0], ">": ["symbolTriangle", 90], v: ["symbolTriangle", 180], "<": ["symbolTriangle", 270],
    P: ["symbolCross", 0], X: ["symbolCross", 45], "*": ["symbolStar", 0], p: [5, 0], h: [6, 0], H: [6, 30],
  };
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const AREA = 56; // of a symbol, in square pixels; a narrow map has smaller ones
  const REACH = { mouse: 14, pen: 20, touch: 26 }; // how far from a point a pointer still means it, in pixels
  const MARGIN = { left: 26, right: 8, top: 8, bottom: 26 };
  const DEEPEST = 24; // zoom
  const HINT = "Point at a mark to see it, click it to hear it. By keyboard: Tab to the map, arrow keys, Enter.";
  const HELP = [
    [["Arrow keys"], "nearest point in that direction"],
    [["Page Up", "Page Down"], "previous and next point in order"],
    [["Home", "End"], "first and last point"],
    [["Enter", "Space", "W"], "play the wet sound: with the effect"],
    [["D"], "play the dry sound: without it"],
    [["R"], "play the reconstruction"],
    [["Esc"], "stop"],
    [["+", "−", "0"], "zoom in, out, back; also Ctrl and the wheel, or two fingers; drag to move"],
  ];
  const ZOOM = [["+", "Zoom in", 1.6], ["−", "Zoom out", 1 / 1.6], ["reset", "Reset: the whole map", 0]];
  let instances = 0; // for ids that differ when a page holds several explorers

  const readable = (x) => typeof x === "number" ? String(Number(x.toPrecision(3))) : String(x);
  const measure = (x, unit) => `${readable(x)}${unit && !unit.startsWith(":") ? " " : ""}${unit ?? ""}`;
  const unique = (values) => [...new Set(values)];
  const capital = (words) => words.charAt(0).toUpperCase() + words.slice(1);
  const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  function element(tag, attributes = {}, ...children) {
    const svg = ["svg", "g", "path", "line", "text", "rect", "circle", "clipPath"].includes(tag);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // The payload of a div, or an error whose words complete "This map cannot be shown: ".
  function read(root) {
    const script = root.querySelector("script[type='application/json']");
    if (!script) throw new Error("its data are missing.");
    let payload;
    try {
      payload = JSON.parse(script.textContent);
    } catch {
      throw new Error("its data are not valid JSON.");
    }
    const { columns, effects, thumbnails, sounds } = payload ?? {};
    const absent = COLUMNS.find((name) => !Array.isArray(columns?.[name]));
    if (absent) throw new Error(`its data have no column “${absent}”.`);
    const count = columns.x.length, uneven = COLUMNS.find((name) => columns[name].length !== count);
    if (uneven) {
      throw new Error(`its column “${uneven}” has ${columns[uneven].length} entries, but the column “x” ${count}.`);
    }
    if (!count) throw new Error("its data hold no point.");
    if (![...columns.x, ...columns.y].every(Number.isFinite)) throw new Error("a coordinate is not a number.");
    const unknown = columns.effect.find((name) => !effects?.[name]);
    if (unknown !== undefined) throw new Error(`the effect “${unknown}” is not described.`);
    if (!thumbnails?.file || !(thumbnails.tile?.[0] > 0 && thumbnails.tile[1] > 0 && thumbnails.columns > 0)) {
      throw new Error("its thumbnails are not described.");
    }
    const silent = Object.keys(SOUNDS).find((kind) => typeof sounds?.[kind] !== "string");
    if (silent) throw new Error(`its data do not say where the ${silent} sounds are.`);
    return payload;
  }

  // The outline of a marker and how it is turned, as attributes of a path in the middle of its symbol.
  function symbol(marker, area = AREA) {
    const [shape, turn] = MARKERS[marker] ?? MARKERS.o;
    if (typeof shape === "string") return { d: d3.symbol(d3[shape], area)(), turn };
    const radius = Math.sqrt(2 * area / (shape * Math.sin(2 * Math.PI / shape)));
    const corners = d3.range(shape).map((k) => d3.pointRadial(2 * Math.PI * k / shape, radius));
    return { d: `${d3.line()(corners)}Z`, turn };
  }

  function swatch(effect) {
    const { d, turn } = symbol(effect.marker, 72);
    return element("svg", { viewBox: "-8 -8 16 16", class: "explorer-swatch", "aria-hidden": true },
      element("path", { d, transform: `rotate(${turn})`, class: "explorer-mark", style: `--c: ${effect.colour}` }));
  }

  function button(words, attributes, ...more) {
    return element("button", { type: "button", ...attributes }, words, ...more);
  }

  const key = (name) => element("kbd", { "aria-hidden": true }, name);

  function fieldset(name, values, effects) {
    const boxes = values.map((value) => {
      const box = element("input", { type: "checkbox", name, value });
      box.checked = true;
      const picture = name === "effect" ? [swatch(effects[value])] : [];
      return element("label", {}, box, ...picture, name === "effect" ? effects[value].label : value);
    });
    const made = element("fieldset", { class: `explorer-${name}` }, element("legend", {}, FILTERS[name]), ...boxes);
    if (name === "effect") {
      const all = button("all", { "data-all": "yes", "aria-label": "Tick all effects" });
      const none = button("none", { "data-all": "", "aria-label": "Tick none of the effects" });
      made.append(element("span", { class: "explorer-all" }, all, none));
    }
    return made;
  }

  // "Effect", then every parameter that has a range, by effect; the values are keys of `parameters`.
  function colourChoices(effects, parameters) {
    const groups = Object.entries(effects).map(([name, effect]) => {
      const own = Object.entries(effect.parameters ?? {}).filter(([, { low, high }]) => low < high);
      const options = own.map(([parameter, about]) => {
        parameters.set(`${name}.${parameter}`, { name, parameter, ...about });
        return element("option", { value: `${name}.${parameter}` }, `${effect.label}: ${parameter}`);
      });
      return options.length ? [element("optgroup", { label: effect.label }, ...options)] : [];
    });
    return [element("option", { value: "" }, "effect"), ...groups.flat()];
  }

  // The parts of one explorer, put into its div.
  function build(root, { columns, effects, words }, parameters) {
    const id = `latent-explorer-${++instances}`, count = columns.x.length;
    const known = Object.fromEntries(Object.entries(effects).filter(([name]) => columns.effect.includes(name)));
    const values = { effect: Object.keys(known), corpus: unique(columns.corpus), split: unique(columns.split) };
    const ui = {
      colour: element("select", { name: "colour", id: `${id}-colour` }),
      bar: element("div", { class: "explorer-bar" }),
      count: element("output", { name: "count", "aria-live": "polite" }),
      svg: element("svg", { role: "group", "aria-label": "Map of the codes by UMAP" }),
      frame: element("path", { class: "explorer-axis" }),
      clip: element("rect"),
      points: element("g", { class: "explorer-points", role: "listbox", "aria-label": `Points of the map, ${count}`,
        "aria-describedby": `${id}-hint` }),
      top: element("path"), // a copy of the shown point, above all that hide it
      here: element("circle", { r: 9, class: "explorer-here" }),
      focus: element("circle", { r: 13, class: "explorer-focus" }),
      zoom: ZOOM.map(([sign, name, factor]) =>
        button(sign, { "aria-label": name, title: name, "data-factor": factor })),
      hint: element("p", { class: "explorer-hint", id: `${id}-hint` }, HINT),
      details: element("div", { class: "explorer-details", hidden: "" }),
      title: element("p", { class: "explorer-title" }),
      list: element("dl"),
      pictures: {},
      buttons: {},
      stop: button("Stop", { name: "stop", "aria-keyshortcuts": "Escape" }, key("Esc")),
      said: element("p", { role: "status", class: "explorer-said" }),
      complaint: element("p", { class: "explorer-message" }),
      audio: element("audio", { preload: "none" }),
    };
    ui.colour.append(...colourChoices(known, parameters));

    const pictures = element("div", { class: "explorer-pictures" });
    for (const [kind, name] of Object.entries(PICTURES)) {
      ui.pictures[kind] = element("canvas", { role: "img", "data-picture": kind });
      pictures.append(element("figure", {}, ui.pictures[kind], element("figcaption", {}, name)));
    }
    for (const [kind, [name, letter, about]] of Object.entries(SOUNDS)) {
      const pressed = letter.toUpperCase();
      ui.buttons[kind] = button(name, { name: kind, "aria-keyshortcuts": pressed, title: `${name}: ${about}` }, key(pressed));
    }
    const sounds = element("div", { class: "explorer-sounds", role: "group", "aria-label": "Play" },
      ...Object.values(ui.buttons), ui.stop);
    ui.about = element("div", { class: "explorer-about", "aria-live": "off" }, ui.title, ui.list);
    ui.details.append(ui.about, pictures, sounds);
    const panel = element("section", { class: "explorer-panel", "aria-label": "The chosen point" }, ui.hint, ui.details,
      ui.complaint, ui.said, ui.audio);

    ui.names = ["UMAP 1", "UMAP 2"].map((name) =>
      element("text", { class: "explorer-axis-name", "text-anchor": "middle", "aria-hidden": true }, name));
    ui.svg.append(element("clipPath", { id: `${id}-clip` }, ui.clip), ui.frame, ...ui.names,
      element("g", { "clip-path": `url(#${id}-clip)` }, ui.points, ui.top, ui.here, ui.focus));
    ui.place = element("div", { class: "explorer-place" }, ui.svg);
    const head = element("div", { class: "explorer-head" }, ui.count,
      element("div", { class: "explorer-zoom", role: "group", "aria-label": "Zoom" }, ...ui.zoom));
    const map = element("div", { class: "explorer-map" }, head, ui.place);

    ui.filters = Object.keys(FILTERS).map((name) => fieldset(name, values[name], effects));
    const help = HELP.map(([keys, about]) => element("div", {},
      element("dt", {}, ...keys.map((name) => element("kbd", {}, name))), element("dd", {}, about)));
    const colour = element("div", { class: "explorer-colour" }, element("label", { for: ui.colour.id }, "Colour by"),
      ui.colour, ui.bar);
    const axes = "The axes of UMAP have no unit: codes that lie close together are alike, the distances between far " +
      "ones mean little.";
    root.append(
      element("p", { class: "explorer-words" }, ...(words ? [words, " "] : []), axes),
      element("div", { class: "explorer-body" },
        colour, map, panel,
        element("div", { class: "explorer-filters" }, ...ui.filters)),
      element("details", { class: "explorer-help" }, element("summary", {}, "Keys and gestures"),
        element("dl", {}, ...help)));
    return ui;
  }

  function start(root) {
    const payload = read(root), { columns, effects, thumbnails, sounds } = payload;
    const parameters = new Map(), ui = build(root, payload, parameters), count = columns.x.length;
    const folder = (root.dataset.folder ?? ".").replace(/\/$/, "");
    const all = d3.range(count), visible = all.map(() => true), at = all.map(() => [0, 0]); // places in pixels
    let size = { width: 0, height: 0 }, view = d3.zoomIdentity;
    let active = 0, chosen = false, shown = null; // the tab stop; whether a reader chose it; what the panel tells of

    const effect = (i) => effects[columns.effect[i]];
    const name = (i) => `${effect(i).label}, ${columns.corpus[i]}, ${columns.group[i]}, ${columns.split[i]}`;
    const points = d3.select(ui.points).selectAll("path").data(all).join("path").attr("role", "option")
      .attr("class", "explorer-mark").attr("tabindex", -1).attr("aria-selected", false).attr("aria-label", name)
      .attr("data-point", (i) => i).each(function (i) { this.setAttribute("d", symbol(effect(i).marker).d); });
    const nodes = points.nodes(), turns = all.map((i) => ` rotate(${symbol(effect(i).marker).turn})`);

    // ---- the map

    const zoom = d3.zoom().scaleExtent([1, DEEPEST]).clickDistance(4)
      .filter((event) => event.type === "wheel" ? event.ctrlKey || event.metaKey // else the page scrolls
        : event.touches ? event.touches.length > 1 : !event.button && !event.ctrlKey)
      .wheelDelta((event) => -Math.max(-50, Math.min(50, event.deltaY * (event.deltaMode ? 25 : 1))) * 0.01)
      .on("zoom", (event) => { view = event.transform; place(); });
    const svg = d3.select(ui.svg).call(zoom).on("dblclick.zoom", null); // two clicks play twice
    const moving = () => still() ? svg : svg.transition().duration(200);

    function range(values, low, high) {
      const [least, most] = d3.extent(values), room = 0.04 * (most - least) || 1;
      return d3.scaleLinear([least - room, most + room], [low, high]);
    }

    function layout() {
      const width = Math.round(ui.place.clientWidth), height = Math.round(Math.max(300, Math.min(0.94 * width, 560)));
      if (!width || (width === size.width && height === size.height)) return;
      size = { width, height };
      const left = MARGIN.left, right = width - MARGIN.right, top = MARGIN.top, bottom = height - MARGIN.bottom;
      const set = (node, values) => Object.entries(values).forEach(([key, value]) => node.setAttribute(key, value));
      set(ui.svg, { viewBox: `0 0 ${width} ${height}` });
      set(ui.clip, { x: left, y: 0, width: width - left, height: bottom });
      set(ui.frame, { d: `M${left},${top}V${bottom}H${right}` });
      set(ui.names[0], { x: (left + right) / 2, y: height - 7 });
      set(ui.names[1], { transform: `translate(15 ${(top + bottom) / 2}) rotate(-90)` });
      zoom.extent([[left, top], [right, bottom]]).translateExtent([[left, top], [right, bottom]]);
      svg.interrupt().call(zoom.transform, d3.zoomIdentity);
    }

    function place() {
      const { width, height } = size, scale = width < 420 ? " scale(0.8)" : "";
      const x = view.rescaleX(range(columns.x, MARGIN.left, width - MARGIN.right));
      const y = view.rescaleY(range(columns.y, height - MARGIN.bottom, MARGIN.top));
      for (const i of all) {
        at[i] = [x(columns.x[i]), y(columns.y[i])];
        const there = at[i].map((pixels) => pixels.toFixed(2));
        nodes[i].setAttribute("transform", `translate(${there})${turns[i]}${scale}`);
      }
      mark();
    }

    function mark() {
      ui.top.toggleAttribute("hidden", shown === null);
      if (shown !== null) {
        for (const name of ["d", "transform", "class", "style"]) {
          ui.top.setAttribute(name, nodes[shown].getAttribute(name) ?? "");
        }
      }
      for (const [ring, i] of [[ui.here, shown], [ui.focus, active]]) {
        ring.toggleAttribute("hidden", i === null || !visible[i]);
        if (i !== null) ring.setAttribute("transform", `translate(${at[i]})`);
      }
    }

    function nearest([x, y], reach) {
      let found = null, least = reach;
      for (const i of all) {
        const distance = visible[i] ? Math.hypot(at[i][0] - x, at[i][1] - y) : Infinity;
        if (distance < least) [found, least] = [i, distance];
      }
      return found;
    }

    // The nearest point within 45 degrees of a direction; if there is none, within 90, but rather ahead than aside.
    function towards([dx, dy]) {
      let found = null, least = Infinity;
      for (const i of all) {
        const x = at[i][0] - at[active][0], y = at[i][1] - at[active][1];
        const ahead = x * dx + y * dy, aside = Math.abs(x * dy) + Math.abs(y * dx);
        if (!visible[i] || i === active || ahead < 0.01) continue;
        const distance = aside <= ahead ? Math.hypot(ahead, aside) : 1e6 + ahead + 4 * aside;
        if (distance < least) [found, least] = [i, distance];
      }
      return found;
    }

    function bringIntoView(i) {
      const [x, y] = at[i], { left, right, top, bottom } = MARGIN;
      const inside = x > left + 8 && x < size.width - right - 8 && y > top + 8 && y < size.height - bottom - 8;
      if (view.k > 1 && !inside) moving().call(zoom.translateTo, ...view.invert([x, y]));
    }

    // ---- colours

    // Round values between the ends of a colour bar, those of log scales in the row 1, 2, 5, that leave room for words.
    function ticks(scale, logarithmic) {
      const [low, high] = scale.domain(), place = scale.copy().range([0, 1]), kept = [];
      const decades = d3.range(Math.floor(Math.log10(low)), Math.log10(high)).map((power) => 10 ** power);
      const round = logarithmic ? [1, 5, 2].flatMap((digit) => decades.map((decade) => digit * decade))
        : d3.ticks(low, high, 4);
      for (const value of round) {
        const at = place(value), near = kept.some((other) => Math.abs(other.at - at) < 0.19);
        if (value > low && value < high && at > 0.1 && at < 0.9 && !near) kept.push({ value, at });
      }
      return kept.sort((a, b) => a.at - b.at);
    }

    function paint() {
      const about = parameters.get(ui.colour.value);
      const logarithmic = about?.scale === "log";
      const scale = (logarithmic ? d3.scaleLog() : d3.scaleLinear()).domain([about?.low ?? 1, about?.high ?? 2]).clamp(true);
      const value = (i) => columns.effect[i] === about?.name ? columns.settings[i]?.[about.parameter] : undefined;
      const coloured = (i) => !about || Number.isFinite(value(i));
      const colour = (i) => coloured(i) ? d3.interpolateViridis(scale(value(i))) : null;
      points.style("--c", (i) => about ? colour(i) : effect(i).colour)
        .classed("explorer-other", (i) => !coloured(i));
      points.order();
      if (about) points.filter(coloured).raise(); // the grey ones must not hide them
      mark();
      ui.bar.hidden = !about;
      if (!about) return;
      const stops = d3.range(0, 1.01, 0.1).map(d3.interpolateViridis).join(", ");
      const between = ticks(scale, logarithmic).map(({ value, at }) =>
        element("span", { class: "explorer-tick", style: `--at: ${at}` }, readable(value)));
      const kind = logarithmic ? "logarithmic" : "linear";
      ui.bar.replaceChildren(element("span", {}, measure(about.low, about.unit)),
        element("span", { class: "explorer-scale" },
          element("span", { class: "explorer-ramp", role: "img", style: `--ramp: ${stops}`,
            "aria-label": `Colour bar of ${about.parameter}, ${kind}: dark is low, light is high; other effects are grey` }),
          ...between),
        element("span", {}, measure(about.high, about.unit)),
        element("span", { class: "explorer-note" }, logarithmic ? "log scale" : ""));
    }

    // ---- filters

    function filter() {
      const boxes = (set) => [...set.querySelectorAll("input:checked")];
      const ticked = ui.filters.map((set) => new Set(boxes(set).map((box) => box.value)));
      for (const i of all) {
        visible[i] = Object.keys(FILTERS).every((column, k) => ticked[k].has(String(columns[column][i])));
        nodes[i].style.display = visible[i] ? "" : "none";
      }
      const left = d3.sum(visible);
      ui.count.textContent = `${left} of ${count} points`;
      ui.points.setAttribute("aria-label", `Points of the map, ${left}`);
      if (!visible[active]) {
        chosen = false;
        moveTabStop(Math.max(visible.indexOf(true), 0));
      }
      if (shown !== null && !visible[shown]) show(null);
      mark();
    }

    // ---- the panel

    const tiles = new Image();
    tiles.addEventListener("load", () => drawPictures());
    tiles.addEventListener("error", () => {
      ui.complaint.textContent = `The pictures (${thumbnails.file}) cannot be loaded.`;
    });

    function drawPictures() {
      if (!tiles.src) tiles.src = `${folder}/${thumbnails.file}`; // when the first point is shown, not before
      const [width, height] = thumbnails.tile;
      Object.keys(PICTURES).forEach((kind, row) => {
        const tile = row * count + shown, canvas = ui.pictures[kind];
        canvas.width = width;
        canvas.height = height;
        canvas.setAttribute("aria-label", `Spectrogram of the ${kind} sound: ${name(shown)}`);
        if (!tiles.complete || !tiles.naturalWidth) return;
        canvas.getContext("2d").drawImage(tiles, width * (tile % thumbnails.columns),
          height * Math.floor(tile / thumbnails.columns), width, height, 0, 0, width, height);
      });
    }

    // Shows a point, or the hint. A screen reader is told what the keyboard chooses, not what a mouse passes over.
    function show(i, aloud = false) {
      if (i === shown) return;
      shown = i;
      mark();
      ui.hint.classList.toggle("explorer-hidden", i !== null);
      ui.details.hidden = i === null;
      if (i === null) return;
      ui.about.setAttribute("aria-live", aloud ? "polite" : "off");
      ui.details.dataset.point = i;
      ui.title.replaceChildren(swatch(effect(i)), effect(i).label);
      const rows = Object.entries(columns.settings[i] ?? {}).map(([parameter, value]) =>
        [element("code", {}, parameter), measure(value, effect(i).parameters?.[parameter]?.unit)]);
      if (!rows.length) rows.push(["settings", "none"]);
      rows.push(["Corpus", columns.corpus[i]], [GROUPS[columns.corpus[i]] ?? "Person or song", columns.group[i]],
        ["Split", columns.split[i]]);
      ui.list.replaceChildren(...rows.map(([term, words]) =>
        element("div", {}, element("dt", {}, term), element("dd", {}, words))));
      drawPictures();
    }

    function moveTabStop(i) {
      nodes[active].setAttribute("tabindex", -1);
      nodes[active].setAttribute("aria-selected", false);
      active = i;
      nodes[i].setAttribute("tabindex", 0);
      nodes[i].setAttribute("aria-selected", chosen);
    }

    function choose(i) {
      if (i !== null && i >= 0) nodes[i].focus({ preventScroll: true }); // focusin does the rest
    }

    // ---- sound

    function say(words, kind = null) {
      ui.said.textContent = words;
      for (const [other, made] of Object.entries(ui.buttons)) made.classList.toggle("explorer-playing", other === kind);
    }

    function play(kind) {
      if (shown === null) return;
      const file = sounds[kind].replaceAll("{i}", shown).replaceAll("{clip}", columns.clip[shown]);
      ui.audio.dataset.kind = kind;
      ui.audio.dataset.words = `${SOUNDS[kind][0].toLowerCase()}: ${name(shown)}`;
      ui.audio.dataset.file = file;
      ui.audio.src = `${folder}/${file}`;
      ui.audio.play().catch((error) => {
        if (error.name === "NotAllowedError") say("The browser did not allow the sound: press the button again.");
      }); // the other errors are told by the element
    }

    function stop() {
      ui.audio.pause();
    }

    ui.audio.addEventListener("playing", () => say(`Playing ${ui.audio.dataset.words}.`, ui.audio.dataset.kind));
    ui.audio.addEventListener("ended", () => say(`Played ${ui.audio.dataset.words}.`));
    ui.audio.addEventListener("pause", () => {
      if (ui.audio.paused && !ui.audio.ended && !ui.audio.error) say("Stopped."); // not before another sound, nor after
    });
    ui.audio.addEventListener("error", () => say(`The sound ${ui.audio.dataset.file} cannot be loaded or played.`));
    document.addEventListener("play", (event) => { // one sound at a time in the whole page
      for (const other of document.querySelectorAll("audio")) {
        if (other !== event.target && [other, event.target].includes(ui.audio)) other.pause();
      }
    }, true);

    // ---- what a reader does

    const pointed = (event) => nearest(d3.pointer(event, ui.svg), REACH[event.pointerType] ?? REACH.mouse);
    ui.svg.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch" || event.buttons) return;
      const i = pointed(event);
      ui.svg.classList.toggle("explorer-over", i !== null);
      if (i !== null) show(i);
      else if (chosen) show(active);
    });
    ui.svg.addEventListener("pointerleave", () => { if (chosen) show(active); });
    ui.svg.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      const i = option && !event.detail ? Number(option.dataset.point) : pointed(event); // no detail: no pointer
      if (i === null) return;
      choose(i);
      show(i);
      play("wet");
    });
    ui.place.addEventListener("focusin", (event) => { // at an SVG element, Chromium would make it a tab stop
      if (!event.target.matches("[role=option]")) return;
      const i = Number(event.target.dataset.point);
      chosen = true;
      moveTabStop(i);
      show(i, event.target.matches(":focus-visible"));
      mark();
      bringIntoView(i);
    });

    function move(pressed) {
      const shownOnes = all.filter((i) => visible[i]), rank = shownOnes.indexOf(active);
      if (pressed in ARROWS) choose(towards(ARROWS[pressed]));
      else if (pressed === "Home") choose(shownOnes[0]);
      else if (pressed === "End") choose(shownOnes.at(-1));
      else if (pressed === "PageDown") choose(shownOnes[Math.min(rank + 1, shownOnes.length - 1)]);
      else if (pressed === "PageUp") choose(shownOnes[Math.max(rank - 1, 0)]);
      else return false;
      return true;
    }

    function zoomBy(factor) {
      if (factor) moving().call(zoom.scaleBy, factor);
      else moving().call(zoom.transform, d3.zoomIdentity);
    }

    root.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target === ui.colour) return;
      const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      const kind = Object.keys(SOUNDS).find((kind) => SOUNDS[kind][1] === pressed);
      const onPoint = event.target.matches("[role=option]");
      if (kind) {
        if (!event.repeat) play(kind);
      } else if (onPoint && (pressed === "Enter" || pressed === " ")) {
        show(active, true);
        if (!event.repeat) play("wet");
      } else if (onPoint && "+=-0".includes(pressed)) {
        zoomBy({ "+": 1.6, "=": 1.6, "-": 1 / 1.6, 0: 0 }[pressed]);
      } else if (!onPoint || !move(pressed)) {
        return;
      }
      event.preventDefault();
    });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !ui.audio.paused) stop(); });
    for (const [kind, made] of Object.entries(ui.buttons)) made.addEventListener("click", () => play(kind));
    ui.stop.addEventListener("click", stop);
    for (const made of ui.zoom) made.addEventListener("click", () => zoomBy(Number(made.dataset.factor)));
    ui.colour.addEventListener("input", paint);
    for (const set of ui.filters) {
      set.addEventListener("input", filter);
      set.addEventListener("click", (event) => {
        if (event.target.dataset.all === undefined) return;
        for (const box of set.querySelectorAll("input")) box.checked = Boolean(event.target.dataset.all);
        filter();
      });
    }
    moveTabStop(0);
    paint();
    filter();
    new ResizeObserver(layout).observe(ui.place); // text and symbols keep their size: the drawing is made anew
    layout();
  }

  function attempt(root, action) {
    try {
      action(root);
    } catch (error) { // one bad payload must not take the others with it
      root.append(element("p", { class: "explorer-message" }, `This map cannot be shown: ${error.message}`));
    }
    root.classList.add("explorer-ready");
  }

  function startAll() {
    const roots = document.querySelectorAll("div.latent-explorer");
    if (!roots.length) return;
    const library = element("script", { src: LIBRARY });
    library.addEventListener("load", () => roots.forEach((root) => attempt(root, start)));
    library.addEventListener("error", () => roots.forEach((root) => attempt(root, () => {
      throw new Error("D3, which draws it, cannot be loaded.");
    })));
    document.head.append(library);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", startAll);
  else startAll();
})();
