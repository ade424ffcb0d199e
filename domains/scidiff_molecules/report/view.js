/* The molecules of the page. Two WebGL contexts whatever their number: one draws the cards, one after the other, into plain 2D
   canvases (a browser allows about sixteen contexts); the other is the large view. Everything works without WebGL too, in 2D. */
(() => {
  "use strict";
  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);
  const molecules = JSON.parse($("data").textContent).molecules;
  const FIRST = 24;                     // cards shown before "show all"
  const SPEED = 0.5;                    // rad/s
  const TAN = Math.tan(Math.PI / 18);   // 3Dmol's vertical field of view is 20 degrees
  const CAMERA = 150;                   // and its camera stands here
  root.classList.add("js");

  /* ---- colours ---- */
  const LIGHT = { H: "#f7f9fb", C: "#8690a0", N: "#4f83ff", O: "#ff4d55", F: "#22c3a4", S: "#f2c21a", P: "#ff9a3d", Cl: "#4cc24c", Br: "#b8704a", I: "#a866e0" };
  const DARK = { ...LIGHT, C: "#a3adbc", N: "#6f9aff", O: "#ff6a70" };
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const palette = () => (dark.matches ? DARK : LIGHT);
  const FAULT = "#ff2d3c";
  function dress(model, molecule) {     // the bonds of an atom that RDKit's complaint names are red
    const colours = { prop: "elem", map: palette() }, sphere = { scale: 0.235, colorscheme: colours };
    model.setStyle({}, { stick: { radius: 0.13, colorscheme: colours }, sphere });
    if (molecule.faulty.length) model.setStyle({ index: molecule.faulty }, { stick: { radius: 0.16, color: FAULT }, sphere });
  }

  /* ---- quaternions [x, y, z, w], in the screen's axes ---- */
  const times = (a, b) => [
    a[3] * b[0] + a[0] * b[3] + a[1] * b[2] - a[2] * b[1],
    a[3] * b[1] - a[0] * b[2] + a[1] * b[3] + a[2] * b[0],
    a[3] * b[2] + a[0] * b[1] - a[1] * b[0] + a[2] * b[3],
    a[3] * b[3] - a[0] * b[0] - a[1] * b[1] - a[2] * b[2],
  ];
  const unit = (q) => { const n = Math.hypot(...q); return q.map((x) => x / n); };
  const about = (x, y, angle) => [x * Math.sin(angle / 2), y * Math.sin(angle / 2), 0, Math.cos(angle / 2)];
  const turned = (q, dx, dy) => unit(times(times(about(0, 1, dx), about(1, 0, dy)), q));

  /* ---- a molecule in a viewer ---- */
  function load(viewer, molecule) {
    const model = viewer.addModel(molecule.block, "sdf", { keepH: true });
    const atoms = model.selectedAtoms({});
    const centre = ["x", "y", "z"].map((k) => atoms.reduce((sum, a) => sum + a[k], 0) / atoms.length);
    const reach = Math.max(...atoms.map((a) => Math.hypot(a.x - centre[0], a.y - centre[1], a.z - centre[2])));
    dress(model, molecule);
    return { model, molecule, centre, radius: Math.max(reach + 0.6, 2.4) };
  }
  function aim(viewer, shape, q, zoom, aspect) {
    const half = Math.atan(TAN * Math.min(1, aspect));
    const distance = shape.radius / Math.sin(half) / zoom;
    viewer.setView([-shape.centre[0], -shape.centre[1], -shape.centre[2], CAMERA - distance, ...q]);
  }
  function viewerIn(element) {
    return $3Dmol.createViewer(element, {
      backgroundColor: dark.matches ? "#1d2430" : "#eef2f7", backgroundAlpha: 0, antialias: true, upscale: !software, disableFog: true, nomouse: true,
    });
  }
  function probe() {                    // whether there is WebGL, and whether a processor has to do a graphics card's work
    try {
      const context = document.createElement("canvas").getContext("webgl2") || document.createElement("canvas").getContext("webgl");
      if (!context) return [false, false];
      const info = context.getExtension("WEBGL_debug_renderer_info");
      const name = String(context.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : context.RENDERER));
      context.getExtension("WEBGL_lose_context")?.loseContext();
      return [true, /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name)];
    } catch { return [false, false]; }
  }
  const [webgl, software] = probe();

  /* ---- state ---- */
  const cards = [...document.querySelectorAll(".card")].map((node, i) => ({
    node, i, molecule: molecules[i], canvas: node.querySelector("canvas"), ok: node.classList.contains("ok"),
    shape: null, near: false, dirty: true, last: 0, held: false, q: turned([0, 0, 0, 1], -0.5 + 0.7 * i, 0.35),
  }));
  const large = { shape: null, q: null, zoom: 1, held: false, dirty: false, at: null };
  const state = { filter: "all", look: "3d", turning: !window.matchMedia("(prefers-reduced-motion: reduce)").matches, all: false, selected: -1 };
  let small = null, big = null;
  if (webgl) {
    try {
      const off = document.body.appendChild(document.createElement("div"));
      off.className = "offstage";
      off.setAttribute("aria-hidden", "true");
      small = viewerIn(off);
      big = viewerIn($("large"));
    } catch { small = big = null; }
  }
  if (!small || !big) {
    $("nogl").hidden = false;
    $("turn").hidden = $("hint").hidden = true;
    for (const name of ["in", "out"]) document.querySelector(`[data-do=${name}]`).hidden = true;
    document.querySelector("[data-look]").parentNode.hidden = true;
    state.look = "2d";
  }

  /* ---- cards ---- */
  const live = (card) => state.look === "3d" && Boolean(card.molecule.block);
  function paint(card, now) {
    const box = card.canvas, scale = Math.min(window.devicePixelRatio || 1, 2);
    const w = Math.round(box.clientWidth * scale), h = Math.round(box.clientHeight * scale);
    if (!w || !h) return;
    if (box.width !== w || box.height !== h) { box.width = w; box.height = h; }
    if (state.turning && !card.held && !frugal && card.last) card.q = turned(card.q, SPEED * Math.min(now - card.last, 100) / 1000, 0);
    card.last = now;
    card.dirty = false;
    card.shape.model.show();
    aim(small, card.shape, card.q, 1, w / h);
    card.shape.model.hide();
    const pen = box.getContext("2d");
    pen.clearRect(0, 0, w, h);
    pen.drawImage(small.getCanvas(), 0, 0, w, h);
    card.node.classList.add("painted");   // until now, and without WebGL, the drawing in 2D stands there
  }
  function shown() {
    return cards.filter((card) => state.filter === "all" || (state.filter === "ok") === card.ok);
  }
  function arrange() {
    const wanted = shown(), visible = new Set(state.all ? wanted : wanted.slice(0, FIRST));
    for (const card of cards) {
      card.node.classList.toggle("hidden", !visible.has(card));
      card.node.classList.toggle("live", live(card));
      card.dirty = true;
      card.last = 0;
    }
    const more = $("more");
    more.hidden = wanted.length <= visible.size;
    more.textContent = `show all ${wanted.length}`;
  }
  function press(attribute, value) {
    for (const button of document.querySelectorAll(`[data-${attribute}]`)) {
      button.setAttribute("aria-pressed", String(button.getAttribute(`data-${attribute}`) === value));
    }
  }

  /* ---- the large view ---- */
  function element(tag, text, name) {
    const node = document.createElement(tag);
    node.textContent = text;
    if (name) node.className = name;
    return node;
  }
  function legend(molecule) {
    const list = $("legend");
    list.replaceChildren();
    if (!molecule.block || !big) return;
    const present = new Set(molecule.formula.match(/[A-Z][a-z]?/g) || []);
    for (const name of ["C", "H", "N", "O", "F", ...present]) {
      if (!present.delete(name) || !palette()[name]) continue;
      const dot = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const disc = dot.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "circle"));
      dot.setAttribute("viewBox", "0 0 10 10");
      for (const [key, value] of Object.entries({ cx: 5, cy: 5, r: 4.5, fill: palette()[name], stroke: "#7f8b9b", "stroke-width": 0.6 })) disc.setAttribute(key, value);
      const item = document.createElement("li");
      item.append(dot, name);
      list.append(item);
    }
    if (molecule.faulty.length) list.append(element("li", "red bonds: at the faulty atoms", "wrong"));
  }
  function describe(card) {
    const molecule = card.molecule, drawing = card.node.querySelector(".flat2d"), formula = card.node.querySelector(".formula");
    $("caption").textContent = molecule.caption;
    $("verdict").textContent = card.ok ? "valid & connected" : "fails";
    $("verdict").className = `badge ${card.ok ? "ok" : "bad"}`;
    $("reason").textContent = molecule.reason || "";
    $("formula").replaceChildren(...(formula ? [...formula.cloneNode(true).childNodes] : [molecule.formula]));
    $("size").textContent = molecule.atoms === 1 ? "1 atom" : `${molecule.atoms} atoms`;
    $("smiles").textContent = molecule.smiles;
    $("drawn").replaceChildren(...(drawing && big && molecule.block ? [drawing.cloneNode(true)] : []));
    const instead = $("instead"), flat = !big || !molecule.block;
    instead.classList.toggle("on", flat);
    instead.replaceChildren(...(flat ? [drawing ? drawing.cloneNode(true) : element("span", "nothing to draw")] : []));
    $("about").classList.toggle("alone", flat || !drawing);
    $("stage").setAttribute("aria-label", `${molecule.caption || molecule.smiles}: ${molecule.reason || "valid and connected"}`);
    legend(molecule);
  }
  function select(card) {
    if (!card) return;
    cards[state.selected]?.node.classList.remove("on");
    state.selected = card.i;
    card.node.classList.add("on");
    describe(card);
    if (!big) return;
    big.removeAllModels();
    try { large.shape = card.molecule.block ? load(big, card.molecule) : null; } catch { large.shape = null; }
    large.q = card.q;
    large.zoom = 1;
    large.dirty = true;
    big.render();
  }
  function step(by) {
    const list = shown();
    if (!list.length) return;
    const at = list.findIndex((card) => card.i === state.selected);
    const next = list[(at + by + list.length) % list.length];
    if (next.node.classList.contains("hidden")) { state.all = true; arrange(); }
    select(next);
  }
  function zoom(factor) {
    large.zoom = Math.min(4, Math.max(0.4, large.zoom * factor));
    large.dirty = true;
  }
  function turning(on) {
    state.turning = on;
    $("turn").textContent = on ? "pause" : "turn";
    $("turn").setAttribute("aria-pressed", String(on));
  }

  /* ---- the loop: what is on screen, within a few milliseconds a frame. Where frames take long (no graphics card), the cards
     stand still unless touched, and only the large view turns. ---- */
  let cursor = 0, before = 0, pace = 16, frugal = software;
  function prepare(queue) {
    const fresh = queue.filter((card) => !card.shape).slice(0, 8);
    if (!fresh.length) return;
    for (const card of fresh) {
      try { card.shape = load(small, card.molecule); } catch { card.molecule.block = null; card.node.classList.remove("live"); }
    }
    small.render();
    for (const card of cards) card.shape?.model.hide();
  }
  function frame(now) {
    requestAnimationFrame(frame);
    const begin = performance.now(), lapse = before ? Math.min(now - before, 100) : 0, box = $("large");
    before = now;
    pace += (lapse - pace) / 20;
    frugal ||= pace > 70;
    const queue = cards.filter((card) => card.near && live(card) && !card.node.classList.contains("hidden"));
    prepare(queue);
    const waiting = queue.some((card) => card.shape && card.dirty);
    const spins = state.turning && !large.held;
    if (large.shape && (large.dirty || (spins && !waiting))) {
      if (spins) large.q = turned(large.q, SPEED * lapse / 1000, 0);
      large.dirty = false;
      aim(big, large.shape, large.q, large.zoom, box.clientWidth / Math.max(1, box.clientHeight));
    }
    for (let k = 0; k < queue.length; k++) {
      const card = queue[(cursor + k) % queue.length];
      const turns = state.turning && !card.held && !waiting && !frugal && now - card.last >= 30;
      if (card.shape && (card.dirty || turns)) paint(card, now);
      if (performance.now() - begin > 12) { cursor = (cursor + k + 1) % queue.length; break; }
    }
  }

  /* ---- hands ---- */
  function draggable(node, target, onDrag) {
    const fingers = new Map();
    let moved = 0, spread = 0;
    node.addEventListener("pointerdown", (event) => {
      if (event.target.closest(".tools") || event.button > 0) return;
      fingers.set(event.pointerId, event);
      if (fingers.size === 1) moved = 0;
      spread = 0;
    });
    node.addEventListener("pointermove", (event) => {
      const last = fingers.get(event.pointerId);
      if (!last) return;
      const dx = event.clientX - last.clientX, dy = event.clientY - last.clientY;
      fingers.set(event.pointerId, event);
      moved += Math.abs(dx) + Math.abs(dy);
      if (moved > 4 && !node.hasPointerCapture(event.pointerId)) node.setPointerCapture(event.pointerId);
      if (fingers.size === 2 && target === large) {
        const [a, b] = [...fingers.values()], now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
        if (spread) zoom(now / spread);
        spread = now;
      } else if (moved > 4) {
        target.held = true;
        target.q = turned(target.q, dx * 0.011, dy * 0.011);
        target.dirty = true;
        onDrag?.();
      }
    });
    const release = (event) => {
      fingers.delete(event.pointerId);
      if (!fingers.size) { target.held = false; target.last = 0; }
    };
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) node.addEventListener(name, release);
    return () => moved > 4;
  }
  for (const card of cards) {
    const face = card.node.querySelector(".face"), dragged = draggable(face, card);
    face.addEventListener("click", (event) => {
      if (event.detail && dragged()) return;
      select(card);
      const box = $("show").getBoundingClientRect();
      if (box.bottom < 120 || box.top > window.innerHeight - 120) $("show").scrollIntoView({ behavior: "smooth", block: "start" });
    });
  }
  const stage = $("stage");
  draggable(stage, large, () => $("hint").classList.add("off"));
  stage.addEventListener("wheel", (event) => {   // a plain wheel scrolls the page, unless the view was clicked first
    if (!big || !(event.ctrlKey || document.activeElement === stage)) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)));
  }, { passive: false });
  const actions = { previous: () => step(-1), next: () => step(1), in: () => zoom(1.25), out: () => zoom(0.8), turn: () => turning(!state.turning) };
  for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", () => actions[button.dataset.do]());
  const keys = { ArrowLeft: "previous", ArrowRight: "next", "+": "in", "=": "in", "-": "out" };
  $("show").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    actions[keys[event.key]]();
  });
  for (const button of document.querySelectorAll("[data-filter]")) {
    button.addEventListener("click", () => {
      state.filter = button.dataset.filter;
      press("filter", state.filter);
      arrange();
      const list = shown();
      if (list.length && !list.some((card) => card.i === state.selected)) select(list[0]);
    });
  }
  for (const button of document.querySelectorAll("[data-look]")) {
    button.addEventListener("click", () => { state.look = button.dataset.look; press("look", state.look); arrange(); });
  }
  $("more").addEventListener("click", () => { state.all = true; arrange(); });
  dark.addEventListener("change", () => {
    for (const [viewer, list] of [[small, cards], [big, [large]]]) {
      if (!viewer) continue;
      for (const { shape } of list) if (shape) dress(shape.model, shape.molecule);
      viewer.render();
    }
    for (const card of cards) card.shape?.model.hide();
    for (const card of cards) card.dirty = true;
    large.dirty = true;
    if (cards[state.selected]) legend(cards[state.selected].molecule);
  });
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const card = cards[Number(entry.target.dataset.i)];
      card.near = entry.isIntersecting;
      card.dirty = true;
      card.last = 0;
      if (card.near) continue;
      card.canvas.width = card.canvas.height = 0;   // a card out of sight holds no pixels
      card.node.classList.remove("painted");
    }
  }, { rootMargin: "120px" });
  for (const card of cards) watch.observe(card.node);
  new ResizeObserver(() => { large.dirty = true; for (const card of cards) card.dirty = true; }).observe($("grid"));

  turning(state.turning);
  arrange();
  select(cards.find((card) => card.ok) || cards[0]);
  if (small) requestAnimationFrame(frame);
})();
