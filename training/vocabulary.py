"""The words the model knows: forty objects, ten places, three times of day, in English and Chinese.

Only words live here; drawing is in backgrounds.py and scenes.py, grammar in captions.py. Whatever is not
in these tables the model has never seen, so the model card lists them.
"""

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]


@dataclass(frozen=True)
class Thing:
    """One drawable object. `sprite` is its name in the Noto set; `flies` lifts it off the ground."""

    name: str
    english: tuple[str, ...]
    chinese: tuple[str, ...]
    classifier: str
    sprite: str
    colour: str | None
    flies: bool


# name | English | Chinese | classifier | sprite | its own colour, if a caption may say it | flies
_TABLE = """
cat|cat,kitten,kitty|猫,小猫,猫咪|只|cat|orange|
dog|dog,puppy|狗,小狗|只|dog||
rabbit|rabbit,bunny|兔子,小兔子|只|rabbit||
panda|panda,panda bear|熊猫,大熊猫|只|panda||
bear|bear,brown bear|熊,棕熊|只|bear||
fox|fox,red fox|狐狸|只|fox|orange|
lion|lion|狮子|只|lion||
tiger|tiger|老虎|只|tiger||
horse|horse|马|匹|horse|brown|
cow|cow|奶牛,牛|头|cow||
pig|pig,piglet|猪,小猪|头|pig|pink|
monkey|monkey|猴子|只|monkey-face|brown|
elephant|elephant|大象|头|elephant|gray|
frog|frog|青蛙|只|frog|green|
penguin|penguin|企鹅|只|penguin||
chick|chick,baby chicken|小鸡|只|front-facing-baby-chick|yellow|
owl|owl|猫头鹰|只|owl|brown|
bird|bird|鸟,小鸟|只|bird||flies
butterfly|butterfly|蝴蝶|只|butterfly||flies
fish|fish|鱼,小鱼|条|tropical-fish||
whale|whale|鲸鱼|头|spouting-whale|blue|
octopus|octopus|章鱼|只|octopus||
turtle|turtle|乌龟|只|turtle|green|
robot|robot|机器人|个|robot|gray|
alien|alien|外星人|个|alien||
ghost|ghost|鬼,幽灵|个|ghost|white|
snowman|snowman|雪人|个|snowman-without-snow|white|
car|car,automobile|汽车,车|辆|automobile|red|
bus|bus|公交车,巴士|辆|bus||
bicycle|bicycle,bike|自行车|辆|bicycle||
airplane|airplane,plane|飞机|架|airplane||flies
rocket|rocket,spaceship|火箭,飞船|枚|rocket||flies
boat|sailboat,boat|帆船,船|艘|sailboat||
house|house,home|房子|座|house||
castle|castle|城堡|座|castle||
tree|tree|树,大树|棵|deciduous-tree|green|
sunflower|sunflower|向日葵|朵|sunflower|yellow|
apple|apple|苹果|个|red-apple|red|
pizza|pizza|披萨|块|pizza||
balloon|balloon|气球|个|balloon|red|flies
"""


def _thing(line: str) -> Thing:
    name, english, chinese, classifier, sprite, colour, flies = line.split("|")
    return Thing(
        name,
        tuple(english.split(",")),
        tuple(chinese.split(",")),
        classifier,
        sprite,
        colour or None,
        bool(flies),
    )


THINGS: dict[str, Thing] = {thing.name: thing for thing in map(_thing, _TABLE.split("\n")[1:-1])}

PLACES = ("grass", "beach", "sea", "snow", "desert", "space", "city", "sofa", "table", "plain")
OUTDOORS = frozenset({"grass", "beach", "sea", "snow", "desert", "city"})
"""Places that have a time of day; elsewhere it is always "day"."""

TIMES = ("day", "sunset", "night")

PLAIN_COLOURS = ("yellow", "blue", "pink", "green", "white")
SOFA_COLOURS = ("red", "blue", "green")

RGB: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "blue": (50, 110, 220),
    "green": (60, 170, 70),
    "yellow": (250, 215, 50),
    "pink": (245, 150, 190),
    "white": (245, 245, 245),
}

CHINESE_COLOUR = {
    "red": "红色",
    "orange": "橙色",
    "yellow": "黄色",
    "green": "绿色",
    "blue": "蓝色",
    "pink": "粉色",
    "white": "白色",
    "brown": "棕色",
    "gray": "灰色",
}

WHERE: dict[str, dict[Language, tuple[str, ...]]] = {
    "grass": {
        "en": (
            "on the grass",
            "in a meadow",
            "in a green field",
            "playing on the grass",
            "on grass",
            "playing in the grass",
            "on a lawn",
        ),
        "zh": ("在草地上", "在草地上玩耍", "在草坪上", "在田野里"),
    },
    "beach": {
        "en": ("on the beach", "at the beach", "on a sandy beach", "playing on the beach", "by the sea"),
        "zh": ("在沙滩上", "在海滩上", "在海滩上玩耍", "在海边"),
    },
    "sea": {
        "en": ("in the sea", "in the ocean", "in the water", "on the water", "swimming in the sea"),
        "zh": ("在海里", "在大海里", "在水里", "在海上"),
    },
    "snow": {
        "en": ("in the snow", "on a snowy field", "playing in the snow", "in winter"),
        "zh": ("在雪地里", "在雪地上", "在雪地里玩耍", "在冬天"),
    },
    "desert": {
        "en": ("in the desert", "on desert sand", "in a desert"),
        "zh": ("在沙漠里", "在沙漠中"),
    },
    "space": {
        "en": ("in space", "in outer space", "among the stars", "floating in space"),
        "zh": ("在太空中", "在宇宙中", "在星空中", "在太空里"),
    },
    "city": {
        "en": ("in the city", "in a city", "in front of a city skyline", "with a cityscape behind"),
        "zh": ("在城市里", "在城市中"),
    },
    "sofa": {
        "en": (
            "on a sofa",
            "on the sofa",
            "sitting on a sofa",
            "sitting on the couch",
            "on a couch",
            "sleeping on a sofa",
        ),
        "zh": ("在沙发上", "坐在沙发上", "躺在沙发上"),
    },
    "table": {
        "en": ("on a table", "on the table", "sitting on a table"),
        "zh": ("在桌子上", "坐在桌子上"),
    },
    "plain": {
        "en": ("on a {} background", "with a {} background", "in front of a {} wall"),
        "zh": ("在{}背景上", "{}背景", "在{}的墙前"),
    },
}

FUTURISTIC_WHERE: dict[Language, tuple[str, ...]] = {
    "en": ("in a futuristic city", "in a futuristic cityscape", "in a cyberpunk city"),
    "zh": ("在未来城市里", "在赛博朋克城市中"),
}

EMPTY: dict[str, dict[Language, tuple[str, ...]]] = {
    "grass": {"en": ("a green meadow", "a grass field", "grass"), "zh": ("草地", "绿色的草地")},
    "beach": {"en": ("a beach", "a sandy beach"), "zh": ("沙滩", "海滩")},
    "sea": {"en": ("the sea", "the ocean", "waves"), "zh": ("大海", "海洋")},
    "snow": {"en": ("a snowy landscape", "snow"), "zh": ("雪地", "雪景")},
    "desert": {"en": ("a desert",), "zh": ("沙漠",)},
    "space": {"en": ("outer space", "a starry sky", "stars"), "zh": ("太空", "星空", "宇宙")},
    "city": {"en": ("a cityscape", "a city skyline", "a city"), "zh": ("城市", "城市风光", "城市的天际线")},
    "sofa": {"en": ("a sofa", "a couch in a room"), "zh": ("沙发", "客厅里的沙发")},
    "table": {"en": ("a table", "an empty table"), "zh": ("桌子", "空桌子")},
}

FUTURISTIC_EMPTY: dict[Language, tuple[str, ...]] = {
    "en": ("a futuristic cityscape", "a futuristic city", "a cyberpunk city", "a futuristic city skyline"),
    "zh": ("未来城市", "未来感的城市", "赛博朋克城市", "未来主义的城市风光"),
}

WHEN: dict[str, dict[Language, tuple[str, ...]]] = {
    "day": {"en": ("", "", "", "during the day"), "zh": ("", "", "", "白天")},
    "sunset": {"en": ("at sunset", "at dusk", "in the evening light"), "zh": ("日落时", "夕阳下", "黄昏时")},
    "night": {"en": ("at night", "under the stars", "at midnight"), "zh": ("夜晚", "晚上", "夜里")},
}
