"use strict";
(() => {
  const state = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  const remember = (key, value) => {
    value === null ? state.delete(key) : state.set(key, value);
    history.replaceState(null, "", state.size ? "#" + state : location.pathname + location.search);
  };

  // Sorting: ascending, descending, back to the report's own order. Bounds and empty cells stay last.
  const key = (row, column) => {
    const cell = row.cells[column];
    return "v" in cell.dataset ? parseFloat(cell.dataset.v) : /^[+−~-]?[\d.]+/.test(cell.innerText)
      ? parseFloat(cell.innerText.replace("−", "-").replace("~", "")) : cell.innerText.toLowerCase();
  };
  const sort = (table, column, order) => {
    const body = table.tBodies[0];
    table.original ??= [...body.rows];
    const empty = (value) => value === "" || value === "–" || Number.isNaN(value);
    const rows = [...table.original];
    if (order) {
      const keys = new Map(rows.map((row) => [row, key(row, column)]));
      rows.sort((a, b) => {
        const [x, y] = [keys.get(a), keys.get(b)];
        if (empty(x) || empty(y)) return empty(x) - empty(y);
        const less = typeof x === typeof y ? x < y : typeof x === "number";
        return x === y ? 0 : (less ? -1 : 1) * (order === "descending" ? -1 : 1);
      });
    }
    body.append(...rows);
    [...table.tHead.rows[0].cells].forEach((th, i) => th.setAttribute("aria-sort", i === column && order ? order : "none"));
  };
  const turns = { none: "ascending", ascending: "descending", descending: "" };

  // Copying: what is seen, as Markdown, CSV or LaTeX.
  const grid = (table) => [...table.rows].filter((row) => !row.hidden && !row.classList.contains("head"))
    .map((row) => [...row.cells].map((cell) => [...(cell.querySelector("button") ?? cell).childNodes]
      .map((node) => node.textContent.trim()).filter(Boolean).join(" ")));
  const formats = {
    Markdown: (rows) => rows.map((row, i) => "| " + row.map((text) => text.replace(/[|~*_\\]/g, "\\$&")).join(" | ") + " |"
      + (i ? "" : "\n|" + " --- |".repeat(row.length))).join("\n"),
    CSV: (rows) => rows.map((row) => row.map((text) => `"${text.replaceAll('"', '""')}"`).join(",")).join("\n"),
    LaTeX: (rows) => {
      const signs = { "−": "$-$", "×": "$\\times$", "±": "$\\pm$", "★": "$\\star$", "†": "$\\dagger$", "Δ": "$\\Delta$",
        "~": "$\\sim$", "–": "--", "◆": "$\\diamond$", "\u202f": "\\,", "\\": "\\textbackslash{}" };
      const tex = (text) => text.replace(/[&%$#_{}\\−×±★†Δ~–◆\u202f]/g, (sign) => signs[sign] ?? "\\" + sign);
      const [head, ...body] = rows.map((row) => row.map(tex).join(" & ") + " \\\\");
      return `\\begin{tabular}{l${"r".repeat(rows[0].length - 1)}}\n\\toprule\n${head}\n\\midrule\n${body.join("\n")}\n\\bottomrule\n\\end{tabular}`;
    },
  };
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // no clipboard for pages from a file in some browsers
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };

  for (const table of document.querySelectorAll("table")) {
    [...table.tHead.rows[0].cells].forEach((th, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...th.childNodes);
      th.append(button);
      th.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const order = turns[th.getAttribute("aria-sort")];
        sort(table, column, order);
        remember(table.id, order ? `${column}.${order}` : null);
      });
    });
    const [column, order] = (state.get(table.id) ?? "").split(".");
    if (order in turns && column in table.tHead.rows[0].cells) sort(table, +column, order);
    const tools = document.createElement("div");
    tools.className = "tools";
    tools.append("Copy as");
    for (const [name, write] of Object.entries(formats)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.addEventListener("click", async () => {
        await copy(write(grid(table)) + "\n");
        button.textContent = "copied";
        setTimeout(() => { button.textContent = name; }, 1200);
      });
      tools.append(button);
    }
    table.parentElement.append(tools);
  }

  // One table a target: all stand in the page, a reader looks at one. Printing shows them all.
  const choices = [...document.querySelectorAll("[data-choice]")];
  if (choices.length) {
    const bar = document.createElement("div");
    bar.className = "choice";
    const select = document.createElement("select");
    for (const { dataset } of choices) select.add(new Option(dataset.choice, dataset.choice));
    select.add(new Option("all targets", ""));
    const label = document.createElement("label");
    label.append("Target: ", select);
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = !state.has("plainly");
    const base = document.createElement("label");
    base.append(box, " show baselines and bounds");
    const show = () => {
      for (const part of choices) part.hidden = select.value !== "" && part.dataset.choice !== select.value;
      for (const row of document.querySelectorAll("tr.baseline, tr.bound, .bounds tr")) row.hidden = !box.checked;
    };
    if (state.has("target")) select.value = state.get("target");
    if (select.selectedIndex < 0) select.selectedIndex = 0;
    select.addEventListener("change", () => { show(); remember("target", select.value); });
    box.addEventListener("change", () => { show(); remember("plainly", box.checked ? null : "1"); });
    bar.append(label, base);
    choices[0].before(bar);
    show();
  }

  // A link to a table opens what it is folded into.
  const reveal = () => {
    const goal = location.hash.length > 1 && !location.hash.includes("=") ? document.getElementById(location.hash.slice(1)) : null;
    for (let fold = goal?.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    if (goal?.closest("[hidden]")) goal.closest("[hidden]").hidden = false;
    goal?.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();
  addEventListener("beforeprint", () => { for (const fold of document.querySelectorAll("details")) fold.open = true; });
})();
