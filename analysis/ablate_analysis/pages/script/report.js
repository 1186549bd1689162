// The report: its figures, tables that sort and copy, cells that are switched everywhere at once, and the theme.
(async () => {
  ablate.themeButton();
  ablate.tables.enhanceAll();
  const { cells, figures, live_s } = await ablate.unpack(document.getElementById("data").textContent);
  ablate.cells.define(cells);
  for (const place of document.querySelectorAll("[data-look]")) place.replaceChildren(ablate.cells.swatch(place.dataset.look));
  ablate.figures.drawAll(figures);
  ablate.reload(live_s);
  document.body.dataset.ready = "yes";
})();
