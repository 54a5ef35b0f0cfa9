eebench.explore = () => {
  const root = document.getElementById("explore");
  const source = document.getElementById("data");
  if (!root || !source) return;
  const { state, remember, element, control } = eebench;
  const data = JSON.parse(source.textContent);
  const devices = ["gpu", "cpu"].filter((name) => data.methods.some((method) => method.timed[name]?.length));
  const device = devices[0];
  const contenders = [...data.methods, ...data.statics];
  const ink = "var(--ink)";
  const MARGIN = 32 + 6.6 * Math.min(20, Math.max(...contenders.map((method) => method.label.length))); // for their names
  const REACH = 15; // points below the plain backbone that the plot shows

  const fixed = (value, digits) => value == null || Number.isNaN(value) ? "–" : value.toFixed(digits).replace("-", "−");
  const signed = (value, digits) => {
    const text = fixed(value, digits);
    return text.startsWith("−") || /^[0.]+$/.test(text) || text === "–" ? text : "+" + text;
  };
  const short = (value) => value == null ? "–" : String(+value.toPrecision(4)).replace("-", "−");
  const range = ([low, high]) => low == null ? "–" : short(low) === short(high) ? short(low) : `${short(low)} to ${short(high)}`;
  const cost = (value) => fixed(value * data.costScale, data.costDigits);

  const kinds = {
    drop: { text: "points lost at most", min: 0, max: 10, step: 0.1, start: 1 },
    macs: { text: "% of the plain backbone's MACs at most", min: 5, max: 110, step: 1, start: 50 },
  };
  if (device) {
    const most = data.plain.ms[device] * 1.1;
    const step = 10 ** Math.floor(Math.log10(most / 200));
    kinds.ms = { text: `${device.toUpperCase()} ms a sample at most`, min: 0, max: +(Math.ceil(most / step) * step).toPrecision(3), step, start: +(Math.round(most / 2 / step) * step).toPrecision(3) };
  }
  const axes = {
    macs: { text: `${data.costUnit} a sample`, x: (row) => row.cost * data.costScale },
    share: { text: "% of the plain backbone's MACs", x: (row) => 100 * row.cost / plainCost },
    speed: { text: "speed-up by MACs, ×", x: (row) => plainCost / row.cost },
  };
  for (const name of devices) axes[name] = { text: `${name.toUpperCase()} ms a sample, timed points`, x: (row) => row.ms, timed: name };
  const heights = {
    score: { text: `test ${data.metric}, ${data.unit}`, y: (row) => 100 * row.score },
    lost: { text: "points lost", y: (row) => 100 * row.lost },
    exit: { text: "mean exit", y: (row) => row.exit },
    ece: { text: "ECE, %", y: (row) => row.ece == null ? NaN : 100 * row.ece },
  };
  const plainCost = data.plain.seeds.reduce((sum, seed) => sum + seed.cost, 0) / data.plain.seeds.length;
  const plainScore = data.plain.seeds.reduce((sum, seed) => sum + seed.score, 0) / data.plain.seeds.length;

  // Markers as in every other plot, corner by corner: angle in eighths of pi from above, distance from the centre.
  const regular = (corners, turn, far = 1) => Array.from({ length: corners }, (_, i) => [turn + 16 * i / corners, far]);
  const star = (turn) => [0, 4, 8, 12].flatMap((arm) => [[-1, 1.05], [1, 1.05], [2, 0.55]].map(([a, far]) => [turn + arm + a, far]));
  const corners = { s: regular(4, 2, 1.15), D: regular(4, 0, 1.15), d: [[0, 1.25], [4, 0.75], [8, 1.25], [12, 0.75]], "^": regular(3, 0, 1.2),
    v: regular(3, 8, 1.2), "<": regular(3, 12, 1.2), ">": regular(3, 4, 1.2), p: regular(5, 0, 1.1), h: regular(6, 0, 1.05), P: star(0), X: star(2) };
  const shape = (method) => corners[method.marker] ? { draw: (context, size) => {
    const radius = Math.sqrt(size / Math.PI);
    corners[method.marker].forEach(([turn, far], i) => {
      const angle = turn * Math.PI / 8;
      context[i ? "lineTo" : "moveTo"](radius * far * Math.sin(angle), -radius * far * Math.cos(angle));
    });
    context.closePath();
  } } : "circle";

  // The settings: from the address, else the report's own target.
  const given = /^(drop|macs|ms)_([\d.]+)$/.exec(state.get("budget") ?? data.main);
  let kind = given && kinds[given[1]] ? given[1] : "drop";
  let amount = given && kinds[given[1]] ? +given[2] : kinds.drop.start;
  let x = axes[state.get("x")] ? state.get("x") : "macs";
  let y = heights[state.get("y")] ? state.get("y") : "score";
  const hidden = new Set((state.get("without") ?? "").split(",").filter(Boolean));

  const slider = element("input", { type: "range", id: "budget" });
  const box = element("input", { type: "number", id: "amount" });
  const choice = element("select", { id: "kind" }, ...Object.entries(kinds).map(([name, { text }]) => new Option(text, name)));
  const across = element("select", { id: "x" }, ...Object.entries(axes).map(([name, { text }]) => new Option(text, name)));
  const up = element("select", { id: "y" }, ...Object.entries(heights).map(([name, { text }]) => new Option(text, name)));
  slider.setAttribute("aria-label", "Budget");
  box.setAttribute("aria-label", "Budget as a number");
  choice.setAttribute("aria-label", "What the budget limits");
  const chips = element("fieldset", {}, element("legend", {}, "Methods:"));
  for (const method of contenders) {
    const tick = element("input", { type: "checkbox", checked: !hidden.has(method.id) });
    tick.addEventListener("change", () => {
      tick.checked ? hidden.delete(method.id) : hidden.add(method.id);
      remember("without", [...hidden].join(","));
      draw();
      table();
    });
    const swatch = Plot.plot({ className: "plot-figure", width: 14, height: 14, axis: null, margin: 0,
      marks: [Plot.dot([[7, 7]], { r: 5, symbol: shape(method), fill: method.colour ?? ink, frameAnchor: "middle" })] });
    swatch.setAttribute("aria-hidden", "true");
    for (const group of swatch.querySelectorAll("g[aria-label]")) group.removeAttribute("aria-label");
    chips.append(element("label", { className: "chip" }, tick, swatch, method.label));
  }
  const canvas = element("div", { className: "canvas", tabIndex: 0 });
  canvas.setAttribute("role", "region");
  canvas.setAttribute("aria-label", "Plot of the explorer");
  const words = element("p", { className: "help", id: "bought" });
  words.setAttribute("aria-live", "polite");
  const place = element("div", { className: "scroll", tabIndex: 0 });
  place.setAttribute("role", "region");
  place.setAttribute("aria-label", "What the budget buys");
  root.append(
    element("div", { className: "controls" }, control("Budget:", box), choice, slider),
    words, place,
    element("div", { className: "controls" }, control("Across:", across), control("Up:", up)), chips, canvas,
  );

  // Curves a budget at a time, as the table is: what validation data would choose, read on test data.
  const grid = Array.from({ length: 60 }, (_, i) => 3 + i * 2);
  const curves = new Map(contenders.map((method) => {
    const rows = [];
    for (const share of grid) {
      const row = eebench.at(data, method, "macs", share);
      if (row && (!rows.length || row.cost !== rows.at(-1).cost || row.score !== rows.at(-1).score)) rows.push(row);
    }
    return [method.id, rows];
  }));
  const timed = (method, name) => Object.values(Object.groupBy(method.timed[name] ?? [], (row) => row.target)).map((rows) => {
    const average = (key) => rows.reduce((sum, row) => sum + row[key], 0) / rows.length;
    const knobs = rows.map((row) => row.knob);
    return { method, score: average("score"), cost: average("cost"), ms: average("ms"), exit: average("exit"), lost: plainScore - average("score"),
      ece: null, knobs: [Math.min(...knobs), Math.max(...knobs)] };
  }).sort((a, b) => a.ms - b.ms);

  const draw = () => {
    const { text, x: fx, timed: name } = axes[x];
    const { text: upText, y: fy } = heights[y];
    const rows = contenders.filter((method) => !hidden.has(method.id))
      .flatMap((method) => name ? timed(method, name) : curves.get(method.id)).filter((row) => Number.isFinite(fx(row)) && Number.isFinite(fy(row)));
    const bought = contenders.filter((method) => !hidden.has(method.id)).map((method) => eebench.at(data, method, kind, amount, device)).filter(Boolean)
      .filter((row) => Number.isFinite(fx(row)) && Number.isFinite(fy(row)));
    const colour = (row) => row.method.colour ?? ink;
    const title = (row) => `${row.method.label}\n${row.method.knob ? `${row.method.knob} ${range(row.knobs)}\n` : ""}${fixed(100 * row.score, data.digits)} ${data.unit}`
      + `\n${cost(row.cost)} ${data.costUnit}${row.ms ? `, ${fixed(row.ms, data.msDigits)} ms` : ""}\nmean exit ${fixed(row.exit, 1)}`;
    const low = y === "score" ? Math.max(Math.min(...rows.map(fy)), 100 * plainScore - REACH) : y === "lost" ? Math.min(0, ...rows.map(fy)) : undefined;
    const high = y === "lost" ? Math.min(Math.max(...rows.map(fy)), REACH) : Math.max(100 * plainScore, ...rows.map(fy));
    const domain = y === "score" || y === "lost" ? { domain: [low, high] } : {};
    const plain = { cost: plainCost, score: plainScore, lost: 0, exit: data.depth, ece: null, ms: name ? data.plain.ms[name] : undefined };
    const marks = [
      Plot.gridX({ stroke: "var(--grid)", strokeOpacity: 1 }), Plot.gridY({ stroke: "var(--grid)", strokeOpacity: 1 }),
      ...contenders.map((method) => Plot.line(rows.filter((row) => row.method === method),
        { x: fx, y: fy, stroke: method.colour ?? ink, strokeWidth: 1.6, strokeDasharray: method.dash, clip: true })),
      name ? Plot.dot(rows, { x: fx, y: fy, r: 2.5, fill: colour, clip: true }) : null,
      ...bought.map((row) => Plot.dot([row], { x: fx, y: fy, r: 6, symbol: shape(row.method), fill: colour, stroke: "var(--paper)", clip: true })),
      Number.isFinite(fy(plain)) ? Plot.dot([plain], { x: fx, y: fy, r: 7, symbol: "star", fill: ink }) : null,
      kind === "macs" && x === "share" ? Plot.ruleX([amount], { stroke: ink, strokeDasharray: "3 3" }) : null,
      kind === "drop" && y === "lost" ? Plot.ruleY([amount], { stroke: ink, strokeDasharray: "3 3" }) : null,
      kind === "ms" && name === device ? Plot.ruleX([amount], { stroke: ink, strokeDasharray: "3 3" }) : null,
      Plot.tip(rows, Plot.pointer({ x: fx, y: fy, title, fill: "var(--raised)", stroke: "var(--muted)" })),
    ];
    const figure = Plot.plot({ className: "plot-figure", width: Math.max(560, Math.min(1080, root.clientWidth || 1080)), height: 420, marginLeft: 52, marginBottom: 40, marginRight: MARGIN,
      x: { label: text, labelAnchor: "center" }, y: { label: upText, reverse: y === "lost", ...domain }, marks, ariaLabel: `${upText} against ${text}` });
    figure.setAttribute("role", "img");
    for (const group of figure.querySelectorAll("g[aria-label]")) group.removeAttribute("aria-label");
    canvas.replaceChildren(figure);
    nameLines(figure, rows, bought, fx, fy);
  };

  // Names with their markers in the right margin, about as high as what the budget buys, or as their curve's end.
  const nameLines = (figure, rows, bought, fx, fy) => {
    const up = figure.scale("y");
    const [low, high] = [Math.min(...up.range), Math.max(...up.range)];
    const ends = contenders.flatMap((method) => {
      const row = bought.find((row) => row.method === method) ?? rows.findLast((row) => row.method === method);
      const y = row && up.apply(fy(row));
      return row && y >= low - 1 && y <= high + 1 ? [{ method, y, at: y }] : [];
    }).sort((a, b) => a.y - b.y);
    const step = Math.min(15, (high - low) / Math.max(1, ends.length - 1));
    for (let turn = 0; turn < 100; turn++) {
      for (let i = 1; i < ends.length; i++) {
        const lack = step - (ends[i].at - ends[i - 1].at);
        if (lack > 0) { ends[i - 1].at -= lack / 2; ends[i].at += lack / 2; }
      }
      for (const end of ends) end.at = Math.max(low, Math.min(high, end.at));
    }
    for (let i = 1; i < ends.length; i++) ends[i].at = Math.max(ends[i].at, ends[i - 1].at + step);
    const right = Math.max(...figure.scale("x").range) + 18; // the plain backbone's star may stand at the edge
    const made = (tag, properties, text = "") => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [key, value] of Object.entries(properties)) element.setAttribute(key, value);
      element.textContent = text;
      return element;
    };
    for (const { method, at } of ends) {
      const path = d3.path();
      corners[method.marker] ? shape(method).draw(path, 60) : path.arc(0, 0, 4.4, 0, 7);
      figure.append(made("path", { d: path, transform: `translate(${right},${at})`, fill: method.colour ?? ink }),
        made("text", { class: "named", x: right + 10, y: at, dy: "0.35em", "text-anchor": "start", fill: "currentColor" }, method.label));
    }
  };

  // How samples leave the network: what is still inside narrows from block to block.
  const flow = (method) => {
    const name = method.shares[`${kind}_${amount}`] ? `${kind}_${amount}` : method.shares[data.main] ? data.main : Object.keys(method.shares)[0];
    const shares = method.shares[name];
    if (!shares) return "–";
    const ns = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(ns, "svg");
    svg.setAttribute("class", "flow");
    svg.setAttribute("viewBox", `0 0 ${data.depth * 10} 20`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    const said = shares.filter(([, share]) => share > 0.005).map(([block, share]) => `${(100 * share).toFixed(0)} % at block ${block}`).join(", ");
    svg.setAttribute("aria-label", `${said}, with ${data.targets[name] ?? name}`);
    const stop = new Map(shares);
    let inside = 1, top = "", bottom = "";
    for (let block = 0; block < data.depth; block++) {
      top += `${block ? "L" : "M"}${block * 10} ${10 - 9 * inside}L${block * 10 + 10} ${10 - 9 * inside}`;
      bottom = `L${block * 10 + 10} ${10 + 9 * inside}L${block * 10} ${10 + 9 * inside}` + bottom;
      inside = Math.max(0, inside - (stop.get(block + 1) ?? 0));
    }
    const rail = document.createElementNS(ns, "path");
    rail.setAttribute("class", "rail");
    rail.setAttribute("d", `M0 10H${data.depth * 10}`);
    const path = document.createElementNS(ns, "path");
    path.setAttribute("d", top + bottom + "Z");
    path.setAttribute("fill", method.colour ?? "var(--muted)");
    const hint = document.createElementNS(ns, "title");
    hint.textContent = svg.getAttribute("aria-label");
    svg.append(hint, rail, path);
    const exact = name === `${kind}_${amount}`;
    return exact ? svg : element("div", {}, svg, element("small", {}, `as with ${data.targets[name] ?? name}`));
  };

  const table = () => {
    const visible = contenders.filter((method) => !hidden.has(method.id));
    const rows = visible.map((method) => [method, eebench.at(data, method, kind, amount, device)]);
    const value = kind === "drop" ? (row) => row.speed : (row) => row.score;
    rows.sort(([, a], [, b]) => !a - !b || (a && b ? value(b) - value(a) : 0));
    const heads = ["Method", "Knob", `Score, ${data.unit}`, "Δ, pt", kind === "ms" ? "ms" : data.costUnit, kind === "ms" ? `× ${device.toUpperCase()}` : "× MACs", "Mean exit", "Way through the blocks"];
    const head = element("thead", {}, element("tr", {}, ...heads.map((text) => Object.assign(element("th", {}, text), { scope: "col" }))));
    const body = element("tbody");
    for (const [method, row] of rows) {
      const name = Object.assign(element("th", {}, method.label), { scope: "row" });
      const line = element("tr", {}, name);
      line.dataset.method = method.id;
      if (!row) {
        line.append(element("td", { colSpan: 7, className: "ns" }, "nothing fits on validation data"));
      } else {
        const std = Number.isNaN(row.scoreSpread) ? "" : ` ± ${fixed(100 * row.scoreSpread, data.digits)}`;
        const texts = [method.knob ? `${method.knob} ${range(row.knobs)}` : "–", fixed(100 * row.score, data.digits) + std, signed(-100 * row.lost, data.digits),
          kind === "ms" ? fixed(row.ms, data.msDigits) : cost(row.cost), fixed(row.speed, 2) + "×", fixed(row.exit, 2)];
        line.append(...texts.map((text, i) => element("td", { className: i ? "n" : "" }, text)), element("td", {}, flow(method)));
      }
      body.append(line);
    }
    const made = element("table", { id: "explored" }, head, body);
    place.replaceChildren(made);
    const fit = rows.filter(([, row]) => row).length;
    const margin = kind === "drop" && data.margin ? ", without the safety margin that the comparison chooses with" : "";
    words.textContent = fit ? `${fit} of ${rows.length} fit on validation data${margin}; in the order of ${kind === "drop" ? "speed-up by MACs" : "score"} on test data.`
      + " No intervals here: neighbours may be tied, the comparison says which." : "Nothing fits this budget on validation data.";
  };

  const settle = (keep) => {
    const limits = kinds[kind];
    for (const input of [slider, box]) Object.assign(input, { min: limits.min, max: limits.max, step: limits.step });
    slider.value = amount;
    if (!keep) box.value = amount;
    choice.value = kind;
    across.value = x;
    up.value = y;
    table();
    draw();
  };
  const spend = (value, keep) => {
    if (value === "" || !Number.isFinite(+value) || +value < 0) return;
    amount = +value;
    remember("budget", `${kind}_${amount}`);
    settle(keep);
  };
  slider.addEventListener("input", () => spend(slider.value));
  box.addEventListener("input", () => spend(box.value, true));
  choice.addEventListener("change", () => { kind = choice.value; amount = kinds[kind].start; spend(amount); });
  across.addEventListener("change", () => { x = across.value; remember("x", x === "macs" ? null : x); draw(); });
  up.addEventListener("change", () => { y = up.value; remember("y", y === "score" ? null : y); draw(); });
  root.hidden = false;
  document.querySelector(".fallback")?.remove();
  settle();
  addEventListener("resize", () => draw());
};
