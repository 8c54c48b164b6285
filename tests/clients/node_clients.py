"""Programs of Node.js clients, as their users write them; see `python_clients.py` for what they print."""

SDK = """
import fs from "node:fs";
import OpenAI from "openai";
const client = new OpenAI();
for (const model of ["dall-e-3", "gpt-image-1"]) {
  const answer = await client.images.generate({ model, prompt: "a cat", size: "1024x1024", quality: "high" });
  console.log(answer.data[0].url ?? answer.data[0].b64_json);
}
const image = [fs.createReadStream("cat.png"), fs.createReadStream("cat.png")];
const edited = await client.images.edit({ model: "gpt-image-1", image, prompt: "a dog", size: "1024x1536" });
console.log(edited.data[0].b64_json);
const varied = await client.images.createVariation({ image: fs.createReadStream("cat.png"), size: "256x256" });
console.log(varied.data[0].url);
const tools = [{ type: "image_generation", size: "1024x1024" }];
const first = await client.responses.create({ model: "gpt-5", input: "a cat", tools });
console.log(first.output[0].result);
const stream = client.responses.stream({ model: "gpt-5", input: "at night", previous_response_id: first.id, tools });
console.log((await stream.finalResponse()).output[0].result);
"""

AI_SDK = """
import fs from "node:fs";
import { generateImage, generateText, streamText } from "ai";
import { createOpenAI } from "@ai-sdk/openai";
const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: "any" });
for (const model of ["dall-e-3", "gpt-image-1"]) {
  const { image } = await generateImage({ model: openai.image(model), prompt: "a cat", size: "1024x1024" });
  console.log(image.base64);
}
const prompt = { text: "a dog", images: [fs.readFileSync("cat.png")] };
const edited = await generateImage({ model: openai.image("gpt-image-1"), prompt, size: "1024x1536" });
console.log(edited.image.base64);
const tools = { image_generation: openai.tools.imageGeneration({ size: "1024x1024", quality: "low" }) };
const model = openai.responses("gpt-5");
const written = await generateText({ model, prompt: "a cat", tools });
for (const result of written.staticToolResults) console.log(result.output.result);
const streamed = streamText({ model, prompt: "a cat", tools });
await streamed.consumeStream();
for (const result of await streamed.staticToolResults) console.log(result.output.result);
"""

AI_SDK_COMPATIBLE = """
import { generateImage } from "ai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
const safelight = createOpenAICompatible({ name: "safelight", baseURL: process.env.OPENAI_BASE_URL, apiKey: "any" });
for (const name of ["dall-e-3", "gpt-image-1", "fake"]) {
  const model = safelight.imageModel(name);
  const { image } = await generateImage({ model, prompt: "a cat", size: "1024x1024" });
  console.log(image.base64);
}
"""

LANGCHAIN = """
import { ChatOpenAI, DallEAPIWrapper, tools } from "@langchain/openai";
console.log(await new DallEAPIWrapper({ model: "dall-e-3", apiKey: "any" }).invoke("a cat"));
const model = new ChatOpenAI({ model: "gpt-5", useResponsesApi: true });
const answer = await model.invoke("a cat", { tools: [tools.imageGeneration({ size: "1024x1536" })] });
for (const output of answer.additional_kwargs.tool_outputs) console.log(output.result);
"""
