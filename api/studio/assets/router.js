// Which view is shown: the part of the address after `#`. `#/gallery?status=failed` is the view `gallery`.

import { createStore } from "./store.js";
import { ROUTES } from "./routes.js";

function read() {
  const [path, search = ""] = location.hash.replace(/^#?\/?/, "").split("?");
  const parts = path.split("/").map(decodeURIComponent);
  for (const route of ROUTES) {
    const pattern = route.path.split("/");
    if (pattern.length !== parts.length) continue;
    const params = {};
    const fits = pattern.every((part, index) => {
      if (part.startsWith(":")) params[part.slice(1)] = parts[index];
      return part.startsWith(":") || part === parts[index];
    });
    if (fits) return { route, params, query: new URLSearchParams(search), hash: location.hash };
  }
  return { route: null, params: {}, query: new URLSearchParams(), hash: location.hash };
}

/** route: one of ROUTES, or null if there is none; params: the values of its `:names`; query: URLSearchParams. */
export const route = createStore(read());

addEventListener("hashchange", () => route.set(read()));

/** The link to a view: `link("images", id)`, or with a query `link("gallery", { status: "failed" })`. */
export function link(...parts) {
  const query = typeof parts.at(-1) === "object" ? parts.pop() : {};
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
}

export function go(hash, { replace = false } = {}) {
  if (!replace) {
    location.hash = hash;
    return;
  }
  history.replaceState(null, "", hash);
  route.set(read());
}
