(() => {
  // The nearest point of a plot under the pointer, or stepped through by arrow keys, says what it is.
  const source = document.getElementById("tips");
  if (!source) return;
  const tips = JSON.parse(source.textContent);
  const tip = eebench.element("div", { className: "tip", hidden: true });
  tip.setAttribute("role", "status");
  document.body.append(tip);
  const NEAR = 26; // pixels
  for (const plot of document.querySelectorAll("[data-plot]")) {
    const points = tips[plot.dataset.plot];
    const svg = plot.querySelector("svg");
    if (!points?.length || !svg) continue;
    const spot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    spot.setAttribute("class", "spot");
    spot.setAttribute("r", 8);
    spot.setAttribute("visibility", "hidden");
    svg.append(spot);
    const hide = () => { tip.hidden = true; spot.setAttribute("visibility", "hidden"); };
    const show = ([x, y, text]) => {
      const matrix = svg.getScreenCTM();
      const place = new DOMPoint(x, y).matrixTransform(matrix);
      spot.setAttribute("cx", x);
      spot.setAttribute("cy", y);
      spot.setAttribute("visibility", "visible");
      tip.textContent = text;
      tip.hidden = false;
      tip.style.left = Math.max(4, Math.min(place.x + 14, innerWidth - tip.offsetWidth - 8)) + "px";
      tip.style.top = Math.max(4, place.y - tip.offsetHeight - 12) + "px";
    };
    plot.addEventListener("pointermove", (event) => {
      const matrix = svg.getScreenCTM();
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
      let best = null, least = NEAR / matrix.a;
      for (const point of points) {
        const distance = Math.hypot(point[0] - at.x, point[1] - at.y);
        if (distance < least) [best, least] = [point, distance];
      }
      best ? show(best) : hide();
    });
    plot.addEventListener("pointerleave", hide);
    plot.addEventListener("blur", hide);
    const ordered = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    let current = -1;
    plot.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return hide();
      if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
      event.preventDefault();
      current = (current + (event.key === "ArrowRight" ? 1 : -1) + ordered.length) % ordered.length;
      const x = ordered[current][0] * svg.getScreenCTM().a;
      if (x < plot.scrollLeft + 20 || x > plot.scrollLeft + plot.clientWidth - 20) plot.scrollLeft = x - plot.clientWidth / 2;
      show(ordered[current]);
    });
  }
})();
