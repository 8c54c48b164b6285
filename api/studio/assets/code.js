// The request of a job as code: for a shell, Python and Node.

import { address } from "./api.js";
import { modelFields } from "./requests.js";

const NAMES = ["operation", "prompt", "negative_prompt", "n", "size", "output_size", "steps", "guidance_scale", "scheduler",
  "seed", "style", "strength", "output_format", "output_compression", "postprocess"];
const DEFAULTS = { operation: "generation", n: 1, output_format: "png" };

/** The body of `POST /v1/jobs` that makes the images of a job again. */
export function requestOf(job, model) {
  const body = modelFields(job);
  for (const name of new Set([...NAMES, ...Object.keys(model?.optional_parameters ?? {})])) {
    const value = job[name];
    const isKnown = !model || !(name in job) || ["operation", "prompt", "n"].includes(name) || name in model.parameters;
    if (value !== null && value !== undefined && value !== "" && value !== DEFAULTS[name] && isKnown) body[name] = value;
  }
  for (const name of ["image", "mask"]) if (job[name]) body[name] = { file_id: job[name].file_id };
  return body;
}

export const FORMATS = {
  curl: (body, needsKey) => {
    const key = needsKey ? ' \\\n  -H "Authorization: Bearer $SAFELIGHT_API_KEY"' : "";
    const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
    return `curl ${address("/v1/jobs")}${key} \\\n  -H "Content-Type: application/json" \\\n  -d '${json}'\n`;
  },
  Python: (body, needsKey) => {
    const key = needsKey ? '\nimport os\n' : "\n";
    const headers = needsKey ? `, headers={"Authorization": f"Bearer {os.environ['SAFELIGHT_API_KEY']}"}` : "";
    return `import httpx${key}
client = httpx.Client(base_url="${address("/")}"${headers}, timeout=70)
job = client.post("v1/jobs", json=${python(body)}).raise_for_status().json()
while job["finished_at"] is None:
    job = client.get(f"v1/jobs/{job['id']}", params={"wait": 60}).raise_for_status().json()
for image in job["images"]:
    content = client.get(f"v1/images/{image['id']}/content", follow_redirects=True).raise_for_status().content
    open(image["id"] + "." + image["media_type"].removeprefix("image/"), "wb").write(content)
`;
  },
  Node: (body, needsKey) => {
    const key = needsKey ? ", Authorization: `Bearer ${process.env.SAFELIGHT_API_KEY}`" : "";
    return `import { writeFile } from "node:fs/promises";

const base = "${address("/v1/jobs")}";
const headers = { "Content-Type": "application/json"${key} };
const body = JSON.stringify(${JSON.stringify(body, null, 2)});
let job = await (await fetch(base, { method: "POST", headers, body })).json();
if (job.error?.type) throw new Error(job.error.message);
while (job.finished_at === null) job = await (await fetch(\`\${base}/\${job.id}?wait=60\`, { headers })).json();
for (const image of job.images) {
  const content = await (await fetch(image.url)).arrayBuffer();
  await writeFile(\`\${image.id}.\${image.media_type.replace("image/", "")}\`, Buffer.from(content));
}
`;
  },
};

function python(value, indent = "") {
  const inner = `${indent}    `;
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map((item) => python(item, indent)).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  const entries = Object.entries(value).map(([name, item]) => `${inner}${JSON.stringify(name)}: ${python(item, inner)},`);
  return `{\n${entries.join("\n")}\n${indent}}`;
}
