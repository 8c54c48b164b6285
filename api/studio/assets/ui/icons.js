// Icons: 24 by 24, drawn with one stroke. They are decoration: the element around them has the name.

import { html } from "../vendor/preact.js";

const PATHS = {
  create: "M12 4v4M12 16v4M4 12h4M16 12h4M7 7l2 2M15 15l2 2M17 7l-2 2M9 15l-2 2",
  gallery: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  batches: "M4 7l8-4 8 4-8 4zM4 12l8 4 8-4M4 17l8 4 8-4",
  webhooks: "M9 8a3 3 0 1 1 4 3l3 5M7 13a3 3 0 1 0 3 4h6M17 13a3 3 0 1 1-1 6",
  models: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
  finetuning: "M4 7h9M17 7h3M15 4.500v5M4 17h3M11 17h9M9 14.500v5",
  keys: "M14 10a4 4 0 1 0-3.5 4L12 15.5h2V18h2v2h4v-3.5z",
  usage: "M5 20V10M12 20V4M19 20v-7",
  operator: "M4 18l5-6 4 3 7-9M4 21h16",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.5 1.5M17.5 17.5L19 19M19 5l-1.5 1.5M6.5 17.5L5 19",
  moon: "M20 14.5A8.5 8.5 0 1 1 9.5 4 7 7 0 0 0 20 14.5z",
  globe: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM3 12h18M12 3c3 3 3 15 0 18M12 3c-3 3-3 15 0 18",
  guide: "M12 6c-2-2-5-2-8-2v14c3 0 6 0 8 2 2-2 5-2 8-2V4c-3 0-6 0-8 2zM12 6v14",
  help: "M9.5 9a2.5 2.5 0 1 1 3.5 2.300c-.7.4-1 1-1 1.700v.5M12 17h.01M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  leave: "M15 4h4v16h-4M11 8l-4 4 4 4M7 12h9",
  close: "M6 6l12 12M18 6L6 18",
  cancel: "M7 7h10v10H7z",
  retry: "M4 12a8 8 0 1 1 2.5 5.800M4 20v-5h5",
  vary: "M4 8c5 0 6 8 11 8h5M4 16c2 0 3.300-1.300 4.5-2.900M12 9.5c.9-.9 1.900-1.5 3-1.5h5M17 5l3 3-3 3M17 13l3 3-3 3",
  edit: "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
  upscale: "M4 10V4h6M20 14v6h-6M4 4l7 7M20 20l-7-7",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
  download: "M12 4v11M8 11l4 4 4-4M5 20h14",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  reproduce: "M5 9a7 7 0 0 1 12-3l2 2M19 4v4h-4M19 15a7 7 0 0 1-12 3l-2-2M5 20v-4h4",
  use: "M5 19V9a4 4 0 0 1 4-4h10M15 1l4 4-4 4",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  down: "M6 10l6 6 6-6",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4.5 4.5",
  dice: "M4 4h16v16H4zM8.5 8.5h.01M15.5 8.5h.01M12 12h.01M8.5 15.5h.01M15.5 15.5h.01",
  undo: "M8 5L4 9l4 4M4 9h10a6 6 0 0 1 0 12h-3",
  upload: "M12 16V5M8 9l4-4 4 4M5 20h14",
  check: "M5 12.5l5 5L19 7",
  warning: "M12 4l9 16H3zM12 10v4M12 17h.01",
  info: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 11v5M12 8h.01",
};

export function Icon({ name, size = 18 }) {
  return html`<svg class="icon" width=${size} height=${size} viewBox="0 0 24 24" aria-hidden="true">
    <path d=${PATHS[name]} />
  </svg>`;
}
