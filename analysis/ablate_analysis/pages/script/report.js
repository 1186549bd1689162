// The report: tables that sort and copy, and the theme.
ablate.themeButton();
ablate.tables.enhanceAll();
document.body.dataset.ready = "yes";
