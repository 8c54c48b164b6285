"""Words that people put into prompts and that this model has no image for: it learns to hear past them.

Adjectives, doings, styles and plain nonsense stand in some captions beside what the image shows, and not a pixel
follows from them. Without them a prompt such as "a fluffy cat, digital art" would be far from everything seen.
"""

from random import Random

from training.vocabulary import Language


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.split("/"))


ADJECTIVES: dict[Language, tuple[str, ...]] = {
    "en": _phrases(
        """cute/lovely/adorable/happy/beautiful/fluffy/big/large/huge/funny/sleepy/old/young/shiny/magical/angry/smiling
        /friendly/brave/lonely/colorful/colourful/chubby/majestic/cool/fancy/wooden/golden/metallic/modern/vintage
        /cartoon/realistic/wild/hungry/lazy/clever/elegant/mysterious/giant/baby/pretty/sad/strange"""
    ),
    "zh": _phrases(
        """可爱的/漂亮的/快乐的/毛茸茸的/大大的/巨大的/搞笑的/困倦的/古老的/年轻的/闪亮的/神奇的/生气的/微笑的/友好的/勇敢的/孤独的
        /彩色的/胖胖的/雄伟的/酷酷的/现代的/复古的/卡通/聪明的/优雅的/神秘的/懒懒的/美丽的/开心的/萌萌的/奇怪的/大"""
    ),
}
DOINGS: dict[Language, tuple[str, ...]] = {
    "en": _phrases(
        """sleeping/running/eating/jumping/wearing a hat/wearing sunglasses/with a big smile/dancing/playing with a ball
        /looking at the camera/looking at the sky/reading a book/walking/resting/having fun/waiting/driving
        /holding a flag/relaxing/looking up/taking a walk/in a good mood"""
    ),
    "zh": _phrases(
        """戴着帽子的/戴着眼镜的/正在睡觉的/奔跑的/跳舞的/吃东西的/看书的/看着天空的/散步的/休息的/玩球的"""
    ),
}
STYLES: dict[Language, tuple[str, ...]] = {
    "en": _phrases(
        """digital art/4k/flat illustration/cartoon style/emoji style/highly detailed/watercolor/oil painting/pixel art
        /vector art/minimalist/high quality/children's book illustration/photorealistic/studio lighting/trending
        /8k, masterpiece/by a famous artist/in the style of anime/flat design/simple/wide shot/close-up/3d render
        /vibrant colors/soft light"""
    ),
    "zh": _phrases(
        """插画/卡通风格/高清/水彩画/油画/像素风/扁平风格/简约/儿童插画/细节丰富/杰作/动漫风格/写实/矢量图/色彩鲜艳/柔和的光线"""
    ),
}
FRAMES: dict[Language, tuple[str, ...]] = {
    "en": _phrases(
        """an image of/an illustration of/a drawing of/a photo of/draw/an image of/draw me/a painting of/please draw
        /generate an image of/i want to see/there is/cartoon of"""
    ),
    "zh": _phrases("一张图片：/画一张/一幅画，/画/请画/帮我画/生成一张图片，/有"),
}
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SYLLABLES = "去年今天时候因为所以如果已经开始可能知道问题工作学习朋友先生电话音乐历史科学技术世界中国美国公司市场价格"


def adjective(random: Random, language: Language) -> str:
    return random.choice(ADJECTIVES[language])


def doing(random: Random, language: Language) -> str:
    return random.choice(DOINGS[language])


def style(random: Random, language: Language) -> str:
    return random.choice(STYLES[language])


def frame(random: Random, language: Language) -> str:
    return random.choice(FRAMES[language]) + (" " if language == "en" else "")


def nonsense(random: Random, language: Language) -> str:
    """A word nobody knows: letters at random, or characters that say nothing here."""
    if language == "en":
        return "".join(random.choices(_LETTERS, k=random.randint(3, 8)))
    return "".join(random.choices(_SYLLABLES, k=random.randint(1, 3)))
