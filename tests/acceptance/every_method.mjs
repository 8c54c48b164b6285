// The official Node SDK, every method that Safelight has. Prints one line of JSON a method: what came of it.
// Usage: node every_method.mjs <base URL> <image.png> <mask.png>

import fs from "node:fs";
import OpenAI, { toFile } from "openai";

const [baseURL, image, mask] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "anything" });
const tell = (method, found) => console.log(JSON.stringify({ method, ...found }));
const png = (b64) => Buffer.from(b64, "base64").subarray(1, 4).toString();

const generated = await client.images.generate({ prompt: "a cat", n: 2, response_format: "b64_json", seed: 7 });
tell("images.generate", { kinds: generated.data.map((image) => png(image.b64_json)), seed: generated.data[0].seed });

const linked = await client.images.generate({ prompt: "a cat", model: "dall-e-2" });
tell("images.generate by link", { status: (await fetch(linked.data[0].url)).status });

const edited = await client.images.edit({
  image: fs.createReadStream(image),
  mask: fs.createReadStream(mask),
  prompt: "a dog",
  response_format: "b64_json",
});
tell("images.edit", { kinds: edited.data.map((image) => png(image.b64_json)), job: edited.job_id.slice(0, 4) });

const varied = await client.images.createVariation({
  image: await toFile(fs.readFileSync(image), "a.png", { type: "image/png" }),
  n: 2,
  response_format: "b64_json",
});
tell("images.createVariation", { kinds: varied.data.map((image) => png(image.b64_json)) });

const streamed = [];
const stream = await client.images.generate({
  prompt: "a cat",
  model: "slow",
  stream: true,
  partial_images: 2,
  steps: 9,
});
for await (const event of stream) streamed.push(event.type);
tell("images.generate streamed", { types: streamed });

const editing = [];
const edits = await client.images.edit({ image: fs.createReadStream(image), prompt: "a dog", stream: true });
for await (const event of edits) editing.push(event.type);
tell("images.edit streamed", { types: editing });

try {
  const doomed = await client.images.generate({ prompt: "[refuse] this", stream: true });
  for await (const event of doomed) streamed.push(event.type);
} catch (error) {
  tell("error in a stream", { api: error instanceof OpenAI.APIError, code: error.code });
}

try {
  await client.images.generate({ prompt: "a cat", style: "loud" });
} catch (error) {
  tell("error", { bad: error instanceof OpenAI.BadRequestError, param: error.param, code: error.code });
}

const file = await client.files.create({ file: fs.createReadStream(image), purpose: "vision" });
const listed = [];
for await (const one of client.files.list({ purpose: "vision", limit: 1 })) listed.push(one.id);
const content = await (await client.files.content(file.id)).arrayBuffer();
const gone = await client.files.delete(file.id);
tell("files", {
  retrieved: file.object,
  listed: listed.includes(file.id),
  same: Buffer.from(content).equals(fs.readFileSync(image)),
  deleted: gone.deleted,
});

const models = [];
for await (const model of client.models.list()) models.push(model.id);
tell("models", { models: models.slice(0, 3), alias: (await client.models.retrieve("dall-e-2")).alias_of });
