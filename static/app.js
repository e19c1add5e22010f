// Countersign in the browser. Everything here is an enhancement: reading, approving and rolling
// back work without it. No framework, no inline handlers, nothing that needs eval.
(() => {
  "use strict";
  const doc = document;
  const root = doc.documentElement;
  const find = (selector, from = doc) => from.querySelector(selector);
  const all = (selector, from = doc) => [...from.querySelectorAll(selector)];
  const say = (text) => {
    const box = find("#messages");
    if (!box) return;
    const note = doc.createElement("p");
    note.className = "notice info";
    note.textContent = text;
    box.hidden = false;
    box.append(note);
  };

  // Theme: switch at once, tell the server in the background so that the next page agrees.
  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const offerOtherTheme = () => all("[data-theme-form] button").forEach((button) => {
    button.value = isDark() ? "light" : "dark";
  });
  offerOtherTheme();
  doc.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-theme-form]")) return;
    event.preventDefault();
    const wanted = isDark() ? "light" : "dark";
    const body = new FormData(form);
    body.set("theme", wanted);
    root.dataset.theme = wanted;
    offerOtherTheme();
    redraw();
    fetch(form.action, { method: "POST", body, redirect: "manual" }).catch(() => {});
  });

  // One submission per click: a slow answer must not become two approvals.
  doc.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method !== "post") return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
    setTimeout(() => delete form.dataset.sent, 4000);
  });

  // Small acts on elements that say what they want in a data attribute.
  doc.addEventListener("click", async (event) => {
    const on = (selector) => event.target.closest(selector);
    let target;
    if (on("[data-print]")) window.print();
    else if ((target = on("[data-copy]"))) {
      await navigator.clipboard.writeText(target.dataset.copy);
      say("Copied.");
    } else if ((target = on("[data-opens]"))) find(`#${target.dataset.opens}`)?.showModal?.();
    else if ((target = on("[data-closes]"))) target.closest("dialog")?.close();
    else if ((target = on("[data-figure]"))) {
      event.preventDefault();
      explore(target);
    }
  });
  all("[data-print], [data-copy]").forEach((button) => { button.hidden = false; });

  // One box for all boxes of a page; without a script it stays hidden.
  all("[data-check-all]").forEach((box) => { box.hidden = false; });
  doc.addEventListener("change", (event) => {
    const name = event.target.dataset?.checkAll;
    if (name) all(`[name="${name}"]`, event.target.form).forEach((box) => { box.checked = event.target.checked; });
  });

  // A disclosure that holds an act: put the cursor where the reason goes, Escape closes it.
  doc.addEventListener("toggle", (event) => {
    const act = event.target;
    if (act.matches?.(".act[open]")) find("input:not([type=hidden]), textarea, select", act)?.focus();
  }, true);
  doc.addEventListener("keydown", (event) => {
    const act = event.key === "Escape" && event.target.closest?.(".act[open]");
    if (act) {
      act.open = false;
      find("summary", act).focus();
    }
  });

  // htmx: focus falls to <body> after a swap, and dialogs stay open. Put both right.
  doc.addEventListener("htmx:afterSettle", (event) => {
    const result = event.detail.elt;
    if (event.detail.requestConfig?.verb === "get" || !result) return;
    const goal = result.matches("[tabindex]") ? result : find("[tabindex='-1']", result) || result;
    if (!goal.hasAttribute("tabindex")) goal.tabIndex = -1;
    goal.focus({ preventScroll: true });
    all("dialog[open]").forEach((dialog) => dialog.close());
  });
  doc.addEventListener("htmx:responseError", (event) =>
    say(`That did not work (${event.detail.xhr.status}). Nothing was changed; reload the page and try again.`));
  doc.addEventListener("htmx:sendError", () => say("The server did not answer. Nothing was changed."));

  // Single-key shortcuts on the exceptions, with a switch to turn them off.
  const KEY = "countersign.shortcuts";
  const keysOn = () => {
    try { return localStorage.getItem(KEY) !== "off"; } catch { return true; }
  };
  const hint = () => all("[data-keys-hint]").forEach((node) => { node.hidden = !keysOn(); });
  const toggle = find("[data-shortcuts-switch]");
  if (toggle) {
    toggle.checked = keysOn();
    toggle.addEventListener("change", () => {
      try { localStorage.setItem(KEY, toggle.checked ? "on" : "off"); } catch { /* private window */ }
      hint();
    });
  }
  hint();
  const rows = () => all("[data-queue] [data-exception]");
  // A row that was swapped has lost its mark but has the focus: the next key goes on from there.
  const current = () => find("[data-exception].is-current") || doc.activeElement.closest("[data-exception]");
  const move = (step) => {
    const list = rows();
    if (!list.length) return;
    const at = list.indexOf(current());
    const next = list[Math.max(0, Math.min(list.length - 1, at < 0 ? 0 : at + step))];
    list.forEach((row) => row.classList.toggle("is-current", row === next));
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  };
  doc.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
    if (!keysOn() && event.key !== "?") return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === "?") {
      event.preventDefault();
      find("#shortcuts")?.togglePopover?.();
    } else if (key === "j" || key === "k") {
      move(key === "j" ? 1 : -1);
    } else if (/^[1-9h]$/.test(key) || key === "Enter") {
      const row = current();
      if (!row || (key === "Enter" && event.target !== row)) return;
      const act = find(`[data-key="${key}"]`, row);
      if (act) {
        event.preventDefault();
        act.click();
      }
    }
  });

  // The daily explorer: Plotly is loaded when somebody asks, and draws in the theme's colours.
  let drawing = null;
  const loadPlotly = (source) => loadPlotly.once ??= new Promise((done, fail) => {
    const script = doc.createElement("script");
    script.src = source;
    script.onload = () => done(window.Plotly);
    script.onerror = () => { loadPlotly.once = null; fail(new Error("Plotly did not load")); };
    doc.head.append(script);
  });
  const resolver = () => {
    // A custom property gives back its text, light-dark() included; a real colour comes from use.
    const probe = doc.createElement("span");
    doc.body.append(probe);
    const cache = {};
    const colour = (token) => {
      if (!(token in cache)) {
        probe.style.color = `var(--${token})`;
        cache[token] = getComputedStyle(probe).color;
      }
      return cache[token];
    };
    const walk = (value) => {
      if (typeof value === "string") return value.startsWith("token:") ? colour(value.slice(6)) : value;
      if (Array.isArray(value)) return value.map(walk);
      if (value && typeof value === "object") {
        return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, walk(inner)]));
      }
      return value;
    };
    return { walk, done: () => probe.remove() };
  };
  const draw = async ({ Plotly, canvas, figure }) => {
    const { walk, done } = resolver();
    const { data, layout } = walk(figure);
    done();
    await Plotly.react(canvas, data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
  };
  function redraw() {
    if (drawing) draw(drawing);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { offerOtherTheme(); redraw(); });
  async function explore(button) {
    const box = button.closest("[data-explorer]");
    const note = find("[data-explorer-note]", box);
    const canvas = find("[data-canvas]", box);
    note.textContent = "Loading…";
    try {
      const [Plotly, answer] = await Promise.all([
        loadPlotly(box.dataset.plotly),
        fetch(button.dataset.figure, { headers: { Accept: "application/json" } }),
      ]);
      if (!answer.ok) throw new Error(`The numbers did not load (${answer.status})`);
      const figure = await answer.json();
      canvas.hidden = false; // before drawing: Plotly measures the room it has
      drawing = { Plotly, canvas, figure };
      await draw(drawing);
      canvas.setAttribute("aria-label", figure.sentence || button.textContent.trim());
      all("[data-figure]", box).forEach((other) =>
        other === button ? other.setAttribute("aria-current", "true") : other.removeAttribute("aria-current"));
      note.textContent = figure.sentence || "";
    } catch (problem) {
      note.textContent = `${problem.message}. Try again.`;
    }
  }
})();
