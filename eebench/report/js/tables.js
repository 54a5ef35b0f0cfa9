(() => {
  const { state, remember, element } = eebench;
  const FIRST = 12; // rows that a comparison shows to begin with

  const bare = (text) => text.replace(/\u202f/g, " ").trim();
  const label = (cell) => bare([...cell.childNodes].filter((n) => n.nodeType === 3 || n.matches?.("a, .sort")).map((n) => n.textContent).join(""));
  const number = (cell) => "v" in cell.dataset ? parseFloat(cell.dataset.v) : NaN;
  const key = (row, column) => "v" in row.cells[column].dataset ? number(row.cells[column]) : label(row.cells[column]).toLowerCase();
  const empty = (value) => value === "" || value === "–" || Number.isNaN(value);

  // Sorting keeps a method's baselines under it, and what missed the target below.
  const groups = (body) => {
    const found = [];
    for (const row of body.original) {
      if (row.classList.contains("head")) continue;
      row.classList.contains("baseline") && found.length ? found.at(-1).push(row) : found.push([row]);
    }
    return found;
  };
  const sort = (table, column, order) => {
    for (const body of table.tBodies) {
      body.original ??= [...body.rows];
      let rows = body.original;
      if (order && !body.classList.contains("bounds")) {
        const down = order === "descending" ? -1 : 1;
        rows = groups(body).sort(([a], [b]) => {
          const [x, y] = [key(a, column), key(b, column)];
          if (empty(x) || empty(y)) return empty(x) - empty(y);
          return (typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === "number" ? -1 : 1) * down;
        }).flat();
        rows = [...body.original.filter((row) => row.classList.contains("head")), ...rows];
      }
      body.append(...rows);
    }
    [...table.tHead.rows[0].cells].forEach((th, i) => th.setAttribute("aria-sort", i === column && order ? order : "none"));
  };

  // Copying: numbers for a program, text for people.
  const seen = (table) => [...table.rows].filter((row) => !row.hidden && !row.classList.contains("head"));
  const cells = (row) => [...row.cells].filter((cell) => !cell.hidden);
  const shown = (cell) => [label(cell), ...[...cell.querySelectorAll("small")].map((s) => s.textContent)].filter(Boolean).join(" ");
  const formats = {
    CSV: (table) => seen(table).map((row) => cells(row).map((cell) => {
      const text = "v" in cell.dataset && cell.classList.contains("n") ? (Number.isNaN(number(cell)) ? "" : cell.dataset.v) : label(cell);
      return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    }).join(",")).join("\n"),
    Markdown: (table) => seen(table).map((row, i) => "| " + cells(row).map((cell) => shown(cell).replace(/[|~*_\\]/g, "\\$&")).join(" | ") + " |"
      + (i ? "" : "\n|" + " --- |".repeat(cells(row).length))).join("\n"),
    LaTeX: (table) => {
      const signs = { "−": "$-$", "×": "$\\times$", "±": "$\\pm$", "★": "$\\star$", "†": "$\\dagger$", "Δ": "$\\Delta$",
        "~": "$\\sim$", "–": "--", "◆": "$\\diamond$", "\u202f": "\\,", "\\": "\\textbackslash{}" };
      const tex = (text) => text.replace(/[&%$#_{}\\−×±★†Δ~–◆\u202f]/g, (sign) => signs[sign] ?? "\\" + sign);
      const [head, ...body] = seen(table).map((row) => cells(row).map((cell) => tex(shown(cell))).join(" & ") + " \\\\");
      return `\\begin{tabular}{l${"r".repeat(cells(table.rows[0]).length - 1)}}\n\\toprule\n${head}\n\\midrule\n${body.join("\n")}\n\\bottomrule\n\\end{tabular}`;
    },
  };
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // no clipboard for pages from a file in some browsers
      const area = element("textarea", { value: text });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };

  const headings = (table) => {
    const help = element("p", { className: "help" });
    help.setAttribute("aria-live", "polite");
    table.closest(".scroll").before(help);
    [...table.tHead.rows[0].cells].forEach((th, column) => {
      const name = th.textContent;
      const button = element("button", { type: "button", className: "sort" }, name);
      th.replaceChildren(button);
      th.setAttribute("aria-sort", "none");
      const first = th.dataset.first ?? "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      button.addEventListener("click", () => {
        const now = th.getAttribute("aria-sort");
        const order = now === "none" ? first : now === first ? second : "";
        sort(table, column, order);
        remember(table.id, order ? `${column}.${order}` : null);
        table.dispatchEvent(new Event("sorted"));
      });
      if (!th.dataset.help) return;
      const why = element("button", { type: "button", className: "why", title: th.dataset.help }, "?");
      why.setAttribute("aria-label", `What is ${name}?`);
      why.addEventListener("click", () => {
        const text = `${name}: ${th.dataset.help}`;
        help.textContent = help.textContent === text ? "" : text;
      });
      th.append(why);
    });
    const [column, order] = (state.get(table.id) ?? "").split(".");
    if ((order === "ascending" || order === "descending") && column in table.tHead.rows[0].cells) sort(table, +column, order);
  };
  const copying = (table) => {
    const tools = element("div", { className: "tools" }, "Copy as");
    for (const [name, write] of Object.entries(formats)) {
      const button = element("button", { type: "button" }, name);
      button.addEventListener("click", async () => {
        await copy(write(table) + "\n");
        button.textContent = "copied";
        setTimeout(() => { button.textContent = name; }, 1200);
      });
      tools.append(button);
    }
    table.closest(".table").append(tools);
    return tools;
  };

  const shows = [];
  const boxes = [];
  const redo = () => {
    shows.forEach((show) => show());
    for (const [box, th] of boxes) box.checked = !th.hidden;
  };

  // The comparisons: one target at a time, methods by name, columns on demand, twelve rows first, baselines folded.
  const comparison = (table, tools) => {
    const heads = [...table.tHead.rows[0].cells];
    const open = new Set();
    const bodies = [...table.tBodies];
    let all = state.has("all");
    const more = element("button", { type: "button" });
    const show = () => {
      const wanted = (state.get("filter") ?? "").toLowerCase().split(/[\s,]+/).filter(Boolean);
      const columns = new Set((state.get("columns") ?? "").split("|").filter(Boolean));
      heads.forEach((th, i) => {
        const on = (th.dataset.extra === undefined) !== columns.has(label(th));
        for (const row of table.rows) if (!row.classList.contains("head")) row.cells[i].hidden = i > 0 && !on;
      });
      let count = 0;
      for (const body of bodies) {
        const bounds = body.classList.contains("bounds");
        let any = false, rest = false, visible = false, mother = null;
        for (const row of body.rows) {
          if (row.classList.contains("head")) continue;
          if (row.classList.contains("baseline")) {
            row.hidden = !visible || !open.has(mother);
            continue;
          }
          mother = label(row.cells[0]).replace(/ †$/, "");
          const fits = !wanted.length || row.classList.contains("plain") || wanted.some((word) => mother.toLowerCase().includes(word));
          visible = fits && (bounds ? all : all || count < FIRST);
          if (fits && !bounds) count += 1;
          row.hidden = !visible;
          row.classList.toggle("rest", fits && !visible && !bounds); // paper has them
          any ||= visible;
          rest ||= row.classList.contains("rest");
        }
        for (const row of body.rows) {
          if (!row.classList.contains("head")) continue;
          row.hidden = !any;
          row.classList.toggle("rest", rest);
        }
      }
      more.hidden = false;
      more.textContent = all ? `first ${FIRST} rows` : `all ${count} rows and bounds`;
    };
    more.addEventListener("click", () => { all = !all; remember("all", all ? "1" : null); redo(); });
    for (const body of bodies) body.original ??= [...body.rows];
    for (const [row, ...baselines] of bodies.flatMap(groups)) {
      if (!baselines.length) continue;
      const name = label(row.cells[0]).replace(/ †$/, "");
      const button = element("button", { type: "button", className: "fold" }, "▸");
      button.setAttribute("aria-expanded", "false");
      button.setAttribute("aria-label", `Baselines of ${name}`);
      button.addEventListener("click", () => {
        open.has(name) ? open.delete(name) : open.add(name);
        button.textContent = open.has(name) ? "▾" : "▸";
        button.setAttribute("aria-expanded", open.has(name));
        show();
      });
      row.cells[0].prepend(button);
    }
    const menu = element("details", {}, element("summary", {}, "Columns"));
    const list = element("div");
    heads.slice(1).forEach((th) => {
      const name = label(th);
      const box = element("input", { type: "checkbox" });
      box.addEventListener("change", () => {
        const columns = new Set((state.get("columns") ?? "").split("|").filter(Boolean));
        columns.has(name) ? columns.delete(name) : columns.add(name);
        remember("columns", [...columns].join("|"));
        redo();
      });
      list.append(element("label", {}, box, " " + name));
      boxes.push([box, th]);
    });
    menu.append(list);
    tools.prepend(more, menu);
    table.addEventListener("sorted", show);
    shows.push(show);
  };
  const choices = [...document.querySelectorAll("[data-choice]")];
  for (const table of document.querySelectorAll("main table")) {
    headings(table);
    const tools = copying(table);
    if (table.closest("[data-choice]")) comparison(table, tools);
  }
  if (choices.length) {
    const select = element("select", { id: "target" });
    for (const { dataset } of choices) select.add(new Option(dataset.choice, dataset.choice));
    const filter = element("input", { type: "search", id: "filter", placeholder: "name, name", value: state.get("filter") ?? "" });
    const show = () => { for (const part of choices) part.hidden = part.dataset.choice !== select.value; };
    eebench.choose = (name) => { select.value = name; show(); };
    if (state.has("target")) select.value = state.get("target");
    if (select.selectedIndex < 0) select.selectedIndex = 0;
    select.addEventListener("change", () => { show(); remember("target", select.value); });
    filter.addEventListener("input", () => { remember("filter", filter.value); redo(); eebench.filtered?.(); });
    choices[0].before(element("div", { className: "choice" }, eebench.control("Target", select), eebench.control("Methods", filter)));
    show();
    redo();
  }
})();
