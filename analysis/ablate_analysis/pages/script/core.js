"use strict";
// What every page needs: payloads, nodes made from text, the theme.
//
// A payload is the base64 of zlib-compressed JSON. A page opened from file:// cannot fetch a file next to it, but it can
// add a <script src>; that file calls ablate.receive(name, payload). Text from records becomes text nodes only.
const ablate = (() => {
  const KEPT = 12; // side files in memory; the one used longest ago leaves first
  const waiting = new Map();
  const loaded = new Map();

  async function unpack(payload) {
    const bytes = Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  function receive(name, payload) {
    waiting.get(name)?.(payload);
  }

  function request(name) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      const settle = (outcome) => {
        waiting.delete(name);
        script.remove();
        outcome();
      };
      waiting.set(name, (payload) => settle(() => resolve(unpack(payload))));
      script.onerror = () => settle(() => reject(new Error(`${name}.js is missing next to this page`)));
      script.src = name.split("/").map(encodeURIComponent).join("/") + ".js";
      document.head.append(script);
    });
  }

  // Load a side file by its path without ".js"; the newest ones stay in memory.
  function load(name) {
    const found = loaded.get(name) ?? request(name);
    loaded.delete(name);
    loaded.set(name, found);
    found.catch(() => loaded.delete(name));
    while (loaded.size > KEPT) loaded.delete(loaded.keys().next().value);
    return found;
  }

  // A node with properties (class, text, on... and DOM properties) and children; strings become text nodes.
  function node(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(properties)) {
      if (key === "class") made.className = value;
      else if (key === "text") made.textContent = value;
      else if (key.startsWith("aria-") || key.startsWith("data-") || key === "role") made.setAttribute(key, value);
      else made[key] = value;
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  function svg(tag, attributes, text = null) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== null) made.textContent = text;
    return made;
  }

  function number(value, digits = 3) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (Number.isInteger(value)) return (value || 0).toLocaleString("en-US"); // never -0
    const size = Math.abs(value);
    return size !== 0 && (size < 0.001 || size >= 1e6) ? value.toExponential(digits - 1) : String(Number(value.toPrecision(digits)));
  }

  function isTyping(event) {
    return event.altKey || event.ctrlKey || event.metaKey || ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
  }

  function themeButton() {
    const isDark = () => {
      const chosen = document.documentElement.dataset.theme;
      return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    };
    const button = document.getElementById("theme");
    const name = () => (button.textContent = isDark() ? "Light" : "Dark");
    button.onclick = () => {
      document.documentElement.dataset.theme = isDark() ? "light" : "dark";
      name();
    };
    name();
  }

  // A page of a running sweep loads itself again; what was open and where the reader was stay as they were.
  function reload(seconds) {
    if (!seconds) return;
    const key = `ablate ${location.pathname}`, sections = () => [...document.querySelectorAll("details.section")];
    try {
      const kept = JSON.parse(sessionStorage.getItem(key) ?? "null");
      if (kept) { sections().forEach((section) => (section.open = kept.open.includes(section.id))); scrollTo(0, kept.top); }
    } catch { /* without storage the page opens as it was written */ }
    setTimeout(() => {
      try { sessionStorage.setItem(key, JSON.stringify({ open: sections().filter(({ open }) => open).map(({ id }) => id), top: scrollY })); } catch { /* as above */ }
      location.reload();
    }, 1000 * seconds);
  }

  // Rows of a long table that hold every word of a search.
  function searchTable(figure, input) {
    input.oninput = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of figure.querySelectorAll("tbody tr")) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    };
  }

  return { receive, load, unpack, node, svg, number, isTyping, themeButton, reload, searchTable };
})();
