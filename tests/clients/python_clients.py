"""Programs of Python clients, as their users write them.

A program prints a line for each image: a link, or base64. OPENAI_BASE_URL and OPENAI_API_KEY are set; `cat.png` lies in
the current directory.
"""

SDK = """
import openai
client = openai.OpenAI()
for model in ("dall-e-3", "gpt-image-1"):
    answer = client.images.generate(model=model, prompt="a cat", size="1024x1024", quality="high", n=1)
    print(answer.data[0].url or answer.data[0].b64_json)
answer = client.images.generate(model="dall-e-3", prompt="a cat", size="1792x1024", quality="hd", style="vivid")
print(answer.data[0].url)
cats = [open("cat.png", "rb"), open("cat.png", "rb")]
print(client.images.edit(model="gpt-image-1", image=cats, prompt="a dog", size="1024x1536").data[0].b64_json)
print(client.images.create_variation(image=open("cat.png", "rb"), size="256x256").data[0].url)
"""

RESPONSES = """
tool = {"type": "image_generation", "size": "1024x1536", "quality": "high"}
first = client.responses.create(model="gpt-5", input="a cat", tools=[tool])
print(first.output[0].result)
with client.responses.stream(model="gpt-5", input="at night", previous_response_id=first.id, tools=[tool]) as stream:
    for event in stream:
        pass
    print(stream.get_final_response().output[0].result)
"""

OLD_SDK = """
import os, openai
openai.api_base = os.environ["OPENAI_BASE_URL"]
print(openai.Image.create(prompt="a cat", n=1, size="1024x1024")["data"][0]["url"])
print(openai.Image.create_edit(image=open("cat.png", "rb"), prompt="a dog", n=1, size="512x512")["data"][0]["url"])
print(openai.Image.create_variation(image=open("cat.png", "rb"), n=1, size="256x256")["data"][0]["url"])
"""

HAYSTACK = """
from haystack.components.generators import OpenAIImageGenerator
generator = OpenAIImageGenerator(model="gpt-image-1", quality="high", size="1536x1024")
print(generator.run("a cat")["images"][0])
"""

LITELLM = """
import json, time, litellm
answer = litellm.image_generation(model="openai/dall-e-3", prompt="a cat", size="1792x1024", quality="hd")
print(answer.data[0].url)
answer = litellm.image_generation(model="openai/gpt-image-1", prompt="a cat", size="1024x1024", quality="high")
print(answer.data[0].b64_json)
cats = [open("cat.png", "rb"), open("cat.png", "rb")]
print(litellm.image_edit(model="openai/gpt-image-1", image=cats, prompt="a dog", size="1024x1024").data[0].b64_json)

body = {"model": "dall-e-3", "prompt": "a cat", "size": "1024x1024"}
line = {"custom_id": "1", "method": "POST", "url": "/v1/images/generations", "body": body}
lines = ("lines.jsonl", json.dumps(line).encode())
file = litellm.create_file(file=lines, purpose="batch", custom_llm_provider="openai")
batch = litellm.create_batch(
    completion_window="24h", endpoint="/v1/images/generations", input_file_id=file.id, custom_llm_provider="openai"
)
while batch.status not in ("completed", "failed"):
    time.sleep(0.5)
    batch = litellm.retrieve_batch(batch_id=batch.id, custom_llm_provider="openai")
output = litellm.file_content(file_id=batch.output_file_id, custom_llm_provider="openai")
print(json.loads(output.content)["response"]["body"]["data"][0]["url"])

answer = litellm.responses(model="openai/gpt-5", input="a cat", tools=[{"type": "image_generation"}])
print(answer.output[0].result)
"""

LITELLM_PROXY = """
import os, pathlib, socket, subprocess, sys, time, urllib.request, openai
with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
address = os.environ["OPENAI_BASE_URL"]
models = "".join(
    f"- {{model_name: {name}, litellm_params: {{model: openai/{name}, api_base: '{address}', api_key: any}}}}\\n"
    for name in ("dall-e-3", "gpt-image-1", "gpt-5")
)
pathlib.Path("config.yaml").write_text("model_list:\\n" + models)
command = [pathlib.Path(sys.executable).with_name("litellm"), "--config", "config.yaml", "--port", str(port)]
environment = os.environ | {"LITELLM_MASTER_KEY": "sk-any"}
proxy = subprocess.Popen(command, env=environment, stdout=sys.stderr, stderr=sys.stderr)
try:
    while proxy.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=5)
            break
        except OSError:
            time.sleep(0.5)
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="sk-any")
    print(client.images.generate(model="dall-e-3", prompt="a cat", size="1024x1792", quality="hd").data[0].url)
    print(client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024").data[0].b64_json)
    cat = open("cat.png", "rb")
    print(client.images.edit(model="gpt-image-1", image=cat, prompt="a dog", size="1536x1024").data[0].b64_json)
    tools = [{"type": "image_generation", "size": "1024x1024"}]
    print(client.responses.create(model="gpt-5", input="a cat", tools=tools).output[0].result)
finally:
    proxy.terminate()
    proxy.wait(30)
"""

LANGCHAIN_COMMUNITY = """
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper
print(DallEAPIWrapper(model="dall-e-3", size="1024x1792", quality="hd").run("a cat"))
"""

LANGCHAIN = """
from langchain_openai import ChatOpenAI
tool = {"type": "image_generation", "size": "1024x1024", "quality": "low"}
model = ChatOpenAI(model="gpt-5", use_responses_api=True, output_version="responses/v1").bind_tools([tool])
first = model.invoke("a cat")
(call,) = (block for block in first.content if block["type"] == "image_generation_call")
print(call["result"])
second = model.invoke([{"role": "user", "content": "a cat"}, first, {"role": "user", "content": "at night"}])
(call,) = (block for block in second.content if block["type"] == "image_generation_call")
print(call["result"])
"""

LLAMA_INDEX = """
import base64, pathlib
from llama_index.tools.openai import OpenAIImageGenerationToolSpec
spec = OpenAIImageGenerationToolSpec(api_key="any", cache_dir="images")
print(spec.image_generation(text="a cat", size="1792x1024", quality="hd"))
(path,) = spec.image_generation(text="a cat", model="dall-e-2", size="512x512", download=True)
print(base64.b64encode(pathlib.Path(path).read_bytes()).decode())
"""

AGENTS = """
import asyncio
from agents import Agent, ImageGenerationTool, Runner, set_tracing_disabled
set_tracing_disabled(True)
tool = ImageGenerationTool(tool_config={"type": "image_generation", "size": "1024x1024", "quality": "low"})
agent = Agent(name="artist", instructions="You are a helpful artist.", model="gpt-5", tools=[tool])

def images(result):
    for item in result.new_items:
        if item.type == "tool_call_item" and item.raw_item.type == "image_generation_call":
            print(item.raw_item.result)

async def main():
    first = await Runner.run(agent, "a cat")
    images(first)
    images(await Runner.run(agent, first.to_input_list() + [{"role": "user", "content": "at night"}]))
    streamed = Runner.run_streamed(agent, "a dog")
    async for event in streamed.stream_events():
        pass
    images(streamed)

asyncio.run(main())
"""
