"""Python clients that are run unmodified against a Safelight: their package, and a program as a user writes it.

A program prints a line for each image: a link, or base64. OPENAI_BASE_URL and OPENAI_API_KEY are set; `cat.png` lies in
the current directory.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LiveClient:
    """A client, and what it gets."""

    name: str
    packages: tuple[str, ...]
    program: str
    sizes: tuple[tuple[int, int], ...]  # of the images that the program prints


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
import litellm
answer = litellm.image_generation(model="openai/dall-e-3", prompt="a cat", size="1792x1024", quality="hd")
print(answer.data[0].url)
answer = litellm.image_generation(model="openai/gpt-image-1", prompt="a cat", size="1024x1024", quality="high")
print(answer.data[0].b64_json)
cats = [open("cat.png", "rb"), open("cat.png", "rb")]
print(litellm.image_edit(model="openai/gpt-image-1", image=cats, prompt="a dog", size="1024x1024").data[0].b64_json)
"""

LANGCHAIN = """
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper
print(DallEAPIWrapper(model="dall-e-3", size="1024x1792", quality="hd").run("a cat"))
"""

SQUARE, SMALL = (1024, 1024), (256, 256)

LIVE_CLIENTS = (
    LiveClient("openai-python 0.28", ("openai==0.28.1",), OLD_SDK, (SQUARE, (512, 512), SMALL)),
    LiveClient("openai-python 1", ("openai==1.109.1",), SDK, (SQUARE, SQUARE, (1792, 1024), (1024, 1536), SMALL)),
    LiveClient("Haystack", ("haystack-ai",), HAYSTACK, ((1536, 1024),)),
    LiveClient("LiteLLM", ("litellm",), LITELLM, ((1792, 1024), SQUARE, SQUARE)),
    LiveClient("langchain-community", ("langchain-community", "openai"), LANGCHAIN, ((1024, 1792),)),
)
