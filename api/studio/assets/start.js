// Runs before the first paint, so that the chosen theme and language never flash.
(() => {
  const root = document.documentElement;
  try {
    const theme = localStorage.getItem("safelight.theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    const language = localStorage.getItem("safelight.language") || navigator.language;
    root.lang = language.toLowerCase().startsWith("zh") ? "zh" : "en";
  } catch {
    // Without storage the system's theme and the browser's language apply.
  }
})();
