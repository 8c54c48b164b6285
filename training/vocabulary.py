"""The words the model knows: sixty-four objects, eleven places, three times of day, in English and Chinese.

Only words live here; drawing is in backgrounds.py and scenes.py, grammar in captions.py, words that mean nothing to the
model in small_talk.py. `kin` are words for things the model has no image of, taught to mean the nearest it has.
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
    english_kin: tuple[str, ...]
    chinese_kin: tuple[str, ...]
    classifier: str
    sprite: str
    colour: str | None
    flies: bool


# name | English | Chinese | English kin | Chinese kin | classifier | sprite | its own colour, if sayable | flies
_TABLE = """
cat|cat,kitten,kitty|猫,小猫,猫咪|tabby,feline|花猫|只|cat|orange|
dog|dog,puppy|狗,小狗|hound,poodle,corgi,husky|柯基|只|dog||
rabbit|rabbit,bunny|兔子,小兔子|hare,hamster|仓鼠|只|rabbit||
panda|panda,panda bear|熊猫,大熊猫|giant panda||只|panda||
bear|bear,brown bear|熊,棕熊|grizzly,polar bear|北极熊|只|bear||
fox|fox,red fox|狐狸|wolf,coyote|狼|只|fox|orange|
lion|lion|狮子||雄狮|只|lion||
tiger|tiger|老虎|leopard,cheetah|豹子|只|tiger||
horse|horse|马|pony,donkey|驴|匹|horse|brown|
cow|cow|奶牛,牛|bull,calf,ox|公牛|头|cow||
pig|pig,piglet|猪,小猪|hog|野猪|头|pig|pink|
monkey|monkey|猴子|ape,chimpanzee|猩猩|只|monkey-face|brown|
elephant|elephant|大象|mammoth|猛犸|头|elephant|gray|
giraffe|giraffe|长颈鹿|camel|骆驼|只|giraffe||
koala|koala|考拉|sloth|树懒|只|koala|gray|
mouse|mouse|老鼠,小老鼠|rat|鼠|只|mouse|gray|
frog|frog|青蛙|toad|蛤蟆|只|frog|green|
penguin|penguin|企鹅|puffin||只|penguin||
chick|chick,baby chicken|小鸡|chicken,hen|母鸡|只|front-facing-baby-chick|yellow|
duck|duck|鸭子|goose,swan|鹅|只|duck||
owl|owl|猫头鹰||鹰|只|owl|brown|
bird|bird|鸟,小鸟|sparrow,robin,pigeon|麻雀,鸽子|只|bird||flies
butterfly|butterfly|蝴蝶|moth|飞蛾|只|butterfly||flies
bee|bee,honeybee|蜜蜂|wasp,ladybug|瓢虫|只|honeybee|yellow|flies
snail|snail|蜗牛|slug||只|snail||
fish|fish|鱼,小鱼|goldfish|金鱼|条|tropical-fish||
whale|whale|鲸鱼|shark|鲨鱼|头|spouting-whale|blue|
dolphin|dolphin|海豚|seal|海豹|只|dolphin|blue|
octopus|octopus|章鱼|squid|鱿鱼|只|octopus||
crab|crab|螃蟹|lobster|龙虾|只|crab|red|
turtle|turtle|乌龟|tortoise|龟|只|turtle|green|
dinosaur|dinosaur,t-rex|恐龙|crocodile,lizard|鳄鱼,蜥蜴|只|t-rex|green|
dragon|dragon|龙|serpent|飞龙|条|dragon|green|
unicorn|unicorn|独角兽|pegasus|飞马|只|unicorn|white|
robot|robot|机器人|android,machine|机器|个|robot|gray|
alien|alien|外星人|martian,monster|怪物|个|alien||
ghost|ghost|鬼,幽灵|spirit,phantom|鬼魂|个|ghost|white|
snowman|snowman|雪人|||个|snowman-without-snow|white|
teddy|teddy bear,teddy|泰迪熊,玩具熊|doll,toy|玩具|个|teddy-bear|brown|
car|car,automobile|汽车,车|taxi,jeep|出租车,轿车|辆|automobile|red|
bus|bus|公交车,巴士|van,minibus|面包车|辆|bus||
truck|truck,lorry|卡车|pickup,fire truck|货车|辆|delivery-truck||
train|train,locomotive|火车|tram,subway|地铁|列|locomotive||
motorcycle|motorcycle,motorbike|摩托车|scooter|电动车|辆|motorcycle|red|
bicycle|bicycle,bike|自行车|tricycle|单车|辆|bicycle||
airplane|airplane,plane|飞机|jet,aircraft|客机|架|airplane||flies
helicopter|helicopter|直升机|drone|无人机|架|helicopter||flies
rocket|rocket,spaceship|火箭,飞船|spacecraft,shuttle|航天飞机|枚|rocket||flies
boat|sailboat,boat|帆船,船|ship,yacht|轮船,游艇|艘|sailboat||
house|house,home|房子|cottage,cabin,hut|小屋|座|house||
castle|castle|城堡|palace,fortress|宫殿|座|castle||
tree|tree|树,大树|oak,bush|橡树|棵|deciduous-tree|green|
cactus|cactus|仙人掌|succulent||棵|cactus|green|
sunflower|sunflower|向日葵|daisy,flower|花|朵|sunflower|yellow|
tulip|tulip|郁金香|rose|玫瑰|朵|tulip|pink|
mushroom|mushroom|蘑菇|toadstool||个|mushroom|red|
apple|apple|苹果|peach,tomato|桃子|个|red-apple|red|
strawberry|strawberry|草莓|raspberry,cherry|樱桃|颗|strawberry|red|
pizza|pizza|披萨|pie|馅饼|块|pizza||
hamburger|hamburger,burger|汉堡,汉堡包|sandwich|三明治|个|hamburger||
ice cream|ice cream|冰淇淋|sundae,gelato|雪糕|个|soft-ice-cream||
cake|cake,birthday cake|蛋糕,生日蛋糕|cupcake,dessert|甜点|个|birthday-cake||
guitar|guitar|吉他|violin,ukulele|小提琴|把|guitar||
balloon|balloon|气球|kite|风筝|个|balloon|red|flies
"""


def _words(column: str) -> tuple[str, ...]:
    return tuple(filter(None, column.split(",")))


def _thing(line: str) -> Thing:
    name, english, chinese, english_kin, chinese_kin, classifier, sprite, colour, flies = line.split("|")
    return Thing(
        name,
        _words(english),
        _words(chinese),
        _words(english_kin),
        _words(chinese_kin),
        classifier,
        sprite,
        colour or None,
        bool(flies),
    )


THINGS: dict[str, Thing] = {thing.name: thing for thing in map(_thing, _TABLE.split("\n")[1:-1])}

PLACES = ("grass", "forest", "beach", "sea", "snow", "desert", "space", "city", "sofa", "table", "plain")
OUTDOORS = frozenset({"grass", "forest", "beach", "sea", "snow", "desert", "city"})
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
        "en": ("on the grass", "in a meadow", "in a green field", "playing on the grass", "on grass", "on a lawn"),
        "zh": ("在草地上", "在草地上玩耍", "在草坪上", "在田野里"),
    },
    "forest": {
        "en": ("in the forest", "in a forest", "in the woods", "among the trees", "playing in the forest"),
        "zh": ("在森林里", "在树林里", "在森林中", "在林中"),
    },
    "beach": {
        "en": ("on the beach", "at the beach", "on a sandy beach", "playing on the beach", "by the sea"),
        "zh": ("在沙滩上", "在海滩上", "在海滩上玩耍", "在海边"),
    },
    "sea": {
        "en": ("in the sea", "in the ocean", "in the water", "on the water", "swimming in the sea", "on the sea"),
        "zh": ("在海里", "在大海里", "在水里", "在海上", "在大海上"),
    },
    "snow": {
        "en": ("in the snow", "on a snowy field", "playing in the snow", "in winter", "on the snow"),
        "zh": ("在雪地里", "在雪地上", "在雪地里玩耍", "在冬天", "在雪中"),
    },
    "desert": {
        "en": ("in the desert", "on desert sand", "in a desert"),
        "zh": ("在沙漠里", "在沙漠中", "在沙漠上"),
    },
    "space": {
        "en": ("in space", "in outer space", "among the stars", "floating in space", "flying through space"),
        "zh": ("在太空中", "在宇宙中", "在星空中", "在太空里"),
    },
    "city": {
        "en": ("in the city", "in a city", "in front of a city skyline", "with a cityscape behind", "in a big city"),
        "zh": ("在城市里", "在城市中", "在大城市里"),
    },
    "sofa": {
        "en": ("on a sofa", "on the sofa", "sitting on a sofa", "sitting on the couch", "on a couch"),
        "zh": ("在沙发上", "坐在沙发上", "躺在沙发上"),
    },
    "table": {
        "en": ("on a table", "on the table", "sitting on a table"),
        "zh": ("在桌子上", "坐在桌子上", "在桌上"),
    },
    "plain": {
        "en": ("on a {} background", "with a {} background", "in front of a {} wall"),
        "zh": ("在{}背景上", "{}背景", "在{}的墙前"),
    },
}

WHERE_KIN: dict[str, dict[Language, tuple[str, ...]]] = {
    "grass": {
        "en": ("in the garden", "in a park", "on a farm", "in the yard", "on a hill"),
        "zh": ("在花园里", "在公园里", "在农场里", "在山坡上"),
    },
    "forest": {"en": ("in the jungle", "in a bamboo forest"), "zh": ("在丛林里", "在竹林里")},
    "beach": {"en": ("on an island", "on the shore"), "zh": ("在岛上", "在岸边")},
    "sea": {"en": ("in a lake", "in a river", "in a pool", "under the sea"), "zh": ("在湖里", "在河里", "在海底")},
    "snow": {"en": ("on the ice", "in the mountains", "at the north pole"), "zh": ("在冰上", "在雪山上", "在南极")},
    "desert": {"en": ("in a canyon", "on the dunes"), "zh": ("在沙丘上", "在戈壁上")},
    "space": {"en": ("on the moon", "in the galaxy", "on mars"), "zh": ("在月球上", "在银河里", "在火星上")},
    "city": {"en": ("on the street", "in town", "on a road"), "zh": ("在街上", "在马路上", "在镇上")},
    "sofa": {"en": ("in the living room", "on a chair", "on a bed"), "zh": ("在客厅里", "在床上", "在椅子上")},
    "table": {"en": ("in the kitchen", "on a desk", "on a plate"), "zh": ("在厨房里", "在书桌上", "在盘子里")},
}

FUTURISTIC_WHERE: dict[Language, tuple[str, ...]] = {
    "en": ("in a futuristic city", "in a futuristic cityscape", "in a cyberpunk city", "in a city of the future"),
    "zh": ("在未来城市里", "在赛博朋克城市中", "在未来的城市里"),
}

EMPTY: dict[str, dict[Language, tuple[str, ...]]] = {
    "grass": {
        "en": ("a green meadow", "a grass field", "grass", "a park"),
        "zh": ("草地", "绿色的草地", "草原", "公园"),
    },
    "forest": {"en": ("a forest", "the woods", "a jungle", "trees"), "zh": ("森林", "树林", "绿色的森林")},
    "beach": {"en": ("a beach", "a sandy beach", "the seaside"), "zh": ("沙滩", "海滩", "海边")},
    "sea": {"en": ("the sea", "the ocean", "waves", "a lake"), "zh": ("大海", "海洋", "海面", "湖")},
    "snow": {
        "en": ("a snowy landscape", "snow", "a winter landscape", "snowy mountains"),
        "zh": ("雪地", "雪景", "冬天的风景", "雪山"),
    },
    "desert": {"en": ("a desert", "sand dunes"), "zh": ("沙漠", "沙丘")},
    "space": {"en": ("outer space", "a starry sky", "stars", "the galaxy"), "zh": ("太空", "星空", "宇宙", "银河")},
    "city": {
        "en": ("a cityscape", "a city skyline", "a city", "skyscrapers"),
        "zh": ("城市", "城市风光", "城市的天际线", "高楼大厦"),
    },
    "sofa": {"en": ("a sofa", "a couch in a room", "a living room"), "zh": ("沙发", "客厅里的沙发", "客厅")},
    "table": {"en": ("a table", "an empty table", "a dining room"), "zh": ("桌子", "空桌子", "餐桌")},
}

FUTURISTIC_EMPTY: dict[Language, tuple[str, ...]] = {
    "en": (
        "a futuristic cityscape",
        "a futuristic city",
        "a cyberpunk city",
        "a futuristic city skyline",
        "a sci-fi city",
    ),
    "zh": ("未来城市", "未来感的城市", "赛博朋克城市", "未来主义的城市风光", "科幻城市"),
}

WHEN: dict[str, dict[Language, tuple[str, ...]]] = {
    "day": {"en": ("", "", "", "during the day"), "zh": ("", "", "", "白天")},
    "sunset": {
        "en": ("at sunset", "at dusk", "in the evening light", "at sunrise", "in the evening", "as the sun sets"),
        "zh": ("日落时", "夕阳下", "黄昏时", "傍晚", "日出时"),
    },
    "night": {
        "en": ("at night", "under the stars", "at midnight", "in the moonlight", "in the dark"),
        "zh": ("夜晚", "晚上", "夜里", "月光下", "深夜"),
    },
}

TIME_OF_DAY: dict[str, dict[Language, tuple[str, ...]]] = {
    "sunset": {"en": ("sunset", "dusk", "sunrise", "evening"), "zh": ("日落", "夕阳", "黄昏", "傍晚", "日出")},
    "night": {"en": ("night", "midnight"), "zh": ("夜晚", "夜景", "夜色")},
}
"""The same times as nouns: "sunset over a city"; the day has none that people say."""
