"use strict";
(() => {
  const one = (selector, place = document) => place.querySelector(selector);
  const all = (selector, place = document) => [...place.querySelectorAll(selector)];
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  // Copy buttons. From disk the clipboard's newer way may be closed: the older one selects.
  for (const button of all(".copy")) {
    button.addEventListener("click", async () => {
      const text = button.parentElement.querySelector("pre").textContent;
      let done = true;
      try { await navigator.clipboard.writeText(text); } catch {
        const area = make("textarea");
        area.value = text;
        document.body.append(area);
        area.select();
        done = document.execCommand("copy");
        area.remove();
        button.focus();
      }
      button.firstChild.textContent = done ? "Copied" : "Select the text to copy it";
      setTimeout(() => { button.firstChild.textContent = "Copy"; }, 2500);
    });
  }

  // The map of images.
  const map = one("#image-map");
  if (map) {
    const points = JSON.parse(one("script", map).textContent);
    const marks = all("[data-place]", map), image = one("img", map), words = one("figcaption", map);
    let chosen = -1;
    const show = (place) => {
      if (chosen >= 0) marks[chosen].classList.remove("on");
      chosen = place;
      marks[place].classList.add("on");
      image.src = points[place].src;
      image.alt = points[place].name;
      image.hidden = false;
      words.textContent = points[place].name;
    };
    map.addEventListener("pointerover", (event) => {
      if (event.target.dataset.place) show(Number(event.target.dataset.place));
    });
    map.addEventListener("click", (event) => {
      if (event.target.dataset.place) show(Number(event.target.dataset.place));
    });
    map.addEventListener("keydown", (event) => {
      const axis = { ArrowLeft: ["x", -1], ArrowRight: ["x", 1], ArrowUp: ["y", -1],
        ArrowDown: ["y", 1] }[event.key];
      if (!axis || !points.length) return;
      event.preventDefault();
      if (chosen < 0) return show(0);
      const [key, sign] = axis, other = key === "x" ? "y" : "x", from = points[chosen];
      let best = -1, least = Infinity;
      points.forEach((point, place) => {
        const ahead = sign * (point[key] - from[key]);
        const cost = ahead + 2 * Math.abs(point[other] - from[other]);
        if (ahead > 0 && cost < least) { least = cost; best = place; }
      });
      if (best >= 0) show(best);
    });
  }

  // The heat map of a matrix.
  const heat = one("#heat");
  if (heat) {
    const { names, pairs } = JSON.parse(one("#heat-data").textContent);
    const choice = one("#heat-quantity"), detail = one("#heat-detail");
    const cells = all("td[data-i]", heat), wide = heat.classList.contains("wide");
    const at = new Map(cells.map((cell) => [`${cell.dataset.i},${cell.dataset.j}`, cell]));
    const pair = (cell) => pairs[cell.dataset.i][cell.dataset.j];
    const number = (value, places) => (value === null ? "–" : value.toFixed(places));
    const colour = () => {
      const key = choice.value;
      const values = cells.map((cell) => pair(cell)?.[key]).filter((v) => v !== null && v !== undefined);
      const low = Math.min(...values), span = Math.max(...values) - low || 1;
      for (const cell of cells) {
        const value = pair(cell)?.[key];
        const known = value !== null && value !== undefined;
        if (wide) cell.textContent = known ? number(value, key === "emd" || key === "estimated_gain" ? 1 : 2) : "–";
        if (!known) { cell.style.cssText = ""; continue; }
        const rise = (value - low) / span;
        const near = key === "estimated_gain" ? rise : 1 - rise; // darker is better
        const light = 94 - 64 * near;
        cell.style.background = `hsl(205 75% ${light}%)`;
        cell.style.color = light > 55 ? "#101418" : "#fff";
      }
    };
    const choose = (cell) => {
      for (const other of all("[aria-selected]", heat)) other.removeAttribute("aria-selected");
      for (const other of all("td[tabindex='0']", heat)) other.tabIndex = -1;
      cell.setAttribute("aria-selected", "true");
      cell.tabIndex = 0;
      const found = pair(cell), source = names[cell.dataset.j], target = names[cell.dataset.i];
      detail.textContent = found
        ? `${source} for ${target}: EMD ${number(found.emd, 1)} × Gini ${number(found.gini, 3)} ÷ ` +
          `${found.shared} shared classes = discrepancy ${number(found.discrepancy, 3)}` +
          (found.estimated_gain === null ? "" : `, expected gain ${number(found.estimated_gain, 1)} points`) +
          (found.rank ? `, rank ${found.rank}.` : ".") + (found.why ? ` ${found.why}.` : "")
        : `${source} for ${target}: not scored.`;
    };
    choice.addEventListener("change", colour);
    heat.addEventListener("click", (event) => {
      const cell = event.target.closest("td[data-i]");
      if (cell) choose(cell);
    });
    heat.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      const cell = event.target.closest("td[data-i]");
      if (!cell) return;
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); return choose(cell); }
      if (!step) return;
      event.preventDefault();
      let i = Number(cell.dataset.i) + step[0], j = Number(cell.dataset.j) + step[1];
      if (i === j) { i += step[0]; j += step[1]; } // step over the diagonal
      const next = at.get(`${i},${j}`);
      if (next) { choose(next); next.focus(); }
    });
    colour();
  }

  // The gallery of mistakes: drawn when it comes into sight, a page of cases at a time.
  const gallery = one("#gallery");
  if (gallery) {
    const PAGE = 24, SVG = "http://www.w3.org/2000/svg";
    const by = (name) => one(`#gallery-${name}`);
    let data = null, shown = PAGE;
    const rectangle = (box, kind, label) => {
      const rect = document.createElementNS(SVG, "rect"), title = document.createElementNS(SVG, "title");
      rect.setAttribute("class", kind);
      ["x", "y", "width", "height"].forEach((name, place) => rect.setAttribute(name, box[place]));
      title.textContent = label;
      rect.append(title);
      return rect;
    };
    // A picture with all boxes of an arm faint, but for those of one mistake.
    const framed = (picture, arm, mistake, own) => {
      const found = picture.found[arm], names = data.names;
      const svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("class", "boxes");
      svg.setAttribute("viewBox", "0 0 100 100");
      svg.setAttribute("preserveAspectRatio", "none");
      svg.setAttribute("aria-hidden", "true");
      const truth = (place, faint) => rectangle(picture.truth[place],
        (found.met[place] ? "truth" : "missed") + faint, names[picture.truth[place][4]]);
      const given = (box, kind) => rectangle(box, kind, `${names[box[4]]} ${box[5]}`);
      const same = (box) => mistake.box && own && mistake.box.every((value, place) => value === box[place]);
      picture.truth.forEach((_, place) => { if (place !== mistake.true) svg.append(truth(place, " faint")); });
      found.boxes.forEach((box) => {
        if (!same(box)) svg.append(given(box, (box[6] ? "found" : "wrong") + " faint"));
      });
      if (mistake.true !== null) svg.append(truth(mistake.true, " shown"));
      if (mistake.box && own) svg.append(given(mistake.box, "wrong shown"));
      const missed = found.met.filter((met) => !met).length;
      const wrong = found.boxes.filter((box) => !box[6]).length;
      const image = make("img", { src: picture.src, width: picture.width, height: picture.height,
        decoding: "async", loading: "lazy",
        alt: `${picture.name}, ${arm}: ${picture.truth.length} true boxes, ${missed} missed, ${wrong} wrong` });
      return make("div", {}, make("div", { class: "framed" }, image, svg));
    };
    const draw = () => {
      if (!data) {
        data = JSON.parse(one("#gallery-data").textContent);
        const labels = new Set(Object.values(data.cases).flat().map((c) => c.label));
        for (const label of [...labels].sort()) by("class").append(make("option", { value: label }, label));
      }
      const arm = by("arm").value, other = by("other").value;
      const kind = by("kind").value, label = by("class").value, order = by("sort").value;
      const cases = data.cases[arm].filter((c) => (!kind || c.kind === kind) && (!label || c.label === label));
      cases.sort((a, b) => ({
        confidence: () => b.confidence - a.confidence,
        class: () => (a.label < b.label ? -1 : a.label > b.label ? 1 : 0),
        large: () => b.size - a.size, small: () => a.size - b.size,
      })[order]());
      by("count").textContent = `${cases.length} mistakes of ${arm}; ${Math.min(shown, cases.length)} shown.`;
      gallery.replaceChildren(...cases.slice(0, shown).map((c) => {
        const picture = data.pictures[c.at], panels = [framed(picture, arm, c, true)];
        if (other && other !== arm) panels.push(framed(picture, other, c, false));
        if (panels.length > 1) [arm, other].forEach((name, place) => panels[place].append(make("p", { class: "soft" }, name)));
        const words = c.kind === "confusion" ? `${c.label}, taken for ${c.as}` : c.label;
        const sure = c.kind === "miss" ? "" : `, confidence ${c.confidence.toFixed(2)}`;
        return make("li", { "data-kind": c.kind, "data-label": c.label, "data-confidence": c.confidence, "data-size": c.size },
          make("div", { class: panels.length > 1 ? "pair" : "" }, ...panels),
          make("p", {}, make("b", {}, c.kind), `: ${words}${sure}. `, make("span", { class: "soft" }, picture.name)));
      }));
      by("more").hidden = cases.length <= shown;
    };
    by("controls").addEventListener("change", () => { shown = PAGE; draw(); });
    by("more").addEventListener("click", () => { shown += PAGE; draw(); });
    const watch = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) { watch.disconnect(); draw(); }
    }, { rootMargin: "600px" });
    watch.observe(by("controls"));
    window.addEventListener("beforeprint", () => { watch.disconnect(); draw(); });
  }
})();
