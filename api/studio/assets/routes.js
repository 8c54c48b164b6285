// The views. To add one: a line here, its module in views/, its name in text/en.js and text/zh.js as `nav.NAME`.
//
// path: after `#/`; `:id` is a parameter. load: imports the module, whose default export is the component; it gets
// `params` and `query`. icon: in ui/icons.js; a view without one is not in the navigation. key: opens it after `g`.
// parent: the view of the navigation that it belongs to. scope: the scope that an API key needs to see it.

export const ROUTES = [
  { name: "create", path: "", icon: "create", key: "c", load: () => import("./views/create.js") },
  { name: "gallery", path: "gallery", icon: "gallery", key: "g", load: () => import("./views/gallery.js") },
  { name: "image", path: "images/:id", load: () => import("./views/image.js") },
  { name: "edit", path: "edit/:id", load: () => import("./views/edit.js") },
  { name: "batches", path: "batches", icon: "batches", key: "b", load: () => import("./views/batches.js") },
  { name: "newbatch", path: "batches/new", parent: "batches", load: () => import("./views/newbatch.js") },
  { name: "batch", path: "batches/:id", parent: "batches", load: () => import("./views/batch.js") },
  { name: "webhooks", path: "webhooks", icon: "webhooks", key: "w", scope: "webhooks", load: () => import("./views/webhooks.js") },
  { name: "webhook", path: "webhooks/:id", parent: "webhooks", load: () => import("./views/webhook.js") },
  { name: "models", path: "models", icon: "models", key: "m", load: () => import("./views/models.js") },
  { name: "finetuning", path: "fine-tuning", icon: "finetuning", key: "f", load: () => import("./views/finetuning.js") },
  { name: "training", path: "fine-tuning/:id", parent: "finetuning", load: () => import("./views/training.js") },
  { name: "keys", path: "keys", icon: "keys", key: "k", scope: "admin", load: () => import("./views/keys.js") },
  { name: "usage", path: "usage", icon: "usage", key: "u", load: () => import("./views/usage.js") },
  { name: "operator", path: "operator", icon: "operator", key: "o", scope: "admin", load: () => import("./views/operator.js") },
];
