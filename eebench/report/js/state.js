"use strict";
// What a reader set (sort, filter, target, theme, budget, axes) lives in the address, after the place: #place?key=value.
const eebench = (() => {
  const split = () => {
    const hash = decodeURI(location.hash.slice(1));
    const cut = hash.indexOf("?");
    return cut < 0 ? [hash, ""] : [hash.slice(0, cut), hash.slice(cut + 1)];
  };
  let [place, query] = split();
  const state = new URLSearchParams(query);
  const address = () => "#" + place + (state.size ? "?" + state : "");
  const write = () => history.replaceState(null, "", place || state.size ? address() : location.pathname + location.search);
  const remember = (key, value) => {
    value === null || value === "" ? state.delete(key) : state.set(key, value);
    write();
  };
  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const control = (text, input) => element("label", {}, text + " ", input);

  // Following a link keeps what was set; a link to something folded away opens it.
  const reveal = (smooth) => {
    const goal = place && document.getElementById(place);
    if (!goal) return;
    for (let fold = goal.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    if (goal.closest("[data-choice][hidden]")) eebench.choose?.(goal.closest("[data-choice]").dataset.choice);
    goal.scrollIntoView({ behavior: smooth ? "smooth" : "instant" });
  };
  addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    place = decodeURI(link.getAttribute("href").slice(1));
    history.pushState(null, "", address());
    link.closest("nav")?.querySelector("details")?.removeAttribute("open");
    reveal(true);
    document.getElementById(place)?.setAttribute("tabindex", "-1");
    document.getElementById(place)?.focus({ preventScroll: true });
  });
  addEventListener("popstate", () => { [place] = split(); reveal(false); });
  // Once more when the interactive part has grown above it, unless the reader has gone elsewhere by then.
  let moved = false;
  for (const kind of ["wheel", "touchstart", "keydown", "pointerdown"]) addEventListener(kind, () => { moved = true; }, { once: true, passive: true });
  const again = () => { if (!moved) reveal(false); };
  addEventListener("load", again);

  // Light, dark, or as the system has it.
  const themes = ["auto", "light", "dark"];
  const show = (theme) => {
    theme === "auto" ? delete document.documentElement.dataset.theme : document.documentElement.dataset.theme = theme;
  };
  const select = element("select", { id: "theme" }, ...themes.map((name) => new Option(name, name)));
  select.value = themes.includes(state.get("theme")) ? state.get("theme") : "auto";
  select.addEventListener("change", () => { show(select.value); remember("theme", select.value === "auto" ? null : select.value); });
  show(select.value);
  document.querySelector("header").append(element("div", { className: "tools" }, control("Theme", select)));
  document.documentElement.classList.add("js");
  return { state, remember, element, control, again };
})();
